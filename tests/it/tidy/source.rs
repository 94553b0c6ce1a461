//! The files of the house, and their code without comments, texts and tests. Judges nothing.

use std::{fs, path::Path};

/// A file and what it holds.
pub(super) struct File {
    /// From the root of the package, with `/`.
    pub(super) path: String,
    /// As it is.
    pub(super) text: String,
}

impl File {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Every Rust file and every Markdown file of the package.
    pub(super) fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        for dir in ["src", "tests", "benches", "docs", "examples", "fuzz/fuzz_targets"] {
            walk(root, &root.join(dir), &mut files);
        }
        for entry in fs::read_dir(root).unwrap() {
            add(root, &entry.unwrap().path(), &mut files);
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    pub(super) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    pub(super) fn is_markdown(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "md")
    }

    /// The code alone: comments, texts and what is compiled for tests only are blank, line ends stay.
    pub(super) fn code(&self) -> String {
        without_tests(&without_words(&self.text))
    }

    /// The line, from 1, of the byte `at`.
    pub(super) fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }
}

/// Whether `file` is a module that its parent declares for tests only.
pub(super) fn is_for_tests(file: &File, files: &[File]) -> bool {
    files.iter().filter(|parent| parent.is_rust()).any(|parent| {
        let code = without_words(&parent.text);
        let dir = module_dir(&parent.path);
        code.match_indices("#[cfg(test)]").any(|(at, attribute)| {
            let item = code[at + attribute.len()..].trim_start();
            let name = item.strip_prefix("mod ").and_then(|rest| rest.split_once(';'));
            name.is_some_and(|(name, _)| {
                file.path == format!("{dir}/{name}.rs") || file.path.starts_with(&format!("{dir}/{name}/"))
            })
        })
    })
}

/// The directory in which the modules that `path` declares live.
pub(super) fn module_dir(path: &str) -> String {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => dir.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    }
}

/// `text` with comments, texts and characters blanked, byte for byte.
fn without_words(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let length = word_at(&text.as_bytes()[at..], at.checked_sub(1).map(|before| bytes[before]));
        if length == 0 {
            code.push(bytes[at]);
            at += 1;
        } else {
            code.extend(bytes[at..at + length].iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
            at += length;
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// The length of the comment, text or character that begins here; 0 if none does.
fn word_at(rest: &[u8], before: Option<u8>) -> usize {
    let inside_name = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => comment(rest),
        [b'"', ..] => quoted(rest, b'"'),
        [b'r', b'"' | b'#', ..] if !inside_name => raw(rest, 1),
        [b'b', b'r', b'"' | b'#', ..] if !inside_name => raw(rest, 2),
        [b'\'', b'\\', ..] => quoted(rest, b'\''),
        [b'\'', tail @ ..] => {
            // A character ends within four bytes; else it is a lifetime.
            let end = tail.iter().take(5).position(|&byte| byte == b'\'');
            end.filter(|&end| end > 0 && (end == 1 || tail[0] >= 0x80)).map_or(0, |end| end + 2)
        }
        _ => 0,
    }
}

fn comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A raw text whose `r` is just before `rest[prefix]`; 0 for `r#name`.
fn raw(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return 0;
    }
    let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let body = prefix + hashes + 1;
    let found = rest[body..].windows(end.len()).position(|window| window == end);
    found.map_or(rest.len(), |found| body + found + end.len())
}

/// `code` (without words) with every item under `#[cfg(test)]` blanked.
fn without_tests(code: &str) -> String {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let mut rest = code.to_owned();
    while let Some(start) = rest.find(ATTRIBUTE) {
        let end = item_end(rest.as_bytes(), start + ATTRIBUTE.len());
        let blank: String = rest[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        rest.replace_range(start..end, &blank);
    }
    rest
}

/// Behind the `;` or the closing brace of the item that follows `at`.
fn item_end(code: &[u8], at: usize) -> usize {
    let mut depth = 0;
    for (index, byte) in code.iter().enumerate().skip(at) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return index + 1,
            b'}' => depth -= 1,
            b';' if depth == 0 => return index + 1,
            _ => {}
        }
    }
    code.len()
}

fn walk(root: &Path, dir: &Path, files: &mut Vec<File>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, files);
        } else {
            add(root, &path, files);
        }
    }
}

fn add(root: &Path, path: &Path, files: &mut Vec<File>) {
    let wanted = path.extension().is_some_and(|extension| extension == "rs" || extension == "md");
    if wanted && path.is_file() {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        files.push(File::new(&name, &fs::read_to_string(path).unwrap()));
    }
}

#[test]
fn code_is_what_remains_without_comments_texts_and_tests() {
    let text = r##"//! crate::a
use crate::b; /* crate::c /* crate::d */ crate::e */ fn f<'x>(t: &'x str) -> char { '"' }
const T: &str = "crate::g \" crate::h"; const R: &str = r#"crate::i " crate::j"#; const B: u8 = b'\'';
#[cfg(test)]
mod tests { use crate::k; fn l() { if true { crate::m(); } } }
#[cfg(test)]
mod more;
fn n() { crate::o(); let q = '}'; let é = 'é'; }
"##;
    let code = File::new("src/x.rs", text).code();
    assert_eq!(code.len(), text.len());
    let named: Vec<&str> = code.split("crate::").skip(1).map(|rest| &rest[..1]).collect();
    assert_eq!(named, ["b", "o"], "{code}");
}

#[test]
fn files_for_tests_are_known_by_their_parents() {
    let files = [
        File::new("src/a/mod.rs", "#[cfg(test)]\nmod tests;\nmod real;"),
        File::new("src/a/tests.rs", ""),
        File::new("src/a/tests/deep.rs", ""),
        File::new("src/a/real.rs", "#[cfg(test)]\nmod inner;"),
        File::new("src/a/real/inner.rs", ""),
    ];
    let found: Vec<bool> = files.iter().map(|file| is_for_tests(file, &files)).collect();
    assert_eq!(found, [false, true, true, false, true]);
}
