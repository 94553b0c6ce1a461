//! Which application owns a host: the reference CSV, joined by name, address or CIDR block. Opens no file.
//!
//! The file comes in blocks, and nothing of it is kept but what the tables hold: an IPv4 address in four bytes, an IPv6
//! address in sixteen, a name without its domain, and four bytes for the owner of each; of few hosts their text as well.
//! A name is looked up as the log has it, and brought into canonical form only if it is not found; an address that is not
//! found goes to the blocks.

mod addresses;
mod bits;
mod build;
mod cidr;
mod csv;
mod difference;
pub mod edit;
#[cfg(test)]
mod edit_tests;
mod entry;
mod error;
mod history;
mod host;
mod loader;
#[cfg(test)]
mod loader_tests;
#[cfg(test)]
mod memory_tests;
mod names;
#[cfg(test)]
mod oracle;
mod plain;
mod sample;
mod scan;
mod split;
mod table;
mod tag;
#[cfg(test)]
mod tests;
mod texts;
mod validity;

use std::{fmt, net::IpAddr};

use self::{
    addresses::Addresses,
    bits::{Bits, Packed},
    cidr::Blocks,
    host::{Family, Host},
    names::Names,
    texts::Texts,
    validity::Timelines,
};
pub use self::{
    difference::{Changes, Difference},
    error::{Fault, ReferenceError},
    loader::Loader,
};
use crate::engine::time::Timestamp;

/// The most rows a file may have; one with more is refused.
pub const MAX_ROWS: usize = 2_000_000;

/// The most bytes a file may have; a larger one is refused.
pub const MAX_BYTES: usize = 256 * 1024 * 1024;

/// The most bytes a row may have, its line end included; a file with a longer one is refused.
pub const MAX_ROW_BYTES: usize = 1024 * 1024;

/// The most distinct applications a file may name; one with more is refused.
pub const MAX_APPLICATIONS: usize = 65_536;

/// The most characters of an application's name; a file with a longer one is refused.
pub const MAX_APPLICATION: usize = 256;

/// The most characters of a contact; a file with a longer one is refused.
pub const MAX_CONTACT: usize = 1_024;

/// Who owns a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The application's name, never empty.
    pub application: String,
    /// Whom to contact; may be empty.
    pub contact: String,
}

/// What a host resolves to, as long as the same [`Reference`] is in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// Nobody owns it.
    Unowned,
    /// This index into [`Reference::owners`] does, at all times.
    Owned(u32),
    /// That depends on the time: ask [`Reference::owner_at`].
    ByTime(u32),
}

/// Reference data, complete and immutable.
///
/// ```
/// use logtally::engine::reference::{Reference, Resolution};
/// let csv = b"Host,ApplicationName,Contact\n10.0.0.0/8,Billing,billing@example.com\n";
/// let reference = Reference::parse(csv)?.reference;
/// let Resolution::Owned(owner) = reference.resolve(b"::ffff:10.1.2.3") else { panic!() };
/// assert_eq!(reference.owners()[owner as usize].application, "Billing");
/// assert_eq!(reference.resolve(b"192.0.2.1"), Resolution::Unowned);
/// # Ok::<(), logtally::engine::reference::ReferenceError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Reference {
    owners: Vec<Owner>,
    /// One owner of each application, sorted by name.
    applications: Vec<u32>,
    names: Names,
    v4: Addresses<u32>,
    v6: Addresses<Packed>,
    blocks: Blocks,
    timelines: Timelines,
    /// Of few names and addresses, once more.
    texts: Texts,
}

/// A file that was accepted.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// What it says.
    pub reference: Reference,
    /// What is odd about it: the first 20 in the order of the file.
    pub warnings: Vec<Warning>,
    /// How many warnings there were.
    pub warnings_total: u64,
}

