//! Whole files in, owners out, faults by message. The oracle stands beside.

use std::net::Ipv4Addr;

use super::*;

pub(super) fn parse(csv: impl AsRef<[u8]>) -> Reference {
    Reference::parse(csv.as_ref()).unwrap().reference
}

fn refusal(csv: impl AsRef<[u8]>) -> String {
    Reference::parse(csv.as_ref()).map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
}

pub(super) fn rows(rows: &str) -> String {
    format!("Host,ApplicationName,Contact\n{rows}")
}

/// The application that owns `host` at `millis`.
pub(super) fn owner<'a>(reference: &'a Reference, host: &str, millis: i64) -> Option<&'a str> {
    let owner = reference.owner_at(reference.resolve(host.as_bytes()), Timestamp::from_millis(millis))?;
    Some(&reference.owners()[owner as usize].application)
}

#[test]
fn header_and_cells_are_read_however_they_are_written() {
    let plain = "Host,ApplicationName,Contact\n10.0.0.1,Billing,b@x.org\nweb1,Shop,\n";
    for csv in [
        plain.to_owned(),
        plain.trim_end().to_owned(),
        plain.replace('\n', "\r\n"),
        plain.replace('\n', "\r"),
        format!("\u{feff}{plain}"),
        format!("\n\n  \n{}\n,,\n\n", plain.replace("\nweb1", "\n\r\n\nweb1")),
        "contact , APPLICATIONNAME,note, Host \n b@x.org,Billing,\"a\nb\", 10.0.0.1\n,Shop,\"\"\"\",web1\n"
            .to_owned(),
        "\"Host\",\"applicationname\",\"Contact\"\n\"10.0.0.1\",\"Billing \",\"b@x.org\"\n\"WEB1.\",Shop,\n"
            .to_owned(),
    ] {
        let reference = parse(&csv);
        assert_eq!(reference.len(), 2, "{csv:?}");
        assert_eq!(owner(&reference, "10.0.0.1", 0), Some("Billing"), "{csv:?}");
        assert_eq!(owner(&reference, "web1", 0), Some("Shop"), "{csv:?}");
        assert_eq!(reference.owners()[0].contact, "b@x.org", "{csv:?}");
        assert_eq!(reference.applications().collect::<Vec<_>>(), ["Billing", "Shop"]);
    }
}

#[test]
fn a_header_without_rows_is_an_empty_reference() {
    let reference = parse("Host,ApplicationName,Contact");
    assert!(reference.is_empty());
    assert_eq!(reference.resolve(b"10.0.0.1"), Resolution::Unowned);
    assert_eq!(Reference::default().resolve(b""), Resolution::Unowned);
}

