//! One log as blocks of whole lines. Block boundaries depend on the bytes alone. Parses nothing.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use crate::{
    engine::{count::split_line, record::MAX_LINE},
    tail::open::{self, Opened},
};

/// About how many bytes are counted at once: they stay in a core's own cache.
pub(crate) const BLOCK_BYTES: usize = 2 * 1_024 * 1_024;
/// How many lines a log has to find one that parses.
pub(crate) const PEEK_LINES: usize = 1_000;

/// Of a plain log, how much of a block's end is looked at for its last line end, in bytes.
const LAST_BYTES: usize = 4 * 1_024;

/// Reads one log.
pub(crate) struct Log {
    source: Source,
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
    /// What is still to be read.
    pub(crate) unread: Option<Range>,
}

/// Where the bytes come from.
enum Source {
    Plain(Plain),
    Unpacked(Box<dyn Read + Send>),
}

/// A plain log and how far it is read.
struct Plain {
    file: Arc<File>,
    offset: u64,
}

/// Whole lines of a plain log that whoever counts them reads: meanwhile others read on.
#[derive(Debug)]
pub(crate) struct Range {
    file: Arc<File>,
    start: u64,
    length: usize,
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
        Ok(Self::new(match open::open(path)? {
            Opened::Plain(file) => Source::Plain(Plain { file: Arc::new(file), offset: 0 }),
            Opened::Unpacked(reader) => Source::Unpacked(reader),
        }))
    }

    fn new(source: Source) -> Self {
        Self { source, carry: Vec::new(), broken: None, blocks: 0, ended: false }
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

    /// The next whole lines: in `block`, or still to be read into it; none at the end.
    pub(crate) fn next_block(&mut self, block: &mut Vec<u8>) -> Place {
        let number = self.blocks;
        self.blocks += 1;
        if let Some(range) = self.claim() {
            return Place { number, dropped: 0, next: Next::Block, unread: Some(range) };
        }
        block.clear();
        block.append(&mut self.carry);
        match self.fill(block, BLOCK_BYTES).and_then(|()| self.cut(block)) {
            Ok(dropped) => {
                // Behind an overlong line there may be whole lines although all has been read.
                let more = !self.ended || !self.carry.is_empty();
                let next = if more { Next::Block } else { Next::End };
                Place { number, dropped, next, unread: None }
            }
            Err(error) => {
                self.ended = true;
                Place { number, dropped: drop_last(block), next: Next::Broken(error), unread: None }
            }
        }
    }

    /// The next block of a plain log, if it is full and ends with a line of ordinary length.
    fn claim(&mut self) -> Option<Range> {
        let Source::Plain(plain) = &mut self.source else { return None };
        if !self.carry.is_empty() || self.ended {
            return None;
        }
        let mut last = [0; LAST_BYTES];
        let before = BLOCK_BYTES - LAST_BYTES;
        // What cannot be read, or is not there, is told by who reads it in turn.
        plain.file.read_exact_at(&mut last, plain.offset + before as u64).ok()?;
        let length = before + memchr::memrchr(b'\n', &last)? + 1;
        let range = Range { file: Arc::clone(&plain.file), start: plain.offset, length };
        plain.offset += length as u64;
        Some(range)
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
        let read = match &mut self.source {
            Source::Plain(plain) => plain.read(missing as u64, block)?,
            Source::Unpacked(reader) => reader.take(missing as u64).read_to_end(block)?,
        };
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

impl Place {
    /// Reads what is still unread into `block`.
    pub(crate) fn read(mut self, block: &mut Vec<u8>) -> Self {
        if let Some(Range { file, start, length }) = self.unread.take() {
            block.resize(length, 0);
            if let Err((read, error)) = read_at(&file, block, start) {
                block.truncate(read);
                (self.dropped, self.next) = (drop_last(block), Next::Broken(error));
            }
        }
        self
    }
}

impl Plain {
    /// Appends at most so many bytes.
    fn read(&mut self, most: u64, block: &mut Vec<u8>) -> io::Result<usize> {
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(self.offset))?;
        let read = file.take(most).read_to_end(block)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Fills `buffer`, or says how much of it was filled before it failed.
fn read_at(file: &File, buffer: &mut [u8], start: u64) -> Result<(), (usize, io::Error)> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, start + filled as u64) {
            Ok(0) => {
                let why = "became shorter while it was read";
                return Err((filled, io::Error::new(ErrorKind::UnexpectedEof, why)));
            }
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err((filled, error)),
        }
    }
    Ok(())
}

/// Takes off the line that an error cut; returns its length.
fn drop_last(block: &mut Vec<u8>) -> u64 {
    let whole = memchr::memrchr(b'\n', block).map_or(0, |last| last + 1);
    let dropped = (block.len() - whole) as u64;
    block.truncate(whole);
    dropped
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
    use std::io::Write;

    use super::*;

    fn unpacked(reader: impl Read + Send + 'static) -> Log {
        Log::new(Source::Unpacked(Box::new(reader)))
    }

    /// The blocks of `bytes`, which are the same whether they come one after the other or out of a file.
    fn blocks(bytes: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let found = blocks_of(unpacked(io::Cursor::new(bytes.to_vec())));
        assert!(blocks_of(Log::open(file.path()).unwrap()) == found);
        found
    }

    fn blocks_of(mut log: Log) -> (Vec<Vec<u8>>, u64) {
        let (mut blocks, mut dropped) = (Vec::new(), 0);
        loop {
            let mut block = b"before\n".to_vec();
            let place = log.next_block(&mut block).read(&mut block);
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
        let mut log = unpacked(io::Cursor::new(b"one\ntwo\nthr").chain(Broken));
        let mut block = Vec::new();
        let place = log.next_block(&mut block);
        assert!(matches!(place, Place { number: 0, dropped: 3, next: Next::Broken(_), .. }), "{place:?}");
        assert_eq!(block, b"one\ntwo\n");
        assert!(matches!(log.next_block(&mut block).next, Next::End));
    }

    #[test]
    fn of_a_file_that_becomes_shorter_the_whole_lines_are_kept() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all("0123456789\n".repeat(400_000).as_bytes()).unwrap();
        let mut log = Log::open(file.path()).unwrap();
        let mut block = Vec::new();
        let place = log.next_block(&mut block);
        file.as_file().set_len(1_000_000).unwrap();
        let place = place.read(&mut block);
        assert_eq!((block.len() as u64, place.dropped), (1_000_000 - 1_000_000 % 11, 1_000_000 % 11));
        assert!(matches!(place.next, Next::Broken(error) if error.kind() == ErrorKind::UnexpectedEof));
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
            let mut log = unpacked(io::Cursor::new(text.clone().into_bytes()));
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
