//! Two records torn into one line: none is invented. And whatever the bytes: no panic.

use proptest::{prelude::*, sample::Index};

use super::{
    samples::{self, Sample, sample},
    *,
};

/// What a record that was read says of its second half.
fn tail<'l>(event: &Event<'l>) -> [Option<&'l [u8]>; 4] {
    let raw = event.raw;
    [raw.datetime, raw.request, raw.referer, raw.agent]
}

/// Cuts `first` at `cut` and lets `second` follow; if that is read as a record of the first client, everything in it
/// is the first record's own.
fn tear(format: &LogFormat, first: &str, host: usize, second: &str, cut: usize) -> Result<(), TestCaseError> {
    let (before, whole) = (first.as_bytes(), second.as_bytes());
    let line = [&before[..cut], whole].concat();
    let Ok(event) = parse(format, &line) else {
        return Ok(());
    };
    if cut <= host {
        // Within the host or right behind it nothing tells where the one ends and the other begins, nor does it
        // matter where the hosts are the same: no field of the first record but its host is in the line.
        return Ok(());
    }
    let own = parse(format, before).unwrap();
    prop_assert_eq!(event.client, own.client, "{:?}", String::from_utf8_lossy(&line));
    prop_assert_eq!(tail(&event), tail(&own), "{:?}", String::from_utf8_lossy(&line));
    prop_assert_eq!(event.response, own.response);
    Ok(())
}

/// Whether a record could be taken for torn though it is whole: those the parser refuses.
fn whole(format: &LogFormat, line: &str) -> bool {
    parse(format, line.as_bytes()).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn of_two_torn_records_none_is_invented(first in sample(), second in sample(), cut: Index) {
        for (name, print) in [("combined", Sample::combined as fn(&Sample) -> String), ("common", Sample::common)] {
            let format = LogFormat::named(name).unwrap();
            let (one, two) = (print(&first), print(&second));
            prop_assume!(whole(&format, &one) && whole(&format, &two));
            tear(&format, &one, first.host.len(), &two, cut.index(one.len() + 1))?;
        }
    }

    #[test]
    fn a_virtual_host_in_front_changes_nothing(first in sample(), second in sample(), cut: Index) {
        let format = LogFormat::named("vhost_combined").unwrap();
        let (one, two) = (format!("a.example:80 {}", first.combined()), format!("::1:443 {}", second.combined()));
        prop_assume!(whole(&format, &one) && whole(&format, &two));
        tear(&format, &one, 13 + first.host.len(), &two, cut.index(one.len() + 1))?;
    }

    #[test]
    fn other_formats_invent_none_either(first in sample(), second in sample(), cut: Index) {
        let format = LogFormat::compile(r#"%h %u %t "%r" %>s"#).unwrap();
        let print = |Sample { host, user, stamp, request, status, .. }: &Sample| {
            format!(r#"{host} {user} [{stamp}] "{request}" {status}"#)
        };
        let (one, two) = (print(&first), print(&second));
        prop_assume!(whole(&format, &one) && whole(&format, &two));
        tear(&format, &one, first.host.len(), &two, cut.index(one.len() + 1))?;
    }

    #[test]
    fn no_format_and_no_line_makes_it_panic(
        text in "(%[<>!0-9,]{0,4}(\\{[a-zA-Z:%_-]{0,12}\\})?[a-zA-Z%^]|[ \"\\\\:|\t-])*",
        lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 4),
        sample in sample(),
    ) {
        let mut stamps = StampCache::default();
        let Ok(format) = LogFormat::compile(&text) else { return Ok(()) };
        for line in lines.iter().map(Vec::as_slice).chain([sample.combined().as_bytes()]) {
            if let Err(malformed) = format.parse(line, &mut stamps) {
                prop_assert!((1..=line.len() + 1).contains(&malformed.column), "{:?}", malformed);
            }
        }
    }

    #[test]
    fn any_text_is_a_format_or_refused_within_it(text in ".*") {
        if let Err(err) = LogFormat::compile(&text) {
            prop_assert!((1..=text.len() + 1).contains(&err.position));
        }
    }

    #[test]
    fn named_formats_take_any_bytes(pieces in prop::collection::vec(prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        samples::text().prop_map(String::into_bytes),
        Just(b" - - [10/Oct/2000:13:55:36 -0700] \"".to_vec()),
        Just(b"\" 200 5 \"".to_vec()),
    ], 0..8)) {
        let line = pieces.concat();
        for (name, _) in NAMED {
            if let Ok(event) = LogFormat::named(name).unwrap().parse(&line, &mut StampCache::default()) {
                prop_assert!(serde_json::to_string(&Fields::from(&event)).is_ok());
            }
        }
    }
}

#[test]
fn torn_records_are_named_so() {
    let second = format!(r#"5.6.7.8 - - {STAMP} "GET / HTTP/1.1" 200 5 "-" "curl""#);
    for (first, expected) in [
        ("1.2.3.4 - - [10/Oct/2000", Reason::Torn),
        ("1.2.3.4 - - ", Reason::Torn),
        ("1.2.3.4 ", Reason::Torn),
        ("1.2.3.4", Reason::Host),
        ("1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] \"GET /a", Reason::Torn),
        ("1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.1\" 20", Reason::Torn),
        ("1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.1\" 200 5 \"-\" \"curl\"", Reason::Torn),
    ] {
        assert_eq!(reason(&combined(), format!("{first}{second}")), Some(expected), "{first}");
    }
}

/// A request that begins with a space and looks like the rest of a line, behind a cut in the agent or request.
#[test]
fn a_forged_rest_of_a_line_does_not_complete_a_torn_record() {
    let second = format!(r#"5.6.7.8 - - {STAMP} " 200 5 " 400 226 "-" "-""#);
    let first = r#"1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 5 "-" "curl""#;
    for cut in 8..=first.len() {
        for name in ["combined", "common"] {
            let line = format!("{}{second}", &first[..cut]);
            assert_eq!(reason(&LogFormat::named(name).unwrap(), &line), Some(Reason::Torn), "{line}");
        }
    }
}
