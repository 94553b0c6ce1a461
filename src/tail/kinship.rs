//! Whether an unknown file is the copy or the continuation of a known source. Judges by content.
//!
//! Names have a voice in one case only: two files of the same content that both stand there whole. An original and
//! its copy have names that differ like rotations (`access.log`, `access.log.1`, `access-20261121.log`); two virtual
//! hosts that were only asked for their health in the same seconds do not, and both count.

use std::{ffi::OsStr, fs::File, io, os::unix::ffi::OsStrExt, path::Path};

use crate::tail::{
    identity::{self, Content, HEAD, LOWEST, Ladder},
    open::{MAGIC, Packing},
    source::{Place, Source},
};

/// What rotation adds to a name, besides digits and punctuation.
const ROTATION_WORDS: [&str; 10] = ["gz", "zst", "zstd", "log", "old", "bak", "orig", "copy", "t", "z"];

/// A file that is no source yet.
pub(crate) struct Candidate<'a> {
    pub(crate) path: &'a Path,
    pub(crate) packing: Packing,
    file: &'a File,
    /// The beginning of the unpacked content, of a compressed file.
    prefix: Vec<u8>,
    /// How much of the content can be looked at.
    length: u64,
    /// Of the head, so that most strangers are told by it alone.
    ladder: Ladder,
}

/// What an unknown file is to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kin {
    /// Nothing.
    Stranger,
    /// It holds what the source holds, or a beginning of it.
    Copy,
    /// It holds what the source has lost, and perhaps more.
    Continuation,
}

impl Content for Candidate<'_> {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        if self.packing == Packing::Plain {
            self.file.fill(buffer, offset)
        } else {
            self.prefix.fill(buffer, offset)
        }
    }
}

/// How a file is packed, by its first bytes.
pub(crate) fn packing(file: &File) -> io::Result<Packing> {
    let mut first = [0; MAGIC];
    Ok(if file.fill(&mut first, 0)? { Packing::of(&first) } else { Packing::Plain })
}

impl<'a> Candidate<'a> {
    /// Reads the beginning of a compressed file; fails if it is broken.
    pub(crate) fn new(path: &'a Path, file: &'a File, packing: Packing) -> io::Result<Self> {
        let (prefix, length) = if packing == Packing::Plain {
            (Vec::new(), file.metadata()?.len())
        } else {
            let prefix = super::compressed::probe(file, packing)?;
            let length = prefix.len() as u64;
            (prefix, length)
        };
        let ladder = Ladder::default();
        let mut candidate = Self { path, packing, file, prefix, length, ladder };
        let rungs = candidate.ladder.growth(&candidate, length.min(HEAD))?;
        candidate.ladder.add(rungs);
        Ok(candidate)
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    fn is_packed(&self) -> bool {
        self.packing != Packing::Plain
    }

    /// What this file is to `source`.
    pub(crate) fn kin(&self, source: &mut Source) -> io::Result<Kin> {
        if !self.agrees(source)? {
            return Ok(Kin::Stranger);
        }
        // An original that cannot be read now is judged by what is known of it.
        let readable =
            source.place != Place::Lost && !source.is_packed() && matches!(source.ensure_open(), Ok(true));
        if readable && source.is_intact()? {
            return self.kin_of_living(source);
        }
        if source.place != Place::Lost {
            return Ok(Kin::Copy);
        }
        let longer = self.length >= source.stored.position;
        Ok(match source.stored.complete {
            true if self.is_packed() || self.length <= source.stored.position => Kin::Copy,
            true => Kin::Continuation,
            false if longer || self.is_packed() => Kin::Continuation,
            false => Kin::Copy,
        })
    }

    /// Whether the content agrees with the fingerprints of `source`, and enough of it.
    fn agrees(&self, source: &Source) -> io::Result<bool> {
        let stored = &source.stored;
        if !stored.ladder.has_head_of(&self.ladder) {
            return Ok(false);
        }
        let Some(mut agreed) = stored.ladder.agreement(self, self.length)? else {
            return Ok(false);
        };
        if stored.position > 0 && self.length >= stored.position {
            if identity::mark(self, stored.position)? != Some(stored.mark) {
                return Ok(false);
            }
            agreed = agreed.max(stored.position);
        }
        Ok(agreed >= LOWEST)
    }

    fn kin_of_living(&self, source: &Source) -> io::Result<Kin> {
        let Some(original) = &source.file else {
            return Ok(Kin::Stranger);
        };
        let size = original.metadata()?.len();
        if !identity::same_prefix(original, self, size.min(self.length))? {
            return Ok(Kin::Stranger);
        }
        let deleted = source.place == Place::Deleted;
        let longer = !self.is_packed() && self.length > size && !deleted;
        let related = deleted
            || self.is_packed()
            || source.names().iter().any(|name| names_are_related(name, self.path));
        Ok(if related && !longer { Kin::Copy } else { Kin::Stranger })
    }
}

/// Whether a lost log may be found under `other`: a name as rotation gives them, or the same in another directory.
pub(crate) fn names_are_near(one: &Path, other: &Path) -> bool {
    one.file_name() == other.file_name() || names_are_related(one, other)
}

/// Whether two names differ as those of a log and its rotated copy do.
fn names_are_related(one: &Path, other: &Path) -> bool {
    let (Some(first), Some(second)) = (one.file_name(), other.file_name()) else {
        return false;
    };
    if first == second {
        // The same name in two directories: two logs of two services.
        return false;
    }
    let common = first.as_bytes().iter().zip(second.as_bytes()).take_while(|(a, b)| a == b).count();
    let letters = first.as_bytes().iter().take(common).any(u8::is_ascii_alphabetic);
    letters && is_rotation(first, common) && is_rotation(second, common)
}

fn is_rotation(name: &OsStr, common: usize) -> bool {
    let rest = name.as_bytes().get(common..).unwrap_or_default().to_ascii_lowercase();
    rest.split(|byte| !byte.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
        .all(|word| ROTATION_WORDS.iter().any(|known| known.as_bytes() == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rotated_copies_are_related_and_names_of_other_logs_are_not() {
        let related = |one: &str, other: &str| names_are_related(Path::new(one), Path::new(other));
        for copy in [
            "access.log.1",
            "access.log.1.gz",
            "access.log-20261121",
            "access-20261121.log",
            "access.log.2026-11-21T00",
            "access.log.bak",
            "access.1.log.zst",
        ] {
            assert!(related("/var/log/access.log", &format!("/var/log/old/{copy}")), "{copy}");
        }
        assert!(related("/a/access.log.1", "/a/access.log.2"));
        for (one, other) in [
            ("/a/access.log", "/a/ssl-access.log"),
            ("/a/access.log", "/a/access_ssl.log"),
            ("/a/site_a-access.log", "/a/site_b-access.log"),
            ("/a/site1/access.log", "/a/site2/access.log"),
            ("/a/1.log", "/a/2.log"),
        ] {
            assert!(!related(one, other), "{one} {other}");
        }
    }
}
