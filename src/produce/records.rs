//! Pieces of whole lines into pieces of one record of the agent each. Sends nothing.
//!
//! What is not a record yet (a record of several lines that may go on, a header that is not there in full) is held, and
//! [`Records::held`] says from where: a position stored meanwhile must not be behind that, so that no restart begins
//! within a record.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    engine::{format::StampCache, time::Timestamp},
    produce::shape::{AgentShape, MAX_RECORD},
    tail::Piece,
};

/// What files hold of records that are not whole.
pub(crate) struct Records {
    shape: Arc<AgentShape>,
    /// By generation.
    headers: BTreeMap<u64, u64>,
    /// By generation, where headers ended since the last look.
    ended: Vec<(u64, u64)>,
    open: BTreeMap<u64, Open>,
    stamps: StampCache,
    noted: Noted,
}

/// What went otherwise than it should, since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Records that were cut because they are too long.
    pub(crate) cut: u64,
    /// Records that a step of the processing could not read and left as they are.
    pub(crate) left: u64,
}

/// A record that may go on.
struct Open {
    start: u64,
    end: u64,
    data: Vec<u8>,
    cut: bool,
    grown_at: Timestamp,
}

/// A line, and where it stands.
struct Line<'p> {
    start: u64,
    end: u64,
    data: &'p [u8],
    cut: bool,
}

impl Records {
    pub(crate) fn new(shape: Arc<AgentShape>) -> Self {
        Self {
            shape,
            headers: BTreeMap::new(),
            ended: Vec::new(),
            open: BTreeMap::new(),
            stamps: StampCache::default(),
            noted: Noted::default(),
        }
    }

    /// The records that are whole with these pieces.
    pub(crate) fn of(&mut self, pieces: Vec<Piece>, now: Timestamp) -> Vec<Piece> {
        let mut records = Vec::new();
        for piece in pieces {
            let generation = piece.generation;
            if piece.start == 0 && self.shape.skip_header_lines > 0 {
                self.headers.insert(generation, self.shape.skip_header_lines);
            }
            for line in lines(&piece) {
                if self.is_header(generation, line.end) {
                    continue;
                }
                self.add(generation, &line, now, &mut records);
            }
        }
        records
    }

    /// Takes one line off what is left of the header of a file, if any is.
    fn is_header(&mut self, generation: u64, end: u64) -> bool {
        let Some(left) = self.headers.get_mut(&generation) else {
            return false;
        };
        *left -= 1;
        if *left == 0 {
            self.headers.remove(&generation);
            self.ended.push((generation, end));
        }
        true
    }

    fn add(&mut self, generation: u64, line: &Line<'_>, now: Timestamp, records: &mut Vec<Piece>) {
        let shape = Arc::clone(&self.shape);
        let Some(starts) = &shape.starts else {
            let open = Open::new(line, now);
            records.push(self.close(generation, open));
            return;
        };
        match self.open.get_mut(&generation) {
            Some(open) if !starts.begins(line.data) => open.grow(line, now),
            _ => {
                let before = self.open.insert(generation, Open::new(line, now));
                records.extend(before.map(|open| self.close(generation, open)));
            }
        }
    }

    /// The records that have not grown for as long as the flow waits, or `all` that are open.
    pub(crate) fn quiet(&mut self, now: Timestamp, all: bool) -> Vec<Piece> {
        let over = |open: &Open| now.millis_since(open.grown_at) >= self.shape.patience_ms;
        let quiet: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, open)| all || over(open))
            .map(|(&generation, _)| generation)
            .collect();
        let mut records = Vec::new();
        for generation in quiet {
            if let Some(open) = self.open.remove(&generation) {
                records.push(self.close(generation, open));
            }
        }
        records
    }

    /// By generation, from where on its bytes are not in records yet.
    pub(crate) fn held(&self) -> BTreeMap<u64, u64> {
        let headers = self.headers.keys().map(|&generation| (generation, 0));
        self.open.iter().map(|(&generation, open)| (generation, open.start)).chain(headers).collect()
    }

    /// By generation, where headers ended since the last call.
    pub(crate) fn passed_over(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.ended)
    }

    /// What is to be told since the last call.
    pub(crate) fn noted(&mut self) -> Noted {
        std::mem::take(&mut self.noted)
    }

    fn close(&mut self, generation: u64, open: Open) -> Piece {
        let Open { start, end, mut data, mut cut, grown_at } = open;
        if !self.shape.chain.is_empty() {
            let (processed, left) = self.shape.chain.apply(data, grown_at, &mut self.stamps);
            data = processed;
            self.noted.left += u64::from(left);
        }
        cut |= data.len() > MAX_RECORD;
        if cut {
            self.noted.cut += 1;
            let terminator = &self.shape.terminator;
            if data.ends_with(b"\n") {
                data.pop();
            }
            // What carries its provenance is known to be cut by being shorter than the bytes it stands for.
            let longest = match usize::try_from(end - start) {
                Ok(range) if self.shape.has_provenance() => range.saturating_sub(1).min(MAX_RECORD),
                _ => MAX_RECORD,
            };
            data.truncate(longest.saturating_sub(terminator.len()));
            data.extend_from_slice(terminator);
        }
        Piece { generation, start, end, data }
    }
}