#[test]
fn a_fault_names_its_row_and_what_is_wrong() {
    let name = "n".repeat(257);
    let contact = "ü".repeat(1_025);
    let messages = [
        refusal(""),
        refusal("\u{feff}\r\n\n"),
        refusal("10.0.0.1,Billing,b@x.org\n"),
        refusal("Host;ApplicationName;Contact\n"),
        refusal("\nHost,ApplicationName\n10.0.0.1,Billing\n"),
        refusal("Host,host,ApplicationName,Contact\n"),
        refusal(rows("a,A,\n\nb,B,\n\n\n10.0.0.300,C,\n")),
        refusal("Host,ApplicationName,Contact\r\na,A,\r\n10.0.0.0/33,C,\r\n"),
        refusal(rows("# a comment,A,\n")),
        refusal(rows(",A,\n")),
        refusal(rows("\"a\u{1b}[31m\",A,\n")),
        refusal(rows("a,A\n")),
        refusal(rows("a,A,b,c\n")),
        refusal(rows("a,,b\n")),
        refusal(rows("a,Unknown,b\n")),
        refusal(rows(&format!("a,{name},b\n"))),
        refusal(rows(&format!("a,A,{contact}\n"))),
        refusal(rows("a,A,\"b\nc\"\n")),
        refusal(rows("a,A,\"b\nc,C,d\n")),
        refusal(rows("a,A,\"b\nc,C,\"d\"\n")),
        refusal([rows("a,A,b\n").as_bytes(), b"b,B,\xff\n"].concat()),
        refusal("\u{feff}Host".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r##"
    the file is empty: expected the header Host,ApplicationName,Contact
    the file is empty: expected the header Host,ApplicationName,Contact
    row 1: no header: expected Host,ApplicationName,Contact, found "10.0.0.1,Billing,b@x.org"
    row 1: no header: expected Host,ApplicationName,Contact, found "Host;ApplicationName;Contact"
    row 2: no column Contact: expected Host,ApplicationName,Contact, found "Host,ApplicationName"
    row 1: the header has the column Host twice
    row 7: "10.0.0.300" is no host name, address or CIDR block
    row 3: "10.0.0.0/33" is no host name, address or CIDR block
    row 2: "# a comment" is no host name, address or CIDR block
    row 2: "" is no host name, address or CIDR block
    row 2: "a\u{1b}[31m" is no host name, address or CIDR block
    row 2: expected 3 fields as in the header, found 2
    row 2: expected 3 fields as in the header, found 4
    row 2: ApplicationName is empty
    row 2: ApplicationName must not be "Unknown", under which hosts without owner are counted
    row 2: ApplicationName has 257 characters: at most 256 are taken
    row 2: Contact has 1025 characters: at most 1024 are taken
    row 2: Contact "b\nc" holds a control character
    row 2: a quoted cell begins here and never ends
    row 2: text follows a closing quote: write "" for a quote within a quoted cell
    row 3: not UTF-8: save the file as CSV in UTF-8
    row 1: not UTF-8: save the file as CSV in UTF-8
    "##);
}

#[test]
fn validity_is_refused_unless_it_can_ever_hold() {
    let dated = |from, to| format!("Host,ApplicationName,Contact,ValidFrom,ValidTo\na,A,,{from},{to}\n");
    let messages = [
        refusal(dated("2026-01-01", "")),
        refusal(dated("", "tomorrow")),
        refusal(dated("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z")),
        refusal(dated("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00")),
        refusal(dated("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.001Z")),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r#"
    row 2: ValidFrom "2026-01-01" is no time: expected RFC 3339, for example 2026-11-21T04:35:00Z
    row 2: ValidTo "tomorrow" is no time: expected RFC 3339, for example 2026-11-21T04:35:00Z
    row 2: ValidTo is not after ValidFrom: the row would never be valid
    row 2: ValidTo is not after ValidFrom: the row would never be valid
    accepted
    "#);
}

#[test]
fn bounds_are_kept() {
    let one_more = "a,A,\n".repeat(MAX_ROWS + 1);
    assert_eq!(refusal(rows(&one_more)), "row 2000002: more than 2000000 rows");
    let applications = (0..=MAX_APPLICATIONS).map(|n| format!("a,App{n},\n")).collect::<Vec<_>>().concat();
    assert_eq!(refusal(rows(&applications)), "the file names 65537 applications: at most 65536 are counted");
    let huge = vec![b'\n'; MAX_BYTES + 1];
    assert_eq!(refusal(huge), "the file has 268435457 bytes: at most 268435456 are read");
    assert!(refusal(vec![0; 1_000_000]).starts_with("row 1: no header"));
    assert!(refusal(rows(&"\"".repeat(1_000_001))).starts_with("row 2: "));
}

#[test]
fn what_is_odd_is_reported_and_the_list_is_bounded() {
    let csv = rows("Web1,A,\n10.0.0.5/8,B,\nweb1.,C,\nweb1,D,\n10.0.0.0/8,E,\n10.0.0.1,F,\n10.0.0.1/32,G,\n");
    let parsed = Reference::parse(csv.as_bytes()).unwrap();
    let warnings: Vec<String> = parsed.warnings.iter().map(Warning::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n"), @r"
    row 3: 10.0.0.5/8 has bits behind its prefix: read as 10.0.0.0/8
    row 4: web1 is also in row 2: the last row wins
    row 5: web1 is also in row 4: the last row wins
    row 6: 10.0.0.0/8 is also in row 3: the last row wins
    row 8: 10.0.0.1 is also in row 7: the last row wins
    ");
    assert_eq!(owner(&parsed.reference, "web1", 0), Some("D"));
    assert_eq!(owner(&parsed.reference, "10.9.9.9", 0), Some("E"));
    assert_eq!(owner(&parsed.reference, "10.0.0.1", 0), Some("G"));
    assert_eq!(parsed.reference.len(), 3);

    let same_host = Reference::parse(rows(&"web1,A,\n".repeat(50_000)).as_bytes()).unwrap();
    assert_eq!(same_host.warnings_total, 49_999);
    assert_eq!(same_host.warnings.len(), 20);
    assert_eq!(same_host.warnings[0].to_string(), "row 3: web1 is also in row 2: the last row wins");
}

#[test]
fn hosts_of_the_log_are_found_in_any_form() {
    let reference = parse(rows(
        "Web1.Example.com,Names,\n10.0.0.1,V4,\n2001:DB8::1,V6,\n::ffff:10.1.0.0/112,Mapped,\n2001:db8::/32,Net6,\n",
    ));
    for (host, application) in [
        ("web1.example.com", Some("Names")),
        ("WEB1.example.COM.", Some("Names")),
        ("web2.example.com", None),
        ("10.0.0.1", Some("V4")),
        ("::ffff:10.0.0.1", Some("V4")),
        ("::FFFF:A00:1", Some("V4")),
        ("10.0.0.2", None),
        ("10.1.2.3", Some("Mapped")),
        ("::ffff:10.1.2.3", Some("Mapped")),
        ("2001:db8:0:0::1", Some("V6")),
        ("[2001:db8::1]", Some("V6")),
        ("2001:db8::1%eth0", Some("V6")),
        ("2001:DB8::2", Some("Net6")),
        ("2001:db9::1", None),
        ("10.1.0.0/16", None),
        ("10.1.2", None),
        ("-", None),
        ("", None),
        ("\0", None),
    ] {
        assert_eq!(owner(&reference, host, 0), application, "{host:?}");
    }
    assert_eq!(reference.resolve(b"\xff\xfe"), Resolution::Unowned);
    assert_eq!(reference.resolve(&vec![b'a'; 1 << 20]), Resolution::Unowned);
}

#[test]
fn a_difference_names_hosts_and_not_indices() {
    let older = parse(rows("a,A,\nb,B,b@x.org\nc,C,\n10.0.0.0/8,A,\n"));
    let newer = parse(rows("c,C,\nB,B,b@y.org\nd,A,\n10.0.0.0/8,A,\n10.1.0.0/16,C,\n"));
    let difference = older.difference(&newer);
    assert_eq!(difference.to_string(), "2 (10.1.0.0/16, d) added, 1 (a) removed, 1 (b) moved");
    assert_eq!(older.difference(&older).to_string(), "no host changed");
    let many = (0..1_000).map(|n| format!("h{n:04},A,\n")).collect::<Vec<_>>().concat();
    let difference = Reference::default().difference(&parse(rows(&many)));
    assert_eq!(
        difference.to_string(),
        "1000 (h0000, h0001, h0002, h0003, h0004, …) added, 0 removed, 0 moved"
    );
    assert_eq!(difference.added.sample().count(), 20);
}

/// Rows with a validity; times are days of January 2026.
fn dated(rows: &[(&str, &str, &str)]) -> String {
    let time = |day: &str| if day.is_empty() { String::new() } else { format!("2026-01-{day}T00:00:00Z") };
    let row = |&(host, from, to): &(&str, &str, &str)| format!("{host},,{},{}\n", time(from), time(to));
    format!("Host,ApplicationName,Contact,ValidFrom,ValidTo\n{}", rows.iter().map(row).collect::<String>())
}

#[test]
fn a_difference_of_validity_moves_a_host() {
    let moved = |older: &[(&str, &str, &str)], newer: &[(&str, &str, &str)]| {
        parse(dated(older)).difference(&parse(dated(newer))).moved.count()
    };
    assert_eq!(moved(&[("a,A", "01", "")], &[("a,A", "02", "")]), 1);
    assert_eq!(moved(&[("a,A", "01", "05")], &[("a,A", "01", "06")]), 1, "an end is told as well");
    assert_eq!(moved(&[("a,A", "01", "05")], &[("a,A", "01", "")]), 1);
    assert_eq!(moved(&[("a,A", "01", "05")], &[("a,A", "01", "05")]), 0);
    let (one, two) = (&[("a,A", "01", "05")][..], &[("a,A", "01", "03"), ("a,A", "03", "05")][..]);
    assert_eq!((moved(one, two), moved(two, one)), (0, 0), "who owned it when is the same");
    let endless = &[("a,A", "01", "03"), ("a,A", "03", "")][..];
    assert_eq!(moved(&[("a,A", "01", "")], endless), 0);
    let changed = &[("a,A", "01", "03"), ("a,B", "03", "05")][..];
    assert_eq!((moved(two, changed), moved(changed, changed)), (1, 0));
    assert_eq!(moved(&[("a,A", "", "")], &[("a,B", "01", "02"), ("a,A", "", "")]), 0, "the last row wins");
}

#[test]
fn rows_that_are_valid_at_once_are_reported_by_their_numbers() {
    let rows =
        [("a,A", "", ""), ("b,A", "01", "03"), ("a,B", "01", ""), ("b,B", "03", "05"), ("a,C", "01", "02")];
    let parsed = Reference::parse(dated(&rows).as_bytes()).unwrap();
    let warnings: Vec<String> = parsed.warnings.iter().map(Warning::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n"), @r"
    row 4: a is also in row 2: the last row wins
    row 6: a is also in row 4: the last row wins
    ");
}

#[test]
fn two_hundred_thousand_rows_join_as_a_plain_map_does() {
    let rows_of = |n: u32| match n % 4 {
        0 => format!("host{n}.example.org,App{},c{n}\n", n % 1_000),
        1 => format!("{},App{},\n", Ipv4Addr::from_bits(n * 16), n % 1_000),
        2 => format!("{}/28,App{},\n", Ipv4Addr::from_bits(n * 16), n % 1_000),
        _ => format!("2001:db8::{:x}:{:x},App{},\n", n >> 16, n & 0xffff, n % 1_000),
    };
    let csv = rows(&(0..200_000).map(rows_of).collect::<Vec<_>>().concat());
    let reference = parse(csv);
    assert_eq!(reference.len(), 200_000);
    assert_eq!(reference.applications().count(), 1_000);
    for n in 0..200_000_u32 {
        let (host, own) = match n % 4 {
            0 => (format!("HOST{n}.example.org"), true),
            1 => (Ipv4Addr::from_bits(n * 16).to_string(), true),
            2 => (Ipv4Addr::from_bits(n * 16 + n % 16).to_string(), true),
            _ => (format!("2001:db8::{:x}:{:x}", (n >> 16) + 9, n & 0xffff), false),
        };
        let expected = own.then(|| format!("App{}", n % 1_000));
        assert_eq!(owner(&reference, &host, 0), expected.as_deref(), "{host}");
    }
}
