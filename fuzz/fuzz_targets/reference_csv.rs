//! Any bytes as reference data: accepted or refused, never a panic; and what is accepted can be edited into what is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use logtally::engine::reference::{
    Reference, Resolution,
    edit::{self, Entry},
};

fuzz_target!(|csv: &[u8]| {
    let Ok(parsed) = Reference::parse(csv) else {
        assert!(edit::list(csv).is_err());
        return;
    };
    let rows = edit::list(csv).expect("what is accepted is listed");
    let reference = parsed.reference;
    assert!(rows.is_empty() == reference.owners().is_empty());
    for row in rows.iter().take(4) {
        let removed = edit::remove(csv, &row.entry.host).expect("a host of the file is one");
        let rest = removed.content.expect("it was there");
        Reference::parse(&rest).expect("without a host it is accepted");
        let left = edit::remove(&rest, &row.entry.host).expect("it still is a host");
        assert_eq!(left.outcome, edit::Outcome::NotThere);
    }
    let new = Entry {
        host: "fuzz.example.com".to_owned(),
        application: "=Fuzz, \"x\"".to_owned(),
        ..Entry::default()
    };
    // Refused where one cell more would be one too many.
    let Ok(added) = edit::add(csv, &new) else { return };
    let file = added.content.as_deref().unwrap_or(csv);
    let reference = Reference::parse(file).expect("what was edited is accepted").reference;
    if let Resolution::Owned(owner) = reference.resolve(b"Fuzz.Example.COM.") {
        assert_eq!(reference.owners()[owner as usize].application, new.application);
    } else {
        assert!(matches!(reference.resolve(b"fuzz.example.com"), Resolution::ByTime(_)));
    }
});
