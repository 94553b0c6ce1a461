//! How fast one core takes lines apart: bytes a second, and so lines; and how fast it finds who owns a host among a million
//! rows. Counts nothing.

mod data;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use logtally::engine::{
    format::{LogFormat, StampCache},
    reference::Reference,
};

use data::{Dice, combined};

/// Lines a measurement parses: a few megabytes, more than the caches next to the core hold.
const LINES: u64 = 20_000;

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
    let plain = combined(LINES, ipv4, "-");
    let widened: Vec<u8> = String::from_utf8_lossy(&plain).replace(" - - [", "  - - [").into_bytes();
    for (what, format, log) in [
        ("ipv4", &combined_format, &plain),
        ("names", &combined_format, &combined(LINES, name, "-")),
        ("ipv6", &combined_format, &combined(LINES, ipv6, "-")),
        ("users", &combined_format, &combined(LINES, ipv4, "frank")),
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

/// Hosts that the rows own, and some that nobody does, in no order.
fn resolve(criterion: &mut Criterion) {
    const HOSTS: usize = 100_000;
    let name = |n: u64| {
        format!("ip-10-{}-{}-{}.eu-west-{}.compute.internal", n >> 16, n >> 8 & 0xff, n & 0xff, n % 3)
    };
    let v4 = |n: u64| format!("10.{}.{}.{}", n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff);
    let v6 = |n: u64| format!("2001:db8:{:x}:{:x}::{:x}", n >> 16, n & 0xffff, (n * 40_503) & 0xffff);
    let v6_block = |n: u64| v6(n).replace("::", ":1:2:") + ":";
    let nobody = |n: u64| format!("192.{}.{}.{}", n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff);
    let kinds: [(&str, HostOf<'_>, HostOf<'_>, &str); 6] = [
        ("ipv4", &v4, &v4, ""),
        ("ipv6", &v6, &v6, ""),
        ("names", &name, &name, ""),
        ("ipv4 in blocks", &|n| v4(2 * n), &|n| v4(2 * n + 1), "/31"),
        ("ipv6 in blocks", &|n| v6_block(n) + "0", &|n| v6_block(n) + "7", "/125"),
        ("ipv4 of nobody", &v4, &nobody, ""),
    ];
    for rows in [2_400, 1_000_000] {
        let mut group = criterion.benchmark_group(format!("resolve/{rows}"));
        group.throughput(Throughput::Elements(HOSTS as u64));
        for (what, owned, host, prefix) in kinds {
            let row = |n: u64| format!("{}{prefix},App{},\n", owned(n), n % 60);
            let csv = format!("Host,ApplicationName,Contact\n{}", (0..rows).map(row).collect::<String>());
            let parsed = Reference::parse(csv.as_bytes()).expect("rows that are accepted");
            let mut dice = Dice(7);
            let hosts: Vec<String> = (0..HOSTS).map(|_| host(dice.roll(rows))).collect();
            let resolve = |host: &String| {
                let _ = black_box(parsed.reference.resolve(host.as_bytes()));
            };
            group.bench_function(what, |bencher| bencher.iter(|| hosts.iter().for_each(resolve)));
        }
        group.finish();
    }
}

/// Makes a host of a number.
type HostOf<'a> = &'a dyn Fn(u64) -> String;

criterion_group!(parse, benches, resolve);
criterion_main!(parse);
