//! Bytes into pieces of whole lines. Knows no file: it reads what it is given, once, from front to back.

use std::{
    io::{self, Read},
    ops::Range,
};

use memchr::{memchr, memrchr};

use crate::{
    engine::record::{CHUNK, MAX_LINE},
    tail::identity::{Hash, Trailer},
};

/// Bytes read at once from a file or a pipe: more than the longest line, so that every read makes progress.
pub const READ_SIZE: usize = 512 * 1024;

/// Whole lines of one life of one file, all of which start in one chunk of [`CHUNK`] bytes of it.
///
/// `end == start + data.len()`, except for a line longer than [`MAX_LINE`]: it is alone in its piece, `data` holds
/// its first [`MAX_LINE`] bytes and a newline, and `end` is behind the real one. Only the very last line of a file
/// may lack its newline; if that is longer by one byte, `data` lacks it, too, so that it is always shorter than it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The life of the file.
    pub generation: u64,
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last byte.
    pub end: u64,
    /// The lines.
    pub data: Vec<u8>,
}

impl Piece {
    pub(crate) fn whole(generation: u64, start: u64, data: &[u8]) -> Self {
        let end = start + data.len() as u64;
        Self { generation, start, end, data: data.to_vec() }
    }

    /// An overlong line from `start` to `end`, of which `first` holds at least what is kept. It is shorter than what it
    /// stands for: so everybody knows it.
    pub(crate) fn cut(generation: u64, start: u64, end: u64, first: &[u8]) -> Self {
        let mut data = Vec::with_capacity(MAX_LINE + 1);
        data.extend_from_slice(first.get(..MAX_LINE).unwrap_or(first));
        // Of a last line without newline and with one byte too many, a newline in its place would hide that it was cut.
        if data.len() as u64 + 1 < end - start {
            data.push(b'\n');
        }
        Self { generation, start, end, data }
    }
}

/// What begins at one place of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Whole lines that start in one chunk.
    Whole(Range<usize>),
    /// One line of more than [`MAX_LINE`] bytes, with its newline.
    Overlong(Range<usize>),
    /// A line that is already overlong and not over.
    Endless,
    /// A line that is not over, or nothing.
    Unfinished,
}

/// What begins at `at` in `buffer`, which holds the bytes of a file from offset `start` on.
pub(crate) fn next(buffer: &[u8], at: usize, start: u64) -> Next {
    let edge = usize::try_from(CHUNK - (start + at as u64) % CHUNK).map_or(usize::MAX, |left| at + left);
    let end = whole_lines(buffer, at, edge);
    if end > at {
        return Next::Whole(at..end);
    }
    let line = buffer.get(at..).unwrap_or_default();
    if line.len() <= MAX_LINE {
        return Next::Unfinished;
    }
    memchr(b'\n', line).map_or(Next::Endless, |newline| Next::Overlong(at..at + newline + 1))
}

/// The end of the last line that starts at `at` or later, before `edge`, and neither is overlong nor follows a line
/// that is. Looks backwards, and so touches few bytes.
fn whole_lines(buffer: &[u8], at: usize, edge: usize) -> usize {
    let mut end = at;
    while end < edge {
        let longest = (end + MAX_LINE + 1).min(buffer.len());
        let inside = longest.min(edge - 1).max(end);
        let before_edge = buffer.get(end..inside).and_then(|window| memrchr(b'\n', window));
        if let Some(newline) = before_edge {
            end += newline + 1;
            continue;
        }
        let across = buffer.get(inside..longest).and_then(|window| memchr(b'\n', window));
        return across.map_or(end, |newline| inside + newline + 1);
    }
    end
}

/// The lines of something that can be read only once: standard input, or a compressed file as it unpacks.
///
/// It holds one buffer of [`READ_SIZE`] and a line, however long the lines are.
pub struct Lines<R> {
    reader: R,
    generation: u64,
    /// Offset of the first byte of the buffer, always the start of a line.
    position: u64,
    buffer: Vec<u8>,
    filled: usize,
    /// Length so far of an overlong line, whose first bytes stand in the buffer.
    endless: Option<u64>,
    /// The last bytes before `position`.
    trailer: Trailer,
}

/// Whether there may be more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be.
    More,
    /// The end was reached.
    End,
}

