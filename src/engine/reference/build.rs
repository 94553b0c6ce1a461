//! Rows in, `Reference` out: groups the rows of each host and settles who owns it. Reads no CSV.

use std::{fmt, hash::BuildHasher};

use foldhash::fast::FixedState;
use hashbrown::{HashTable, hash_table::Entry};

use crate::engine::reference::{
    MAX_APPLICATIONS, Owner, Parsed, Reference, ReferenceError, Resolution, Warning,
    cidr::Blocks,
    csv,
    error::row_at,
    host::{Block, Host},
    sample::Sample,
    table::HostTable,
    validity::{Claim, Period, Timelines},
};

/// Collects rows. Row numbers and offsets fit 32 bits because rows and bytes of a file are bounded.
#[derive(Default)]
pub(super) struct Builder {
    owners: Owners,
    /// Each name and address, and its last row.
    hosts: HostTable<u32>,
    blocks: Vec<(Block, u32)>,
    history: History,
}

/// What must be known of every row until all are read.
#[derive(Default)]
struct History {
    rows: Vec<Row>,
    timelines: Timelines,
    warnings: Sample<Note>,
}

struct Row {
    owner: u32,
    /// Where the row begins in the file.
    at: u32,
    /// The row of the same host before this one.
    previous: Option<u32>,
    /// Boxed because few rows have any.
    period: Option<Box<Period>>,
}

/// A warning that has not yet counted lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Note {
    at: u32,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Repeated { host: String, earlier: u32 },
    HostBits { host: String, read_as: String },
}

impl Builder {
    /// Adds one row of the file.
    pub(super) fn add(&mut self, row: &csv::Row<'_>) {
        let index = small(self.history.rows.len());
        let at = small(row.at);
        let previous = match &row.host {
            Host::Name(name) => self.hosts.insert(name.as_bytes(), index),
            Host::Address(_) => self.hosts.insert(row.host.to_string().as_bytes(), index),
            Host::Block(block, cleared) => {
                if *cleared {
                    let (host, read_as) = (row.host_text.to_owned(), block.to_string());
                    let what = What::HostBits { host, read_as };
                    self.history.warnings.add(Note { at, what });
                }
                self.blocks.push((*block, index));
                None
            }
        };
        self.history.rows.push(Row {
            owner: self.owners.index(row.application, row.contact),
            at,
            previous,
            period: (row.period != Period::ALWAYS).then(|| Box::new(row.period)),
        });
    }

    /// Settles who owns each host. `data` is the file, to find lines in.
    pub(super) fn finish(mut self, data: &[u8]) -> Result<Parsed, ReferenceError> {
        let applications = self.owners.applications();
        if applications.len() > MAX_APPLICATIONS {
            return Err(ReferenceError::TooManyApplications(applications.len()));
        }
        let mut history = self.history;
        let mut blocks = Blocks::default();
        self.blocks.sort_unstable(); // rows of one block stay in the order of the file
        for rows in self.blocks.chunk_by(|left, right| left.0 == right.0) {
            let Some(&(block, _)) = rows.first() else { continue };
            let chain: Vec<u32> = rows.iter().map(|&(_, row)| row).collect();
            blocks.push(block, |around| history.settle(&block, &chain, around));
        }
        drop(self.blocks);
        blocks.shrink();
        let hosts = self.hosts.map(|host, last| history.settle_host(host, last, &blocks));
        let reference =
            Reference { owners: self.owners.list, applications, hosts, blocks, timelines: history.timelines };
        Ok(Parsed {
            reference,
            warnings: history.warnings.kept.into_iter().map(|note| note.warning(data)).collect(),
            warnings_total: history.warnings.total,
        })
    }
}

impl History {
    /// Settles a name or address, given its last row.
    fn settle_host(&mut self, host: &[u8], last: u32, blocks: &Blocks) -> Resolution {
        let row = self.rows.get(last as usize);
        if let Some(Row { owner, previous: None, period: None, .. }) = row {
            return Resolution::Owned(*owner); // nearly every host: one row, always valid
        }
        let before = |&row: &u32| self.rows.get(row as usize).and_then(|row| row.previous);
        let mut chain: Vec<u32> = std::iter::successors(Some(last), before).collect();
        chain.reverse();
        let host = String::from_utf8_lossy(host);
        let around = host.parse().map_or(Resolution::Unowned, |address| blocks.resolve(address));
        self.settle(&host, &chain, around)
    }

    /// Settles a host, given its rows in the order of the file.
    fn settle(&mut self, host: &impl fmt::Display, chain: &[u32], around: Resolution) -> Resolution {
        let Self { rows, timelines, warnings } = self;
        let rows: Vec<&Row> = chain.iter().filter_map(|&row| rows.get(row as usize)).collect();
        if let [Row { owner, period: None, .. }] = rows.as_slice() {
            return Resolution::Owned(*owner);
        }
        let claim = |row: &&Row| Claim {
            owner: row.owner,
            period: row.period.as_deref().copied().unwrap_or(Period::ALWAYS),
        };
        let claims: Vec<Claim> = rows.iter().map(claim).collect();
        timelines.add(&claims, around, |later, earlier| {
            let (Some(later), Some(earlier)) = (rows.get(later), rows.get(earlier)) else {
                return;
            };
            let what = What::Repeated { host: host.to_string(), earlier: earlier.at };
            warnings.add(Note { at: later.at, what });
        })
    }
}

impl Note {
    fn warning(self, data: &[u8]) -> Warning {
        let row = row_at(data, self.at as usize);
        match self.what {
            What::Repeated { host, earlier } => {
                Warning::Repeated { row, host, earlier: row_at(data, earlier as usize) }
            }
            What::HostBits { host, read_as } => Warning::HostBits { row, host, read_as },
        }
    }
}

/// Each distinct owner once, in the order of the file.
#[derive(Default)]
struct Owners {
    list: Vec<Owner>,
    index: HashTable<u32>,
    hasher: FixedState,
}

impl Owners {
    fn index(&mut self, application: &str, contact: &str) -> u32 {
        let Self { list, index, hasher } = self;
        let is = |&known: &u32| {
            list.get(known as usize)
                .is_some_and(|owner| owner.application == application && owner.contact == contact)
        };
        let hash_of = |&known: &u32| {
            list.get(known as usize)
                .map_or(0, |owner| hasher.hash_one((owner.application.as_str(), owner.contact.as_str())))
        };
        match index.entry(hasher.hash_one((application, contact)), is, hash_of) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let new = small(list.len());
                vacant.insert(new);
                list.push(Owner { application: application.to_owned(), contact: contact.to_owned() });
                new
            }
        }
    }

    /// One owner of each application, sorted by name.
    fn applications(&self) -> Vec<u32> {
        let name = |index: &u32| self.list.get(*index as usize).map(|owner| owner.application.as_str());
        let mut applications: Vec<u32> = (0..small(self.list.len())).collect();
        applications.sort_by(|left, right| name(left).cmp(&name(right)));
        applications.dedup_by(|left, right| name(left) == name(right));
        applications.shrink_to_fit();
        applications
    }
}

/// Numbers of rows and bytes of a file fit 32 bits: both are bounded.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
