//! Lines in, one block of counts out: the hot path. Knows no stream, no window's end and no earlier block.

use std::sync::Arc;

use crate::engine::{
    counters::Counters,
    format::{
        Event, LogFormat, StampCache,
        straight::{self, Request, Straight},
    },
    gather::{CountsByWindow, Gather},
    marks::{Marks, PIECE},
    object_ends::ObjectEnds,
    reason::{Malformed, Reason},
    record::MAX_LINE,
    reference::{Reference, Resolution},
    samples::Samples,
    tally::UNOWNED,
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
    pub windows: CountsByWindow,
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
    marks: Marks,
    /// The line that a JSON object stands for.
    memory: Vec<u8>,
    gather: Gather,
}

impl Counter {
    /// A counter with cold caches.
    #[must_use]
    pub fn new(plan: Arc<Plan>, reference: Arc<Reference>) -> Self {
        Self {
            plan,
            reference,
            stamps: StampCache::default(),
            marks: Marks::default(),
            memory: Vec::new(),
            gather: Gather::default(),
        }
    }

    /// Joins with other reference data from now on.
    pub fn set_reference(&mut self, reference: Arc<Reference>) {
        self.reference = reference;
        self.gather = Gather::default();
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
        let mut marks = std::mem::take(&mut self.marks);
        match self.plan.format.straight() {
            Some(Straight::Common) => self.count_marked(lines, straight::common, &mut marks, arrival, block),
            Some(Straight::Combined) => {
                self.count_marked(lines, straight::combined, &mut marks, arrival, block);
            }
            None => {
                let (mut rest, mut ends) = (lines, ObjectEnds::default());
                while !rest.is_empty() {
                    rest = self.count_next(rest, &mut ends, arrival, block);
                }
            }
        }
        self.marks = marks;
        self.gather.flush(&mut block.windows);
        block.counters.read_bytes += lines.len() as u64;
    }

    /// Counts lines of `lines` as [`Self::count_next`] does, but where they are plain by their marks.
    fn count_marked<const N: usize>(
        &mut self,
        lines: &[u8],
        read: Read<N>,
        found: &mut Marks,
        arrival: Timestamp,
        block: &mut Block,
    ) {
        let (mut rest, mut ends) = (lines, ObjectEnds::default());
        while !rest.is_empty() {
            let piece = rest.get(..PIECE).unwrap_or(rest);
            let (mut at, mut marks) = (0, found.find(piece));
            loop {
                (at, marks) = self.count_plain((piece, at), marks, read, arrival, block);
                let line = piece.get(at..).unwrap_or_default();
                let is_whole = piece.len() == rest.len() || memchr::memchr(b'\n', line).is_some();
                // The beginning of a line waits for the next piece, unless no piece is large enough.
                if line.is_empty() || (!is_whole && at > 0) {
                    break;
                }
                let odd = rest.get(at..).unwrap_or_default();
                at = rest.len() - self.count_next(odd, &mut ends, arrival, block).len();
                if at >= piece.len() {
                    break;
                }
                while let [mark, behind @ ..] = marks
                    && (*mark as usize) < at
                {
                    marks = behind;
                }
            }
            rest = rest.get(at..).unwrap_or_default();
        }
    }

    /// Counts the lines of `piece` from `at` on, up to the first that is not plain; returns where that begins, and what is
    /// left of the `marks`.
    fn count_plain<'m, const N: usize>(
        &mut self,
        (piece, mut at): (&[u8], usize),
        mut marks: &'m [u32],
        read: Read<N>,
        arrival: Timestamp,
        block: &mut Block,
    ) -> (usize, &'m [u32]) {
        let mut lines = 0;
        while let Some((line, behind)) = marks.split_first_chunk::<N>()
            && let Some(request) = read(piece, at, line, &mut self.stamps)
            && self.count_request(&request, straight::is_client, arrival, &mut block.windows).is_ok()
        {
            lines += 1;
            at = line.last().map_or(at, |&newline| newline as usize + 1);
            marks = behind;
        }
        block.counters.read += lines;
        block.counters.counted += lines;
        (at, marks)
    }

    /// Counts the line at the front of `text`, or the object that begins there; returns what follows.
    fn count_next<'t>(
        &mut self,
        text: &'t [u8],
        ends: &mut ObjectEnds,
        arrival: Timestamp,
        block: &mut Block,
    ) -> &'t [u8] {
        let (line, after) = split_line(text);
        match self.count_line(line, arrival, block) {
            Ok(()) => after,
            Err(malformed) if line.first() == Some(&b'{') => {
                self.count_object((text, ends), malformed, arrival, block)
            }
            Err(malformed) => {
                refuse(line, malformed, block);
                after
            }
        }
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
        self.count_request(&event.into(), |_| true, arrival, &mut block.windows)?;
        block.counters.counted += 1;
        Ok(())
    }

    /// Counts a request, if its client `is_client`.
    #[inline]
    fn count_request(
        &mut self,
        request: &Request<'_>,
        is_client: impl FnOnce(&[u8]) -> bool,
        arrival: Timestamp,
        windows: &mut CountsByWindow,
    ) -> Result<(), Malformed> {
        let time = match self.plan.time {
            TimeSource::Event => request.time.unwrap_or(arrival),
            TimeSource::Arrival => arrival,
        };
        if !(FIRST_MS..LAST_MS).contains(&time.as_millis()) {
            return Err(Malformed { reason: Reason::Time, column: 1 });
        }
        let reference = &self.reference;
        let resolve = |host: &[u8]| is_client(host).then(|| reference.resolve(host));
        let owner_at = |resolution| match resolution {
            Resolution::Owned(owner) => owner,
            Resolution::Unowned => UNOWNED,
            timed @ Resolution::ByTime(_) => reference.owner_at(timed, time).unwrap_or(UNOWNED),
        };
        let into = self.gather.window(windows, time, self.plan.window);
        into.add(request, resolve, owner_at).ok_or(Malformed { reason: Reason::Host, column: 1 })
    }
}

/// Reads a line that has `N` marks, if it is plain.
type Read<const N: usize> = for<'t> fn(&'t [u8], usize, &[u32; N], &mut StampCache) -> Option<Request<'t>>;

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
