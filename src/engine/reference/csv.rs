//! The CSV file, block by block, as rows that cannot be wrong. Joins nothing.

use std::{borrow::Cow, ops::Range};

use crate::engine::{
    reference::{
        MAX_ROW_BYTES, MAX_ROWS, ReferenceError,
        error::{Fault, row_at, shown},
        host::Host,
        scan::{cells, text, unquoted},
        split::Splitter,
        validity::Period,
    },
    time::Timestamp,
};

/// The header of a file made anew, and what messages name.
pub(super) const HEADER: &str = "Host,ApplicationName,Contact";

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Where the columns stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) host: usize,
    pub(super) application: usize,
    pub(super) contact: usize,
    pub(super) valid_from: Option<usize>,
    pub(super) valid_to: Option<usize>,
    pub(super) count: usize,
}

impl Columns {
    /// Finds the columns by name, whatever their case and order.
    pub(super) fn find(header: &[Cow<'_, str>]) -> Result<Self, Fault> {
        let place = |column: &'static str| {
            let is_column = |(_, name): &(usize, &Cow<'_, str>)| name.trim().eq_ignore_ascii_case(column);
            let mut places = header.iter().enumerate().filter(is_column).map(|(place, _)| place);
            let place = places.next();
            match places.next() {
                Some(_) => Err(Fault::ColumnTwice(column)),
                None => Ok(place),
            }
        };
        let found = || shown(&header.join(","));
        let (host, application, contact) = (place("Host")?, place("ApplicationName")?, place("Contact")?);
        if (host, application, contact) == (None, None, None) {
            return Err(Fault::NoHeader(found()));
        }
        let needed =
            |column, place: Option<usize>| place.ok_or_else(|| Fault::NoColumn { column, found: found() });
        Ok(Self {
            host: needed("Host", host)?,
            application: needed("ApplicationName", application)?,
            contact: needed("Contact", contact)?,
            valid_from: place("ValidFrom")?,
            valid_to: place("ValidTo")?,
            count: header.len(),
        })
    }
}

/// One row, while it is read.
#[derive(Clone, Debug)]
pub(super) struct Row<'a> {
    /// The line of the file where it begins, from 1.
    pub(super) line: u64,
    /// As written, without the blanks around it.
    pub(super) host_text: &'a str,
    pub(super) host: Host<'a>,
    pub(super) application: &'a str,
    pub(super) contact: &'a str,
    pub(super) period: Period,
}

/// Reads the rows of a file that comes in blocks. Keeps of it what a row needs that is not yet complete.
#[derive(Debug, Default)]
pub(super) struct Rows {
    splitter: Splitter,
    /// What is there of a row that goes on in the next block; of one that is too long, nothing.
    begun: Vec<u8>,
    begun_bytes: usize,
    /// Something other than a byte order mark was there.
    past_bom: bool,
    /// The row before ended with `\r`; a `\n` belongs to it.
    after_cr: bool,
    lines: u64,
    seen: usize,
    columns: Option<Columns>,
    cells: Vec<Range<usize>>,
}

