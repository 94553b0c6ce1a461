//! Lines in, one block of counts out: the hot path. Knows no stream, no window's end and no earlier block.

use std::sync::Arc;

use crate::engine::{
    counters::Counters,
    format::{Event, LogFormat, MAX_OBJECT, StampCache},
    host_cache::HostCache,
    reason::{Malformed, Reason},
    record::MAX_LINE,
    reference::{Reference, Resolution},
    samples::Samples,
    tally::{Key, UNOWNED, Windows},
    time::{Timestamp, WindowSize},
};

/// Which time decides the window of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeSource {
    /// The request time in the line.
    #[default]
    Event,
    /// When the stream took the line, as the retired engine did.
    Arrival,
}

/// Year 1 and year 9999, in milliseconds since the epoch: RFC 3339 writes no window outside them.
const FIRST_MS: i64 = -62_135_596_800_000;
const LAST_MS: i64 = 253_370_764_800_000;

/// What lines are and how they are grouped.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How a line is read.
    pub format: LogFormat,
    /// How long a window is.
    pub window: WindowSize,
    /// Which time decides the window.
    pub time: TimeSource,
}

/// What some lines came to: additive, in any grouping.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Requests by window, owner (an index of the reference data in force) and response.
    pub windows: Windows,
    /// The books; they balance.
    pub counters: Counters,
    /// Some malformed lines.
    pub samples: Samples,
}

/// Counts lines; keeps nothing but caches, so that one a thread is right.
#[derive(Debug)]
pub struct Counter {
    plan: Arc<Plan>,
    reference: Arc<Reference>,
    stamps: StampCache,
    hosts: HostCache,
    /// The line that a JSON object stands for.
    memory: Vec<u8>,
}

impl Counter {
    /// A counter with cold caches.
    #[must_use]
    pub fn new(plan: Arc<Plan>, reference: Arc<Reference>) -> Self {
        Self {
            plan,
            reference,
            stamps: StampCache::default(),
            hosts: HostCache::default(),
            memory: Vec::new(),
        }
    }

    /// Joins with other reference data from now on.
    pub fn set_reference(&mut self, reference: Arc<Reference>) {
        self.reference = reference;
        self.hosts = HostCache::default();
    }

    /// The reference data in force.
    #[must_use]
    pub fn reference(&self) -> &Arc<Reference> {
        &self.reference
    }

    /// How lines are read and grouped.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Counts every line of `lines`; the last may lack its newline. `arrival` stands in where the plan says so.
    pub fn count(&mut self, lines: &[u8], arrival: Timestamp, block: &mut Block) {
        let mut rest = lines;
        let mut ends = ObjectEnds::default();
        while !rest.is_empty() {
            let (line, after) = split_line(rest);
            rest = match self.count_line(line, arrival, block) {
                Ok(()) => after,
                Err(malformed) if line.first() == Some(&b'{') => {
                    self.count_object((rest, &mut ends), malformed, arrival, block)
                }
                Err(malformed) => {
                    refuse(line, malformed, block);
                    after
                }
            };
        }
        block.counters.read_bytes += lines.len() as u64;
    }

    /// Counts a line, or says why it cannot be counted.
    #[inline]
    fn count_line(&mut self, line: &[u8], arrival: Timestamp, block: &mut Block) -> Result<(), Malformed> {
        block.counters.read += 1;
        if line.len() > MAX_LINE {
            return Err(Malformed { reason: Reason::TooLong, column: MAX_LINE + 1 });
        }
        let event = self.plan.format.parse(line, &mut self.stamps)?;
        self.count_event(&event, arrival, block)
    }

    /// Counts the line that a JSON object of the Amazon Kinesis Agent at the front of `text` stands for, whose first
    /// line was `refused`; returns what follows. The agent's PRETTYPRINT spans lines, and counts as one.
    #[cold]
    fn count_object<'t>(
        &mut self,
        (text, ends): (&'t [u8], &mut ObjectEnds),
        refused: Malformed,
        arrival: Timestamp,
        block: &mut Block,
    ) -> &'t [u8] {
        let (line, after) = split_line(text);
        let (object, after) = if line.trim_ascii_end() == b"{" { ends.split(text) } else { (line, after) };
        let mut memory = std::mem::take(&mut self.memory);
        let read = self.plan.format.parse_object(object, &mut memory, &mut self.stamps);
        let counted = read.map(|event| event.and_then(|event| self.count_event(&event, arrival, block)));
        self.memory = memory;
        match counted {
            Some(Ok(())) => after,
            Some(Err(malformed)) => {
                refuse(object, malformed, block);
                after
            }
            None => {
                refuse(line, refused, block);
                split_line(text).1
            }
        }
    }

    #[inline]
    fn count_event(
        &mut self,
        event: &Event<'_>,
        arrival: Timestamp,
        block: &mut Block,
    ) -> Result<(), Malformed> {
        let time = match self.plan.time {
            TimeSource::Event => event.time.unwrap_or(arrival),
            TimeSource::Arrival => arrival,
        };
        if !(FIRST_MS..LAST_MS).contains(&time.as_millis()) {
            return Err(Malformed { reason: Reason::Time, column: 1 });
        }
        let reference = &self.reference;
        let owner = match self.hosts.resolve(event.client, |host| reference.resolve(host)) {
            Resolution::Owned(owner) => owner,
            Resolution::Unowned => UNOWNED,
            timed @ Resolution::ByTime(_) => reference.owner_at(timed, time).unwrap_or(UNOWNED),
        };
        let tally = block.windows.at(time, self.plan.window);
        tally.add(Key { owner, response: event.response.unwrap_or(0) }, event.bytes);
        if owner == UNOWNED {
            tally.hosts.add(event.client);
        }
        block.counters.counted += 1;
        Ok(())
    }
}

