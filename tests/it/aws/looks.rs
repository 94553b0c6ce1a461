//! What a worker asks of DynamoDB and Kinesis to share the shards, and how often. Asks neither: a stub answers.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use logtally::{
    backend::{
        Backend, BackendError, CheckpointStore, Stage, Stream,
        aws::{Aws, Clients, Settings},
        work::{Ended, each_shard},
    },
    clock::Clock,
    stop::{Phase, Stop, channel},
};
use serde_json::{Value, json};

use super::{stub::Stub, workers::shards};

const PREFIX: &str = "default/analyze/logtally-input/";

/// The operations that were asked for, and the requests.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// Notes what it is asked, and answers writes with success.
async fn stub<F>(asked: &Asked, answer: F) -> Stub
where
    F: Fn(&str, &Value) -> Value + Clone + Send + Sync + 'static,
{
    let asked = Arc::clone(asked);
    Stub::start(move |operation, request| {
        asked.lock().unwrap().push((operation.to_owned(), request.clone()));
        match operation {
            "PutItem" | "UpdateItem" => (200, json!({})),
            _ => (200, answer(operation, request)),
        }
    })
    .await
}

async fn aws(stub: &Stub) -> Aws {
    let settings = Settings { lease_ms: 900, ..Settings::new("one", Clock::system()) };
    Aws::open(Clients::new(&stub.config), settings).await.unwrap()
}

fn item(shard: usize, owner: Option<&str>, counter: u64, checkpoint: &str) -> Value {
    let key = format!("{PREFIX}shardId-{shard:012}");
    let mut item = json!({
        "leaseKey": {"S": key}, "leaseCounter": {"N": counter.to_string()}, "checkpoint": {"S": checkpoint},
    });
    if let Some(owner) = owner {
        item["leaseOwner"] = json!({"S": owner});
    }
    item
}

fn count(asked: &Asked, operation: &str) -> usize {
    asked.lock().unwrap().iter().filter(|(name, _)| name == operation).count()
}

/// Of each look whether it was consistent.
fn looks(asked: &Asked) -> Vec<bool> {
    let asked = asked.lock().unwrap();
    let scans = asked.iter().filter(|(name, _)| name == "Scan");
    scans.map(|(_, request)| request["ConsistentRead"] == true).collect()
}

#[tokio::test]
async fn an_end_is_believed_only_as_it_is_now() {
    let asked = Asked::default();
    let stub = stub(&asked, |_, request| {
        // A start made the cut anew; who reads without consistency sees what was.
        let is_now = request["ConsistentRead"] == true;
        let seen = if is_now { item(0, None, 6, "TRIM_HORIZON") } else { item(0, None, 5, "SHARD_END") };
        json!({"Items": [seen]})
    })
    .await;
    let store = aws(&stub).await.checkpoints(Stage::Analyze).await.unwrap();
    let held = store.hold(&shards(1)).await.unwrap();
    assert_eq!((held.shards.len(), held.ended.len()), (1, 0), "{held:?}");
    assert_eq!(looks(&asked), [false, true]);
}

#[tokio::test]
async fn a_look_goes_through_pages_of_other_pipelines_leases() {
    let asked = Asked::default();
    let stub = stub(&asked, |_, request| {
        if request["ExclusiveStartKey"].is_null() {
            return json!({"Items": [], "LastEvaluatedKey": {"leaseKey": {"S": "another/analyze/s/shard"}}});
        }
        // The key begins alike, for whoever named a stream so.
        let mut foreign = item(0, Some("x"), 3, "1");
        foreign["leaseKey"] = json!({"S": format!("{PREFIX}more/shardId-000000000000")});
        json!({"Items": [foreign, item(0, Some("other"), 3, "1")]})
    })
    .await;
    let store = aws(&stub).await.checkpoints(Stage::Analyze).await.unwrap();
    let held = store.hold(&shards(1)).await.unwrap();
    assert!(held.shards.is_empty() && held.ended.is_empty() && held.undecided, "{held:?}");
    assert_eq!((count(&asked, "PutItem"), count(&asked, "UpdateItem")), (0, 0), "nothing was to be had");
    assert_eq!(looks(&asked), [false, false], "a page each");
    for (_, request) in asked.lock().unwrap().iter() {
        assert_eq!(request["FilterExpression"], "begins_with(#leaseKey, :prefix)");
        assert_eq!(request["ExpressionAttributeValues"], json!({":prefix": {"S": PREFIX}}));
    }
}

#[tokio::test]
async fn every_third_renewal_looks_and_so_does_who_asks_for_other_shards() {
    let asked = Asked::default();
    let stub = stub(&asked, |_, _| json!({"Items": []})).await;
    let store = aws(&stub).await.checkpoints(Stage::Analyze).await.unwrap();
    let shards = shards(2);
    let mut looked = Vec::new();
    for _ in 0..7 {
        assert_eq!(store.hold(&shards).await.unwrap().shards.len(), 2);
        looked.push(looks(&asked).len());
    }
    assert_eq!(looked, [1, 1, 1, 2, 2, 2, 3]);
    assert_eq!(store.hold(&shards[1..]).await.unwrap().shards, [shards[1].id.clone()]);
    assert_eq!(looks(&asked).len(), 4);
}

