//! What there is to say of an agent's configuration. Finds nothing itself.

use std::fmt;

/// What becomes of a key or a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Known, and without effect here.
    Ignored,
    /// Known, and not supported.
    Unsupported,
    /// Not known; the agent passes over it.
    Unknown,
    /// The agent would refuse it.
    Invalid,
}

impl Verdict {
    /// The name that users see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Unsupported => "not supported",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
        }
    }
}

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, and the flow in it by its number among all flows.
    pub place: String,
    /// The key; empty where it is about the whole.
    pub key: String,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why, or what to do. Never a secret.
    pub note: String,
}

impl Finding {
    pub(super) fn new(place: &str, key: &str, verdict: Verdict, note: impl Into<String>) -> Self {
        Self { place: place.to_owned(), key: key.to_owned(), verdict, note: note.into() }
    }
}

/// For people: `agent.json flow 2: fileFooterPattern is not supported: …`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{} is {}: ", self.key, self.verdict.as_str())?;
        }
        f.write_str(&self.note)
    }
}
