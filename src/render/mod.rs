//! Results on stdout: one file a format. Computes nothing.
//!
//! A [`Report`] is a small table of typed cells that [`render`] writes as a table, CSV or JSON lines; a
//! [`RowWriter`](rows::RowWriter) streams the engine's rows. What they print came out of logs, so every format
//! neutralises what could act on a terminal, a spreadsheet or a parser.

pub mod csv;
pub mod json;
pub mod rows;
pub mod table;
pub mod text;

use std::io::{self, Write};

use crate::engine::time::Timestamp;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// RFC 4180 with a header line.
    Csv,
    /// One JSON object a line.
    Json,
}

/// A result: named columns and rows of cells. A row shorter than the columns is filled with [`Cell::Empty`]; cells
/// beyond the columns are not printed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// From left to right.
    pub columns: Vec<Column>,
    /// From top to bottom.
    pub rows: Vec<Vec<Cell>>,
}

/// A column's names and alignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name in CSV and JSON, `applicationName`.
    pub name: &'static str,
    /// The heading of the table, `Application`.
    pub title: &'static str,
    /// Where the table puts the cells.
    pub align: Align,
}

/// The side at which a table aligns a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Names and times.
    Left,
    /// Numbers.
    Right,
}

/// One value of a [`Report`].
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Text, which may come from a log.
    Text(String),
    /// A count.
    Count(u64),
    /// A count less another one.
    Difference(i64),
    /// A share of one: 0.123 is `12.3 %` in a table and `0.123` elsewhere; not finite: as [`Cell::Empty`].
    Percent(f64),
    /// A sum that need not be whole; not finite: as [`Cell::Empty`].
    Number(f64),
    /// A point in time, RFC 3339.
    Time(Timestamp),
    /// Nothing: blank in a table and CSV, `null` in JSON.
    Empty,
}

impl Column {
    /// A column of names or times.
    #[must_use]
    pub const fn left(name: &'static str, title: &'static str) -> Self {
        Self { name, title, align: Align::Left }
    }

    /// A column of numbers.
    #[must_use]
    pub const fn right(name: &'static str, title: &'static str) -> Self {
        Self { name, title, align: Align::Right }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Cell {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<Timestamp> for Cell {
    fn from(time: Timestamp) -> Self {
        Self::Time(time)
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(cell: Option<T>) -> Self {
        cell.map_or(Self::Empty, Into::into)
    }
}

impl Report {
    /// The cells of each row, exactly one a column.
    fn cells(&self) -> impl Iterator<Item = impl Iterator<Item = (&Column, &Cell)>> {
        self.rows.iter().map(|row| {
            let cells = row.iter().chain(std::iter::repeat(&Cell::Empty));
            self.columns.iter().zip(cells)
        })
    }
}

/// Writes `report` to `out` and leaves flushing to the caller.
///
/// ```
/// use logtally::render::{Cell, Column, Format, Report, render};
/// let report = Report {
///     columns: vec![Column::left("applicationName", "Application"), Column::right("requests", "Requests")],
///     rows: vec![vec!["Billing".into(), Cell::Count(12)]],
/// };
/// let mut out = Vec::new();
/// render(&report, Format::Table, &mut out)?;
/// assert_eq!(out, b"Application  Requests\nBilling            12\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// What `out` reports.
pub fn render(report: &Report, format: Format, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Table => table::write(report, out),
        Format::Csv => csv::write(report, out),
        Format::Json => json::write(report, out),
    }
}

/// The report that the tests of every format print: each kind of cell, hostile text, a short and a long row.
#[cfg(test)]
fn sample() -> Report {
    Report {
        columns: vec![
            Column::left("windowStart", "Window"),
            Column::left("applicationName", "Application"),
            Column::right("requests", "Requests"),
            Column::right("share", "Share"),
        ],
        rows: vec![
            vec![
                Timestamp::from_millis(1_795_236_900_000).into(),
                "Billing".into(),
                1432.into(),
                Cell::Percent(0.9728),
            ],
            vec![Cell::Empty, "=cmd|'/c calc'!A1".into(), Cell::Count(0), Cell::Percent(0.0)],
            vec![Cell::Empty, "日本 \u{1b}[31m\u{9b}m \u{202e}a,\"b\"\n".into()],
            vec![
                Cell::Empty,
                Cell::Empty,
                u64::MAX.into(),
                Cell::Percent(f64::NAN),
                "beyond the columns".into(),
            ],
        ],
    }
}
