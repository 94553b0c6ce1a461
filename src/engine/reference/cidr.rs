//! Longest-prefix match over CIDR blocks: sorted, each knowing the block around it. Knows no names.

use std::net::IpAddr;

use crate::engine::reference::{
    Resolution,
    bits::{Bits, Packed},
    entry::{self, Entry},
    history::History,
    host::{Block, Family, bits},
    tag::Tag,
};

/// Of no block around.
const NONE: u32 = u32::MAX;

/// The blocks of both address spaces. CIDR blocks nest or are disjoint, so the innermost block of an address is the
/// last one that starts at or before it, or a block around that one: a binary search and a short climb.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    v4: Forest<u32>,
    v6: Forest<Packed>,
}

/// Blocks of one address space by their first address, the length of the prefix among the spare bits of the tag. Once
/// settled they are sorted, outer before inner, and `line` is the index of the innermost block around each.
#[derive(Clone, Debug)]
struct Forest<K> {
    nodes: Vec<Entry<K>>,
}

impl Blocks {
    /// Adds a row of `block`; [`Self::settle`] is still to come.
    pub(super) fn add(&mut self, block: Block, tag: Tag, line: u32) {
        match block.family {
            Family::V4 => self.v4.add(block, tag, line),
            Family::V6 => self.v6.add(block, tag, line),
        }
    }

    /// Sorts the blocks, of each one.
    pub(super) fn settle(&mut self, history: &mut History) {
        self.v4.settle(history);
        self.v6.settle(history);
    }

    /// What the innermost block around `address` resolves to.
    #[inline]
    pub(super) fn resolve(&self, address: IpAddr) -> Resolution {
        match bits(address) {
            (Family::V4, bits) => self.v4.resolve(bits),
            (Family::V6, bits) => self.v6.resolve(bits),
        }
    }

    /// What `block` itself resolves to, if it is one of these.
    pub(super) fn get(&self, block: Block) -> Option<Resolution> {
        match block.family {
            Family::V4 => self.v4.get(block),
            Family::V6 => self.v6.get(block),
        }
    }

    /// Every block and what it resolves to, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Block, Resolution)> {
        self.v4.iter().chain(self.v6.iter())
    }

    /// How many blocks there are.
    pub(super) fn len(&self) -> usize {
        self.v4.nodes.len() + self.v6.nodes.len()
    }

    /// Bytes that are written.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        size_of_val(self.v4.nodes.as_slice()) + size_of_val(self.v6.nodes.as_slice())
    }
}

impl<K> Default for Forest<K> {
    fn default() -> Self {
        Self { nodes: Vec::new() }
    }
}

impl<K: Bits> Forest<K> {
    fn add(&mut self, block: Block, tag: Tag, line: u32) {
        let tag = tag.with_spare(block.length.into());
        entry::push(&mut self.nodes, Entry { key: K::of(block.first), tag, line });
    }

    fn settle(&mut self, history: &mut History) {
        // The blocks around the one that is settled, outer before inner; each with its index and what it resolves to.
        let mut around: Vec<(Block, u32, Resolution)> = Vec::new();
        let order = |node: &Entry<K>| (node.key, node.tag.spare());
        entry::settle(
            &mut self.nodes,
            |left, right| order(left).cmp(&order(right)),
            |index, rows| {
                let Some(first) = rows.first() else { return (Tag::of(Resolution::Unowned), NONE) };
                let block = block(first);
                while around.pop_if(|(outer, ..)| !outer.contains(block.first)).is_some() {}
                let (parent, outside) = around
                    .last()
                    .map_or((NONE, Resolution::Unowned), |&(_, index, outside)| (index, outside));
                let tag = history.settle(rows, |_| block.to_string(), |_| outside);
                around.push((block, index, tag.resolution()));
                (tag.with_spare(block.length.into()), parent)
            },
        );
        self.nodes.shrink_to_fit();
    }

