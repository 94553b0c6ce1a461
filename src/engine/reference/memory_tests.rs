//! How much memory a million rows take, counted in what holds them: a quarter of it, of a quarter of the rows.

use super::*;

const ROWS: u32 = 1_000_000 / 4;

/// Four times this and what a process takes with few hosts are less than 64 MB together.
const MOST: usize = (45 << 20) / 4;

/// The most bytes that are taken while the rows are read and settled, and behind it.
fn held(row: impl Fn(u32) -> String) -> usize {
    let mut loader = Loader::default();
    loader.push(b"Host,ApplicationName,Contact,ValidFrom\n");
    for n in 0..ROWS {
        loader.push(row(n).as_bytes());
    }
    let settling = loader.held();
    let parsed = loader.finish().unwrap();
    assert_eq!(parsed.reference.len(), ROWS as usize);
    // The last table of all is made of hosts and their hashes, of four bytes.
    settling.max(parsed.reference.held() + 4 * ROWS as usize)
}

#[test]
fn a_million_rows_of_any_kind_and_10_000_applications_fit() {
    let octets = |n: u32| format!("{}.{}.{}", n >> 16, n >> 8 & 0xff, n & 0xff);
    let v4 = |n: u32| format!("10.{}", octets(n));
    let v6 = |n: u32| format!("2001:db8:{:x}:{:x}::1", n >> 16, n & 0xffff);
    let name = |n: u32| format!("ip-10-{}.eu-west-{}.compute.internal", octets(n).replace('.', "-"), n % 3);
    let v4_block = |n: u32| format!("{}/31", v4(2 * n));
    let v6_block = |n: u32| v6(n).replace("::1", "::/127");
    let kinds: [(&str, &dyn Fn(u32) -> String); 6] = [
        ("IPv4 addresses", &v4),
        ("IPv6 addresses", &v6),
        ("names", &name),
        ("IPv4 blocks", &v4_block),
        ("IPv6 blocks", &v6_block),
        ("all of them", &|n| match n % 5 {
            0 => v4(n),
            1 => v6(n),
            2 => name(n),
            3 => v4_block(n),
            _ => v6_block(n),
        }),
    ];
    let owner = |n: u32| format!("Application{},team{}@example.com", n % (10_000 / 4), n % 250);
    for (kind, host) in kinds {
        let held = held(|n| format!("{},{},\n", host(n), owner(n)));
        assert!(held < MOST, "{kind}: {held} bytes");
    }
    let since = |n: u32| format!("2026-11-{:02}T{:02}:{:02}:{:02}Z", 1 + n % 28, n % 24, n % 60, n % 59);
    for (kind, host) in [("IPv4 addresses", &v4 as &dyn Fn(u32) -> String), ("IPv4 blocks", &v4_block)] {
        let held = held(|n| format!("{},{},{}\n", host(n), owner(n), since(n)));
        assert!(held < MOST, "{kind} with a validity: {held} bytes");
    }
}
