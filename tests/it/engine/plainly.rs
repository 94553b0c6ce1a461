//! What a counter must come to, by a plain loop over the lines of a text. Knows no marks, caches or pieces. The fuzz
//! target `count` uses it too.

use std::collections::BTreeMap;

use chrono::Datelike;
use logtally::engine::{
    count::Block,
    format::{LogFormat, StampCache},
    reason::Reason,
    time::{Timestamp, WindowSize},
};

/// Requests and bytes by start of window and response, requests by host, malformed lines by reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    cells: BTreeMap<(i64, u16), (u64, u64)>,
    hosts: BTreeMap<Vec<u8>, u64>,
    malformed: BTreeMap<Reason, u64>,
}

/// Of `text`, where nobody owns a host. Objects over several lines are not in the model: no line may begin with `{`.
pub(super) fn plainly(format: &LogFormat, text: &[u8]) -> Sums {
    let (mut sums, mut stamps) = (Sums::default(), StampCache::default());
    let lines = text.strip_suffix(b"\n").unwrap_or(text);
    let lines = if text.is_empty() { None } else { Some(lines.split(|&byte| byte == b'\n')) };
    for line in lines.into_iter().flatten() {
        match format.parse(line, &mut stamps) {
            // RFC 3339 writes no window outside its years.
            Ok(event) if !(1..9_999).contains(&year(event.time.unwrap())) => {
                *sums.malformed.entry(Reason::Time).or_default() += 1;
            }
            Ok(event) => {
                let start = WindowSize::FIVE_MINUTES.start_of(event.time.unwrap()).as_millis();
                let cell = sums.cells.entry((start, event.response.unwrap_or(0))).or_default();
                *cell = (cell.0 + 1, cell.1.saturating_add(event.bytes));
                *sums.hosts.entry(event.client.to_vec()).or_default() += 1;
            }
            Err(malformed) => *sums.malformed.entry(malformed.reason).or_default() += 1,
        }
    }
    sums
}

fn year(time: Timestamp) -> i32 {
    time.to_string().parse::<chrono::DateTime<chrono::Utc>>().map_or(0, |time| time.year())
}

/// The same of what was counted, whose books are looked at too.
pub(super) fn counted(block: &Block, text: &[u8]) -> Sums {
    let mut sums = Sums::default();
    for (start, counts) in &block.windows {
        assert!(counts.requests() > 0, "no window is empty");
        for (key, cell) in &counts.cells {
            let sum = sums.cells.entry((start.as_millis(), key.response)).or_default();
            *sum = (sum.0 + cell.count, sum.1.saturating_add(cell.bytes));
        }
        for (host, requests) in counts.hosts.iter() {
            *sums.hosts.entry(host.to_vec()).or_default() += requests;
        }
    }
    sums.malformed.clone_from(&block.counters.malformed);
    let requests: u64 = sums.cells.values().map(|cell| cell.0).sum();
    let malformed: u64 = sums.malformed.values().sum();
    assert_eq!((block.counters.counted, block.counters.read), (requests, requests + malformed));
    assert_eq!(block.counters.read_bytes, text.len() as u64);
    sums
}
