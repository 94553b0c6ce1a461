//! What the tailer has to say to the operator. It logs nothing itself: the stage does.

use std::{
    collections::HashSet,
    fmt::{self, Display},
    path::PathBuf,
};

/// Notices that one poll returns; of those beyond it only the number.
pub const MAX_NOTICES: usize = 200;

/// Standing troubles that are remembered, so that each is told once. Beyond it they may be told again.
const MAX_TOLD: usize = 20_000;

/// Something that the operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// A file is read from now on.
    Opened {
        /// Its name.
        path: PathBuf,
        /// Its new generation.
        generation: u64,
        /// Where reading starts.
        position: u64,
    },
    /// A file is read on in its copy or its compressed form.
    Continued {
        /// The name of the copy.
        path: PathBuf,
        /// The generation of the original.
        generation: u64,
        /// Where reading goes on.
        position: u64,
    },
    /// A file was truncated, or another one stands in its place; what is there now is a new generation.
    Replaced {
        /// Its name.
        path: PathBuf,
        /// The generation that ended.
        generation: u64,
        /// How far it was read.
        position: u64,
        /// Bytes that were there behind it, at least.
        unread: u64,
    },
    /// A file is gone, and neither a copy nor a compressed form of it was found.
    Gone {
        /// Its last name.
        path: PathBuf,
        /// Its generation.
        generation: u64,
        /// How far it was read.
        position: u64,
        /// Bytes lost, at least.
        unread: u64,
    },
    /// A file that was gone or unreadable can be read again.
    CameBack {
        /// Its name.
        path: PathBuf,
    },
    /// A file or directory cannot be read; it is tried again at every scan.
    Unreadable {
        /// Its name.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// A pattern matches something that is no regular file.
    Refused {
        /// Its name.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A symbolic link leads out of the watched directories.
    LeadsOut {
        /// The link.
        path: PathBuf,
    },
    /// A pattern matches no file.
    NothingMatches {
        /// The pattern.
        pattern: String,
    },
    /// More files match than are watched at once.
    TooManyFiles {
        /// How many match.
        matched: usize,
        /// How many are watched.
        limit: usize,
    },
    /// The patterns lead through more directory entries than one scan looks at, or deeper than it goes.
    TooManyEntries {
        /// Where it stopped.
        path: PathBuf,
    },
    /// A compressed file is broken; what could be unpacked was read.
    Broken {
        /// Its name.
        path: PathBuf,
        /// Its generation, if it has one.
        generation: Option<u64>,
        /// How far it was read.
        position: u64,
        /// What the unpacker says.
        why: String,
    },
    /// A compressed file from before the first start is not read, as `start = "end"` asks.
    PassedOver {
        /// Its name.
        path: PathBuf,
    },
    /// Nothing is remembered any longer about a file that is gone; if it came back it would be read again.
    Forgotten {
        /// Its last name.
        path: PathBuf,
        /// Its generation.
        generation: u64,
    },
    /// The system does not report changes; files are looked at once in every refresh interval.
    Polling {
        /// What the system says.
        why: String,
    },
    /// There were more notices than a poll returns.
    More {
        /// How many.
        count: usize,
    },
}

impl Notice {
    /// Whether it is trouble, not news.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        match self {
            Self::Opened { .. }
            | Self::Continued { .. }
            | Self::CameBack { .. }
            | Self::PassedOver { .. }
            | Self::Forgotten { .. } => false,
            Self::Replaced { unread, .. } => *unread > 0,
            Self::Gone { .. }
            | Self::Unreadable { .. }
            | Self::Refused { .. }
            | Self::LeadsOut { .. }
            | Self::NothingMatches { .. }
            | Self::TooManyFiles { .. }
            | Self::TooManyEntries { .. }
            | Self::Broken { .. }
            | Self::Polling { .. }
            | Self::More { .. } => true,
        }
    }
}

impl Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { path, generation, position } => {
                write!(f, "{}: reading from byte {position} as generation {generation}", path.display())
            }
            Self::Continued { path, generation, position } => write!(
                f,
                "{}: is a copy of generation {generation}, which is read on here from byte {position}",
                path.display()
            ),
            Self::Replaced { path, generation, position, unread } => write!(
                f,
                "{}: truncated or replaced after {position} bytes were read (generation {generation}); {} looked for \
                 in its copies, and lost if they are in none",
                path.display(),
                Unread(*unread, "were not read yet: they are", "bytes written behind them, if any, are")
            ),
            Self::Gone { path, generation, position, unread } => write!(
                f,
                "{}: gone, and no copy or compressed form of it was found; {position} bytes were read (generation \
                 {generation}); {}",
                path.display(),
                Unread(*unread, "are lost", "bytes written behind them, if any, are lost")
            ),
            Self::CameBack { path } => write!(f, "{}: can be read again", path.display()),
            Self::Unreadable { path, why } => write!(f, "{}: cannot be read: {why}", path.display()),
            Self::Refused { path, kind } => {
                write!(f, "{}: is {kind}, not a file: exclude it, or name the files", path.display())
            }
            Self::LeadsOut { path } => write!(
                f,
                "{}: is a link that leads out of the watched directories: set follow_links = true to read it",
                path.display()
            ),
            Self::NothingMatches { pattern } => {
                write!(f, "{pattern}: matches no file yet: if that stays so, check the pattern")
            }
            Self::TooManyFiles { matched, limit } => write!(
                f,
                "{matched} files match and only {limit} are watched: narrow the patterns or raise max_files"
            ),
            Self::TooManyEntries { path } => write!(
                f,
                "{}: too many or too deep directories to search: narrow the patterns",
                path.display()
            ),
            Self::Broken { path, position, why, .. } => write!(
                f,
                "{}: is broken behind byte {position} of its unpacked content, which was read: {why}",
                path.display()
            ),
            Self::PassedOver { path } => {
                write!(f, "{}: is older than the first start and not read (start = end)", path.display())
            }
            Self::Forgotten { path, generation } => {
                write!(f, "{}: is gone for long, generation {generation} is forgotten", path.display())
            }
            Self::Polling { why } => {
                write!(f, "no change notification, looking once in every refresh interval instead: {why}")
            }
            Self::More { count } => write!(f, "{count} more notices about files"),
        }
    }
}

