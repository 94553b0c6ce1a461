//! Streams: order, placement, durability, where reading starts, completeness, loss. Saves no state.

use std::time::Duration;

use logtally::{
    backend::{
        Append, Backend, BackendError, Outgoing, SourceState, StartAt, Stream, StreamReader, StreamWriter,
    },
    engine::time::Timestamp,
};
use md5::{Digest, Md5};
use tokio::task::JoinSet;

use super::{Place, append, drain, drain_all, placed, record, texts};

pub(crate) async fn keeps_the_order_within_a_shard(place: &impl Place) {
    let backend = place.open().await;
    for chunk in 0..10 {
        let records = (0..30).map(|index| placed(7, format!("{}", chunk * 30 + index)));
        append(&backend, Stream::Input, records.collect()).await;
    }
    let shard = &backend.shards(Stream::Input).await.unwrap()[0];
    let (records, _) = drain(&backend, Stream::Input, &shard.id, StartAt::TrimHorizon).await;
    let expected: Vec<String> = (0..300).map(|index| index.to_string()).collect();
    assert_eq!(texts(&records), expected);
    assert!(records.windows(2).all(|pair| pair[0].arrival <= pair[1].arrival));
}

pub(crate) async fn gives_back_what_was_appended(place: &impl Place) {
    let backend = place.open().await;
    let noise: Vec<u8> =
        (0..100_000_u32).flat_map(|index| Md5::digest(index.to_be_bytes()).to_vec()).take(900_000).collect();
    let payloads =
        [b"x".to_vec(), vec![0; 1_000_000], noise, b"line\n".repeat(100_000), vec![0xff, 0xfe, 0, b'\n']];
    let records = payloads.iter().map(|payload| placed(0, payload.clone())).collect();
    append(&backend, Stream::Input, records).await;
    let shard = &backend.shards(Stream::Input).await.unwrap()[0];
    let (records, _) = drain(&backend, Stream::Input, &shard.id, StartAt::TrimHorizon).await;
    assert_eq!(records.len(), payloads.len());
    for (record, payload) in records.iter().zip(&payloads) {
        assert!(record.data == payload, "{} bytes came back different", payload.len());
        assert_eq!(record.partition_key, "key");
    }
}

pub(crate) async fn divides_the_whole_hash_space(place: &impl Place) {
    let backend = place.open().await;
    for stream in [Stream::Input, Stream::Output] {
        let mut shards = backend.shards(stream).await.unwrap();
        shards.sort_by_key(|shard| shard.first_hash);
        assert_eq!(shards.first().unwrap().first_hash, 0);
        assert_eq!(shards.last().unwrap().last_hash, u128::MAX);
        for pair in shards.windows(2) {
            assert_eq!(pair[0].last_hash + 1, pair[1].first_hash);
        }
    }
}

pub(crate) async fn places_by_hash_key_or_md5(place: &impl Place) {
    let backend = place.open().await;
    let shards = backend.shards(Stream::Input).await.unwrap();
    let mut records: Vec<Outgoing> = shards
        .iter()
        .flat_map(|shard| [shard.first_hash, shard.last_hash])
        .map(|hash| placed(hash, format!("{hash}")))
        .collect();
    for index in 0..50 {
        let key = format!("key {index}");
        let hash = u128::from_be_bytes(Md5::digest(key.as_bytes()).into());
        records.push(record(&key, format!("{hash}")));
    }
    append(&backend, Stream::Input, records).await;
    let mut total = 0;
    for (shard, records) in drain_all(&backend, Stream::Input).await {
        for text in texts(&records) {
            let hash: u128 = text.parse().unwrap();
            assert!((shard.first_hash..=shard.last_hash).contains(&hash), "{hash} in {}", shard.id);
            total += 1;
        }
    }
    assert_eq!(total, 2 * shards.len() + 50);
}

