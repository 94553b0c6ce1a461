//! Numbers that look random and are the same for the same seed, on every machine. No entropy.

/// Steele, Lea and Flood's `SplitMix64`: one addition and three mixing steps a number.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Even in `0..bound`; 0 for no bound.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        scaled(self.next() >> 32, bound)
    }

    /// True in `share` of 1,000 cases.
    pub(crate) fn per_mille(&mut self, share: usize) -> bool {
        self.below(1000) < share
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        from.get(self.below(from.len())).expect("a list to pick from is not empty")
    }
}

/// `bits` (32 of them) scaled to `0..bound`.
fn scaled(bits: u64, bound: usize) -> usize {
    usize::try_from((bits * bound as u64) >> 32).unwrap_or(0)
}

/// Zipf's law with exponent 1 over `0..n`, drawn in constant time (Walker's alias method).
pub(crate) struct Zipf(Vec<(u64, usize)>);

impl Zipf {
    pub(crate) fn new(n: usize) -> Self {
        // Whole numbers instead of floating point: the same table everywhere. The weights sum to n × SCALE, so that
        // SCALE is the average: what a rank has beyond it tops up ranks below it.
        const SCALE: u64 = 1 << 32;
        let harmonic: u64 = (1..=n as u64).map(|rank| SCALE / rank).sum();
        let weight =
            |rank: u64| u128::from(SCALE / rank) * u128::from(SCALE) * n as u128 / u128::from(harmonic);
        let mut weights: Vec<u64> =
            (1..=n as u64).map(|rank| u64::try_from(weight(rank)).unwrap_or(u64::MAX)).collect();
        let mut table: Vec<(u64, usize)> = (0..n).map(|rank| (SCALE, rank)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..n).partition(|&rank| weights[rank] < SCALE);
        while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
            table[low] = (weights[low], high);
            weights[high] -= SCALE - weights[low];
            if weights[high] < SCALE {
                large.pop();
                small.push(high);
            }
        }
        Self(table)
    }

    pub(crate) fn draw(&self, random: &mut Random) -> usize {
        let bits = random.next();
        let rank = scaled(bits >> 32, self.0.len());
        let (share, alias) = self.0[rank];
        if bits & 0xffff_ffff < share { rank } else { alias }
    }
}
