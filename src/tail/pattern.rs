//! File patterns, compiled. Looks at no directory.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use globset::{Glob, GlobBuilder, GlobMatcher};

use crate::tail::TailError;

/// A pattern, component by component.
pub(crate) struct Pattern {
    /// As configured.
    pub(crate) text: String,
    /// The directories that are named, not matched.
    pub(crate) base: PathBuf,
    /// The rest; the last one matches files.
    pub(crate) parts: Vec<Part>,
}

/// One component of a pattern.
pub(crate) enum Part {
    Literal(OsString),
    Glob { matcher: GlobMatcher, dots: bool },
    AnyDepth,
}

pub(crate) fn absolute(text: &str) -> Result<String, TailError> {
    let path = std::path::absolute(text).map_err(|error| TailError::pattern(text, &error))?;
    path.into_os_string().into_string().map_err(|_| {
        TailError::pattern(text, &"the working directory is not UTF-8: give an absolute pattern")
    })
}

pub(crate) fn glob(pattern: &str, text: &str) -> Result<Glob, TailError> {
    GlobBuilder::new(text)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| TailError::pattern(pattern, error.kind()))
}

fn is_literal(part: &OsStr) -> bool {
    !part.as_bytes().iter().any(|byte| b"*?[]{}\\".contains(byte))
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Result<Self, TailError> {
        if text.is_empty() {
            return Err(TailError::pattern(
                text,
                &"it is empty: name a file, as /var/log/apache2/access.log*",
            ));
        }
        if brace_across_directories(text) {
            return Err(TailError::pattern(text, &"braces cannot span directories: write several patterns"));
        }
        let path = absolute(text)?;
        let mut base = PathBuf::from("/");
        let mut parts = Vec::new();
        for part in Path::new(&path).components().filter(|part| !matches!(part, Component::RootDir)) {
            let part = part.as_os_str();
            if parts.is_empty() && is_literal(part) {
                base.push(part);
            } else {
                parts.push(Part::new(text, part)?);
            }
        }
        if parts.is_empty() {
            let name = base.file_name().map(OsStr::to_owned);
            let name = name.ok_or_else(|| TailError::pattern(text, &"it names no file"))?;
            base.pop();
            parts.push(Part::Literal(name));
        }
        if matches!(parts.last(), Some(Part::AnyDepth)) {
            parts.push(Part::new(text, OsStr::new("*"))?);
        }
        parts.dedup_by(|one, other| matches!((one, other), (Part::AnyDepth, Part::AnyDepth)));
        Ok(Self { text: text.to_owned(), base, parts })
    }

    /// Whether it is the path of one file.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.parts.as_slice(), [Part::Literal(_)])
    }
}

fn brace_across_directories(text: &str) -> bool {
    let mut open = false;
    text.bytes().any(|byte| {
        open = (open || byte == b'{') && byte != b'}';
        open && byte == b'/'
    })
}

impl Part {
    fn new(pattern: &str, part: &OsStr) -> Result<Self, TailError> {
        let text = part.to_str().unwrap_or_default();
        Ok(match text {
            "**" => Self::AnyDepth,
            _ if is_literal(part) => Self::Literal(part.to_owned()),
            _ => Self::Glob { matcher: glob(pattern, text)?.compile_matcher(), dots: text.starts_with('.') },
        })
    }

    pub(crate) fn matches(&self, name: &OsStr) -> bool {
        let hidden = name.as_bytes().starts_with(b".");
        match self {
            Self::Literal(literal) => literal == name,
            Self::Glob { matcher, dots } => (*dots || !hidden) && matcher.is_match(name),
            Self::AnyDepth => !hidden,
        }
    }
}
