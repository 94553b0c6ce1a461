//! Random numbers for what must differ between processes: jitter, names, choices between equals. Nothing secret.
//!
//! They are the system's, unless the thread was given a seed: a simulation runs in one thread.

use std::cell::Cell;

thread_local! {
    static SEEDED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on the numbers of this thread follow from `seed`.
pub fn seed_thread(seed: u64) {
    SEEDED.set(Some(seed));
}

/// The next number.
///
/// # Errors
/// If the system has none.
pub fn u64() -> Result<u64, getrandom::Error> {
    let Some(state) = SEEDED.get() else { return getrandom::u64() };
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    SEEDED.set(Some(state));
    Ok(mixed(state))
}

/// Steele, Lea and Flood's `SplitMix64`.
const fn mixed(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn three() -> [u64; 3] {
        [u64().unwrap(), u64().unwrap(), u64().unwrap()]
    }

    #[test]
    fn only_a_seeded_thread_repeats_itself() {
        let seeded = || {
            seed_thread(7);
            three()
        };
        let threads = [thread::spawn(seeded), thread::spawn(seeded)].map(|thread| thread.join().unwrap());
        assert_eq!(threads[0], threads[1]);
        let free = [thread::spawn(three), thread::spawn(three)].map(|thread| thread.join().unwrap());
        assert_ne!(free[0], free[1]);
    }
}
