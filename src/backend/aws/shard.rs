//! The shards of a stream, and what one holds at its ends. Reads no more records than that takes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_kinesis::types;

use crate::{
    backend::{
        BackendError, Backlog, Result, SequenceNumber, Shard, ShardId, Stream,
        aws::{
            Shared,
            error::Call,
            poll::Poll,
            position::{Place, Position},
            reader::Read,
            records::{Cursor, MOST_AT_ONCE},
        },
    },
    engine::time::Timestamp,
};

/// Reads after which a shard whose oldest record was not found is taken for an empty one: Kinesis may answer nothing
/// though records follow (developer guide, `GetRecords`).
const TRIES: usize = 5;
/// How far before now the newest record is looked for, in milliseconds: what a clock may be wrong by.
const BEFORE: i64 = 3_000;
/// Reads after which the newest record is looked for no further: by then a shard that takes 1 MiB/s has given many
/// times that.
const MOST_READS: usize = 20;

/// The shards of `stream`, parents first.
pub(super) async fn list(shared: &Shared, stream: Stream) -> Result<Vec<Shard>> {
    let name = shared.settings.stream(stream);
    let mut shards = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let ask = shared.clients.kinesis.list_shards();
        let ask = match token.take() {
            // Kinesis takes one of the two (`ListShards`).
            Some(token) => ask.next_token(token),
            None => ask.stream_name(name),
        };
        let call = Call { action: "kinesis:ListShards", kind: "stream", name };
        let page = ask.send().await.map_err(|error| call.fault(error))?;
        for shard in page.shards.unwrap_or_default() {
            shards.push(read(shard, name)?);
        }
        match page.next_token {
            Some(next) => token = Some(next),
            None => return Ok(parents_first(shards)),
        }
    }
}

fn read(shard: types::Shard, stream: &str) -> Result<Shard> {
    let range = shard
        .hash_key_range
        .as_ref()
        .and_then(|range| Some((range.starting_hash_key.parse().ok()?, range.ending_hash_key.parse().ok()?)));
    let (first_hash, last_hash) = range.ok_or_else(|| BackendError::Failed {
        what: format!("stream {stream}: {} has no range of hash keys", shard.shard_id),
        source: None,
    })?;
    let parents = [shard.parent_shard_id, shard.adjacent_parent_shard_id];
    Ok(Shard {
        id: ShardId(shard.shard_id),
        first_hash,
        last_hash,
        parents: parents.into_iter().flatten().map(ShardId).collect(),
        closed: shard.sequence_number_range.is_some_and(|range| range.ending_sequence_number.is_some()),
    })
}

/// Every shard behind those of its parents that are listed; else in the order of names.
fn parents_first(shards: Vec<Shard>) -> Vec<Shard> {
    let mut left: BTreeMap<ShardId, Shard> =
        shards.into_iter().map(|shard| (shard.id.clone(), shard)).collect();
    let mut children: HashMap<ShardId, Vec<ShardId>> = HashMap::new();
    let mut waits: HashMap<ShardId, usize> = HashMap::new();
    for shard in left.values() {
        for parent in shard.parents.iter().filter(|parent| left.contains_key(*parent)) {
            children.entry(parent.clone()).or_default().push(shard.id.clone());
            *waits.entry(shard.id.clone()).or_default() += 1;
        }
    }
    let mut ready: BTreeSet<ShardId> = left.keys().filter(|id| !waits.contains_key(*id)).cloned().collect();
    let mut sorted = Vec::with_capacity(left.len());
    while let Some(id) = ready.pop_first() {
        sorted.extend(left.remove(&id));
        for child in children.remove(&id).into_iter().flatten() {
            let parents = waits.entry(child.clone()).or_default();
            *parents = parents.saturating_sub(1);
            if *parents == 0 {
                ready.insert(child);
            }
        }
    }
    // A circle of parents, which there is not, would be left.
    sorted.extend(left.into_values());
    sorted
}

/// The shard `id`, if it is listed.
pub(super) async fn find(shared: &Shared, stream: Stream, id: &ShardId) -> Result<Shard> {
    let found = list(shared, stream).await?.into_iter().find(|shard| shard.id == *id);
    found.ok_or_else(|| unlisted(shared.settings.stream(stream), id))
}

