//! How a command ends: an exit code of sysexits and, if need be, one line. Prints nothing.

use std::{error::Error as StdError, fmt, io, process::ExitCode};

use crate::{
    analyze::AnalyzeError, app::output, backend::BackendError, config::ConfigError, produce::ProduceError,
    reference, render::text::escape_terminal,
};

/// The exit codes, as sysexits(3) numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// A difference or an alarm was found.
    Found = 1,
    /// The command line cannot be understood.
    Usage = 64,
    /// The data cannot be used.
    Data = 65,
    /// Something that is needed is not there now: another process holds it, a service does not answer.
    Unavailable = 69,
    /// A fault of this program.
    Internal = 70,
    /// Reading or writing failed.
    Io = 74,
    /// The configuration cannot be used.
    Config = 78,
}

/// Why a command ended before its time, and with which code.
#[derive(Debug)]
pub struct Error {
    exit: Exit,
    cause: Box<dyn StdError + Send + Sync>,
    /// What a user needs to see beside the line.
    details: Vec<String>,
}

impl Error {
    /// Ends with `exit` because of `cause`: an error, or a text.
    pub fn new(exit: Exit, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let cause = cause.into();
        Self { exit, cause, details: Vec::new() }
    }

    /// Ends because of `cause`; its line begins with `what` was being done.
    pub fn doing(what: impl Into<String>, exit: Exit, cause: impl StdError + Send + Sync + 'static) -> Self {
        let what = what.into();
        Self::new(exit, Doing { what, cause: Box::new(cause) })
    }

    /// The same, but that the command line is to blame.
    #[must_use]
    pub fn of_the_command_line(self) -> Self {
        Self { exit: Exit::Usage, ..self }
    }

    /// The same, with lines below the first.
    #[must_use]
    pub fn with(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }

    /// The exit code. A reader of the results that left early (`| head`) has what it wanted: that is success.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if output::is_closed(&*self.cause) { Exit::Success } else { self.exit }
    }

    /// One line for standard error, with every cause once and nothing that acts on a terminal, and the details below it;
    /// nothing if the error is no failure.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        if self.exit() == Exit::Success {
            return None;
        }
        let details = self.details.iter().map(|detail| format!("\n  {}", escape_terminal(detail)));
        Some(format!("logtally: {self}{}", details.collect::<String>()))
    }
}

/// With every cause once, and nothing that acts on a terminal.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.cause.to_string();
        let mut next = self.cause.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !line.contains(&text) {
                line = format!("{line}: {text}");
            }
            next = cause.source();
        }
        f.write_str(&escape_terminal(&line))
    }
}

/// What was being done when `cause` came up.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Doing {
    what: String,
    #[source]
    cause: Box<dyn StdError + Send + Sync>,
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Config, error)
    }
}

impl From<ProduceError> for Error {
    fn from(error: ProduceError) -> Self {
        match error {
            ProduceError::Backend(error) => error.into(),
            ProduceError::Tail(_) => Self::new(Exit::Config, error),
            ProduceError::Stdin(_) => Self::new(Exit::Io, error),
        }
    }
}

impl From<AnalyzeError> for Error {
    fn from(error: AnalyzeError) -> Self {
        match error {
            AnalyzeError::Backend(error) => error.into(),
            AnalyzeError::WouldRecount { .. } => Self::new(Exit::Usage, error),
            AnalyzeError::Cut { .. } => Self::new(Exit::Data, error),
        }
    }
}

impl From<reference::Error> for Error {
    fn from(error: reference::Error) -> Self {
        match error {
            reference::Error::Store(error) => error.into(),
            reference::Error::Refused(_) | reference::Error::Edit(_) => Self::new(Exit::Data, error),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Io, error)
    }
}

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Self {
        let exit = match &error {
            BackendError::Busy { .. }
            | BackendError::Closed { .. }
            | BackendError::Unlisted { .. }
            | BackendError::Stopped { .. } => Exit::Unavailable,
            BackendError::Refused { .. } => Exit::Config,
            BackendError::Gone { .. } => Exit::Data,
            BackendError::Failed { .. } => Exit::Io,
        };
        Self::new(exit, error)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_every_cause_once_and_acts_on_no_terminal() {
        let io = || io::Error::other("disk \u{1b}[31mfull\n");
        let plain = Error::doing("cannot save the cut", Exit::Io, io());
        insta::assert_snapshot!(plain.line().unwrap(), @r"logtally: cannot save the cut: disk \x1b[31mfull\n");
        let repeated = Error::doing(format!("cannot save: {}", io()), Exit::Io, io());
        insta::assert_snapshot!(repeated.line().unwrap(), @r"logtally: cannot save: disk \x1b[31mfull\n");
        let text = Error::new(Exit::Data, "no line parses");
        insta::assert_snapshot!(text.line().unwrap(), @"logtally: no line parses");
        assert_eq!(text.exit(), Exit::Data);
        let detailed = text.with(vec!["a\nb".to_owned(), "c".to_owned()]).of_the_command_line();
        assert_eq!(detailed.line().unwrap(), "logtally: no line parses\n  a\\nb\n  c");
        assert_eq!(detailed.exit(), Exit::Usage);
    }

    #[test]
    fn a_backend_error_ends_by_what_can_be_done_about_it() {
        let why = "held by process 7".to_owned();
        assert_eq!(Error::from(BackendError::Closed { why: why.clone() }).exit(), Exit::Unavailable);
        let failed =
            BackendError::Failed { what: why, source: Some(Box::new(io::Error::other("short read"))) };
        let error = Error::from(failed);
        assert_eq!(error.exit(), Exit::Io);
        assert_eq!(error.line().as_deref(), Some("logtally: held by process 7: short read"));
    }
}
