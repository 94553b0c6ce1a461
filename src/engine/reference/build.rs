//! Rows in, `Reference` out: hands each row to the table of its kind, and numbers the owners. Reads no CSV.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::{HashTable, hash_table::Entry as Place};

use crate::engine::reference::{
    MAX_APPLICATIONS, Owner, Parsed, Reference, ReferenceError, Warning,
    addresses::Addresses,
    bits::{Bits, Packed},
    cidr::Blocks,
    csv,
    entry::{self, Entry, small},
    history::History,
    host::{Family, Host, bits},
    names::NameRows,
    texts::Texts,
    validity::Claim,
};

/// Collects rows.
#[derive(Debug, Default)]
pub(super) struct Builder {
    owners: Owners,
    names: NameRows,
    v4: Vec<Entry<u32>>,
    v6: Vec<Entry<Packed>>,
    blocks: Blocks,
    history: History,
}

impl Builder {
    /// Adds one row of the file.
    pub(super) fn add(&mut self, row: &csv::Row<'_>) {
        let owner = self.owners.index(row.application, row.contact);
        let tag = self.history.tag(Claim { period: row.period, owner });
        let line = small(row.line);
        match &row.host {
            Host::Name(name) => self.names.add(name, tag, line),
            Host::Address(address) => match bits(*address) {
                (Family::V4, bits) => entry::push(&mut self.v4, Entry { key: Bits::of(bits), tag, line }),
                (Family::V6, bits) => entry::push(&mut self.v6, Entry { key: Bits::of(bits), tag, line }),
            },
            Host::Block(block, cleared) => {
                if *cleared {
                    let (host, read_as) = (row.host_text.to_owned(), block.to_string());
                    self.history.warn(row.line, Warning::HostBits { row: row.line, host, read_as });
                }
                self.blocks.add(*block, tag, line);
            }
        }
    }

    /// Bytes of names, addresses, blocks and validities until they are settled, and four a row for their hashes, then.
    /// Room that vectors have behind their rows was never written: it is no memory yet.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let v4 = self.v4.len() * size_of::<Entry<u32>>();
        let v6 = self.v6.len() * size_of::<Entry<Packed>>();
        let most = self.names.len().max(self.v4.len()).max(self.v6.len());
        let rows = v4 + v6 + self.names.held() + self.blocks.held() + self.history.timelines.written();
        rows + most * size_of::<u32>() + owners_held(&self.owners.list)
    }

    /// Settles who owns each host.
    pub(super) fn finish(self) -> Result<Parsed, ReferenceError> {
        let applications = self.owners.applications();
        if applications.len() > MAX_APPLICATIONS {
            return Err(ReferenceError::TooManyApplications(applications.len()));
        }
        let Self { owners, names, v4, v6, mut blocks, mut history } = self;
        blocks.settle(&mut history);
        let around = |address| blocks.resolve(address);
        let names = names.settle(&mut history);
        let v4 = Addresses::settle(v4, &mut history, around);
        let v6 = Addresses::settle(v6, &mut history, around);
        let texts = (names.iter())
            .chain(v4.iter().map(|(address, resolution)| (address.address().to_string(), resolution)))
            .chain(v6.iter().map(|(address, resolution)| (address.address().to_string(), resolution)));
        let texts = Texts::of(names.len() + v4.len() + v6.len(), texts);
        let History { mut timelines, warnings } = history;
        timelines.shrink();
        Ok(Parsed {
            reference: Reference {
                owners: owners.list,
                applications,
                names,
                v4,
                v6,
                blocks,
                timelines,
                texts,
            },
            warnings: warnings.kept.into_iter().map(|(_, warning)| warning).collect(),
            warnings_total: warnings.total,
        })
    }
}

/// Each distinct owner once, in the order of the file.
#[derive(Debug, Default)]
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
            Place::Occupied(known) => *known.get(),
            Place::Vacant(vacant) => {
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

/// Bytes that owners take.
#[cfg(test)]
pub(super) fn owners_held(owners: &[Owner]) -> usize {
    let text = |owner: &Owner| owner.application.capacity() + owner.contact.capacity();
    size_of_val(owners) + owners.iter().map(text).sum::<usize>()
}