pub(crate) async fn keeps_what_it_acknowledged(place: &impl Place) {
    let backend = place.open().await;
    append(&backend, Stream::Input, vec![record("a", "one"), record("a", "two")]).await;
    drop(backend);
    let backend = place.open().await;
    append(&backend, Stream::Input, vec![record("a", "three")]).await;
    let all: Vec<_> = drain_all(&backend, Stream::Input)
        .await
        .into_iter()
        .flat_map(|(_, records)| texts(&records))
        .collect();
    assert_eq!(all, ["one", "two", "three"]);
}

pub(crate) async fn starts_where_it_is_told(place: &impl Place) {
    let backend = place.open().await;
    let shard = backend.shards(Stream::Input).await.unwrap()[0].id.clone();
    let put = |text: &'static str| append(&backend, Stream::Input, vec![placed(0, text)]);
    for text in ["a", "b", "c"] {
        put(text).await;
    }
    let (records, through) = drain(&backend, Stream::Input, &shard, StartAt::TrimHorizon).await;
    assert_eq!(texts(&records), ["a", "b", "c"]);
    let after = StartAt::After(records[0].sequence.clone());
    assert_eq!(texts(&drain(&backend, Stream::Input, &shard, after).await.0), ["b", "c"]);

    let mut latest = backend.reader(Stream::Input, &shard, StartAt::Latest).await.unwrap();
    put("d").await;
    assert_eq!(texts(&latest.next_batch().await.unwrap().records), ["d"]);
    let behind = StartAt::After(through.unwrap());
    assert_eq!(texts(&drain(&backend, Stream::Input, &shard, behind).await.0), ["d"]);
}

pub(crate) async fn refuses_a_shard_it_does_not_have(place: &impl Place) {
    let backend = place.open().await;
    let shard = logtally::backend::ShardId("shardId-999999999999".to_owned());
    let opened = backend.reader(Stream::Input, &shard, StartAt::Latest).await;
    assert!(matches!(opened, Err(BackendError::Unlisted { .. })));
}

pub(crate) async fn refuses_what_kinesis_would(place: &impl Place) {
    let backend = place.open().await;
    for bad in [record("", "data"), record(&"k".repeat(257), "data"), record("key", vec![0; 1024 * 1024])] {
        let append = Append { records: vec![bad], sources: Vec::new() };
        let mut writer = backend.writer(Stream::Input).await.unwrap();
        assert!(matches!(writer.append(append).await, Err(BackendError::Failed { .. })));
    }
    append(&backend, Stream::Input, Vec::new()).await;
    let longest = place.longest_key();
    let longest = record(&longest, vec![0; 1024 * 1024 - longest.len()]);
    append(&backend, Stream::Input, vec![longest]).await;
}

pub(crate) async fn is_complete_to_the_time_of_asking_at_the_tip(place: &impl Place) {
    let backend = place.open().await;
    let shards = backend.shards(Stream::Input).await.unwrap();
    let mut reader = backend.reader(Stream::Input, &shards[0].id, StartAt::TrimHorizon).await.unwrap();
    let asked = place.clock().now();
    let batch = reader.next_batch().await.unwrap();
    assert_eq!((batch.records.len(), batch.behind_ms), (0, 0));
    assert!((asked..=place.clock().now()).contains(&batch.complete_to), "{}", batch.complete_to);
    let (front, before) = (batch.through, batch.complete_to);

    append(&backend, Stream::Input, vec![placed(0, "a")]).await;
    let arrived = place.clock().now();
    place.clock().advance(5_000);
    let batch = reader.next_batch().await.unwrap();
    let complete_to = batch.records[0].arrival.max(before);
    assert_eq!(batch.complete_to, complete_to, "a batch with records is complete to the last of them");
    assert!(!place.stamps_by_clock() || complete_to == arrived);
    let asked = place.clock().now();
    let batch = reader.next_batch().await.unwrap();
    assert!((asked..=place.clock().now()).contains(&batch.complete_to), "{}", batch.complete_to);

    let before = batch.complete_to;
    place.clock().advance(-60_000);
    assert_eq!(reader.next_batch().await.unwrap().complete_to, before, "never backwards");

    // Where there is a name for the place in front of the first record, it is a place to go on from.
    let front = front.map_or(StartAt::TrimHorizon, StartAt::After);
    assert_eq!(texts(&drain(&backend, Stream::Input, &shards[0].id, front).await.0), ["a"]);
}