#[tokio::test]
async fn shards_are_listed_for_every_sixth_look_and_at_once_when_one_ends() {
    let asked = Asked::default();
    let listed = Arc::clone(&asked);
    let stub = stub(&asked, move |operation, _| match operation {
        "ListShards" => {
            let range = json!({"StartingHashKey": "0", "EndingHashKey": u128::MAX.to_string()});
            let shard = |number: u32, parent: Option<&str>| {
                json!({
                    "ShardId": format!("shardId-{number:012}"), "HashKeyRange": range, "ParentShardId": parent,
                    "SequenceNumberRange": {"StartingSequenceNumber": "1"},
                })
            };
            // It is split after the second list.
            let lists = count(&listed, "ListShards");
            let child = (lists > 2).then(|| shard(1, Some("shardId-000000000000")));
            let shards: Vec<Value> = [shard(0, None)].into_iter().chain(child).collect();
            json!({"Shards": shards})
        }
        _ => json!({"Items": []}),
    })
    .await;
    let aws = aws(&stub).await;
    let store = aws.checkpoints(Stage::Analyze).await.unwrap();
    let (stopper, stop) = channel();
    let stopper = Arc::new(stopper);
    let at_end = Arc::new(Mutex::new((0, 0)));
    let calls = Arc::clone(&asked);
    let noted = Arc::clone(&at_end);
    let work = move |shard: logtally::backend::Shard, _| {
        let (calls, stopper, noted) = (Arc::clone(&calls), Arc::clone(&stopper), Arc::clone(&noted));
        async move {
            if !shard.parents.is_empty() {
                stopper.set(Phase::Stop);
                return Ok::<Ended, BackendError>(Ended::Stopped);
            }
            let mut writes = None;
            // Until the renewal that comes with the second list was made.
            while writes.is_none_or(|writes| count(&calls, "UpdateItem") == writes) {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if count(&calls, "ListShards") == 2 {
                    writes = writes.or_else(|| Some(count(&calls, "UpdateItem")));
                }
            }
            *noted.lock().unwrap() = (writes.unwrap(), looks(&calls).len());
            Ok(Ended::EndOfShard)
        }
    };
    each_shard(&aws, &store, Stream::Input, stop, work).await.unwrap();
    let (writes, looked) = *at_end.lock().unwrap();
    assert!(writes >= 6, "taken and renewed meanwhile: {writes}");
    let after = (count(&asked, "ListShards"), looks(&asked).len() - looked);
    assert_eq!(
        after,
        (3, 1),
        "its end was reason enough to list the shards, and the next look found the child"
    );
}

/// A shard of a list: its number, its parent, and of the eighths of the hash keys the first and the last.
type Listed = (u32, Option<u32>, u128, u128);

/// The halves of shard 0.
const FIRST: Listed = (1, Some(0), 0, 3);
const SECOND: Listed = (2, Some(0), 4, 7);

fn listed((number, parent, first, last): Listed) -> Value {
    let id = |number| format!("shardId-{number:012}");
    let eighth = u128::MAX / 8 + 1;
    let end = (last * eighth).checked_add(eighth).map_or(u128::MAX, |end| end - 1);
    json!({
        "ShardId": id(number), "ParentShardId": parent.map(id),
        "HashKeyRange": {"StartingHashKey": (first * eighth).to_string(), "EndingHashKey": end.to_string()},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
    })
}

