//! Files that come in blocks: the same as whole, and bounded whatever comes.

use proptest::prelude::*;

use super::{tests::rows, *};

/// All that becomes of a file, tables and warnings, or its fault.
fn whole(csv: &[u8]) -> String {
    format!("{:?}", Reference::parse(csv))
}

/// The same of a file that comes in blocks which end at these places.
fn in_blocks(csv: &[u8], cuts: &[prop::sample::Index]) -> String {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(csv.len() + 1)).collect();
    cuts.sort_unstable();
    let mut loader = Loader::default();
    let mut from = 0;
    for to in cuts.into_iter().chain([csv.len()]) {
        loader.push(&csv[from..to]);
        from = to;
    }
    format!("{:?}", loader.finish())
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..40)
}

/// The beginning of a file, a part of it, and line ends.
fn piece() -> impl Strategy<Value = String> {
    let host = "10\\.0\\.0\\.[0-3](/3[0-2])?|2001:db8::[0-3](/12[0-8])?|[Ww]eb[0-3](\\.example\\.org)?\\.?";
    let sound = (
        host,
        "[AB]|\"A, \"\"b\"\"\"|\"[AB]\"",
        "b?|\"b\"",
        "(2026-01-0[12]T00:00:00Z)?",
        "\r|\n|\r\n|\n\n,,,\r\n",
    );
    prop_oneof![
        20 => sound.prop_map(|(host, application, contact, from, end)| format!("{host},{application},{contact},{from}{end}")),
        1 => "[aü,\"\r\n]{0,12}",
    ]
}

proptest! {
    #[test]
    fn a_file_in_blocks_is_the_file(
        bom in prop_oneof![3 => Just(""), 1 => Just("\u{feff}"), 1 => Just("\u{feff}\u{feff}\n")],
        pieces in prop::collection::vec(piece(), 0..20),
        cuts in cuts(),
    ) {
        let csv = format!("{bom}\"Host\",ApplicationName,Contact,ValidFrom\n{}", pieces.concat());
        prop_assert_eq!(in_blocks(csv.as_bytes(), &cuts), whole(csv.as_bytes()));
    }

    #[test]
    fn bytes_in_blocks_are_the_bytes(csv in prop::collection::vec(any::<u8>(), 0..100), cuts in cuts()) {
        prop_assert_eq!(in_blocks(&csv, &cuts), whole(&csv));
        let after_header = [rows("").as_bytes(), &csv].concat();
        prop_assert_eq!(in_blocks(&after_header, &cuts), whole(&after_header));
    }
}

fn refusal(blocks: impl Iterator<Item = impl AsRef<[u8]>>) -> String {
    let mut loader = Loader::default();
    blocks.for_each(|block| loader.push(block.as_ref()));
    loader.finish().map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
}

#[test]
fn a_row_that_is_too_long_is_refused_and_not_kept() {
    let row = |bytes: usize| rows(&format!("a,A,\nb,B,\"{}\"\n", "x".repeat(bytes - "b,B,\"\"\n".len())));
    for block in [1_000, usize::MAX] {
        let in_blocks = |csv: String| refusal(csv.into_bytes().chunks(block));
        assert_eq!(
            in_blocks(row(MAX_ROW_BYTES)),
            "row 3: Contact has 1048569 characters: at most 1024 are taken"
        );
        assert_eq!(in_blocks(row(MAX_ROW_BYTES + 1)), "row 3: more than 1048576 bytes in one row");
    }
    let block = vec![b'x'; 1 << 20];
    let long = |begin: &'static [u8], blocks: usize| {
        [begin].into_iter().chain(std::iter::repeat_n(block.as_slice(), blocks))
    };
    assert_eq!(
        refusal(long(b"Host,ApplicationName,Contact\na,A,\nb,B,", 200)),
        "row 3: more than 1048576 bytes in one row"
    );
    let open = "row 3: a quoted cell begins here and never ends";
    assert_eq!(refusal(long(b"Host,ApplicationName,Contact\na,A,\nb,B,\"", 200)), open);
    let too_large = "the file has 268435494 bytes: at most 268435456 are read";
    assert_eq!(refusal(long(b"Host,ApplicationName,Contact\na,A,\nb,B,", 256)), too_large);
    let mut rows = csv::Rows::default();
    for block in long(b"Host,ApplicationName,Contact\nb,B,\"", 10) {
        rows.push(block, &mut |_| {}).unwrap();
        assert!(rows.kept() <= MAX_ROW_BYTES);
    }
    assert_eq!(rows.kept(), 0, "what is refused in the end");
}

#[test]
fn files_of_nothing_are_empty_and_files_of_nuls_are_no_header() {
    let repeated = |bytes: &'static [u8], times: usize| std::iter::repeat_n(bytes.repeat(64 * 1024), times);
    assert_eq!(
        refusal(repeated(b"\n", 64)),
        "the file is empty: expected the header Host,ApplicationName,Contact"
    );
    assert_eq!(
        refusal(repeated(b"\r", 64)),
        "the file is empty: expected the header Host,ApplicationName,Contact"
    );
    assert_eq!(
        refusal(repeated(b"\xEF\xBB\xBF", 64)),
        "the file is empty: expected the header Host,ApplicationName,Contact"
    );
    assert!(
        refusal(repeated(b"\0", 10))
            .starts_with("row 1: no header: expected Host,ApplicationName,Contact, found \"\\0")
    );
    assert_eq!(refusal(repeated(b"\0", 64)), "row 1: more than 1048576 bytes in one row");
    let header = rows("");
    let nuls = [header.as_bytes(), b"a\0,A,\n"].into_iter();
    assert_eq!(refusal(nuls), "row 2: \"a\\0\" is no host name, address or CIDR block");
    let rows = std::iter::once(header.into_bytes())
        .chain(std::iter::repeat_n(b"a,A,\n".repeat(10), MAX_ROWS / 10 + 1));
    assert_eq!(refusal(rows), "row 2000002: more than 2000000 rows");
}