pub(crate) async fn stamps_arrivals_in_order_whatever_the_clock_does(place: &impl Place) {
    let backend = place.open().await;
    let shard = backend.shards(Stream::Input).await.unwrap()[0].id.clone();
    append(&backend, Stream::Input, vec![placed(0, "a")]).await;
    place.clock().advance(-60_000);
    append(&backend, Stream::Input, vec![placed(0, "b")]).await;
    append(&place.open().await, Stream::Input, vec![placed(0, "c")]).await;
    place.clock().advance(120_000);
    append(&backend, Stream::Input, vec![placed(0, "d")]).await;
    let (records, _) = drain(&backend, Stream::Input, &shard, StartAt::TrimHorizon).await;
    assert_eq!(texts(&records), ["a", "b", "c", "d"]);
    assert!(records.windows(2).all(|pair| pair[0].arrival <= pair[1].arrival));
    assert!(!place.stamps_by_clock() || records[3].arrival == place.clock().now());
}

pub(crate) async fn reads_what_several_processes_append(place: &impl Place) {
    let (backend, other) = (place.open().await, place.open().await);
    let shard = backend.shards(Stream::Input).await.unwrap()[0].id.clone();
    let mut reader = backend.reader(Stream::Input, &shard, StartAt::Latest).await.unwrap();
    let mut read = Vec::new();
    for index in 0..30 {
        let writer = if index % 3 == 1 { &other } else { &backend };
        append(writer, Stream::Input, vec![placed(0, format!("{index}"))]).await;
        if index % 5 == 4 {
            read.extend(texts(&reader.next_batch().await.unwrap().records));
        }
    }
    while read.len() < 30 {
        read.extend(texts(&reader.next_batch().await.unwrap().records));
    }
    assert_eq!(read, (0..30).map(|index| index.to_string()).collect::<Vec<_>>());
}

pub(crate) async fn never_gives_what_it_declared_complete(place: &impl Place) {
    let backend = place.open().await;
    let other = place.open().await;
    let shard = backend.shards(Stream::Input).await.unwrap()[0].id.clone();
    let mut tasks = JoinSet::new();
    let clock = place.clock().clone();
    // A clock that goes is not to run away from the one that stamps.
    let steps = if place.stamps_by_clock() { 400 } else { 0 };
    let cut_off = if place.stamps_by_clock() { 0 } else { 999 };
    tasks.spawn(async move {
        for _ in 0..steps {
            clock.advance(3);
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    });
    for backend in [backend.clone(), other] {
        tasks.spawn(async move {
            for index in 0..60 {
                append(&backend, Stream::Input, vec![placed(0, format!("{index}"))]).await;
                tokio::time::sleep(Duration::from_millis(index % 7)).await;
            }
        });
    }
    let mut reader = backend.reader(Stream::Input, &shard, StartAt::TrimHorizon).await.unwrap();
    let (mut complete_to, mut read) = (Timestamp::MIN, 0);
    while read < 120 {
        let batch = reader.next_batch().await.unwrap();
        for record in &batch.records {
            let latest = record.arrival.plus_millis(cut_off);
            assert!(latest >= complete_to, "{latest} after {complete_to}");
        }
        assert!(batch.complete_to >= complete_to);
        complete_to = batch.complete_to;
        read += batch.records.len();
    }
    tasks.join_all().await;
}

pub(crate) async fn takes_appends_at_once(place: &impl Place) {
    let (backend, other) = (place.open().await, place.open().await);
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let backend = if task % 2 == 0 { backend.clone() } else { other.clone() };
        tasks.spawn(async move {
            for index in 0..25 {
                let key = format!("{task}");
                append(&backend, Stream::Input, vec![record(&key, format!("{index}"))]).await;
            }
        });
    }
    tasks.join_all().await;
    let all: Vec<_> =
        drain_all(&backend, Stream::Input).await.into_iter().flat_map(|(_, records)| records).collect();
    assert_eq!(all.len(), 200);
    for task in 0..8 {
        let own: Vec<_> =
            all.iter().filter(|record| record.partition_key == task.to_string()).cloned().collect();
        assert_eq!(texts(&own), (0..25).map(|index| index.to_string()).collect::<Vec<_>>());
    }
}

