//! Standard output for results. Formats nothing.

use std::{
    error::Error as StdError,
    io::{self, BufWriter, Write},
};

/// How many bytes of results are gathered before they are written.
const BUFFER: usize = 64 * 1024;

/// Standard output, buffered. A reader that went away shows as an error that is told from every other
/// broken pipe. Flush it at the end: what is still buffered is lost with it.
pub struct Results<W: Write = io::Stdout>(BufWriter<W>);

/// The reader of the results went away.
#[derive(Debug, thiserror::Error)]
#[error("the reader of standard output went away")]
struct Closed;

impl Results {
    /// Results to this process's standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(io::stdout())
    }
}

impl<W: Write> Results<W> {
    fn new(out: W) -> Self {
        Self(BufWriter::with_capacity(BUFFER, out))
    }
}

impl<W: Write> Write for Results<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(mark)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(mark)
    }
}

fn mark(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return io::Error::new(io::ErrorKind::BrokenPipe, Closed);
    }
    io::Error::new(error.kind(), Failed(error))
}

#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
struct Failed(io::Error);

/// Whether `error` comes down to a reader of [`Results`] that went away, however deep writers have wrapped it.
pub(super) fn is_closed(error: &(dyn StdError + 'static)) -> bool {
    if error.is::<Closed>() {
        return true;
    }
    // An io::Error names the source of what it wraps, and not what it wraps.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.is_some_and(|wrapped| is_closed(wrapped)) || error.source().is_some_and(is_closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::{Error, Exit},
        render::{Column, Format, Report, render},
    };

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    fn rendered(format: Format, kind: io::ErrorKind) -> Error {
        let report = Report {
            columns: vec![Column::left("name", "Name")],
            rows: vec![vec!["x".repeat(BUFFER).into()]; 3],
        };
        let mut out = Results::new(Broken(kind));
        render(&report, format, &mut out).and_then(|()| out.flush()).unwrap_err().into()
    }

    #[test]
    fn a_reader_that_left_is_success_in_every_format() {
        for format in [Format::Table, Format::Csv, Format::Json] {
            let error = rendered(format, io::ErrorKind::BrokenPipe);
            assert_eq!(error.exit(), Exit::Success, "{format:?}: {error:?}");
            assert_eq!(error.line(), None);
            let full = rendered(format, io::ErrorKind::StorageFull);
            assert_eq!(full.exit(), Exit::Io);
            assert_eq!(
                full.line().as_deref(),
                Some("logtally: cannot write to standard output: no storage space")
            );
        }
    }

    #[test]
    fn another_broken_pipe_is_a_failure() {
        let error = Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(error.exit(), Exit::Io);
    }
}
