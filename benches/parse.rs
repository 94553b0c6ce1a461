//! How fast one core takes lines apart: bytes a second, and so lines. Counts and joins nothing.

use std::{fmt::Write, hint::black_box};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use logtally::engine::format::{LogFormat, StampCache};

/// Lines a measurement parses: a few megabytes, more than the caches next to the core hold.
const LINES: u64 = 20_000;

/// Values that differ from line to line but not from run to run (an LCG with Knuth's constants).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
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

/// Combined lines of about 243 bytes: many hosts, many paths, a minute every 3,000 lines.
fn combined(host: impl Fn(&mut Dice) -> String, user: &str) -> Vec<u8> {
    let mut dice = Dice(42);
    let mut log = String::new();
    for line in 0..LINES {
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

fn ipv4(dice: &mut Dice) -> String {
    let octets: Vec<String> = (0..4).map(|_| dice.roll(256).to_string()).collect();
    octets.join(".")
}

fn name(dice: &mut Dice) -> String {
    format!("web-{}.eu-west-1.example.com", dice.roll(5_000))
}

fn ipv6(dice: &mut Dice) -> String {
    format!("2001:db8:{:x}::{:x}", dice.roll(65_536), dice.roll(65_536))
}

fn parse_all(format: &LogFormat, lines: &[&[u8]]) -> u64 {
    let mut stamps = StampCache::default();
    let mut sum = 0_u64;
    for line in lines {
        if let Ok(event) = format.parse(black_box(line), &mut stamps) {
            let event = black_box(&event);
            sum = sum.wrapping_add(event.bytes).wrapping_add(event.client.len() as u64);
        }
    }
    sum
}

fn benches(criterion: &mut Criterion) {
    let combined_format = LogFormat::named("combined");
    let stepwise = LogFormat::compile(r#"%h  %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#).ok();
    let plain = combined(ipv4, "-");
    let widened: Vec<u8> = String::from_utf8_lossy(&plain).replace(" - - [", "  - - [").into_bytes();
    for (what, format, log) in [
        ("ipv4", &combined_format, &plain),
        ("names", &combined_format, &combined(name, "-")),
        ("ipv6", &combined_format, &combined(ipv6, "-")),
        ("users", &combined_format, &combined(ipv4, "frank")),
        ("stepwise", &stepwise, &widened),
    ] {
        let Some(format) = format else { continue };
        let lines: Vec<&[u8]> = log.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
        let mut group = criterion.benchmark_group(format!("parse/{what}"));
        group.throughput(Throughput::Bytes(log.len() as u64));
        group.bench_function("bytes", |bencher| bencher.iter(|| parse_all(format, &lines)));
        group.throughput(Throughput::Elements(lines.len() as u64));
        group.bench_function("lines", |bencher| bencher.iter(|| parse_all(format, &lines)));
        group.finish();
    }
}

criterion_group!(parse, benches);
criterion_main!(parse);
