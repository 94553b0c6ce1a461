//! The CSV file as rows that cannot be wrong. Joins nothing and keeps nothing.

use std::borrow::Cow;

use crate::engine::{
    reference::{
        MAX_BYTES, MAX_ROWS, ReferenceError,
        error::{Fault, shown},
        host::Host,
        scan::Spans,
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
    pub(super) fn find(header: &[&str]) -> Result<Self, Fault> {
        let place = |column: &'static str| {
            let is_column = |(_, name): &(usize, &&str)| name.trim().eq_ignore_ascii_case(column);
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

/// One row, borrowed from the reader.
#[derive(Clone, Debug)]
pub(super) struct Row<'a> {
    /// Offset of the row in [`Rows::data`].
    pub(super) at: usize,
    /// As written, without the blanks around it.
    pub(super) host_text: &'a str,
    pub(super) host: Host<'a>,
    pub(super) application: &'a str,
    pub(super) contact: &'a str,
    pub(super) period: Period,
}

/// The rows of a file.
pub(super) struct Rows<'a> {
    data: &'a [u8],
    reader: ::csv::Reader<&'a [u8]>,
    record: ::csv::StringRecord,
    columns: Columns,
    read: usize,
}

impl<'a> Rows<'a> {
    /// Checks size, encoding, quotes and header.
    pub(super) fn open(file: &'a [u8]) -> Result<Self, ReferenceError> {
        if file.len() > MAX_BYTES {
            return Err(ReferenceError::TooLarge(file.len()));
        }
        let data = without_bom(file);
        if let Err(error) = std::str::from_utf8(data) {
            return Err(Fault::NotUtf8.at(data, error.valid_up_to()));
        }
        if memchr::memchr(b'"', data).is_some() {
            for span in Spans::of(data) {
                span.map_err(|(fault, offset)| fault.at(data, offset))?;
            }
        }
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(data);
        let mut record = ::csv::StringRecord::new();
        let at = advance(&mut reader, &mut record, data)?.ok_or(ReferenceError::Empty)?;
        let columns =
            Columns::find(&record.iter().collect::<Vec<_>>()).map_err(|fault| fault.at(data, at))?;
        Ok(Self { data, reader, record, columns, read: 0 })
    }

    /// The file without its byte order mark, to which offsets refer.
    pub(super) fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The next row that is not blank.
    pub(super) fn next(&mut self) -> Result<Option<Row<'_>>, ReferenceError> {
        let Some(at) = advance(&mut self.reader, &mut self.record, self.data)? else {
            return Ok(None);
        };
        self.read += 1;
        if self.read > MAX_ROWS {
            return Err(Fault::TooManyRows.at(self.data, at));
        }
        match row(&self.record, self.columns) {
            Ok(row) => Ok(Some(Row { at, ..row })),
            Err(fault) => Err(fault.at(self.data, at)),
        }
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
pub(super) fn is_blank<'a>(mut cells: impl Iterator<Item = &'a str>) -> bool {
    cells.all(|cell| cell.trim().is_empty())
}

/// Reads the next record that is not blank, and returns its offset.
fn advance(
    reader: &mut ::csv::Reader<&[u8]>,
    record: &mut ::csv::StringRecord,
    data: &[u8],
) -> Result<Option<usize>, ReferenceError> {
    loop {
        let before = usize::try_from(reader.position().byte()).unwrap_or(data.len());
        match reader.read_record(record) {
            Ok(false) => return Ok(None),
            Ok(true) if is_blank(record.iter()) => {}
            Ok(true) => {
                let line_ends = data.get(before..).unwrap_or_default().iter();
                let line_ends = line_ends.take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                return Ok(Some(before + line_ends));
            }
            // A slice gives no I/O error, fields may be unequal, and all of it is UTF-8: nothing is left to fail.
            Err(_) => return Err(Fault::NotUtf8.at(data, before)),
        }
    }
}

fn row(record: &::csv::StringRecord, columns: Columns) -> Result<Row<'_>, Fault> {
    if record.len() != columns.count {
        return Err(Fault::Fields { expected: columns.count, found: record.len() });
    }
    let cell = |column: usize| record.get(column).unwrap_or_default().trim();
    let host_text = cell(columns.host);
    let (application, contact) = (cell(columns.application), cell(columns.contact));
    let host = Host::parse(host_text).ok_or_else(|| Fault::Host(shown(host_text)))?;
    Fault::in_application(application)?;
    Fault::in_contact(contact)?;
    Ok(Row {
        at: 0,
        host_text,
        host,
        application,
        contact,
        period: period(columns, |column| Cow::Borrowed(cell(column)))?,
    })
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
