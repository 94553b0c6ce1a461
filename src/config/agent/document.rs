//! One JSON file with comments, as the agent takes them. Judges no key.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::config::{ConfigError, MAX_FILE};

/// A file and the object in it.
#[derive(Clone, PartialEq)]
pub(super) struct Document {
    place: String,
    pub(super) entries: Map<String, Value>,
}

impl Document {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        File::open(path).map_err(failed)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(failed(io::Error::other("it is over 1 MiB, which no configuration is")));
        }
        Self::parse(&path.display().to_string(), &bytes)
    }

    /// Reads a text; `place` is the name of its file.
    pub(super) fn parse(place: &str, text: &[u8]) -> Result<Self, ConfigError> {
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        match serde_json::from_slice(&without_comments(text)) {
            Ok(entries) => Ok(Self { place: place.to_owned(), entries }),
            Err(error) => {
                let text = error.to_string();
                let problem = text.split_once(" at line ").map_or(text.as_str(), |(problem, _)| problem);
                // What is JSON and no object is repeated in the text, and may be a secret.
                let problem = if error.is_data() { String::new() } else { format!(": {problem}") };
                Err(ConfigError::Invalid {
                    origin: format!("{place} line {}", error.line()),
                    problem: format!("it is no JSON object{problem}"),
                })
            }
        }
    }

    /// The name of the file.
    pub(super) fn place(&self) -> &str {
        &self.place
    }
}

/// Without its entries: they may hold a secret.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Document").field(&self.place).finish()
    }
}

/// Every `*.json` in `directory` beside `file`, by name; none if there is no such directory.
pub(super) fn beside(file: &Path, directory: &str) -> Result<Vec<PathBuf>, ConfigError> {
    let directory = file.parent().unwrap_or(Path::new("")).join(directory);
    let failed = |source| ConfigError::Read { path: directory.clone(), source };
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if is_json && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The text with its comments blanked: `//` and `/* */`, which JSON does not have and the agent takes.
fn without_comments(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let (mut quoted, mut rest) = (false, text);
    while let Some((&byte, after)) = rest.split_first() {
        let length = match rest {
            [b'\\', _, ..] if quoted => 2,
            [b'/', b'/', ..] if !quoted => rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] if !quoted => {
                let end = after.windows(2).skip(1).position(|pair| pair == b"*/");
                end.map_or(rest.len(), |end| end + 4)
            }
            _ => {
                quoted ^= byte == b'"';
                1
            }
        };
        let (part, behind) = rest.split_at(length.min(rest.len()));
        let comment = !quoted && part.starts_with(b"/") && part.len() > 1;
        let blank = |&byte: &u8| if comment && byte != b'\n' { b' ' } else { byte };
        plain.extend(part.iter().map(blank));
        rest = behind;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_lines_stay() {
        for (text, plain) in [
            ("{\"a\": \"x//y/*z*/\"} // c", "{\"a\": \"x//y/*z*/\"}     "),
            ("/* a\nb */{\"a\\\"//\": 1}", "    \n    {\"a\\\"//\": 1}"),
            ("/*/ x */{}", "        {}"),
            ("{} /* open", "{}        "),
            ("{\"a\": 4 / 2}", "{\"a\": 4 / 2}"),
        ] {
            assert_eq!(String::from_utf8(without_comments(text.as_bytes())).unwrap(), plain);
        }
    }

    #[test]
    fn a_file_that_is_no_object_is_refused_with_its_line() {
        let refused = |text: &str| Document::parse("agent.json", text.as_bytes()).unwrap_err().to_string();
        let refusals =
            ["", "[1]", "\"s3cret\"", "{\n/* c */ \"a\": 1,\n}", "{\"a\": \"\u{1}\"}", "{} x"].map(refused);
        insta::assert_snapshot!(refusals.join("\n"), @r#"
        agent.json line 1: it is no JSON object: EOF while parsing a value
        agent.json line 1: it is no JSON object
        agent.json line 1: it is no JSON object
        agent.json line 3: it is no JSON object: trailing comma
        agent.json line 1: it is no JSON object: control character (\u0000-\u001F) found while parsing a string
        agent.json line 1: it is no JSON object: trailing characters
        "#);
        assert!(Document::parse("a", "\u{feff}{}".as_bytes()).unwrap().entries.is_empty());
    }
}
