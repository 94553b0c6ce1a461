//! Longest-prefix match over CIDR blocks: sorted, each knowing the block around it. Knows no names.

use std::net::IpAddr;

use crate::engine::reference::{
    Resolution,
    host::{Block, Family, bits},
};

/// The blocks of both address spaces. CIDR blocks nest or are disjoint, so the innermost block of an address is the
/// last one that starts at or before it, or a block around that one: a binary search and a short climb.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    v4: Forest,
    v6: Forest,
}

/// Blocks of one address space, sorted by first address, outer before inner.
#[derive(Clone, Debug, Default)]
struct Forest {
    firsts: Vec<u128>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    length: u8,
    /// Index of the innermost block around this one.
    around: Option<u32>,
    resolution: Resolution,
}

impl Blocks {
    /// Appends a block; blocks come in their order (`Block: Ord`), each once. `resolve` is told what the block around
    /// it resolves to.
    pub(super) fn push(&mut self, block: Block, resolve: impl FnOnce(Resolution) -> Resolution) {
        let forest = match block.family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        let around = forest.innermost(block.first, block.family);
        let resolution = resolve(forest.resolution(around));
        forest.firsts.push(block.first);
        forest.nodes.push(Node { length: block.length, around, resolution });
    }

    /// What the innermost block around `address` resolves to.
    pub(super) fn resolve(&self, address: IpAddr) -> Resolution {
        let (family, bits) = bits(address);
        let forest = self.forest(family);
        forest.resolution(forest.innermost(bits, family))
    }

    /// What `block` itself resolves to, if it is one of these.
    pub(super) fn get(&self, block: Block) -> Option<Resolution> {
        let forest = self.forest(block.family);
        let start = forest.firsts.partition_point(|&first| first < block.first);
        (start..)
            .map_while(|index| forest.block(index, block.family).zip(forest.nodes.get(index)))
            .take_while(|(found, _)| found.first == block.first)
            .find(|(found, _)| *found == block)
            .map(|(_, node)| node.resolution)
    }

    /// Every block and what it resolves to, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Block, Resolution)> {
        [Family::V4, Family::V6].into_iter().flat_map(|family| {
            let forest = self.forest(family);
            let blocks = (0..forest.nodes.len()).filter_map(move |index| forest.block(index, family));
            blocks.zip(forest.nodes.iter().map(|node| node.resolution))
        })
    }

    /// How many blocks there are.
    pub(super) fn len(&self) -> usize {
        self.v4.nodes.len() + self.v6.nodes.len()
    }

    /// Gives back what the vectors hold beyond their contents.
    pub(super) fn shrink(&mut self) {
        for forest in [&mut self.v4, &mut self.v6] {
            forest.firsts.shrink_to_fit();
            forest.nodes.shrink_to_fit();
        }
    }

    fn forest(&self, family: Family) -> &Forest {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

impl Forest {
    fn innermost(&self, bits: u128, family: Family) -> Option<u32> {
        let behind = self.firsts.partition_point(|&first| first <= bits);
        let mut candidate = u32::try_from(behind.checked_sub(1)?).ok();
        while let Some(index) = candidate {
            if self.block(index as usize, family)?.contains(bits) {
                return candidate;
            }
            candidate = self.nodes.get(index as usize)?.around;
        }
        None
    }

    fn block(&self, index: usize, family: Family) -> Option<Block> {
        let (&first, node) = self.firsts.get(index).zip(self.nodes.get(index))?;
        Some(Block { family, first, length: node.length })
    }

    fn resolution(&self, index: Option<u32>) -> Resolution {
        index
            .and_then(|index| self.nodes.get(index as usize))
            .map_or(Resolution::Unowned, |node| node.resolution)
    }
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
        for (index, &block) in blocks.iter().enumerate() {
            built.push(block, |_| Resolution::Owned(u32::try_from(index).unwrap()));
        }
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
            v4 in prop::collection::vec((0_u32..64, 0_u8..=32), 0..24),
            v6 in prop::collection::vec((0_u128..64, 100_u8..=128), 0..24),
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
