//! One log as blocks of whole lines. Block boundaries depend on the bytes alone. Parses nothing.

use std::{
    io::{self, Read},
    path::Path,
};

use crate::{
    engine::{count::split_line, record::MAX_LINE},
    tail::open::open_log,
};

/// About how many bytes are counted at once: they stay in a core's own cache.
pub(crate) const BLOCK_BYTES: usize = 2 * 1_024 * 1_024;
/// How many lines a log has to find one that parses.
pub(crate) const PEEK_LINES: usize = 1_000;

/// Reads one log.
pub(crate) struct Log {
    reader: Box<dyn Read + Send>,
    /// The beginning of a line whose end was not read yet.
    carry: Vec<u8>,
    /// What ended a look ahead.
    broken: Option<io::Error>,
    blocks: u64,
    ended: bool,
}

/// Where a block stands in its log.
#[derive(Debug)]
pub(crate) struct Place {
    /// Number of the block, from 0.
    pub(crate) number: u64,
    /// Bytes that were passed over: of an overlong line, or of a line that an error cut.
    pub(crate) dropped: u64,
    /// What follows.
    pub(crate) next: Next,
}

/// What follows a block.
#[derive(Debug)]
pub(crate) enum Next {
    /// Perhaps more.
    Block,
    /// Nothing.
    End,
    /// Nothing that could be read.
    Broken(io::Error),
}

impl Log {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::new(open_log(path)?))
    }

    fn new(reader: Box<dyn Read + Send>) -> Self {
        Self { reader, carry: Vec::new(), broken: None, blocks: 0, ended: false }
    }

    /// The first whole lines, which stay to be read.
    fn peek(&mut self) -> io::Result<Vec<u8>> {
        let mut block = std::mem::take(&mut self.carry);
        if let Err(error) = self.fill(&mut block, BLOCK_BYTES) {
            if block.is_empty() {
                return Err(error);
            }
            self.broken = Some(error);
        }
        let whole = if self.ended { None } else { memchr::memrchr(b'\n', &block) };
        let end = memchr::memchr_iter(b'\n', &block).nth(PEEK_LINES - 1).or(whole);
        let lines = end.and_then(|end| block.get(..=end)).unwrap_or(&block).to_vec();
        self.carry = block;
        Ok(lines)
    }

    /// Replaces `block` by the next whole lines; empty at the end.
    pub(crate) fn next_block(&mut self, block: &mut Vec<u8>) -> Place {
        block.clear();
        block.append(&mut self.carry);
        let number = self.blocks;
        self.blocks += 1;
        match self.fill(block, BLOCK_BYTES).and_then(|()| self.cut(block)) {
            Ok(dropped) => {
                // Behind an overlong line there may be whole lines although all has been read.
                let more = !self.ended || !self.carry.is_empty();
                Place { number, dropped, next: if more { Next::Block } else { Next::End } }
            }
            Err(error) => {
                self.ended = true;
                let whole = memchr::memrchr(b'\n', block).map_or(0, |last| last + 1);
                let dropped = (block.len() - whole) as u64;
                block.truncate(whole);
                Place { number, dropped, next: Next::Broken(error) }
            }
        }
    }

    /// Ends `block` with its last whole line; returns how many bytes were passed over.
    fn cut(&mut self, block: &mut Vec<u8>) -> io::Result<u64> {
        match memchr::memrchr(b'\n', block) {
            _ if self.ended => Ok(0),
            Some(last) => {
                self.carry.extend_from_slice(block.get(last + 1..).unwrap_or_default());
                block.truncate(last + 1);
                Ok(0)
            }
            None => self.drop_line(block),
        }
    }

    fn fill(&mut self, block: &mut Vec<u8>, target: usize) -> io::Result<()> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let missing = if self.ended { 0 } else { target.saturating_sub(block.len()) };
        let read = self.reader.by_ref().take(missing as u64).read_to_end(block)?;
        self.ended |= read < missing;
        Ok(())
    }

    /// `block` is one line without its end: keeps enough of it to be refused as too long, passes over the rest.
    fn drop_line(&mut self, block: &mut Vec<u8>) -> io::Result<u64> {
        let mut dropped = (block.len() - MAX_LINE - 1) as u64;
        block.truncate(MAX_LINE + 1);
        let mut more = Vec::new();
        while !self.ended {
            more.clear();
            self.fill(&mut more, BLOCK_BYTES)?;
            let (rest, after) = split_line(&more);
            dropped += rest.len() as u64;
            if rest.len() < more.len() {
                self.carry.extend_from_slice(after);
                break;
            }
        }
        block.push(b'\n');
        Ok(dropped)
    }
}

