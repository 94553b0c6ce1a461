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
                if self.is_header(generation) {
                    continue;
                }
                self.add(generation, &line, now, &mut records);
            }
        }
        records
    }

    /// Takes one line off what is left of the header of a file, if any is.
    fn is_header(&mut self, generation: u64) -> bool {
        let Some(left) = self.headers.get_mut(&generation) else {
            return false;
        };
        *left -= 1;
        if *left == 0 {
            self.headers.remove(&generation);
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
            data.truncate(MAX_RECORD.saturating_sub(terminator.len()));
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
