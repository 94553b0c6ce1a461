//! Where the bytes stand that give a text its shape: newlines, quotes, and any other that is special to Apache's
//! escaping. Knows no format. The vector instructions are those of the machine that it runs on.

use fearless_simd::{Level, dispatch, prelude::*, u8x64};

/// How much text is looked at together: its marks, and itself, stay in a core's nearest cache.
pub(crate) const PIECE: usize = 16 * 1_024;

/// Bytes looked at with one comparison.
const CHUNK: usize = u64::BITS as usize;

/// Slots that are written whether a chunk has so many marks or not: mostly it has fewer, and then nothing branches.
const FEW: usize = 4;

/// Finds marks, and keeps room for those of one piece.
#[derive(Debug)]
pub(crate) struct Marks {
    level: Level,
    found: Vec<u32>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { level: Level::new(), found: Vec::new() }
    }
}

impl Marks {
    /// Where quotes, backslashes and control bytes (newlines among them) stand in `text`, at most [`PIECE`] bytes.
    pub(crate) fn find(&mut self, text: &[u8]) -> &[u32] {
        if self.found.is_empty() {
            self.found.resize(PIECE + CHUNK, 0);
        }
        let found = self.found.as_mut_slice();
        let count = dispatch!(self.level, simd => find(simd, text, found));
        self.found.get(..count).unwrap_or_default()
    }
}

#[expect(
    clippy::inline_always,
    reason = "only what is inlined here is compiled for the machine's instructions"
)]
#[inline(always)]
fn find<S: Simd>(simd: S, text: &[u8], found: &mut [u32]) -> usize {
    let (chunks, tail) = text.as_chunks::<CHUNK>();
    let (mut count, mut at) = (0, 0);
    for chunk in chunks {
        count += store(special(simd, chunk), at, found.get_mut(count..).unwrap_or_default());
        at += u64::BITS;
    }
    if tail.is_empty() {
        return count;
    }
    let mut last = [b' '; CHUNK];
    if let Some(room) = last.get_mut(..tail.len()) {
        room.copy_from_slice(tail);
    }
    count + store(special(simd, &last), at, found.get_mut(count..).unwrap_or_default())
}

/// A bit for each byte that is special.
#[expect(
    clippy::inline_always,
    reason = "only what is inlined here is compiled for the machine's instructions"
)]
#[inline(always)]
fn special<S: Simd>(simd: S, chunk: &[u8; CHUNK]) -> u64 {
    let bytes = u8x64::from_slice(simd, chunk);
    let found = bytes.simd_lt(b' ') | bytes.simd_eq(b'"') | bytes.simd_eq(b'\\') | bytes.simd_eq(0x7f);
    found.to_bitmask()
}

/// Writes the positions of the bits of `marks`, counted from `at`, to the front of `room`; returns how many.
#[expect(
    clippy::inline_always,
    reason = "only what is inlined here is compiled for the machine's instructions"
)]
#[inline(always)]
fn store(mut marks: u64, at: u32, room: &mut [u32]) -> usize {
    let count = marks.count_ones() as usize;
    if let Some((few, more)) = room.split_first_chunk_mut::<FEW>() {
        for slot in few {
            *slot = at + marks.trailing_zeros();
            marks &= marks.wrapping_sub(1);
        }
        for slot in more.iter_mut().take(count.saturating_sub(FEW)) {
            *slot = at + marks.trailing_zeros();
            marks &= marks.wrapping_sub(1);
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plainly(text: &[u8]) -> Vec<u32> {
        let special = |byte: u8| byte < b' ' || matches!(byte, b'"' | b'\\' | 0x7f);
        (0..).zip(text).filter(|&(_, &byte)| special(byte)).map(|(at, _)| at).collect()
    }

    #[test]
    fn every_byte_is_special_or_not_at_every_place() {
        let mut marks = Marks::default();
        for byte in 0..=u8::MAX {
            for (length, at) in [(1, 0), (64, 63), (65, 64), (PIECE, PIECE - 1)] {
                let mut text = vec![b'x'; length];
                text[at] = byte;
                assert_eq!(marks.find(&text), plainly(&text), "{byte} at {at} of {length}");
            }
        }
        assert!(marks.find(b"").is_empty());
        assert_eq!(marks.find(&[b'"'; PIECE]).len(), PIECE);
    }

    proptest! {
        #[test]
        fn marks_are_those_of_a_plain_loop(
            text in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\n'), 0x1e_u8..0x24, 0x7e_u8..0x81, any::<u8>()], 0..400),
        ) {
            let mut marks = Marks::default();
            prop_assert_eq!(marks.find(&text), plainly(&text));
        }
    }
}