impl<R: Read> Lines<R> {
    /// Lines of `reader`, whose next byte is at offset `position` of the source `generation`.
    pub fn new(reader: R, generation: u64, position: u64) -> Self {
        Self {
            reader,
            generation,
            position,
            buffer: vec![0; READ_SIZE + MAX_LINE + 1],
            filled: 0,
            endless: None,
            trailer: Trailer::default(),
        }
    }

    pub(crate) fn with_trailer(mut self, trailer: Trailer) -> Self {
        self.trailer = trailer;
        self
    }

    /// Offset behind the last byte handed out.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn mark(&self) -> Hash {
        self.trailer.mark()
    }

    /// Reads once and appends the lines that are whole to `pieces`; at the end also a last line without newline.
    ///
    /// # Errors
    /// What the reader says. A call after an error goes on where it stopped.
    pub fn read(&mut self, pieces: &mut Vec<Piece>) -> io::Result<Progress> {
        let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let count = match self.reader.read(free) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Progress::More),
            Err(error) => return Err(error),
        };
        if count == 0 {
            self.finish(pieces);
            return Ok(Progress::End);
        }
        let new = self.filled..self.filled + count;
        self.filled = new.end;
        let at = match self.endless {
            Some(length) => self.skip_overlong(length, new, pieces),
            None => 0,
        };
        if self.endless.is_none() {
            self.hand_out(at, pieces);
        }
        Ok(Progress::More)
    }

    /// Looks for the end of an overlong line in the bytes `new`; returns where the next line starts.
    fn skip_overlong(&mut self, length: u64, new: Range<usize>, pieces: &mut Vec<Piece>) -> usize {
        let bytes = self.buffer.get(new.clone()).unwrap_or_default();
        let newline = memchr(b'\n', bytes);
        let over = newline.map_or(bytes.len(), |newline| newline + 1);
        self.trailer.push(bytes.get(..over).unwrap_or_default());
        let length = length + over as u64;
        if newline.is_none() {
            self.endless = Some(length);
            self.filled = MAX_LINE;
            return 0;
        }
        self.endless = None;
        let end = self.position + length;
        pieces.push(Piece::cut(self.generation, self.position, end, &self.buffer));
        self.position = end;
        // What follows the newline moves to the front, so that the buffer starts with the line at `position` again.
        let rest = new.start + over..new.end;
        self.filled = rest.len();
        self.buffer.copy_within(rest, 0);
        0
    }

    fn hand_out(&mut self, mut at: usize, pieces: &mut Vec<Piece>) {
        let start = self.position;
        let buffer = self.buffer.get(..self.filled).unwrap_or_default();
        loop {
            let offset = start + at as u64;
            let (range, overlong) = match next(buffer, at, start) {
                Next::Whole(range) => (range, false),
                Next::Overlong(range) => (range, true),
                Next::Endless => {
                    let line = buffer.get(at..).unwrap_or_default();
                    self.trailer.push(line);
                    self.endless = Some(line.len() as u64);
                    break;
                }
                Next::Unfinished => break,
            };
            let data = buffer.get(range.clone()).unwrap_or_default();
            self.trailer.push(data);
            pieces.push(if overlong {
                Piece::cut(self.generation, offset, start + range.end as u64, data)
            } else {
                Piece::whole(self.generation, offset, data)
            });
            at = range.end;
        }
        self.position = start + at as u64;
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
        if self.endless.is_some() {
            self.filled = MAX_LINE;
        }
    }

    fn finish(&mut self, pieces: &mut Vec<Piece>) {
        let line = self.buffer.get(..self.filled).unwrap_or_default();
        let piece = match self.endless.take() {
            Some(length) => Piece::cut(self.generation, self.position, self.position + length, line),
            None if line.is_empty() => return,
            None => {
                self.trailer.push(line);
                Piece::whole(self.generation, self.position, line)
            }
        };
        self.position = piece.end;
        self.filled = 0;
        pieces.push(piece);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives as many bytes at once as it is told, in turn.
    struct Trickle {
        data: Vec<u8>,
        at: usize,
        steps: Vec<usize>,
        turn: usize,
    }

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let step = self.steps[self.turn % self.steps.len()];
            self.turn += 1;
            let end = self.data.len().min(self.at + step.min(buffer.len()));
            let part = &self.data[self.at..end];
            buffer[..part.len()].copy_from_slice(part);
            self.at = end;
            Ok(part.len())
        }
    }

    fn pieces(data: &[u8], steps: Vec<usize>) -> Vec<Piece> {
        let mut lines = Lines::new(Trickle { data: data.to_vec(), at: 0, steps, turn: 0 }, 7, 0);
        let mut pieces = Vec::new();
        while lines.read(&mut pieces).unwrap() == Progress::More {
            assert!(lines.buffer.len() <= READ_SIZE + MAX_LINE + 1);
        }
        assert_eq!(lines.position(), data.len() as u64);
        let mut trailer = Trailer::default();
        trailer.push(data);
        assert_eq!(lines.mark(), trailer.mark());
        pieces
    }

    /// The rules of [`Piece`], said without looking at the code: one line after the other.
    fn check(data: &[u8], pieces: &[Piece]) {
        let mut lines = data.split_inclusive(|&byte| byte == b'\n');
        let mut at = 0;
        for piece in pieces {
            assert_eq!((piece.start, piece.generation), (at, 7));
            let chunk = at / CHUNK;
            while at < piece.end {
                let line = lines.next().unwrap();
                let content = line.strip_suffix(b"\n").unwrap_or(line);
                assert_eq!(at / CHUNK, chunk, "a line starts in another chunk");
                if content.len() > MAX_LINE {
                    assert_eq!(at, piece.start, "an overlong line is alone");
                    let newline: &[u8] = if line.len() > MAX_LINE + 1 { b"\n" } else { b"" };
                    assert_eq!(piece.data, [&content[..MAX_LINE], newline].concat());
                    assert!(
                        (piece.data.len() as u64) < piece.end - piece.start,
                        "who gets it knows that it was cut"
                    );
                    assert_eq!(piece.end, at + line.len() as u64);
                } else {
                    let from = usize::try_from(at - piece.start).unwrap();
                    assert_eq!(&piece.data[from..from + line.len()], line);
                }
                at += line.len() as u64;
            }
            assert_eq!(at, piece.end);
        }
        assert_eq!(lines.next(), None);
    }

    fn line(length: usize) -> Vec<u8> {
        let mut line = vec![b'x'; length];
        line.push(b'\n');
        line
    }

    #[test]
    fn lines_at_the_edges_of_chunks_and_of_the_longest_line() {
        let chunk = usize::try_from(CHUNK).unwrap();
        for first in [chunk - 2, chunk - 1, chunk, chunk + 1, 3 * chunk] {
            for second in [0, 1, MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 300 * 1024, 2 * chunk] {
                let mut data = Vec::new();
                while data.len() + 100 <= first {
                    data.extend(line(99));
                }
                let rest = first - data.len();
                data.extend(line(rest.saturating_sub(1)));
                data.extend(line(second));
                data.extend_from_slice(b"last without newline");
                for step in [1_000_000, 4096, chunk - 1] {
                    check(&data, &pieces(&data, vec![step]));
                }
            }
        }
    }

    #[test]
    fn a_line_without_end_stays_in_bounded_memory() {
        let mut data = vec![b'y'; 50_000_000];
        data.extend_from_slice(b"\nshort\n");
        let pieces = pieces(&data, vec![65_536]);
        check(&data, &pieces);
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[1].data, b"short\n");
    }

    /// A review found that the second of them was taken for a whole line.
    #[test]
    fn the_last_line_may_be_overlong_by_any_number_of_bytes() {
        for length in [MAX_LINE, MAX_LINE + 1, MAX_LINE + 2, MAX_LINE + 3] {
            for newline in ["", "\n"] {
                let data = "first\n".to_owned() + &"x".repeat(length) + newline;
                check(data.as_bytes(), &pieces(data.as_bytes(), vec![READ_SIZE]));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_lines_in_any_portions(
            lengths in prop::collection::vec(prop_oneof![0_usize..200, 100_000_usize..300_000], 0..30),
            steps in prop::collection::vec(prop_oneof![1_usize..20_000, 100_000_usize..700_000], 1..5),
            unfinished in any::<bool>(),
        ) {
            let mut data: Vec<u8> = lengths.iter().flat_map(|&length| line(length)).collect();
            if unfinished {
                data.pop();
            }
            check(&data, &pieces(&data, steps));
        }
    }
}
