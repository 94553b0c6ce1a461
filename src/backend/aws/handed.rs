//! Records that Lambda's event source mapping hands over, as a reader of ours would give them. Reads no stream.

use crate::{
    backend::{
        Incoming, SequenceNumber, Shard,
        aws::{
            payload::{Raw, Unpacked, unpack},
            position::{Place, Position},
        },
    },
    engine::time::Timestamp,
};

/// Whether the record of this sequence number comes behind the position.
#[must_use]
pub fn is_behind(sequence: &str, position: Option<&SequenceNumber>) -> bool {
    // Numbers of up to 129 digits without leading zeros: the longer one is the larger.
    let order = |number: &str| (number.len(), number.to_owned());
    match position.and_then(parse).map(|position| position.place) {
        Some(Place::Behind(last)) => order(sequence) > order(&last),
        _ => true,
    }
}

/// How far the shard was complete at the position.
#[must_use]
pub fn complete_to(position: &SequenceNumber) -> Timestamp {
    parse(position).map_or(Timestamp::MIN, |position| position.complete_to)
}

/// The position behind the record `last`, or else where it was, with the shard complete to `complete_to`.
#[must_use]
pub fn through(
    last: Option<&str>,
    position: Option<&SequenceNumber>,
    complete_to: Timestamp,
) -> SequenceNumber {
    let known = || position.and_then(parse).map_or(Place::Horizon, |position| position.place);
    let place = last.map_or_else(known, |sequence| Place::Behind(sequence.to_owned()));
    SequenceNumber::from(&Position { place, complete_to })
}

/// The records that records of a stream hold, unpacked.
#[must_use]
pub fn open(records: Vec<Incoming>, shard: &Shard) -> Vec<Incoming> {
    let raw: Vec<Raw> = records.into_iter().map(raw).collect();
    let (mut opened, mut rest) = (Vec::new(), raw.as_slice());
    while !rest.is_empty() {
        let Unpacked { records, taken, foreign, cut } = unpack(rest, (shard.first_hash, shard.last_hash));
        if foreign + cut > 0 {
            tracing::warn!(shard = %shard.id, foreign, cut, "records of another shard, and records cut short");
        }
        opened.extend(records);
        rest = rest.get(taken..).unwrap_or_default();
    }
    opened
}

fn raw(record: Incoming) -> Raw {
    let Incoming { sequence, partition_key, arrival, data } = record;
    Raw { sequence, key: partition_key, arrival, data }
}

fn parse(position: &SequenceNumber) -> Option<Position> {
    position.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_processed_is_told_from_what_comes_behind_it() {
        let position = SequenceNumber("99@5".to_owned());
        let behind = |sequence| is_behind(sequence, Some(&position));
        assert_eq!(["98", "99", "100", "1000"].map(behind), [false, false, true, true]);
        assert!(is_behind("1", None) && is_behind("1", Some(&SequenceNumber("TRIM_HORIZON@7".to_owned()))));
    }

    #[test]
    fn a_call_without_records_moves_the_time_and_not_the_place() {
        let at = |text: &str| SequenceNumber(text.to_owned());
        let time = Timestamp::from_millis(60_000);
        assert_eq!(through(None, Some(&at("99@5")), time), at("99@60000"));
        assert_eq!(through(None, None, time), at("TRIM_HORIZON@60000"));
        assert_eq!(through(Some("7"), None, time), at("7@60000"));
        assert_eq!(complete_to(&at("99@60000")), time);
    }
}