/// Drains a stream whose lists show these children of shard 0, one list after the other and the last for ever. Shard 0
/// ends at once, a child when it was listed so often. Which children were worked on, whether each was told to stop, and
/// how many lists there were.
async fn drained(lists: &'static [&'static [Listed]], until: usize) -> (Vec<(u32, bool)>, usize) {
    let asked = Asked::default();
    let calls = Arc::clone(&asked);
    let stub = stub(&asked, move |operation, _| match operation {
        "ListShards" => {
            let children = lists[(count(&calls, "ListShards") - 1).min(lists.len() - 1)];
            let shards = [(0, None, 0, 7)].iter().chain(children).copied().map(listed);
            json!({"Shards": shards.collect::<Vec<Value>>()})
        }
        _ => json!({"Items": []}),
    })
    .await;
    let aws = aws(&stub).await;
    let store = aws.checkpoints(Stage::Analyze).await.unwrap();
    let (stopper, stop) = channel();
    stopper.set(Phase::Drain);
    let worked = Arc::new(Mutex::new(Vec::new()));
    let (noted, calls) = (Arc::clone(&worked), Arc::clone(&asked));
    let work = move |shard: logtally::backend::Shard, stop: Stop| {
        let (noted, calls) = (Arc::clone(&noted), Arc::clone(&calls));
        async move {
            let number: u32 = shard.id.0[8..].parse().unwrap();
            if number == 0 {
                return Ok::<Ended, BackendError>(Ended::EndOfShard);
            }
            while count(&calls, "ListShards") < until && stop.phase() < Phase::Stop {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            noted.lock().unwrap().push((number, stop.phase() == Phase::Stop));
            Ok(Ended::Stopped)
        }
    };
    each_shard(&aws, &store, Stream::Input, stop, work).await.unwrap();
    let mut worked = worked.lock().unwrap().clone();
    worked.sort_unstable();
    (worked, count(&asked, "ListShards"))
}

#[tokio::test]
async fn a_drain_waits_for_children_that_are_listed_late_until_all_are() {
    let (worked, lists) = drained(&[&[], &[], &[FIRST], &[FIRST], &[FIRST, SECOND]], 0).await;
    assert_eq!(worked, [(1, false), (2, false)]);
    assert_eq!(lists, 5, "with all children there it is as good as any list");
}

#[tokio::test]
async fn what_is_read_is_kept_though_a_list_shows_it_no_more() {
    let (worked, _) = drained(&[&[], &[FIRST], &[], &[FIRST, SECOND]], 4).await;
    assert_eq!(worked, [(1, false), (2, false)]);
}

#[tokio::test]
async fn children_that_never_come_are_waited_for_during_six_looks() {
    let (worked, lists) = drained(&[&[]], 0).await;
    assert!(worked.is_empty());
    assert_eq!(lists, 8, "the first, six without children, and the one that decides");
}

/// What is on its way of the time before, on the condition of a counter that was, must not find it again.
#[tokio::test]
async fn a_lease_whose_taking_was_not_answered_is_taken_by_another_write() {
    let writes = Arc::new(Mutex::new(Vec::new()));
    let known = Arc::clone(&writes);
    let lease = Arc::new(Mutex::new((None::<String>, 5)));
    let stub = Stub::start(move |operation, request| {
        if operation == "Scan" {
            // A look that shows for long what was a moment ago.
            return (200, json!({"Items": [item(0, None, 5, "1")]}));
        }
        let values = &request["ExpressionAttributeValues"];
        let (mut lease, mut known) = (lease.lock().unwrap(), known.lock().unwrap());
        known.push(values[":known"]["N"].as_str().unwrap().parse::<u64>().unwrap());
        if known.last() != Some(&lease.1) {
            let there = item(0, lease.0.as_deref(), lease.1, "1");
            return (400, json!({"__type": "ConditionalCheckFailedException", "Item": there}));
        }
        lease.0 = values[":leaseOwner"]["S"].as_str().map(str::to_owned).or(lease.0.take());
        lease.1 += 1;
        match known.len() {
            1 => (500, json!({"__type": "InternalServerError"})),
            _ => (200, json!({})),
        }
    })
    .await;
    let store = aws(&stub).await.checkpoints(Stage::Analyze).await.unwrap();
    let held = store.hold(&shards(1)).await.unwrap();
    assert!(held.shards.is_empty() && held.undecided, "{held:?}");
    assert_eq!(store.hold(&shards(1)).await.unwrap().shards.len(), 1);
    assert_eq!(*writes.lock().unwrap(), [5, 5, 6]);
    store.release(&shards(1)[0].id).await.unwrap();
    assert_eq!(writes.lock().unwrap().last(), Some(&7), "behind its own write");
}

/// What is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn leases_that_cannot_be_renewed_are_told_together_and_not_each_time() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    // Two dispatchers, so that tracing asks both threads whether anybody listens, and not the first one only.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();
    let told = || String::from_utf8_lossy(&lines.0.lock().unwrap()).matches("renewing leases: ").count();

    let busy = Arc::new(AtomicBool::new(false));
    let is_busy = Arc::clone(&busy);
    let stub = Stub::start(move |operation, _| match operation {
        "UpdateItem" if is_busy.load(Ordering::SeqCst) => {
            (400, json!({"__type": "ProvisionedThroughputExceededException", "message": "slow down"}))
        }
        "Scan" => (200, json!({"Items": []})),
        _ => (200, json!({})),
    })
    .await;
    let store = aws(&stub).await.checkpoints(Stage::Analyze).await.unwrap();
    let shards = shards(5);
    let hold = async |times: usize| {
        // Longer than a lease that was written is left alone, a sixth of its time.
        tokio::time::sleep(Duration::from_millis(200)).await;
        for _ in 0..times {
            assert_eq!(store.hold(&shards).await.unwrap().shards.len(), 5);
        }
    };
    hold(1).await;
    assert_eq!(told(), 0);
    busy.store(true, Ordering::SeqCst);
    hold(11).await;
    assert_eq!(told(), 2, "at once, and after ten rounds");
    busy.store(false, Ordering::SeqCst);
    hold(1).await;
    busy.store(true, Ordering::SeqCst);
    hold(2).await;
    assert_eq!(told(), 3, "at once again");
}