/// What is odd about a file that is accepted nevertheless.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// Two rows of one host are valid at the same time; the last one in the file wins.
    Repeated {
        /// The row that wins.
        row: u64,
        /// The host in canonical form.
        host: String,
        /// A row that loses.
        earlier: u64,
    },
    /// A block has bits behind its prefix; they are ignored.
    HostBits {
        /// The row.
        row: u64,
        /// The block as written.
        host: String,
        /// The block in force.
        read_as: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated { row, host, earlier } => {
                write!(f, "row {row}: {host} is also in row {earlier}: the last row wins")
            }
            Self::HostBits { row, host, read_as } => {
                write!(f, "row {row}: {host} has bits behind its prefix: read as {read_as}")
            }
        }
    }
}

impl Reference {
    /// Reads the CSV: the header `Host,ApplicationName,Contact` in any order and case, blanks around cells, byte order
    /// mark and any line ends accepted, further columns and blank rows ignored; optional `ValidFrom` (inclusive) and
    /// `ValidTo` (exclusive), RFC 3339.
    ///
    /// # Errors
    /// The first fault of the file, with its row.
    pub fn parse(csv: &[u8]) -> Result<Parsed, ReferenceError> {
        let mut loader = Loader::default();
        loader.push(csv);
        loader.finish()
    }

    /// Every distinct application and contact of the file, in its order; at most one a row.
    #[must_use]
    pub fn owners(&self) -> &[Owner] {
        &self.owners
    }

    /// Every distinct application, sorted.
    pub fn applications(&self) -> impl Iterator<Item = &str> {
        let owners = self.applications.iter();
        let owners = owners.filter_map(|&owner| self.owners.get(owner as usize));
        owners.map(|owner| owner.application.as_str())
    }

    /// Who owns `host`, the bytes of a log. A name or address of the file beats its blocks, and the longest prefix beats
    /// the others.
    #[inline]
    #[must_use]
    pub fn resolve(&self, host: &[u8]) -> Resolution {
        self.texts.get(host).unwrap_or_else(|| self.resolve_text(host))
    }

    /// The owner at `time` of a host that resolved to `resolution`: an index into [`Self::owners`].
    #[inline]
    #[must_use]
    pub fn owner_at(&self, resolution: Resolution, time: Timestamp) -> Option<u32> {
        match resolution {
            Resolution::Unowned => None,
            Resolution::Owned(owner) => Some(owner),
            Resolution::ByTime(_) => self.timelines.owner_at(resolution, time),
        }
    }

    /// How many hosts and blocks the file has, each counted once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len() + self.v4.len() + self.v6.len() + self.blocks.len()
    }

    /// Whether the file has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `newer` changes.
    #[must_use]
    pub fn difference(&self, newer: &Self) -> Difference {
        Difference::between(self, newer)
    }

    /// Bytes that are taken.
    #[cfg(test)]
    fn held(&self) -> usize {
        let applications = self.applications.capacity() * size_of::<u32>();
        let hosts = self.names.held() + self.v4.held() + self.v6.held() + self.blocks.held();
        hosts + self.texts.held() + self.timelines.held() + build::owners_held(&self.owners) + applications
    }

    #[inline]
    fn resolve_text(&self, host: &[u8]) -> Resolution {
        if let Some(address) = plain::address(host) {
            return self.resolve_address(address);
        }
        self.names.get(host).unwrap_or_else(|| self.resolve_other(host))
    }

    /// What is written otherwise, if it can be a host at all.
    fn resolve_other(&self, host: &[u8]) -> Resolution {
        let short = Some(host).filter(|host| host.len() <= host::MAX_HOST);
        match short.and_then(|host| std::str::from_utf8(host).ok()).and_then(Host::parse) {
            Some(Host::Address(address)) => self.resolve_address(address),
            Some(Host::Name(name)) if name.as_bytes() != host => {
                self.names.get(name.as_bytes()).unwrap_or(Resolution::Unowned)
            }
            Some(Host::Name(_) | Host::Block(..)) | None => Resolution::Unowned,
        }
    }

    fn resolve_address(&self, address: IpAddr) -> Resolution {
        let own = match host::bits(address) {
            (Family::V4, bits) => self.v4.get(Bits::of(bits)),
            (Family::V6, bits) => self.v6.get(Bits::of(bits)),
        };
        own.unwrap_or_else(|| self.blocks.resolve(address))
    }
}
