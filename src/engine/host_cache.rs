//! Hosts repeat: a small cache in front of the join. Joins nothing itself.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::engine::reference::Resolution;

/// A direct-mapped cache of resolutions. Longer hosts than a slot holds pass it by.
#[derive(Debug)]
pub(crate) struct HostCache {
    slots: Vec<HostSlot>,
    hasher: FixedState,
}

#[derive(Clone, Copy, Debug)]
struct HostSlot {
    resolution: Resolution,
    length: u8,
    host: [u8; HOST_BYTES],
}

/// Holds every textual address and most names; makes a slot 56 bytes.
const HOST_BYTES: usize = 47;
const HOST_SLOTS: usize = 4_096;

impl Default for HostCache {
    fn default() -> Self {
        let empty = HostSlot { resolution: Resolution::Unowned, length: 0, host: [0; HOST_BYTES] };
        Self { slots: vec![empty; HOST_SLOTS], hasher: FixedState::default() }
    }
}

impl HostCache {
    #[inline]
    pub(crate) fn resolve(&mut self, host: &[u8], resolve: impl FnOnce(&[u8]) -> Resolution) -> Resolution {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits choose the slot")]
        let index = self.hasher.hash_one(host) as usize % HOST_SLOTS;
        let Some(slot) = self.slots.get_mut(index) else {
            return resolve(host);
        };
        if slot.host.get(..usize::from(slot.length)) == Some(host) && !host.is_empty() {
            return slot.resolution;
        }
        let resolution = resolve(host);
        if let (Some(room), Ok(length)) = (slot.host.get_mut(..host.len()), u8::try_from(host.len())) {
            room.copy_from_slice(host);
            slot.length = length;
            slot.resolution = resolution;
        }
        resolution
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_cache_never_confuses_hosts() {
        let mut cache = HostCache::default();
        for round in 0..2 {
            for n in 0..20_000_u32 {
                let host = format!("{}{n}", "h".repeat(n as usize % 60));
                let found = cache.resolve(host.as_bytes(), |_| Resolution::Owned(n));
                assert_eq!(found, Resolution::Owned(n), "{round}");
            }
        }
        assert_eq!(cache.resolve(b"", |_| Resolution::Unowned), Resolution::Unowned);
    }
}
