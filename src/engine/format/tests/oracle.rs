//! The fast parser against the plain grammar, and lines as Apache prints them. Holds no grammar.

use proptest::{prelude::*, sample::Index};

use super::{
    plain::{Record, has_stamp, plain},
    samples::{Sample, sample},
    *,
};

/// The same from the parser under test.
fn fast(line: &str) -> Option<Record> {
    let format = combined();
    let event = parse(&format, line.as_bytes()).ok()?;
    let raw = event.raw;
    let text = |raw: Option<&[u8]>| String::from_utf8(raw.unwrap().to_vec()).unwrap();
    Some(Record {
        texts: [raw.host, raw.ident, raw.authuser, raw.request, raw.referer, raw.agent].map(text),
        millis: event.time.unwrap().as_millis(),
        status: event.response,
        bytes: event.bytes,
    })
}

/// One change to a line: a piece put in, bytes taken out, or the end cut off.
fn change() -> impl Strategy<Value = (Index, usize, &'static str)> {
    let piece = proptest::sample::select(
        &[
            "",
            " ",
            "\"",
            "\\",
            "[",
            "]",
            "-",
            " - ",
            "\0",
            "\t",
            "\r",
            ":",
            "1",
            "x",
            ".",
            "[10/Oct/2000:",
            "\u{e9}",
            "\" \"",
            "99999999999",
        ][..],
    );
    (any::<Index>(), prop_oneof![3 => 0..3_usize, 1 => 0..40_usize], piece)
}

fn changed(line: &str, changes: &[(Index, usize, &str)]) -> String {
    changes.iter().fold(line.to_owned(), |mut line, (at, taken, piece)| {
        let mut from = at.index(line.len() + 1);
        let mut to = (from + taken).min(line.len());
        while !line.is_char_boundary(from) {
            from -= 1;
        }
        while !line.is_char_boundary(to) {
            to += 1;
        }
        line.replace_range(from..to, piece);
        line
    })
}

/// Whether a record is one whose text looks torn, which a real one does once in a blue moon.
fn looks_torn(sample: &Sample) -> bool {
    [&sample.request, &sample.referer, &sample.agent]
        .iter()
        .any(|text| text.ends_with(' ') && has_stamp(text))
        || sample.user.contains("\"\"")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_printed_is_read_back(sample in sample()) {
        prop_assume!(!looks_torn(&sample));
        let line = sample.combined();
        let record = fast(&line).expect("a record that Apache prints is read");
        let Sample { host, ident, user, request, referer, agent, .. } = sample.clone();
        prop_assert_eq!(&record.texts, &[host, ident, user, request, referer, agent]);
        prop_assert_eq!(record.status.map_or("-".to_owned(), |status| status.to_string()), sample.status);
        prop_assert_eq!(record.bytes, sample.bytes.parse().unwrap_or(0));
    }

    #[test]
    fn the_plain_grammar_says_the_same(sample in sample(), changes in prop::collection::vec(change(), 0..4)) {
        let line = changed(&sample.combined(), &changes);
        prop_assert_eq!(fast(&line), plain(&line), "{:?}", line);
    }
}

/// Found by the fuzzer: the plain grammar took every bracket before a bracket for the last one of the user.
#[test]
fn the_plain_grammar_takes_brackets_in_a_user_as_the_fast_one_does() {
    for user in ["a[[b c d", "a[ b", "a [", "a [1", "a[[1 b"] {
        let line =
            format!(r#"10.0.0.1 - {user} [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 5 "-" "curl""#);
        assert_eq!(fast(&line), plain(&line), "{user}");
    }
}

#[test]
fn the_plain_grammar_reads_a_line() {
    let line = r#"10.0.0.1 - Jane Doe [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 5 "-" "curl" 17"#;
    assert_eq!(plain(line).unwrap().texts[2], "Jane Doe");
    assert_eq!(plain(line), fast(line));
}
