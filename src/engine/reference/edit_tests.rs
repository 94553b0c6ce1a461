//! Edits against files of every style: only the row asked for changes, and twice is once.

use proptest::prelude::*;

use super::{
    edit::{EditError, Entry, Outcome, add, header_for, list, remove},
    *,
};

fn entry(host: &str, application: &str, contact: &str) -> Entry {
    Entry {
        host: host.to_owned(),
        application: application.to_owned(),
        contact: contact.to_owned(),
        ..Entry::default()
    }
}

/// The file after an edit, and what the edit did; the file as it was if it need not be written.
fn edited(file: &str, edit: Result<edit::Edited, EditError>) -> (String, Outcome) {
    let edited = edit.unwrap();
    let content = edited.content.map(|content| String::from_utf8(content).unwrap());
    (content.unwrap_or_else(|| file.to_owned()), edited.outcome)
}

const ODD: &str =
    "\u{feff}note, Contact ,host,APPLICATIONNAME\r\n\r\n\"x, \"\"y\"\"\",a@x.org, Web1. ,\"A\" \r\n";

#[test]
fn an_added_row_follows_the_style_of_the_file() {
    for (file, after) in [
        ("Host,ApplicationName,Contact\n", "Host,ApplicationName,Contact\n10.0.0.1,App,me\n"),
        ("Host,ApplicationName,Contact", "Host,ApplicationName,Contact\n10.0.0.1,App,me\n"),
        (
            "Host,ApplicationName,Contact\r\na,A,",
            "Host,ApplicationName,Contact\r\na,A,\r\n10.0.0.1,App,me\r\n",
        ),
        ("Host,ApplicationName,Contact\ra,A,\r", "Host,ApplicationName,Contact\ra,A,\r10.0.0.1,App,me\r"),
        (&ODD.replace("\"A\" ", "A"), &(ODD.replace("\"A\" ", "A") + ",me,10.0.0.1,App\r\n")),
    ] {
        let (once, outcome) = edited(file, add(file.as_bytes(), &entry(" 10.0.0.1", "App ", "me")));
        assert_eq!((once.as_str(), outcome), (after, Outcome::Added));
        let twice = edited(&once, add(once.as_bytes(), &entry("::ffff:10.0.0.1", "App", "me")));
        assert_eq!(twice, (once.clone(), Outcome::Unchanged));
        let (back, outcome) = edited(&once, remove(once.as_bytes(), "10.0.0.1"));
        assert_eq!(outcome, Outcome::Removed);
        assert_eq!(back.trim_end(), file.trim_end());
        assert_eq!(edited(&back, remove(back.as_bytes(), "10.0.0.1")), (back.clone(), Outcome::NotThere));
    }
}

#[test]
fn a_replaced_row_keeps_every_other_byte() {
    let file = &ODD.replace("\"A\" ", "\"A\"");
    let (after, outcome) = edited(file, add(file.as_bytes(), &entry("WEB1", "B, \"b\"", "a@x.org")));
    assert_eq!(after, file.replace("\"A\"", "\"B, \"\"b\"\"\""));
    let was = Owner { application: "A".to_owned(), contact: "a@x.org".to_owned() };
    assert_eq!(outcome, Outcome::Replaced { was });
    let (after, _) = edited(file, add(file.as_bytes(), &entry("web1", "A", "")));
    assert_eq!(after, file.replace("a@x.org", ""));
}

#[test]
fn removing_takes_every_form_of_the_host_and_nothing_else() {
    let file =
        "Host,ApplicationName,Contact,note\nweb1,A,,1\nweb11,A,,2\nWEB1.,B,,\"a\nb\"\n\n10.0.0.1/8,C,,";
    let (after, outcome) = edited(file, remove(file.as_bytes(), "Web1"));
    assert_eq!(after, "Host,ApplicationName,Contact,note\nweb11,A,,2\n\n10.0.0.1/8,C,,");
    assert_eq!(outcome, Outcome::Removed);
    let (after, _) = edited(&after, remove(after.as_bytes(), "10.0.0.0/8"));
    assert_eq!(after, "Host,ApplicationName,Contact,note\nweb11,A,,2\n\n");
    assert_eq!(remove(after.as_bytes(), "10.0.0.1").unwrap().outcome, Outcome::NotThere);
}

#[test]
fn a_row_of_another_validity_is_added_and_wins() {
    let from = Timestamp::parse_rfc3339("2026-11-21T04:35:00Z").ok();
    let dated = Entry { valid_from: from, ..entry("web1", "B", "") };
    let file = String::from_utf8(header_for(&dated)).unwrap() + "web1,A,,,\n";
    let (once, outcome) = edited(&file, add(file.as_bytes(), &dated));
    assert_eq!(once, file.clone() + "web1,B,,2026-11-21T04:35:00Z,\n");
    assert_eq!(outcome, Outcome::Added);
    assert_eq!(add(once.as_bytes(), &dated).unwrap().outcome, Outcome::Unchanged);
    assert_eq!(list(once.as_bytes()).unwrap()[1].entry, dated);
    let plain = "Host,ApplicationName,Contact\n";
    assert_eq!(add(plain.as_bytes(), &dated), Err(EditError::NoColumn("ValidFrom")));
}

