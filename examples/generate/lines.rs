//! What is logged: combined lines of about 240 bytes, one in 1,000 of them malformed. Knows no rate.

use chrono::DateTime;

use crate::{
    hosts::{HOSTS, hosts, stranger},
    random::{Random, Zipf},
};

/// The longest that a line is stamped before lines in front of it.
const DISORDER_MS: usize = 10_000;

/// User agents, all different.
pub(crate) const AGENTS: usize = 200;

/// Targets without their numbers.
const TARGETS: usize = 400;

/// Pages that lead to requests; of five requests two have none.
const REFERERS: usize = 96;

/// Seconds whose stamps are kept: more than the disorder spans.
const STAMPS: usize = 16;

const STATUSES: [&str; 32] = [
    "200", "200", "200", "200", "200", "200", "200", "200", "200", "200", "200", "200", "200", "200", "200",
    "200", "200", "200", "200", "200", "200", "200", "201", "204", "302", "304", "304", "304", "404", "404",
    "403", "500",
];
const METHODS: [&str; 8] = ["GET", "GET", "GET", "GET", "GET", "POST", "PUT", "HEAD"];
const NOUNS: [&str; 16] = [
    "accounts",
    "articles",
    "baskets",
    "customers",
    "documents",
    "events",
    "invoices",
    "items",
    "messages",
    "orders",
    "payments",
    "products",
    "reports",
    "sessions",
    "shipments",
    "users",
];
const VIEWS: [&str; 6] = ["summary", "details", "history", "attachments", "status", "lines"];
const SYSTEMS: [&str; 5] = [
    "Windows NT 10.0; Win64; x64",
    "X11; Linux x86_64",
    "Macintosh; Intel Mac OS X 10_15_7",
    "Linux; Android 14; K",
    "iPhone; CPU iPhone OS 17_5 like Mac OS X",
];

/// A source of lines: the same seed and the same times give the same bytes.
pub(crate) struct Lines {
    random: Random,
    hosts: Vec<String>,
    host_ranks: Zipf,
    agents: Vec<String>,
    agent_ranks: Zipf,
    targets: Vec<String>,
    target_ranks: Zipf,
    referers: Vec<String>,
    stamps: [(i64, String); STAMPS],
    /// Lines written that no parser may accept.
    pub(crate) malformed: u64,
}