/// The first lines of the log at `path`, at most [`PEEK_LINES`] and one block; and the log itself, at its beginning, if
/// it cannot be opened a second time: standard input, a pipe.
pub(crate) fn peek(path: &Path) -> io::Result<(Vec<u8>, Option<Log>)> {
    let mut log = Log::open(path)?;
    let lines =
        log.peek().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let is_file = path.as_os_str() != "-" && path.metadata().is_ok_and(|metadata| metadata.is_file());
    Ok((lines, (!is_file).then_some(log)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(bytes: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let mut log = Log::new(Box::new(io::Cursor::new(bytes.to_vec())));
        let (mut blocks, mut dropped) = (Vec::new(), 0);
        loop {
            let mut block = Vec::new();
            let place = log.next_block(&mut block);
            assert_eq!(place.number, blocks.len() as u64);
            dropped += place.dropped;
            blocks.push(block);
            if !matches!(place.next, Next::Block) {
                return (blocks, dropped);
            }
        }
    }

    #[test]
    fn blocks_are_whole_lines_and_hold_every_byte() {
        for last in ["", "no newline"] {
            let text = "0123456789\n".repeat(200_000) + last;
            let (blocks, dropped) = blocks(text.as_bytes());
            assert_eq!((blocks.concat(), dropped), (text.into_bytes(), 0));
            let (_, all_but_last) = blocks.split_last().unwrap();
            assert!(all_but_last.iter().all(|block| block.ends_with(b"\n") && block.len() <= BLOCK_BYTES));
        }
        assert_eq!(blocks(b"").0, [b""]);
    }

    #[test]
    fn what_stands_before_an_error_is_kept_but_for_the_line_it_cuts() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("torn"))
            }
        }
        let mut log = Log::new(Box::new(io::Cursor::new(b"one\ntwo\nthr").chain(Broken)));
        let mut block = Vec::new();
        let place = log.next_block(&mut block);
        assert!(matches!(place, Place { number: 0, dropped: 3, next: Next::Broken(_) }), "{place:?}");
        assert_eq!(block, b"one\ntwo\n");
        assert!(matches!(log.next_block(&mut block).next, Next::End));
    }

    #[test]
    fn an_endless_line_costs_a_bounded_block() {
        for length in [BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES, 5 * BLOCK_BYTES + 7] {
            let text = "x".repeat(length) + "\nnext\n" + &"y".repeat(length);
            let (blocks, dropped) = blocks(text.as_bytes());
            let kept = blocks.concat();
            assert!(blocks.iter().all(|block| block.len() <= BLOCK_BYTES), "{length}");
            let lines: Vec<&[u8]> =
                kept.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
            assert_eq!(lines.len(), 3, "{length}");
            assert_eq!(lines[1], b"next");
            assert!(lines[0].len() > MAX_LINE && lines[2].len() > MAX_LINE);
            let read = lines.iter().map(|line| line.len() as u64).sum::<u64>() + dropped;
            assert_eq!(read, 2 * length as u64 + 4);
        }
    }

    #[test]
    fn a_look_ahead_changes_nothing() {
        for lines in [0, 1, PEEK_LINES, 200_000] {
            let text = "0123456789\n".repeat(lines) + "last";
            let mut log = Log::new(Box::new(io::Cursor::new(text.clone().into_bytes())));
            let first = log.peek().unwrap();
            assert_eq!(first.len(), if lines < PEEK_LINES { text.len() } else { 11 * PEEK_LINES });
            let mut rest = Vec::new();
            for expected in blocks(text.as_bytes()).0 {
                log.next_block(&mut rest);
                assert!(rest == expected, "{lines}");
            }
        }
    }

    #[test]
    fn what_follows_an_endless_line_is_read_to_the_end() {
        for length in [BLOCK_BYTES - 20, BLOCK_BYTES - 10, BLOCK_BYTES, 3 * BLOCK_BYTES] {
            for last in ["", "last\n", "one\ntwo\nlast"] {
                let text = "first\n".to_owned() + &"x".repeat(length) + "\n" + last;
                let (blocks, dropped) = blocks(text.as_bytes());
                let kept = blocks.concat();
                assert_eq!(kept.len() as u64 + dropped, text.len() as u64, "{length} {last:?}");
                assert!(kept.starts_with(b"first\n") && kept.ends_with(last.as_bytes()), "{length} {last:?}");
            }
        }
    }
}