    #[inline]
    fn resolve(&self, bits: u128) -> Resolution {
        let key = K::of(bits);
        let behind = self.nodes.partition_point(|node| node.key <= key);
        let mut candidate = behind.wrapping_sub(1);
        while let Some(node) = self.nodes.get(candidate) {
            if block(node).contains(bits) {
                return node.tag.resolution();
            }
            candidate = node.line as usize;
        }
        Resolution::Unowned
    }

    fn get(&self, wanted: Block) -> Option<Resolution> {
        let key = (K::of(wanted.first), wanted.length.into());
        let found = self.nodes.binary_search_by_key(&key, |node| (node.key, node.tag.spare()));
        found.ok().and_then(|index| self.nodes.get(index)).map(|node| node.tag.resolution())
    }

    fn iter(&self) -> impl Iterator<Item = (Block, Resolution)> {
        self.nodes.iter().map(|node| (block(node), node.tag.resolution()))
    }
}

#[inline]
fn block<K: Bits>(node: &Entry<K>) -> Block {
    node.key.block(u8::try_from(node.tag.spare()).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::engine::reference::host::Host;

    fn block(text: &str) -> Block {
        match Host::parse(text) {
            Some(Host::Block(block, _)) => block,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn build(mut blocks: Vec<Block>) -> (Blocks, Vec<Block>) {
        blocks.sort_unstable();
        blocks.dedup();
        let mut built = Blocks::default();
        for (index, &block) in (0..).zip(&blocks) {
            built.add(block, Tag::new(index, false), index);
        }
        built.settle(&mut History::default());
        (built, blocks)
    }

    fn naive(blocks: &[Block], address: IpAddr) -> Resolution {
        let (family, bits) = bits(address);
        let holding = blocks.iter().enumerate();
        let holding = holding.filter(|(_, block)| block.family == family && block.contains(bits));
        let longest = holding.max_by_key(|(_, block)| block.length);
        longest.map_or(Resolution::Unowned, |(index, _)| Resolution::Owned(u32::try_from(index).unwrap()))
    }

    #[test]
    fn the_whole_of_one_address_space_holds_nothing_of_the_other() {
        let (blocks, _) = build(vec![block("::/0")]);
        assert_eq!(blocks.resolve(IpAddr::from(Ipv4Addr::LOCALHOST)), Resolution::Unowned);
        assert_eq!(blocks.resolve(IpAddr::from(Ipv6Addr::LOCALHOST)), Resolution::Owned(0));
        let (blocks, _) = build(vec![block("0.0.0.0/0")]);
        assert_eq!(blocks.resolve(IpAddr::from(Ipv4Addr::BROADCAST)), Resolution::Owned(0));
        assert_eq!(blocks.resolve(IpAddr::from(Ipv6Addr::UNSPECIFIED)), Resolution::Unowned);
    }

    proptest! {
        #[test]
        fn the_longest_prefix_wins(
            v4 in prop::collection::vec((0_u32..64, 0_u8..32), 0..24),
            v6 in prop::collection::vec((0_u128..64, 100_u8..128), 0..24),
        ) {
            let v4 = v4.into_iter().map(|(low, length)| format!("{}/{length}", Ipv4Addr::from_bits(low)));
            let v6 = v6.into_iter().map(|(low, length)| format!("{}/{length}", Ipv6Addr::from_bits(low)));
            let (built, blocks) = build(v4.chain(v6).map(|text| block(&text)).collect());
            for low in 0..70 {
                for address in [IpAddr::from(Ipv4Addr::from_bits(low)), Ipv6Addr::from_bits(low.into()).into()] {
                    prop_assert_eq!(built.resolve(address), naive(&blocks, address), "{}", address);
                }
            }
            prop_assert!(built.iter().map(|(block, _)| block).eq(blocks.iter().copied()));
            for &block in &blocks {
                prop_assert!(built.get(block).is_some());
            }
            prop_assert_eq!(built.get(block("192.0.2.0/24")), None);
        }
    }
}
