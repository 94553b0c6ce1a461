//! How calm or stormy a seed is. Draws once, does nothing.

use super::random::Random;

/// Which backend's semantics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// One process a stage; what belongs together is written in one transaction.
    Embedded,
    /// Several processes a stage; each call stands alone, and its answer may be lost.
    Aws,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Embedded, Self::Aws];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Aws => "aws",
        }
    }
}

/// Chances of faults at one point of a call, in millionths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rates {
    /// The process dies here.
    pub(crate) crash: u64,
    /// The call waits for long here.
    pub(crate) slow: u64,
    /// The process stands still for longer than a lease lasts.
    pub(crate) freeze: u64,
    /// The call is not made: try again.
    pub(crate) busy: u64,
    /// The call is not made, or perhaps is: give up.
    pub(crate) failed: u64,
    /// The call is made, and its answer lost.
    pub(crate) lost: u64,
    /// The answer does not come, and the call is made later.
    pub(crate) late: u64,
    /// The client library makes the call again after it was made.
    pub(crate) twice: u64,
    /// A record of a call is refused.
    pub(crate) record: u64,
    /// A read finds nothing though there is something.
    pub(crate) empty: u64,
}

/// What happens now and then, in seconds from one to the next on average; 0 is never.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) jump: u64,
    pub(crate) reshard: u64,
    pub(crate) reload: u64,
    pub(crate) intruder: u64,
    /// A process is stopped as an operator would.
    pub(crate) stop: u64,
    /// A process is killed, wherever it waits.
    pub(crate) kill: u64,
}

/// Everything that a seed decides at its start.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) rates: Rates,
    pub(crate) weather: Weather,
    pub(crate) storm_s: u64,
    pub(crate) window_ms: i64,
    pub(crate) lateness_ms: i64,
    pub(crate) correction_ms: i64,
    pub(crate) checkpoint_ms: u64,
    pub(crate) lease_ms: u64,
    pub(crate) refresh_ms: u64,
    pub(crate) record_age_ms: u64,
    pub(crate) batch: u64,
    pub(crate) nodes: usize,
    pub(crate) workers: usize,
    pub(crate) shards: [usize; 2],
    pub(crate) write_every_ms: u64,
}

/// Never, seldom, now and then, or often.
fn rate(random: &mut Random, most: u64) -> u64 {
    match random.below(5) {
        0 => 0,
        1 => most / 50,
        2 | 3 => most / 8,
        _ => random.below(most),
    }
}

fn every(random: &mut Random, least_s: u64) -> u64 {
    match random.below(4) {
        0 => 0,
        1 => least_s * 8,
        _ => random.between(least_s, least_s * 4),
    }
}

impl Plan {
    pub(crate) fn draw(random: &mut Random, kind: Kind) -> Self {
        let is_aws = kind == Kind::Aws;
        let aws = u64::from(is_aws);
        let rates = Rates {
            crash: rate(random, 15_000),
            slow: rate(random, 30_000),
            freeze: rate(random, 10_000) * aws,
            busy: rate(random, 200_000),
            failed: rate(random, 8_000),
            lost: rate(random, 100_000) * aws,
            late: rate(random, 60_000) * aws,
            twice: rate(random, 100_000) * aws,
            record: rate(random, 400_000) * aws,
            empty: rate(random, 300_000) * aws,
        };
        let weather = Weather {
            jump: every(random, 20),
            reshard: every(random, 25),
            reload: every(random, 20),
            intruder: every(random, 30) * (1 - aws),
            stop: every(random, 20),
            kill: every(random, 20),
        };
        let several = |random: &mut Random, most| {
            if is_aws { 1 + random.index(most) } else { 1 }
        };
        Self {
            rates,
            weather,
            storm_s: random.between(30, 180),
            window_ms: [5_000, 10_000, 60_000][random.index(3)],
            lateness_ms: [0, 1_000, 10_000][random.index(3)],
            correction_ms: [0, 5_000, 60_000][random.index(3)],
            checkpoint_ms: random.between(200, 15_000),
            lease_ms: random.between(2_000, 20_000),
            refresh_ms: random.between(700, 4_000),
            record_age_ms: random.between(0, 1_000),
            batch: random.between(1, 40),
            nodes: several(random, 3),
            workers: several(random, 3),
            shards: [1 + random.index(4), 1 + random.index(3)],
            write_every_ms: random.between(300, 4_000),
        }
    }
}