pub(super) fn unlisted(stream: &str, id: &ShardId) -> BackendError {
    BackendError::Unlisted { why: format!("stream {stream} has no {id}, or no longer") }
}

/// What the shard holds: when the oldest record arrived, and the position of the newest. Kinesis says no amounts.
pub(super) async fn backlog(
    shared: &Shared,
    stream: Stream,
    id: &ShardId,
    after: Option<&SequenceNumber>,
) -> Result<Backlog> {
    let place = match after {
        Some(SequenceNumber(text)) => text.parse::<Position>()?.place,
        None => Place::Horizon,
    };
    let cursor = Cursor { shared, stream, shard: id };
    let oldest = oldest(&cursor, &place).await?;
    let newest = Some(SequenceNumber::from(&newest(&cursor).await?));
    Ok(Backlog { oldest, newest, ..Backlog::default() })
}

async fn oldest(cursor: &Cursor<'_>, place: &Place) -> Result<Option<Timestamp>> {
    let mut poll = Poll::open(cursor, place, 1).await?;
    let position = Position { place: place.clone(), complete_to: Timestamp::MIN };
    let (mut left, mut reached) = (TRIES, None);
    while let Some(read) = next(&mut poll, cursor, &position, &mut left).await? {
        if let Some(record) = read.records.first() {
            return Ok(Some(record.arrival));
        }
        if read.end || read.behind_ms == 0 {
            return Ok(None);
        }
        let behind_ms = i64::try_from(read.behind_ms).unwrap_or(i64::MAX);
        reached = Some(Timestamp::from_millis(read.asked.as_millis().saturating_sub(behind_ms)));
    }
    // A sparse shard answers empty many times: records may lie from here on.
    Ok(reached)
}

/// The position behind the newest record. The clock decides only how far back it is looked for.
pub(super) async fn newest(cursor: &Cursor<'_>) -> Result<Position> {
    let from = cursor.shared.settings.clock.now().plus_millis(-BEFORE);
    let mut newest = Position { place: Place::Time(from), complete_to: from };
    let mut poll = Poll::open(cursor, &newest.place, MOST_AT_ONCE).await?;
    let mut left = MOST_READS;
    while let Some(read) = next(&mut poll, cursor, &newest, &mut left).await? {
        for record in read.records.iter() {
            newest.complete_to = newest.complete_to.max(record.arrival);
            newest.place = Place::Behind(record.sequence_number().to_owned());
        }
        if read.records.is_empty() && read.behind_ms == 0 {
            newest.complete_to = newest.complete_to.max(read.asked);
            break;
        }
        if read.end {
            break;
        }
    }
    Ok(newest)
}

/// One of the reads that are `left`; a shard that is too busy costs one.
async fn next(
    poll: &mut Poll,
    cursor: &Cursor<'_>,
    position: &Position,
    left: &mut usize,
) -> Result<Option<Read>> {
    while *left > 0 {
        *left -= 1;
        match poll.read(cursor, position).await {
            Err(BackendError::Busy { .. }) if *left > 0 => {}
            read => return read.map(Some),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(number: u32, parents: &[u32]) -> Shard {
        let id = |number: &u32| ShardId(format!("shardId-{number:012}"));
        let parents = parents.iter().map(id).collect();
        Shard { id: id(&number), first_hash: 0, last_hash: u128::MAX, parents, closed: false }
    }

    #[test]
    fn parents_come_before_their_children_whatever_their_names() {
        let shards = vec![shard(0, &[5, 3]), shard(3, &[4]), shard(4, &[77]), shard(5, &[]), shard(6, &[0])];
        let sorted = parents_first(shards);
        let position = |number| sorted.iter().position(|other| other.id == shard(number, &[]).id).unwrap();
        assert_eq!(sorted.len(), 5);
        assert!(position(4) < position(3) && position(3) < position(0) && position(5) < position(0));
        assert!(position(0) < position(6));
        assert_eq!(parents_first(vec![shard(1, &[2]), shard(2, &[1])]).len(), 2, "a circle ends");
    }
}
