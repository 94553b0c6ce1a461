//! Rows of one kind of host, gathered as they come and then settled in their place. Knows no CSV.

use std::cmp::Ordering;

use crate::engine::reference::{MAX_ROWS, tag::Tag};

/// A row of a host; once settled, the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<K> {
    pub(super) key: K,
    pub(super) tag: Tag,
    /// The line of the file; once settled, what the table makes of it.
    pub(super) line: u32,
}

/// From so many things on, there is room for all that can come.
const MANY: usize = 1 << 14;

/// Makes room for as many things as can come, once there are many. Room that nobody writes is no memory, but what grows
/// step by step is copied at each, and leaves its copies behind.
pub(super) fn make_room<T>(things: &mut Vec<T>, most: usize) {
    if things.len() >= MANY && things.capacity() < most {
        things.reserve_exact(most - things.len());
    }
}

/// Adds a row of a file.
pub(super) fn push<K>(rows: &mut Vec<Entry<K>>, row: Entry<K>) {
    make_room(rows, MAX_ROWS);
    rows.push(row);
}

/// Sorts rows host by host, and those of each in the order of the file, and leaves one entry a host, with the tag and
/// `line` that `settle` makes of its rows; it is also told how many hosts are before. Takes no further memory.
pub(super) fn settle<K: Copy>(
    rows: &mut Vec<Entry<K>>,
    compare: impl Fn(&Entry<K>, &Entry<K>) -> Ordering,
    mut settle: impl FnMut(u32, &[Entry<K>]) -> (Tag, u32),
) {
    rows.sort_unstable_by(|left, right| compare(left, right).then_with(|| left.line.cmp(&right.line)));
    let (mut at, mut hosts) = (0, 0);
    while let Some(&first) = rows.get(at) {
        let end = at + rows.iter().skip(at).take_while(|row| compare(row, &first).is_eq()).count();
        let before = small(hosts);
        let (tag, line) = settle(before, rows.get(at..end).unwrap_or_default());
        if let Some(place) = rows.get_mut(hosts) {
            *place = Entry { tag, line, ..first };
        }
        hosts += 1;
        at = end;
    }
    rows.truncate(hosts);
}

/// Lines, owners and steps of a file fit 32 bits: its bytes and rows are bounded.
pub(super) fn small(number: impl TryInto<u32>) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}
