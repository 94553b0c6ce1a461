//! Combined log lines and reference data that are the same in every run. Measures nothing.

use std::fmt::Write as _;

/// Values that differ from line to line but not from run to run (an LCG with Knuth's constants).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// From 0 to less than `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0 and then some more of it for length",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605",
];

/// Combined lines of about 243 bytes from 2000-10-10T20:00:00Z on: many paths, a minute every 3,000 lines.
pub(crate) fn combined(lines: u64, host: impl Fn(&mut Dice) -> String, user: &str) -> Vec<u8> {
    let mut dice = Dice(42);
    let mut log = String::new();
    for line in 0..lines {
        let host = host(&mut dice);
        let (minute, second) = (line / 3_000 % 60, line / 50 % 60);
        let path =
            format!("/shop/category/{}/item/{}?p={:x}", dice.roll(90), dice.roll(9_000), dice.roll(1 << 10));
        let status = [200, 200, 200, 304, 404, 500]
            .get(usize::try_from(dice.roll(6)).unwrap_or(0))
            .copied()
            .unwrap_or(200);
        let agent = AGENTS.get(usize::try_from(dice.roll(4)).unwrap_or(0)).copied().unwrap_or_default();
        let bytes = dice.roll(100_000);
        let written = writeln!(
            log,
            "{host} - {user} [10/Oct/2000:13:{minute:02}:{second:02} -0700] \"GET {path} HTTP/1.1\" {status} {bytes} \
             \"https://www.example.com/\" \"{agent}\""
        );
        debug_assert!(written.is_ok(), "a string takes what is written to it");
    }
    log.into_bytes()
}