#[test]
fn what_a_reader_would_refuse_is_not_written() {
    let file = b"Host,ApplicationName,Contact\nweb1,A,\n";
    let refusal = |file: &[u8], host: &str, application: &str, contact: &str| match add(
        file,
        &entry(host, application, contact),
    ) {
        Ok(edited) => format!("{:?}", edited.outcome),
        Err(error) => error.to_string(),
    };
    let many = (0..MAX_APPLICATIONS).map(|n| format!("a{n},App{n},\n")).collect::<Vec<_>>().concat();
    let full = format!("Host,ApplicationName,Contact\n{many}");
    let messages = [
        refusal(file, "10.0.0.300", "A", ""),
        refusal(file, "10.0.0.1/8", "A", ""),
        refusal(file, "web2\nweb3,B,", "A", ""),
        refusal(file, "fe80::1%a\nb", "A", ""),
        refusal(file, "web2", " ", ""),
        refusal(file, "web2", "Unknown", ""),
        refusal(file, "web2", "A", "a\r\nb"),
        refusal(file, "web2", &"ä".repeat(257), ""),
        refusal(b"Host,ApplicationName,Contact\nweb1,A\n", "web2", "A", ""),
        refusal(b"", "web2", "A", ""),
        refusal(full.as_bytes(), "web2", "App-1", ""),
        refusal(full.as_bytes(), "web2", "App1", ""),
        remove(file, "a b").map_or_else(|error| error.to_string(), |_| String::new()),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r##"
    "10.0.0.300" is no host name, address or CIDR block
    10.0.0.1/8 has bits behind its prefix: write 10.0.0.0/8
    "web2\nweb3,B," is no host name, address or CIDR block
    "fe80::1%a\nb" is no host name, address or CIDR block
    ApplicationName is empty
    ApplicationName must not be "Unknown", under which hosts without owner are counted
    Contact "a\r\nb" holds a control character
    ApplicationName has 257 characters: at most 256 are taken
    row 2: expected 3 fields as in the header, found 2
    the file is empty: expected the header Host,ApplicationName,Contact
    the edited file would be refused: the file names 65537 applications: at most 65536 are counted
    Added
    "a b" is no host name, address or CIDR block
    "##);
}

#[test]
fn a_list_has_the_rows_as_written_and_their_lines() {
    let listed = list(ODD.replace("\"A\" ", "A").as_bytes()).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].row, &listed[0].entry), (3, &entry("Web1.", "A", "a@x.org")));
    let spread = "\n\nHost,ApplicationName,Contact,x\na,A,,\"\n\"\n\n\nb,B,,\r\nc,C,,";
    let rows: Vec<u64> = list(spread.as_bytes()).unwrap().iter().map(|listed| listed.row).collect();
    assert_eq!(rows, [4, 8, 9]);
}

#[derive(Clone, Debug)]
enum Edit {
    Add(u8, u8, String),
    Remove(u8),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let add = (0_u8..6, 0_u8..3, "[a,\" ]{0,3}")
        .prop_map(|(host, application, contact)| Edit::Add(host, application, contact));
    let remove = (0_u8..6).prop_map(Edit::Remove);
    prop::collection::vec(prop_oneof![2 => add, 1 => remove], 0..20)
}

proptest! {
    /// The file behaves as a map from host to owner.
    #[test]
    fn edits_in_a_row_are_a_map(edits in edits(), line_end in "\n|\r\n|\r", end in any::<bool>()) {
        let mut file = format!("Contact,Host,x,ApplicationName{}", if end { line_end.as_str() } else { "" });
        let mut model = std::collections::BTreeMap::new();
        for edit in edits {
            let result = match &edit {
                Edit::Add(host, application, contact) => {
                    model.insert(*host, (format!("A{application}"), contact.trim().to_owned()));
                    add(file.as_bytes(), &entry(&format!("h{host}"), &format!("A{application}"), contact))
                }
                Edit::Remove(host) => {
                    let there = model.remove(host).is_some();
                    let result = remove(file.as_bytes(), &format!("H{host}."));
                    prop_assert_eq!(result.as_ref().unwrap().outcome == Outcome::Removed, there);
                    result
                }
            };
            file = edited(&file, result).0;
            let mut listed: Vec<_> = list(file.as_bytes()).unwrap().into_iter().map(|row| row.entry).collect();
            listed.sort_by(|left, right| left.host.cmp(&right.host));
            let expected: Vec<Entry> = model.iter().map(|(host, (application, contact))| entry(&format!("h{host}"), application, contact)).collect();
            prop_assert_eq!(listed, expected);
        }
    }
}

/// A finding of the fuzzer: the reader passed over the second mark, and the editor did not.
#[test]
fn a_file_with_two_byte_order_marks_is_read_and_edited_alike() {
    let file = "\u{feff}\u{feff}Contact,Host,ApplicationName\nx,10.0.0.1,A\n";
    assert_eq!(list(file.as_bytes()).unwrap().len(), 1);
    let (after, outcome) = edited(file, remove(file.as_bytes(), "10.0.0.1"));
    assert_eq!(
        (after.as_str(), outcome),
        ("\u{feff}\u{feff}Contact,Host,ApplicationName\n", Outcome::Removed)
    );
}
