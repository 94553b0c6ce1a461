//! CSV after RFC 4180, with a header. Knows no dialects.
//!
//! Lines end in `\n`, as the tools of Unix expect and every reader accepts. A text cell that begins with `=`, `+`,
//! `-`, `@` (or their wide forms), tab or a line end gets an apostrophe in front, because spreadsheets take it for a
//! formula; numbers and times never do. Control characters other than tab and line ends, which RFC 4180 does not allow, are written as
//! escapes (`\x1b`).

use std::{
    borrow::Cow,
    io::{self, Write},
};

use crate::render::{Cell, Report, text::escape_but_blanks};

pub(super) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    if report.columns.is_empty() {
        return Ok(());
    }
    let mut writer = ::csv::Writer::from_writer(out);
    writer.write_record(report.columns.iter().map(|column| column.name)).map_err(into_io)?;
    for row in report.cells() {
        for (_, cell) in row {
            writer.write_field(show(cell).as_ref()).map_err(into_io)?;
        }
        writer.write_record(None::<&[u8]>).map_err(into_io)?;
    }
    writer.flush()
}

/// What begins a formula, or may be dropped in front of one (OWASP, CSV injection).
const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// A text cell: nothing that a spreadsheet calculates or a terminal obeys.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    let shown = escape_but_blanks(text);
    if shown.starts_with(FORMULA) {
        return Cow::Owned(format!("'{shown}"));
    }
    shown
}

/// The writer's own error, where there is one: its kind tells a reader that went away from a full disk.
pub(super) fn into_io(error: ::csv::Error) -> io::Error {
    match error.into_kind() {
        ::csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

fn show(cell: &Cell) -> Cow<'_, str> {
    match cell {
        Cell::Text(value) => text(value),
        Cell::Count(count) => Cow::Owned(count.to_string()),
        Cell::Difference(count) => Cow::Owned(count.to_string()),
        Cell::Percent(value) | Cell::Number(value) if value.is_finite() => Cow::Owned(value.to_string()),
        Cell::Percent(_) | Cell::Number(_) | Cell::Empty => Cow::Borrowed(""),
        Cell::Time(time) => Cow::Owned(time.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Column, Format, render, sample};

    fn csv(report: &Report) -> String {
        let mut out = Vec::new();
        render(report, Format::Csv, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cells_are_quoted_and_formulas_are_text() {
        insta::assert_snapshot!(csv(&sample()), @r#"
        windowStart,applicationName,requests,share
        2026-11-21T04:55:00Z,Billing,1432,0.9728
        ,'=cmd|'/c calc'!A1,0,0
        ,"日本 \x1b[31m\x9bm \u{202e}a,""b""
        ",,
        ,,18446744073709551615,
        "#);
    }

    #[test]
    fn every_start_of_a_formula_gets_an_apostrophe() {
        for formula in ["=1", "+1", "-1", "@a", "\tx", "\rx", "\n=1", "＝1", "＋1", "－1", "＠a"] {
            assert_eq!(text(formula), format!("'{formula}"));
        }
        for plain in ["", "a=1", " =1", "10.0.0.1", "'quoted"] {
            assert_eq!(text(plain), plain);
        }
    }

    #[test]
    fn what_a_csv_reader_reads_is_what_was_written() {
        let cells = ["a\r\nb", "\"", ",", "", "ünï", "a\tb", "\\x1b"];
        let report = Report {
            columns: vec![Column::left("a", "A"), Column::right("n", "N")],
            rows: cells.iter().map(|&cell| vec![cell.into(), 7.into()]).collect(),
        };
        let text = csv(&report);
        let mut reader = ::csv::Reader::from_reader(text.as_bytes());
        let read: Vec<String> = reader.records().map(|record| record.unwrap()[0].to_owned()).collect();
        assert_eq!(read, cells);
    }
}
