//! The command parse: each line as one JSON object. Counts nothing, and holds one line at a time.

use std::io::{self, BufRead, Write};

use memchr::memchr;
use serde::Serialize;

use crate::{
    engine::{
        format::{Fields, LogFormat, StampCache},
        reason::{Malformed, Reason},
        record::MAX_LINE,
    },
    render::json::write_line,
};

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseSummary {
    /// Lines, the last one also without a newline.
    pub lines: u64,
    /// Those of them that the format does not write.
    pub malformed: u64,
}

/// A line that could not be parsed, as JSON.
#[derive(Serialize)]
struct Refused {
    error: &'static str,
    column: usize,
}

/// Writes the fields of each line of `input` to `output`, one JSON object a line, or why and where it is malformed:
/// `{"error":"host","column":1}`. A line may also be an object of the Amazon Kinesis Agent, on one line. Memory is constant: of a line longer than [`MAX_LINE`] the rest is passed over.
///
/// # Errors
/// If reading or writing fails; what was written up to there is whole lines, as far as `output` took them.
pub fn run(mut input: impl BufRead, mut output: impl Write, format: &LogFormat) -> io::Result<ParseSummary> {
    let mut printer = Printer {
        format,
        stamps: StampCache::default(),
        memory: Vec::new(),
        summary: ParseSummary::default(),
    };
    // One byte for a carriage return, and one that tells an overlong line from one that just fits.
    let mut line = Vec::new();
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(err),
        };
        if available.is_empty() {
            break;
        }
        let newline = memchr(b'\n', available);
        let (piece, taken) = match newline {
            Some(at) => (available.get(..at).unwrap_or_default(), at + 1),
            None => (available, available.len()),
        };
        if newline.is_some() && line.is_empty() {
            printer.print(piece, &mut output)?;
        } else {
            let room = (MAX_LINE + 2).saturating_sub(line.len());
            line.extend_from_slice(piece.get(..room).unwrap_or(piece));
            if newline.is_some() {
                printer.print(&line, &mut output)?;
                line.clear();
            }
        }
        input.consume(taken);
    }
    if !line.is_empty() {
        printer.print(&line, &mut output)?;
    }
    output.flush()?;
    Ok(printer.summary)
}

struct Printer<'f> {
    format: &'f LogFormat,
    stamps: StampCache,
    memory: Vec<u8>,
    summary: ParseSummary,
}

impl Printer<'_> {
    fn print(&mut self, line: &[u8], output: &mut impl Write) -> io::Result<()> {
        self.summary.lines += 1;
        match self.format.parse_or_object(line, &mut self.memory, &mut self.stamps) {
            Ok(event) => write_line(output, &Fields::from(&event)),
            Err(Malformed { reason, column }) => {
                self.summary.malformed += 1;
                write_line(output, &Refused { error: Reason::as_str(reason), column })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"::1 - "" [10/Oct/2000:13:55:36 +0000] "GET /\xff HTTP/1.1" 200 -"#;

    fn printed(input: &str, buffer: usize) -> (String, ParseSummary) {
        let mut output = Vec::new();
        let format = LogFormat::named("common").unwrap();
        let input = io::BufReader::with_capacity(buffer, input.as_bytes());
        let summary = run(input, &mut output, &format).unwrap();
        (String::from_utf8(output).unwrap(), summary)
    }

    #[test]
    fn each_line_is_one_object() {
        let input = format!("{LINE}\r\n\nnonsense x\n{LINE}");
        let (text, summary) = printed(&input, 8 * 1024);
        insta::assert_snapshot!(text, @r#"
        {"host":"::1","ident":null,"authuser":"","datetime":"10/Oct/2000:13:55:36 +0000","time":"2000-10-10T13:55:36Z","request":"GET /� HTTP/1.1","method":"GET","path":"/�","protocol":"HTTP/1.1","response":200,"bytes":null,"referer":null,"agent":null}
        {"error":"empty","column":1}
        {"error":"truncated","column":10}
        {"host":"::1","ident":null,"authuser":"","datetime":"10/Oct/2000:13:55:36 +0000","time":"2000-10-10T13:55:36Z","request":"GET /� HTTP/1.1","method":"GET","path":"/�","protocol":"HTTP/1.1","response":200,"bytes":null,"referer":null,"agent":null}
        "#);
        assert_eq!(summary, ParseSummary { lines: 4, malformed: 2 });
    }

    #[test]
    fn what_acts_on_a_terminal_is_written_as_an_escape() {
        let line = LINE.replace("\\xff", "\\xc2\\x9b31m\\xe2\\x80\\xae\\x1b[2J\\x7f\u{202e}");
        let (text, summary) = printed(&line, 8 * 1024);
        assert_eq!(summary, ParseSummary { lines: 1, malformed: 0 });
        assert!(text.contains(r#""path":"/\u009b31m\u202e\u001b[2J\u007f\u202e""#), "{text}");
    }

    #[test]
    fn the_buffer_changes_nothing() {
        let long = |length: usize| {
            let path = "a".repeat(length - LINE.len());
            LINE.replace("GET /", &format!("GET /{path}"))
        };
        let lines = [
            LINE,
            &long(MAX_LINE),
            &(long(MAX_LINE) + "\r"),
            &long(MAX_LINE + 1),
            &long(3 * MAX_LINE),
            "",
            LINE,
        ];
        let input = lines.join("\n");
        let whole = printed(&input, input.len() + 1);
        assert_eq!(whole.1, ParseSummary { lines: 7, malformed: 3 });
        assert_eq!(whole.0.matches(r#"{"error":"too_long","column":131073}"#).count(), 2);
        for buffer in [1, 7, 4096, MAX_LINE, MAX_LINE + 2] {
            assert!(printed(&input, buffer) == whole, "{buffer}");
        }
        assert_eq!(printed("", 1), (String::new(), ParseSummary::default()));
    }

    #[test]
    fn a_reader_or_writer_that_fails_ends_it() {
        let format = LogFormat::named("common").unwrap();
        let full = &mut [0_u8; 10][..];
        let failed = run(LINE.as_bytes(), full, &format).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::WriteZero);
    }
}
