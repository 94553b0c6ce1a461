//! Lines of the common and the combined format, plain and odd, in texts of any length: what is read by marks is what a
//! plain loop reads.

use std::sync::Arc;

use logtally::engine::{
    count::{Block, Counter, Plan, TimeSource},
    format::LogFormat,
    reference::Reference,
    time::{Timestamp, WindowSize},
};
use proptest::{collection::vec, prelude::*, sample::select};

use super::plainly::{counted, plainly};

const HOSTS: [&str; 8] = [
    "10.0.0.1",
    "10.0.0.12",
    "2001:db8:260d:45a::65",
    "web-19.eu-1.example.net",
    "a-name-of-exactly-forty-eight-bytes.example.netx",
    "a-name-of-more-than-forty-eight-bytes.eu-1.example.net",
    "fe80::1%eth0",
    "a",
];
const ODD_HOSTS: [&str; 6] = ["", "10.0.0", "10.0.0.1 10.0.0.2", "-", "[::1]", "10.0.0.1 -"];
const USERS: [&str; 7] = ["-", "alice", "John Doe", "\"\"", "a\\x20b", "", "x [y]"];
const STAMPS: [&str; 6] = [
    "10/Oct/2000:13:55:36 -0700",
    "10/Oct/2000:13:59:60 -0700",
    "10/Oct/2000:14:04:59 -0700",
    "10/Oct/x000:13:55:36 -0700",
    "10/Oct/2000:13:55:36  0700",
    "31/Dec/0000:23:59:59 +0000",
];
const TEXTS: [&str; 9] = [
    "-",
    "GET /shop/item?p=7 HTTP/1.1",
    "",
    " ",
    "GET / HTTP/1.0 ",
    r#"a\"b"#,
    "tab\there",
    "a [10/Oct/2000:13:55:36 -0700] ",
    "\u{e9}\u{7f}",
];
const NUMBERS: [&str; 12] = [
    "200 0",
    "200 12345",
    "304 -",
    "- 5",
    "99 5",
    "2000 5",
    "200 12345678",
    "200 123456789",
    "404 99999999999999999999",
    "500 1x",
    "200",
    "200  5",
];
const BEHIND: [&str; 6] = ["", "\r", " 17", " \"x\"", "x", "\""];

/// Mostly the first of them.
fn mostly(texts: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => Just(texts[0]), 12 => Just(texts[1]), 1 => select(texts)]
}

fn line(agents: bool) -> impl Strategy<Value = String> {
    let host = prop_oneof![20 => select(&HOSTS[..]), 1 => select(&ODD_HOSTS[..])];
    let front = (host, mostly(&USERS), mostly(&STAMPS), mostly(&TEXTS));
    let back = (
        mostly(&NUMBERS),
        mostly(&TEXTS),
        mostly(&TEXTS),
        prop_oneof![9 => Just(""), 1 => select(&BEHIND[..])],
    );
    let long = prop_oneof![200 => Just(0_usize), 5 => 1_000..3_000_usize, 1 => 15_000..40_000_usize];
    (front, back, long).prop_map(
        move |((host, user, stamp, request), (numbers, referer, agent, behind), long)| {
            let agent = agent.to_owned() + &"x".repeat(long);
            let quoted = if agents { format!(" \"{referer}\" \"{agent}\"") } else { String::new() };
            format!("{host} - {user} [{stamp}] \"{request}\" {numbers}{quoted}{behind}\n")
        },
    )
}

fn text(agents: bool) -> impl Strategy<Value = Vec<u8>> {
    let odd = select(&["\n", "\n\n", "\r\n", "x\n", "\"\n", "10.0.0.1", " ", "-", "\\"][..]);
    let piece = prop_oneof![30 => line(agents), 1 => odd.prop_map(str::to_owned)];
    (vec(piece, 0..300), 0..3_usize).prop_map(|(pieces, cut)| {
        let mut text = pieces.concat().into_bytes();
        text.truncate(text.len().saturating_sub(cut));
        text
    })
}

fn check(name: &str, text: &[u8]) -> Result<(), TestCaseError> {
    let format = LogFormat::named(name).unwrap();
    let plan = Plan { format: format.clone(), window: WindowSize::FIVE_MINUTES, time: TimeSource::Event };
    let mut counter = Counter::new(Arc::new(plan), Arc::new(Reference::default()));
    // The second time with warm caches.
    for _ in 0..2 {
        let mut block = Block::default();
        counter.count(text, Timestamp::MIN, &mut block);
        prop_assert_eq!(counted(&block, text), plainly(&format, text));
    }
    Ok(())
}

proptest! {
    #[test]
    fn combined_lines_are_counted_as_a_plain_loop_does(text in text(true)) {
        check("combined", &text)?;
    }

    #[test]
    fn common_lines_are_counted_as_a_plain_loop_does(text in text(false)) {
        check("common", &text)?;
    }

    #[test]
    fn lines_of_the_other_format_are_too(text in text(true)) {
        check("common", &text)?;
    }
}

/// Lines of every length about the size of what is looked at together, so that a line ends at each place of it.
#[test]
fn lines_end_anywhere_in_a_piece() {
    let plain = |agent: usize| {
        let agent = "x".repeat(agent);
        format!("10.0.0.1 - - [{}] \"GET / HTTP/1.1\" 200 5 \"-\" \"{agent}\"\n", STAMPS[0])
    };
    let short = plain(1).len();
    for length in (16 * 1_024 - 3 * short)..(16 * 1_024 + 3 * short) {
        let text = plain(length - short) + &plain(1) + &plain(2) + "odd\n" + &plain(3);
        check("combined", text.as_bytes()).unwrap();
    }
}