/// How many bytes are known to be unread and what is so with them, and what is said if none are known.
struct Unread(u64, &'static str, &'static str);

impl Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(0, _, unknown) => f.write_str(unknown),
            Self(bytes, known, _) => write!(f, "at least {bytes} bytes {known}"),
        }
    }
}

/// Gathers the notices of a poll, each standing trouble once.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    pending: Vec<Notice>,
    more: usize,
    told: HashSet<Notice>,
    standing: HashSet<Notice>,
}

impl Notices {
    /// Something happened.
    pub(crate) fn add(&mut self, notice: Notice) {
        if self.pending.len() < MAX_NOTICES {
            self.pending.push(notice);
        } else {
            self.more += 1;
        }
    }

    /// Something is so at this scan: told when it begins.
    pub(crate) fn stands(&mut self, notice: Notice) {
        if !self.told.contains(&notice) && !self.standing.contains(&notice) {
            self.add(notice.clone());
        }
        if self.standing.len() < MAX_TOLD {
            self.standing.insert(notice);
        }
    }

    /// A scan is over: what no longer stands will be told when it begins again.
    pub(crate) fn end_of_scan(&mut self) {
        self.told = std::mem::take(&mut self.standing);
    }

    pub(crate) fn take(&mut self) -> Vec<Notice> {
        let mut notices = std::mem::take(&mut self.pending);
        let count = std::mem::take(&mut self.more);
        if count > 0 {
            notices.push(Notice::More { count });
        }
        notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_trouble_is_told_when_it_begins_and_when_it_begins_again() {
        let trouble = || Notice::Unreadable { path: "a".into(), why: "no".into() };
        let mut notices = Notices::default();
        let mut scan = |troubles: usize| {
            (0..troubles).for_each(|_| notices.stands(trouble()));
            notices.end_of_scan();
            notices.take().len()
        };
        assert_eq!([scan(2), scan(1), scan(0), scan(1), scan(1)], [1, 0, 0, 1, 0]);
    }

    #[test]
    fn notices_beyond_the_bound_are_counted() {
        let mut notices = Notices::default();
        for _ in 0..MAX_NOTICES + 3 {
            notices.add(Notice::CameBack { path: "a".into() });
        }
        let taken = notices.take();
        assert_eq!((taken.len(), taken.last()), (MAX_NOTICES + 1, Some(&Notice::More { count: 3 })));
        assert!(notices.take().is_empty());
    }

    #[test]
    fn of_standing_troubles_so_many_are_remembered_and_the_rest_told_again() {
        let mut notices = Notices::default();
        let trouble = |number: usize| Notice::Refused { path: number.to_string().into(), kind: "a pipe" };
        (0..=MAX_TOLD).for_each(|number| notices.stands(trouble(number)));
        notices.end_of_scan();
        assert_eq!(notices.told.len(), MAX_TOLD);
        notices.take();
        notices.stands(trouble(0));
        notices.stands(trouble(MAX_TOLD));
        assert_eq!(notices.take(), [trouble(MAX_TOLD)]);
    }

    #[test]
    fn messages_say_the_thing_and_the_remedy() {
        let path = || PathBuf::from("/var/log/a.log");
        let replaced = |unread| Notice::Replaced { path: path(), generation: 7, position: 90, unread };
        insta::assert_snapshot!(replaced(0), @"/var/log/a.log: truncated or replaced after 90 bytes were read (generation 7); bytes written behind them, if any, are looked for in its copies, and lost if they are in none");
        insta::assert_snapshot!(replaced(10), @"/var/log/a.log: truncated or replaced after 90 bytes were read (generation 7); at least 10 bytes were not read yet: they are looked for in its copies, and lost if they are in none");
        let gone = |unread| Notice::Gone { path: path(), generation: 7, position: 90, unread };
        insta::assert_snapshot!(gone(0), @"/var/log/a.log: gone, and no copy or compressed form of it was found; 90 bytes were read (generation 7); bytes written behind them, if any, are lost");
        insta::assert_snapshot!(gone(10), @"/var/log/a.log: gone, and no copy or compressed form of it was found; 90 bytes were read (generation 7); at least 10 bytes are lost");
        insta::assert_snapshot!(Notice::Refused { path: path(), kind: "a pipe" }, @"/var/log/a.log: is a pipe, not a file: exclude it, or name the files");
        insta::assert_snapshot!(Notice::LeadsOut { path: path() }, @"/var/log/a.log: is a link that leads out of the watched directories: set follow_links = true to read it");
        insta::assert_snapshot!(Notice::TooManyFiles { matched: 9, limit: 4 }, @"9 files match and only 4 are watched: narrow the patterns or raise max_files");
    }
}