impl Lines {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            hosts: hosts(seed),
            host_ranks: Zipf::new(HOSTS),
            agents: (0..AGENTS).map(|number| agent(number, &mut random)).collect(),
            agent_ranks: Zipf::new(AGENTS),
            targets: (0..TARGETS).map(|_| target(&mut random)).collect(),
            target_ranks: Zipf::new(TARGETS),
            referers: (0..REFERERS).map(|_| referer(&mut random)).collect(),
            stamps: std::array::from_fn(|_| (i64::MIN, String::new())),
            malformed: 0,
            random,
        }
    }

    /// One line finished at `time` (milliseconds since the epoch), stamped with when its request came in: as
    /// Apache's `%t` is, so that stamps are up to 10 s out of order.
    pub(crate) fn push(&mut self, time: i64, out: &mut Vec<u8>) {
        let lasted = match self.random.below(100) {
            0..90 => 0,
            90..99 => self.random.below(2_000),
            _ => self.random.below(DISORDER_MS),
        };
        let time = time - i64::try_from(lasted).unwrap_or(0);
        if self.random.per_mille(1) {
            self.push_malformed(time, out);
        } else {
            let rank = self.host_ranks.draw(&mut self.random);
            self.push_line(None, rank, time, out);
        }
    }

    /// One line of the unknown host `number`, stamped `time` exactly.
    pub(crate) fn push_stranger(&mut self, number: u32, time: i64, out: &mut Vec<u8>) {
        self.push_line(Some(&stranger(number)), 0, time, out);
    }

    fn push_line(&mut self, stranger: Option<&str>, rank: usize, time: i64, out: &mut Vec<u8>) {
        let Self { random, .. } = self;
        let agent = self.agent_ranks.draw(random);
        let target = self.target_ranks.draw(random);
        let (user, number, bytes) = (random.below(1000), random.below(10_000_000), random.below(60_000));
        let (method, status, referer) =
            (*random.pick(&METHODS), *random.pick(&STATUSES), random.below(REFERERS * 5 / 3));
        out.extend_from_slice(stranger.unwrap_or(&self.hosts[rank]).as_bytes());
        out.extend_from_slice(if user < 30 { b" - alice " } else { b" - - " });
        self.push_stamp(time, out);
        for part in [" \"", method, " ", &self.targets[target]] {
            out.extend_from_slice(part.as_bytes());
        }
        push_number(number, out);
        for part in [" HTTP/1.1\" ", status, " "] {
            out.extend_from_slice(part.as_bytes());
        }
        match status {
            "204" | "304" => out.push(b'-'),
            _ => push_number(bytes, out),
        }
        let referer = self.referers.get(referer).map_or("-", String::as_str);
        for part in [" \"", referer, "\" \"", &self.agents[agent], "\"\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }

    /// `[21/Nov/2026:04:35:00 +0000]`.
    fn push_stamp(&mut self, time: i64, out: &mut Vec<u8>) {
        let second = time.div_euclid(1000);
        let slot = usize::try_from(second.rem_euclid(16)).unwrap_or(0);
        let (known, stamp) = &mut self.stamps[slot];
        if *known != second {
            *known = second;
            let time = DateTime::from_timestamp(second, 0).unwrap_or_default();
            *stamp = time.format("[%d/%b/%Y:%H:%M:%S +0000]").to_string();
        }
        out.extend_from_slice(stamp.as_bytes());
    }

    /// What real logs hold beside lines: torn, cut, binary, foreign and damaged ones.
    fn push_malformed(&mut self, time: i64, out: &mut Vec<u8>) {
        self.malformed += 1;
        let start = out.len();
        let rank = self.host_ranks.draw(&mut self.random);
        self.push_line(None, rank, time, out);
        let length = out.len() - start;
        match self.random.below(8) {
            0 => out.truncate(start),
            1 => out.truncate(start + 1 + self.random.below(length - 2)),
            2 => {
                // Two writers, one line.
                out.truncate(start + 40 + self.random.below(40));
                return self.push_line(None, rank, time, out);
            }
            3 => replace(&mut out[start..], b"/2", b"/x"),
            4 => replace(&mut out[start..], b"HTTP/1.1\" ", b"HTTP/1.1\" x"),
            5 => replace(&mut out[start..], b" [", b" {"),
            6 => {
                // A hole that a crash of the machine left.
                out.truncate(start);
                out.resize(start + length, 0);
            }
            _ => {
                out.truncate(start);
                out.extend_from_slice(b"AH00163: Apache configured -- resuming normal operations");
            }
        }
        if out.last() != Some(&b'\n') || out.len() == start {
            out.push(b'\n');
        }
    }
}

/// Overwrites the first `from` (and what follows it) with `to`; `bytes` keep their length.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let found = bytes.windows(from.len()).position(|window| window == from);
    if let Some(place) = found.and_then(|at| bytes.get_mut(at..at + to.len())) {
        place.copy_from_slice(to);
    }
}

fn push_number(mut number: usize, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0' + u8::try_from(number % 10).unwrap_or(0));
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out[start..].reverse();
}

/// Programs have few versions: theirs is the number, so that no two agents are the same.
fn agent(number: usize, random: &mut Random) -> String {
    let (major, minor) = (random.below(60) + 70, random.below(9_000));
    match number % 10 {
        7 => format!("curl/8.{}.{}", number / 10, minor % 3),
        8 => format!("python-requests/2.{}.{}", number / 10, minor % 4),
        9 => format!("Apache-HttpClient/4.5.{} (Java/17.0.{})", number / 10, minor % 13),
        _ => format!(
            "Mozilla/5.0 ({}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{major}.0.{minor}.{} Safari/537.36",
            random.pick(&SYSTEMS),
            random.below(200),
        ),
    }
}

fn referer(random: &mut Random) -> String {
    let (noun, view, page) = (*random.pick(&NOUNS), *random.pick(&VIEWS), random.below(100_000));
    format!("https://www.example.com/{noun}/{page}/{view}")
}

/// A path whose last number is still to come.
fn target(random: &mut Random) -> String {
    let (noun, view) = (*random.pick(&NOUNS), *random.pick(&VIEWS));
    match random.below(4) {
        0 => format!("/api/v{}/{noun}/", random.below(3) + 1),
        1 => format!("/{noun}/{view}?page={}&id=", random.below(50)),
        2 => format!("/static/{noun}/{view}-{:08x}.js?v=", random.next() >> 32),
        _ => format!("/api/v2/{noun}/{}/{view}?since=", random.below(100_000)),
    }
}