/// Counts one line that a producer cut because it is longer than [`MAX_LINE`].
pub fn refuse_overlong(line: &[u8], block: &mut Block) {
    block.counters.read += 1;
    block.counters.read_bytes += line.len() as u64;
    refuse(line, Malformed { reason: Reason::TooLong, column: MAX_LINE + 1 }, block);
}

#[cold]
fn refuse(line: &[u8], malformed: Malformed, block: &mut Block) {
    block.counters.add_malformed(malformed.reason, 1);
    block.samples.add(line, malformed);
}

/// The first line without its newline, and what follows the newline.
#[inline]
#[must_use]
pub fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'\n', bytes) {
        Some(end) => {
            let (line, after) = bytes.split_at(end);
            (line, after.get(1..).unwrap_or_default())
        }
        None => (bytes, &[]),
    }
}

/// Where objects over several lines end in one text: at the line `}`. Remembers the next end, so that a text of many
/// beginnings is searched once.
#[derive(Debug, Default)]
struct ObjectEnds {
    /// How many bytes stand behind the next end; `None` if nobody looked.
    next: Option<NextEnd>,
}

#[derive(Clone, Copy, Debug)]
enum NextEnd {
    Before(usize),
    Nowhere,
}

impl ObjectEnds {
    /// The object at the front of `text`, a later part of the text that was asked for before, and what follows; all of
    /// `text` if no end is within [`MAX_OBJECT`] bytes.
    fn split<'t>(&mut self, text: &'t [u8]) -> (&'t [u8], &'t [u8]) {
        let known = self.next.filter(|next| match next {
            NextEnd::Before(behind) => *behind < text.len(),
            NextEnd::Nowhere => true,
        });
        let next = known.unwrap_or_else(|| next_end(text));
        self.next = Some(next);
        let end = match next {
            NextEnd::Before(behind) => Some(text.len() - behind).filter(|&end| end <= MAX_OBJECT),
            NextEnd::Nowhere => None,
        };
        let Some((object, behind)) = end.and_then(|end| text.split_at_checked(end)) else {
            return (text, &[]);
        };
        (object, split_line(behind).1)
    }
}

fn next_end(text: &[u8]) -> NextEnd {
    let ends = memchr::memmem::find_iter(text, b"\n}").map(|at| at + 2);
    let mut ends = ends.filter(|&end| matches!(text.get(end), None | Some(b'\n' | b'\r')));
    ends.next().map_or(NextEnd::Nowhere, |end| NextEnd::Before(text.len() - end))
}

/// How many lines `bytes` holds; the last may lack its newline.
#[must_use]
pub fn line_count(bytes: &[u8]) -> u64 {
    let newlines = memchr::memchr_iter(b'\n', bytes).count() as u64;
    newlines + u64::from(!bytes.is_empty() && !bytes.ends_with(b"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_end_at_the_next_end_and_within_the_bound() {
        let text = b"{\n}x\n}\n{\n{\n}\r\nrest";
        let mut ends = ObjectEnds::default();
        assert_eq!(ends.split(text), (&b"{\n}x\n}"[..], &b"{\n{\n}\r\nrest"[..]));
        for at in [7, 9] {
            assert_eq!(ends.split(&text[at..]), (&text[at..12], &b"rest"[..]), "{at}");
        }
        assert_eq!(ends.split(b"rest"), (&b"rest"[..], &b""[..]));
        let far = [b"{", &b" ".repeat(MAX_OBJECT - 2)[..], b"\n}\n{\n}"].concat();
        let mut ends = ObjectEnds::default();
        assert_eq!(ends.split(&far), (&far[..], &b""[..]), "too far");
        assert_eq!(ends.split(&far[1..]).0.len(), MAX_OBJECT);
    }

    #[test]
    fn lines_are_split_and_counted_alike() {
        for (bytes, lines) in
            [(&b""[..], 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"\n\n", 2), (b"a\r\nb\n", 2)]
        {
            assert_eq!(line_count(bytes), lines, "{bytes:?}");
            let (mut rest, mut split) = (bytes, 0);
            while !rest.is_empty() {
                rest = split_line(rest).1;
                split += 1;
            }
            assert_eq!(split, lines, "{bytes:?}");
        }
    }
}