impl Rows {
    /// Reads on, and calls `each` with each row that is complete and not blank.
    pub(super) fn push(
        &mut self,
        block: &[u8],
        each: &mut impl FnMut(&Row<'_>),
    ) -> Result<(), ReferenceError> {
        if self.past_bom {
            return self.push_text(block, each);
        }
        self.begun.extend_from_slice(block);
        let text = without_bom(&self.begun);
        if BOM.starts_with(text) {
            self.begun.drain(..self.begun.len() - text.len());
            return Ok(()); // an end of it may follow
        }
        self.past_bom = true;
        let begun = std::mem::take(&mut self.begun);
        self.push_text(without_bom(&begun), each)
    }

    /// Reads what the last block left. A file needs a header.
    pub(super) fn finish(mut self, each: &mut impl FnMut(&Row<'_>)) -> Result<(), ReferenceError> {
        if self.splitter.is_open() {
            return Err(Fault::OpenQuote.in_row(self.lines + 1));
        }
        let last = std::mem::take(&mut self.begun);
        self.row(&last, last.len().max(self.begun_bytes), each)?;
        self.columns.map(|_| ()).ok_or(ReferenceError::Empty)
    }

    /// How many bytes are kept for the next block.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.begun.len()
    }

    fn push_text(&mut self, mut block: &[u8], each: &mut impl FnMut(&Row<'_>)) -> Result<(), ReferenceError> {
        while let [first, behind @ ..] = block {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                block = behind;
                continue;
            }
            let end = self.splitter.row_end(block).map_err(|fault| fault.in_row(self.lines + 1))?;
            let (text, behind) = block.split_at(end.unwrap_or(block.len()));
            block = behind;
            self.after_cr = end.is_some() && text.ends_with(b"\r");
            if end.is_some() && self.begun_bytes == 0 {
                self.row(text, text.len(), each)?;
                continue;
            }
            self.begin(text);
            if end.is_some() {
                let row = std::mem::take(&mut self.begun);
                let bytes = std::mem::take(&mut self.begun_bytes);
                self.row(&row, bytes, each)?;
                self.begun = row;
                self.begun.clear();
            }
        }
        Ok(())
    }

    /// Keeps the beginning of a row.
    fn begin(&mut self, text: &[u8]) {
        self.begun_bytes += text.len();
        if self.begun_bytes <= MAX_ROW_BYTES {
            self.begun.extend_from_slice(text);
        } else {
            self.begun = Vec::new();
        }
    }

    /// Reads a row of so many bytes, its line end included.
    fn row(
        &mut self,
        row: &[u8],
        bytes: usize,
        each: &mut impl FnMut(&Row<'_>),
    ) -> Result<(), ReferenceError> {
        let line = self.lines + 1;
        self.lines += line_ends(row);
        if bytes > MAX_ROW_BYTES {
            return Err(Fault::RowTooLong.in_row(line));
        }
        if let Err(error) = std::str::from_utf8(row) {
            return Err(Fault::NotUtf8.in_row(line - 1 + row_at(row, error.valid_up_to())));
        }
        cells(row, &mut self.cells).map_err(|fault| fault.in_row(line))?;
        let mut texts = self.cells.iter().map(|cell| text(row, cell));
        if is_blank(&mut texts) {
            return Ok(());
        }
        let Some(columns) = self.columns else {
            let header: Vec<Cow<'_, str>> = self.cells.iter().map(|cell| unquoted(row, cell)).collect();
            self.columns = Some(Columns::find(&header).map_err(|fault| fault.in_row(line))?);
            return Ok(());
        };
        self.seen += 1;
        if self.seen > MAX_ROWS {
            return Err(Fault::TooManyRows.in_row(line));
        }
        each_row(line, row, &self.cells, columns, each).map_err(|fault| fault.in_row(line))
    }
}

/// The file without its byte order mark, and without those that programs put before the one that was there.
pub(super) fn without_bom(mut file: &[u8]) -> &[u8] {
    while let Some(rest) = file.strip_prefix(BOM) {
        file = rest;
    }
    file
}

/// Whether a row holds nothing: a blank line, or the `,,` that spreadsheets leave behind.
pub(super) fn is_blank(mut cells: impl Iterator<Item = impl AsRef<str>>) -> bool {
    cells.all(|cell| cell.as_ref().trim().is_empty())
}

/// Line ends of a row: nearly always the one behind it.
fn line_ends(row: &[u8]) -> u64 {
    match row {
        [inside @ .., b'\r' | b'\n'] if memchr::memchr2(b'\r', b'\n', inside).is_none() => 1,
        _ => row_at(row, row.len()) - 1,
    }
}

fn each_row(
    line: u64,
    row: &[u8],
    cells: &[Range<usize>],
    columns: Columns,
    each: &mut impl FnMut(&Row<'_>),
) -> Result<(), Fault> {
    if cells.len() != columns.count {
        return Err(Fault::Fields { expected: columns.count, found: cells.len() });
    }
    let cell = |column: usize| cells.get(column).map_or_else(Cow::default, |cell| text(row, cell));
    let host_text = cell(columns.host);
    let (application, contact) = (cell(columns.application), cell(columns.contact));
    let host = Host::parse(&host_text).ok_or_else(|| Fault::Host(shown(&host_text)))?;
    Fault::in_application(&application)?;
    Fault::in_contact(&contact)?;
    let period = period(columns, cell)?;
    each(&Row { line, host_text: &host_text, host, application: &application, contact: &contact, period });
    Ok(())
}

/// The validity of a row; an empty cell is no bound.
pub(super) fn period<'a>(columns: Columns, cell: impl Fn(usize) -> Cow<'a, str>) -> Result<Period, Fault> {
    let time = |name, column: Option<usize>| match column.map(&cell).as_deref() {
        None | Some("") => Ok(None),
        Some(text) => Timestamp::parse_rfc3339(text)
            .map(Some)
            .map_err(|_| Fault::Time { column: name, cell: shown(text) }),
    };
    let from = time("ValidFrom", columns.valid_from)?.unwrap_or(Period::ALWAYS.from);
    let to = time("ValidTo", columns.valid_to)?.unwrap_or(Period::ALWAYS.to);
    if to <= from {
        return Err(Fault::Never);
    }
    Ok(Period { from, to })
}