pub(crate) async fn loses_nothing_when_a_read_is_cancelled(place: &impl Place) {
    let backend = place.open().await;
    let shard = backend.shards(Stream::Input).await.unwrap()[0].id.clone();
    let writing = backend.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for index in 0..100 {
            append(&writing, Stream::Input, vec![placed(0, format!("{index}"))]).await;
        }
    });
    let mut reader = backend.reader(Stream::Input, &shard, StartAt::TrimHorizon).await.unwrap();
    let mut longest = u64::try_from(place.patience().as_micros()).unwrap();
    let (mut read, mut patience) = (Vec::new(), 0);
    while read.len() < 100 {
        // In the end long enough for any machine.
        longest += longest / 300;
        patience = (patience + longest * 37 / 2_000) % longest;
        let attempt = tokio::time::timeout(Duration::from_micros(patience), reader.next_batch());
        if let Ok(batch) = attempt.await {
            read.extend(texts(&batch.unwrap().records));
        }
    }
    tasks.join_all().await;
    assert_eq!(read, (0..100).map(|index| index.to_string()).collect::<Vec<_>>());
}

pub(crate) async fn says_what_is_gone(place: &impl Place) {
    let backend = place.open().await;
    let shard = backend.shards(Stream::Input).await.unwrap()[0].id.clone();
    for text in ["a", "b", "c"] {
        append(&backend, Stream::Input, vec![placed(0, text)]).await;
    }
    let (records, _) = drain(&backend, Stream::Input, &shard, StartAt::TrimHorizon).await;
    let first = StartAt::After(records[0].sequence.clone());
    let mut slow = backend.reader(Stream::Input, &shard, first.clone()).await.unwrap();
    place.expire(&backend, Stream::Input).await;

    let Err(BackendError::Gone { loss, .. }) = backend.reader(Stream::Input, &shard, first).await else {
        panic!("opened behind a gap");
    };
    if place.counts_what_is_gone() {
        assert_eq!(loss.records, Some(2), "{loss:?}");
    } else {
        let (from, to) = loss.arrivals.expect("neither how many nor from when");
        assert!(records[0].arrival <= from && from < to, "{loss:?}");
    }
    let overtaken = slow.next_batch().await;
    assert!(matches!(overtaken, Err(BackendError::Gone { .. })), "read over a gap");
    // Behind the last record nothing is gone: who can tell goes on, and nobody goes on without saying so.
    let mut last = StartAt::After(records[2].sequence.clone());
    append(&backend, Stream::Input, vec![placed(0, "d")]).await;
    if !place.counts_what_is_gone() {
        let opened = backend.reader(Stream::Input, &shard, last).await;
        assert!(matches!(opened, Err(BackendError::Gone { .. })), "opened behind what may be a gap");
        last = StartAt::TrimHorizon;
    }
    assert_eq!(texts(&drain(&backend, Stream::Input, &shard, last).await.0).last().unwrap(), "d");
}

pub(crate) async fn stores_sources_with_their_records(place: &impl Place) {
    let backend = place.open().await;
    let mut writer = backend.writer(Stream::Input).await.unwrap();
    let source = |generation, state: &[u8]| SourceState { generation, state: state.to_vec() };
    let mut put = async |sources: Vec<SourceState>| {
        let records = vec![record("key", "data")];
        writer.append(Append { records, sources }).await.unwrap();
    };
    put(vec![source(1, b"one"), source(u64::MAX, b"last"), source(2, b"two")]).await;
    put(vec![source(1, b"ONE"), source(2, b""), source(3, b"")]).await;
    drop(backend);
    let backend = place.open().await;
    let mut stored = backend.writer(Stream::Input).await.unwrap().sources().await.unwrap();
    stored.sort_by_key(|source| source.generation);
    assert_eq!(stored, [source(1, b"ONE"), source(u64::MAX, b"last")]);
}
