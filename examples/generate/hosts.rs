//! Who calls: 3,000 hosts, four fifths of them owned by one of 60 applications. Writes no log lines.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::random::Random;

/// All hosts; every fifth is owned by nobody.
pub(crate) const HOSTS: usize = 3_000;

/// Owners of the others.
pub(crate) const APPLICATIONS: usize = 60;

const NAMES: [&str; 12] = [
    "Billing",
    "Catalogue",
    "Checkout",
    "Inventory",
    "Invoices",
    "Ledger",
    "Orders",
    "Payments",
    "Search",
    "Shipping",
    "Tickets",
    "Warehouse",
];
const KINDS: [&str; 5] = ["", " API", " Batch", " Mobile", " Sync"];
const ROLES: [&str; 4] = ["web", "worker", "cron", "edge"];

/// By rank: the first calls most.
pub(crate) fn hosts(seed: u64) -> Vec<String> {
    let mut random = Random::new(seed ^ 0x686f_7374);
    (0..HOSTS).map(|rank| host(rank, &mut random)).collect()
}

/// 70 % IPv4, 15 % IPv6, 15 % names; distinct because each holds its rank.
fn host(rank: usize, random: &mut Random) -> String {
    let byte = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    let word = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
    let extra = random.below(250);
    match rank % 20 {
        0..14 => Ipv4Addr::new(10, byte(rank / 250), byte(rank % 250), byte(extra + 1)).to_string(),
        14..17 => {
            let group = word(random.below(0xffff));
            Ipv6Addr::new(0x2001, 0xdb8, group, word(rank), 0, 0, 0, word(extra + 1)).to_string()
        }
        _ => format!("{}-{rank}.eu-{}.example.net", random.pick(&ROLES), extra % 3 + 1),
    }
}

/// A host that nobody owns and that no other number has: 100.64.0.0/10 (RFC 6598), and IPv6 beyond.
pub(crate) fn stranger(number: u32) -> String {
    if number < 1 << 22 {
        Ipv4Addr::from(0x6440_0000 + number).to_string()
    } else {
        Ipv6Addr::from((0x2001_0db8_ffff_u128 << 80) + u128::from(number)).to_string()
    }
}

/// The reference data.
pub(crate) fn reference(hosts: &[String]) -> String {
    let mut csv = "Host,ApplicationName,Contact\n".to_owned();
    let owned = hosts.iter().enumerate().filter(|(rank, _)| rank % 5 != 4);
    for (number, (_, host)) in owned.enumerate() {
        // A step without common factor, so that the busiest hosts belong to different applications.
        let application = number * 7 % APPLICATIONS;
        let (name, kind) = (NAMES[application % NAMES.len()], KINDS[application / NAMES.len()]);
        let team = name.to_ascii_lowercase();
        csv.push_str(&[host, ",", name, kind, ",", &team, "@example.com\n"].concat());
    }
    csv
}
