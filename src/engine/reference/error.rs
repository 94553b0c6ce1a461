//! What can be wrong with a reference file, each with its row. Repairs nothing.

use crate::engine::reference::{
    MAX_APPLICATION, MAX_APPLICATIONS, MAX_BYTES, MAX_CONTACT, MAX_ROW_BYTES, MAX_ROWS, csv::HEADER,
};

/// Characters of a cell that a message shows.
const SHOWN: usize = 80;

/// Why reference data is refused. Rows are lines of the file, counted from 1, the header included; where a quoted cell
/// spans lines, the first of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing, or blank lines only.
    #[error("the file is empty: expected the header {HEADER}")]
    Empty,
    /// Over [`MAX_BYTES`].
    #[error("the file has {0} bytes: at most {MAX_BYTES} are read")]
    TooLarge(usize),
    /// More than [`MAX_APPLICATIONS`] distinct names.
    #[error("the file names {0} applications: at most {MAX_APPLICATIONS} are counted")]
    TooManyApplications(usize),
    /// A fault in one row.
    #[error("row {row}: {fault}")]
    Row {
        /// The line of the file.
        row: u64,
        /// What is wrong there.
        fault: Fault,
    },
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The row is not UTF-8.
    #[error("not UTF-8: save the file as CSV in UTF-8")]
    NotUtf8,
    /// None of the required columns is there.
    #[error("no header: expected {HEADER}, found {0}")]
    NoHeader(String),
    /// A required column is not there.
    #[error("no column {column}: expected {HEADER}, found {found}")]
    NoColumn {
        /// The column.
        column: &'static str,
        /// The header as it is.
        found: String,
    },
    /// A column stands twice in the header.
    #[error("the header has the column {0} twice")]
    ColumnTwice(&'static str),
    /// As many fields as the header are needed.
    #[error("expected {expected} fields as in the header, found {found}")]
    Fields {
        /// Fields of the header.
        expected: usize,
        /// Fields of this row.
        found: usize,
    },
    /// A quoted cell never ends.
    #[error("a quoted cell begins here and never ends")]
    OpenQuote,
    /// Text between a closing quote and the next comma, mostly because a quote is missing before.
    #[error("text follows a closing quote: write \"\" for a quote within a quoted cell")]
    BehindQuote,
    /// No name, address or block.
    #[error("{0} is no host name, address or CIDR block")]
    Host(String),
    /// No application.
    #[error("ApplicationName is empty")]
    NoApplication,
    /// The name under which unowned hosts are counted.
    #[error(
        "ApplicationName must not be {:?}, under which hosts without owner are counted",
        crate::engine::row::UNKNOWN
    )]
    Reserved,
    /// More than [`MAX_APPLICATION`] or [`MAX_CONTACT`] characters.
    #[error("{column} has {found} characters: at most {most} are taken")]
    TooLong {
        /// The column.
        column: &'static str,
        /// Characters found.
        found: usize,
        /// Characters taken.
        most: usize,
    },
    /// A line break, a tab or another control character in a cell that is used.
    #[error("{column} {cell} holds a control character")]
    Control {
        /// The column.
        column: &'static str,
        /// The cell, escaped.
        cell: String,
    },
    /// No RFC 3339 time.
    #[error("{column} {cell} is no time: expected RFC 3339, for example 2026-11-21T04:35:00Z")]
    Time {
        /// The column.
        column: &'static str,
        /// The cell, escaped.
        cell: String,
    },
    /// The row would never be valid.
    #[error("ValidTo is not after ValidFrom: the row would never be valid")]
    Never,
    /// A row over [`MAX_ROW_BYTES`].
    #[error("more than {MAX_ROW_BYTES} bytes in one row")]
    RowTooLong,
    /// More than [`MAX_ROWS`] rows.
    #[error("more than {MAX_ROWS} rows")]
    TooManyRows,
}

impl Fault {
    /// Checks the text of a cell that is kept.
    pub(super) fn in_text(column: &'static str, cell: &str, most: usize) -> Result<(), Self> {
        if cell.chars().any(char::is_control) {
            let cell = shown(cell);
            return Err(Self::Control { column, cell });
        }
        if cell.len() > most && cell.chars().count() > most {
            let found = cell.chars().count();
            return Err(Self::TooLong { column, found, most });
        }
        Ok(())
    }

    /// Checks an application name.
    pub(super) fn in_application(cell: &str) -> Result<(), Self> {
        if cell.is_empty() {
            return Err(Self::NoApplication);
        }
        if cell == crate::engine::row::UNKNOWN {
            return Err(Self::Reserved);
        }
        Self::in_text("ApplicationName", cell, MAX_APPLICATION)
    }

    /// Checks a contact.
    pub(super) fn in_contact(cell: &str) -> Result<(), Self> {
        Self::in_text("Contact", cell, MAX_CONTACT)
    }

    /// This fault in a row.
    pub(super) fn in_row(self, row: u64) -> ReferenceError {
        ReferenceError::Row { row, fault: self }
    }
}

/// The line of the file that holds byte `offset`, from 1; `\n`, `\r` and `\r\n` end a line.
pub(super) fn row_at(data: &[u8], offset: usize) -> u64 {
    let before = data.get(..offset).unwrap_or(data);
    let ends = memchr::memchr_iter(b'\n', before).count() + memchr::memchr_iter(b'\r', before).count();
    let pairs = memchr::memmem::find_iter(before, b"\r\n").count();
    1 + (ends - pairs) as u64
}

/// A cell as a message shows it: quoted, escaped, cut.
pub(super) fn shown(cell: &str) -> String {
    let mut shown: String = cell.chars().take(SHOWN).collect();
    if shown.len() < cell.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
