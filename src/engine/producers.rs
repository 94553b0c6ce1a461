//! Which producers are alive: they say so once a minute and say goodbye when they stop. Counts no line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::{provenance::Node, time::Timestamp};

/// A producer says that it is alive this often, in milliseconds.
pub const ALIVE_EVERY_MS: i64 = 60_000;
/// A producer not heard of for so long, in milliseconds, is silent.
pub const SILENT_AFTER_MS: i64 = 3 * ALIVE_EVERY_MS;
/// How many producers are remembered; past it the one heard of longest ago is forgotten.
pub const MAX_PRODUCERS: usize = 10_000;
/// A producer silent for so long, in milliseconds, is forgotten: its host is gone for good.
pub const FORGOTTEN_AFTER_MS: i64 = 24 * 60 * 60_000;
/// How the partition key of such a record begins; the node follows.
pub const PARTITION_KEY_PREFIX: &str = "alive.";

/// What a producer says of itself: the payload of a record with the partition key `alive.<node>`, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alive {
    /// `producer`.
    pub kind: String,
    /// Its random id.
    pub node: Node,
    /// Bytes of whole lines read from files.
    pub read_bytes: u64,
    /// Of those, acknowledged by the stream.
    pub sent_bytes: u64,
    /// Goodbye: nothing more will come until it says that it is alive again.
    pub stopped: bool,
}

impl Alive {
    /// The partition key of its records.
    #[must_use]
    pub fn partition_key(&self) -> String {
        format!("{PARTITION_KEY_PREFIX}{}", self.node)
    }
}

/// When each producer was heard of last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producers(BTreeMap<Node, Heard>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Heard {
    at: Timestamp,
    read_bytes: u64,
    sent_bytes: u64,
    stopped: bool,
}

impl Producers {
    /// Takes the payload of one record; `false` if it is none.
    pub fn hear(&mut self, payload: &[u8], arrival: Timestamp) -> bool {
        let Ok(Alive { node, read_bytes, sent_bytes, stopped, .. }) = serde_json::from_slice(payload) else {
            return false;
        };
        let heard = Heard { at: arrival, read_bytes, sent_bytes, stopped };
        self.0.insert(node, heard);
        while self.0.len() > MAX_PRODUCERS {
            let oldest = self.0.iter().min_by_key(|(_, heard)| heard.at).map(|(&node, _)| node);
            oldest.map(|node| self.0.remove(&node));
        }
        true
    }

    /// How many are silent at `now`; forgets those that have been for too long.
    pub fn silent(&mut self, now: Timestamp) -> u64 {
        self.0.retain(|_, heard| now.millis_since(heard.at) < FORGOTTEN_AFTER_MS);
        let silent = |heard: &&Heard| !heard.stopped && now.millis_since(heard.at) >= SILENT_AFTER_MS;
        self.0.values().filter(silent).count() as u64
    }

    /// Everything that either heard, the later one of each producer.
    pub fn absorb(&mut self, other: Self) {
        for (node, heard) in other.0 {
            let ours = self.0.entry(node).or_insert(heard);
            if heard.at > ours.at {
                *ours = heard;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(producers: &mut Producers, node: u64, at: i64, stopped: bool) {
        let alive =
            Alive { kind: "producer".to_owned(), node: Node(node), read_bytes: 9, sent_bytes: 9, stopped };
        assert!(producers.hear(&serde_json::to_vec(&alive).unwrap(), Timestamp::from_millis(at)));
    }

    #[test]
    fn who_says_nothing_is_silent_and_who_said_goodbye_is_not() {
        let mut producers = Producers::default();
        say(&mut producers, 1, 0, false);
        say(&mut producers, 2, 0, true);
        say(&mut producers, 3, SILENT_AFTER_MS, false);
        assert_eq!(producers.silent(Timestamp::from_millis(SILENT_AFTER_MS - 1)), 0);
        assert_eq!(producers.silent(Timestamp::from_millis(SILENT_AFTER_MS)), 1);
        assert_eq!(producers.silent(Timestamp::from_millis(FORGOTTEN_AFTER_MS)), 1);
        assert!(!producers.hear(b"{\"kind\":", Timestamp::MIN));
    }

    #[test]
    fn past_the_bound_the_one_heard_of_longest_ago_is_forgotten() {
        let mut producers = Producers::default();
        for node in 0..=MAX_PRODUCERS as u64 {
            say(&mut producers, node, i64::try_from(node).unwrap(), false);
        }
        assert_eq!(producers.0.len(), MAX_PRODUCERS);
        assert!(!producers.0.contains_key(&Node(0)) && producers.0.contains_key(&Node(1)));
    }
    #[test]
    fn of_what_two_shards_heard_of_a_producer_the_later_counts() {
        // Goodbye was said to the one, and that it is back to the other; and the other way round.
        let heard = |first: (i64, bool), second: (i64, bool)| {
            let (mut ours, mut theirs) = (Producers::default(), Producers::default());
            say(&mut ours, 1, first.0, first.1);
            say(&mut theirs, 1, second.0, second.1);
            say(&mut theirs, 2, 0, true);
            ours.absorb(theirs);
            assert_eq!(ours.0.len(), 2);
            ours.silent(Timestamp::from_millis(SILENT_AFTER_MS + 10))
        };
        assert_eq!(heard((0, true), (10, false)), 1);
        assert_eq!(heard((10, false), (0, true)), 1);
        assert_eq!(heard((10, true), (0, false)), 0);
        assert_eq!(heard((0, false), (10, true)), 0);
        assert_eq!(heard((0, false), (11, false)), 0, "heard of in time");
        assert_eq!(heard((11, false), (0, false)), 0, "heard of in time");
    }
}