impl Open {
    fn new(line: &Line<'_>, now: Timestamp) -> Self {
        Self { start: line.start, end: line.end, data: line.data.to_vec(), cut: line.cut, grown_at: now }
    }

    fn grow(&mut self, line: &Line<'_>, now: Timestamp) {
        let room = MAX_RECORD.saturating_sub(self.data.len());
        self.cut |= line.cut || line.data.len() > room;
        self.data.extend_from_slice(line.data.get(..room).unwrap_or(line.data));
        self.end = line.end;
        self.grown_at = now;
    }
}

/// The lines of a piece; a line that was cut is alone in it, and longer than what is there of it.
fn lines(piece: &Piece) -> Vec<Line<'_>> {
    let Piece { start, end, data, .. } = piece;
    let cut = end - start > data.len() as u64;
    if cut {
        return vec![Line { start: *start, end: *end, data, cut }];
    }
    let (mut lines, mut start) = (Vec::new(), *start);
    for data in data.split_inclusive(|&byte| byte == b'\n') {
        let end = start + data.len() as u64;
        lines.push(Line { start, end, data, cut });
        start = end;
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        engine::agent::{Chain, Step, pattern},
        produce::shape::PartitionKeys,
    };

    const GENERATION: u64 = 7;

    fn shape(starts: Option<&str>, skip_header_lines: u64, steps: Vec<Step>) -> Arc<AgentShape> {
        Arc::new(AgentShape {
            starts: starts.map(|pattern| pattern::Start::new(pattern).unwrap()),
            skip_header_lines,
            terminator: b"...\n".to_vec(),
            chain: Chain(steps),
            keys: PartitionKeys::Random,
            append_records: 500,
            append_bytes: usize::MAX,
            patience_ms: 5_000,
        })
    }

    fn piece(start: u64, data: &[u8]) -> Piece {
        Piece::whole(GENERATION, start, data)
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn texts(records: Vec<Piece>) -> Vec<String> {
        records.into_iter().map(|record| String::from_utf8(record.data).unwrap()).collect()
    }

    #[test]
    fn each_line_is_a_record_with_its_place() {
        let mut records = Records::new(shape(None, 0, Vec::new()));
        let found = records.of(vec![piece(10, b"a\n\nbc\n"), piece(16, b"last")], at(0));
        let places: Vec<(u64, u64)> = found.iter().map(|record| (record.start, record.end)).collect();
        assert_eq!(places, [(10, 12), (12, 13), (13, 16), (16, 20)]);
        assert_eq!(texts(found), ["a\n", "\n", "bc\n", "last"]);
        assert!(records.held().is_empty());
        assert_eq!(records.noted(), Noted::default());
    }

    #[test]
    fn a_record_of_several_lines_waits_for_the_next_or_for_quiet() {
        let mut records = Records::new(shape(Some(r"\["), 0, Vec::new()));
        assert_eq!(texts(records.of(vec![piece(0, b"before\n[1]\n a\n")], at(0))), ["before\n"]);
        assert_eq!(records.held(), [(GENERATION, 7)].into());
        assert_eq!(texts(records.of(vec![piece(14, b" b\n")], at(4_000))), [""; 0]);
        assert!(records.quiet(at(8_999), false).is_empty());
        assert_eq!(texts(records.quiet(at(9_000), false)), ["[1]\n a\n b\n"]);
        assert!(records.held().is_empty());
        assert!(records.of(vec![piece(17, b"[2]\n")], at(9_000)).is_empty());
        assert_eq!(texts(records.quiet(at(9_000), true)), ["[2]\n"]);
    }

    #[test]
    fn a_header_is_not_sent_and_held_until_it_is_whole() {
        let mut records = Records::new(shape(None, 2, Vec::new()));
        assert!(records.of(vec![piece(0, b"h1\n")], at(0)).is_empty());
        assert_eq!(records.held(), [(GENERATION, 0)].into());
        assert_eq!(texts(records.of(vec![piece(3, b"h2\na\n")], at(0))), ["a\n"]);
        assert!(records.held().is_empty());
        assert_eq!(records.passed_over(), [(GENERATION, 6)]);
        assert_eq!(
            texts(records.of(vec![piece(8, b"b\n")], at(0))),
            ["b\n"],
            "only at the beginning of the file"
        );
    }

    #[test]
    fn what_is_too_long_is_cut_and_told() {
        let mut records = Records::new(shape(None, 0, Vec::new()));
        let cut =
            records.of(vec![Piece { generation: 1, start: 5, end: 900, data: b"abc\n".to_vec() }], at(0));
        assert_eq!((cut[0].start, cut[0].end), (5, 900));
        assert_eq!(texts(cut), ["abc...\n"]);
        assert_eq!(records.noted(), Noted { cut: 1, left: 0 });

        let mut records = Records::new(shape(Some(r"\["), 0, Vec::new()));
        let line = vec![b'x'; 100_000];
        let mut start = 0;
        for _ in 0..11 {
            assert!(records.of(vec![piece(start, &[&line[..], b"\n"].concat())], at(0)).is_empty());
            start += 100_001;
        }
        let found = records.of(vec![piece(start, b"[\n")], at(0));
        assert_eq!((found[0].end, found[0].data.len()), (start, MAX_RECORD));
        assert!(found[0].data.ends_with(b"xx...\n"));
        assert_eq!(records.held(), [(GENERATION, start)].into());
        assert_eq!(records.noted(), Noted { cut: 1, left: 0 });
    }

    #[test]
    fn steps_are_taken_on_whole_records() {
        let steps = vec![Step::SingleLine { trim: true, escape: false }, Step::AddBrackets];
        let mut records = Records::new(shape(Some(r"\["), 0, steps));
        assert_eq!(texts(records.of(vec![piece(0, b"[1]\n a\n[2]\n")], at(0))), ["{[1]a\n}"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        /// Pieces end anywhere, and the process dies anywhere: what is read again from where the position was stored
        /// gives the same records.
        #[test]
        fn no_record_is_lost_split_or_joined(
            lines in prop::collection::vec("(\\[[a-z]{0,3}| [a-z]{0,4})", 1..40),
            pieces in prop::collection::vec(1_usize..6, 1..20),
            deaths in prop::collection::vec(any::<bool>(), 20),
            header in 0_u64..4,
        ) {
            let lines: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
            let body = lines.get(usize::try_from(header).unwrap()..).unwrap_or_default();
            let mut expected: Vec<String> = Vec::new();
            for line in body {
                match expected.last_mut() {
                    Some(record) if !line.starts_with('[') => record.push_str(line),
                    _ => expected.push(line.clone()),
                }
            }
            let text = lines.concat();
            let shape = shape(Some(r"\["), header, Vec::new());
            let mut records = Records::new(Arc::clone(&shape));
            let (mut position, mut sent) = (0_usize, BTreeSet::new());
            let mut turn = 0;
            while position < text.len() {
                let rest = &text[position..];
                let size: usize =
                    rest.split_inclusive('\n').take(pieces[turn % pieces.len()]).map(str::len).sum();
                let found = records.of(vec![piece(position as u64, &rest.as_bytes()[..size])], at(0));
                sent.extend(found.into_iter().map(|record| (record.start, record.data)));
                position += size;
                if deaths.get(turn).copied().unwrap_or_default() {
                    position = records.held().get(&GENERATION).map_or(position, |&held| usize::try_from(held).unwrap());
                    records = Records::new(Arc::clone(&shape));
                }
                turn += 1;
            }
            sent.extend(records.quiet(at(0), true).into_iter().map(|record| (record.start, record.data)));
            let sent: Vec<String> = sent.into_iter().map(|(_, data)| String::from_utf8(data).unwrap()).collect();
            prop_assert_eq!(sent, expected);
        }
    }
}
