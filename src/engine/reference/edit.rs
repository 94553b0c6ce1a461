//! Adds and removes rows of the file and leaves every other byte as it is. Writes no file.

use std::borrow::Cow;

use crate::engine::{
    reference::{
        Owner, Reference, ReferenceError,
        csv::{Columns, HEADER, Row, Rows, is_blank, period, without_bom},
        error::{Fault, shown},
        host::Host,
        scan::{Span, Spans, quoted, text},
        validity::Period,
    },
    time::Timestamp,
};

/// A row, as it is asked for and as it is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// A name, an address or a CIDR block.
    pub host: String,
    /// The application's name.
    pub application: String,
    /// Whom to contact; may be empty.
    pub contact: String,
    /// From when on, inclusive; absent: always.
    pub valid_from: Option<Timestamp>,
    /// Until when, exclusive; absent: for ever.
    pub valid_to: Option<Timestamp>,
}

/// A row of the file and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The line of the file, from 1.
    pub row: u64,
    /// What stands there, the host as written.
    pub entry: Entry,
}

/// What an edit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The host has a further row.
    Added,
    /// The last row of the host names another owner.
    Replaced {
        /// Whom it named.
        was: Owner,
    },
    /// The file said so already.
    Unchanged,
    /// Every row of the host is gone.
    Removed,
    /// The file has no row of the host.
    NotThere,
}

/// What an edit did, and the file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// What was done.
    pub outcome: Outcome,
    /// The whole file; absent if nothing changed.
    pub content: Option<Vec<u8>>,
}

/// Why the file was not edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The file as it is would be refused; it must be repaired first.
    #[error(transparent)]
    File(#[from] ReferenceError),
    /// The row asked for would be refused.
    #[error("{0}")]
    Entry(Fault),
    /// The block has bits behind its prefix.
    #[error("{0} has bits behind its prefix: write {1}")]
    HostBits(String, String),
    /// The row has a validity for which the file has no column.
    #[error("the file has no column {0}: add it to the header, and a comma to each row")]
    NoColumn(&'static str),
    /// The edited file would be refused.
    #[error("the edited file would be refused: {0}")]
    Refused(ReferenceError),
}

impl Entry {
    /// Checks the row and returns it without blanks around its cells, and its validity.
    fn checked(&self) -> Result<(Self, Period), EditError> {
        let entry = Self {
            host: self.host.trim().to_owned(),
            application: self.application.trim().to_owned(),
            contact: self.contact.trim().to_owned(),
            ..*self
        };
        if let Host::Block(block, true) = parse(&entry.host)? {
            return Err(EditError::HostBits(entry.host.clone(), block.to_string()));
        }
        Fault::in_application(&entry.application).map_err(EditError::Entry)?;
        Fault::in_contact(&entry.contact).map_err(EditError::Entry)?;
        let period = Period {
            from: self.valid_from.unwrap_or(Period::ALWAYS.from),
            to: self.valid_to.unwrap_or(Period::ALWAYS.to),
        };
        if period.to <= period.from {
            return Err(EditError::Entry(Fault::Never));
        }
        Ok((entry, period))
    }

    /// The cells of a new row.
    fn cells(&self, columns: Columns) -> Result<Vec<String>, EditError> {
        let mut cells = vec![String::new(); columns.count];
        let mut set = |column: usize, cell: String| {
            if let Some(place) = cells.get_mut(column) {
                *place = cell;
            }
        };
        set(columns.host, quoted(&self.host).into_owned());
        set(columns.application, quoted(&self.application).into_owned());
        set(columns.contact, quoted(&self.contact).into_owned());
        for (name, column, time) in
            [("ValidFrom", columns.valid_from, self.valid_from), ("ValidTo", columns.valid_to, self.valid_to)]
        {
            if let Some(time) = time {
                set(column.ok_or(EditError::NoColumn(name))?, time.to_string());
            }
        }
        Ok(cells)
    }
}

/// A file without rows, with the columns that `entry` needs.
#[must_use]
pub fn header_for(entry: &Entry) -> Vec<u8> {
    let dated = entry.valid_from.is_some() || entry.valid_to.is_some();
    let validity = if dated { ",ValidFrom,ValidTo" } else { "" };
    format!("{HEADER}{validity}\n").into_bytes()
}

/// Gives a host to an owner: rewrites the last row of the host if its validity is the one asked for, else appends a
/// row, which then wins where both are valid. Twice the same is [`Outcome::Unchanged`].
///
/// # Errors
/// If the file, the entry or the edited file would be refused.
pub fn add(file: &[u8], entry: &Entry) -> Result<Edited, EditError> {
    let (entry, wanted) = entry.checked()?;
    let found = Found::of(file, &entry.host)?;
    let cell = |span: &Span, column: usize| found.cell(span, column).into_owned();
    if let Some(last) = found.spans.last()
        && period(found.columns, |column| found.cell(last, column)) == Ok(wanted)
    {
        let was = Owner {
            application: cell(last, found.columns.application),
            contact: cell(last, found.columns.contact),
        };
        if (&was.application, &was.contact) == (&entry.application, &entry.contact) {
            return Ok(Outcome::Unchanged.without_write());
        }
        let content = found.rewritten(file, last, &entry);
        return Outcome::Replaced { was }.with_write(content);
    }
    let mut content = file.to_vec();
    if !file.ends_with(b"\n") && !file.ends_with(b"\r") {
        content.extend_from_slice(found.line_end);
    }
    content.extend_from_slice(entry.cells(found.columns)?.join(",").as_bytes());
    content.extend_from_slice(found.line_end);
    Outcome::Added.with_write(content)
}

/// Removes every row of a host, in whatever form it is written.
///
/// # Errors
/// If the file would be refused, or `host` is none.
pub fn remove(file: &[u8], host: &str) -> Result<Edited, EditError> {
    let found = Found::of(file, host.trim())?;
    if found.spans.is_empty() {
        return Ok(Outcome::NotThere.without_write());
    }
    let mut content = Vec::with_capacity(file.len());
    let mut kept_to = 0;
    for span in &found.spans {
        let (start, end) = (span.bytes.start + found.shift, span.bytes.end + found.shift);
        content.extend_from_slice(file.get(kept_to..start).unwrap_or_default());
        kept_to = end;
    }
    content.extend_from_slice(file.get(kept_to..).unwrap_or_default());
    Outcome::Removed.with_write(content)
}

/// Every row of the file, in its order.
///
/// # Errors
/// The first fault of the file, with its row.
pub fn list(file: &[u8]) -> Result<Vec<Listed>, ReferenceError> {
    let mut listed = Vec::new();
    let mut list = |row: &Row<'_>| {
        let entry = Entry {
            host: row.host_text.to_owned(),
            application: row.application.to_owned(),
            contact: row.contact.to_owned(),
            valid_from: (row.period.from != Period::ALWAYS.from).then_some(row.period.from),
            valid_to: (row.period.to != Period::ALWAYS.to).then_some(row.period.to),
        };
        listed.push(Listed { row: row.line, entry });
    };
    let mut rows = Rows::default();
    rows.push(file, &mut list)?;
    rows.finish(&mut list)?;
    Ok(listed)
}

impl Outcome {
    fn without_write(self) -> Edited {
        let outcome = self;
        Edited { outcome, content: None }
    }

    /// Nothing is written that a reader would refuse.
    fn with_write(self, content: Vec<u8>) -> Result<Edited, EditError> {
        Reference::parse(&content).map_err(EditError::Refused)?;
        Ok(Edited { outcome: self, content: Some(content) })
    }
}

/// The rows of one host in a sound file.
struct Found<'a> {
    /// The file without byte order mark, to which spans refer.
    data: &'a [u8],
    /// Bytes of the byte order mark.
    shift: usize,
    columns: Columns,
    line_end: &'static [u8],
    spans: Vec<Span>,
}

impl<'a> Found<'a> {
    fn of(file: &'a [u8], host: &str) -> Result<Self, EditError> {
        let host = canonical(parse(host)?);
        Reference::parse(file)?;
        let data = without_bom(file);
        let cells = |span: &Span| span.cells.iter().map(|cell| text(data, cell)).collect::<Vec<_>>();
        let mut spans = Spans::of(data).filter_map(Result::ok).filter(|span| !is_blank(cells(span).iter()));
        let header = spans.next().ok_or(ReferenceError::Empty)?;
        let columns = Columns::find(&cells(&header)).map_err(EditError::Entry)?;
        let mut found = Self {
            data,
            shift: file.len() - data.len(),
            columns,
            line_end: line_end(data.get(header.bytes.clone()).unwrap_or_default()),
            spans: Vec::new(),
        };
        found.spans = spans
            .filter(|span| {
                Host::parse(&found.cell(span, columns.host)).is_some_and(|other| canonical(other) == host)
            })
            .collect();
        Ok(found)
    }

    fn cell(&self, span: &Span, column: usize) -> Cow<'a, str> {
        span.cells.get(column).map(|cell| text(self.data, cell)).unwrap_or_default()
    }

    /// The file with application and contact of one row rewritten where they differ.
    fn rewritten(&self, file: &[u8], span: &Span, entry: &Entry) -> Vec<u8> {
        let mut changes =
            [(self.columns.application, &entry.application), (self.columns.contact, &entry.contact)];
        changes.sort_unstable();
        let mut content = Vec::with_capacity(file.len() + entry.application.len() + entry.contact.len());
        let mut kept_to = 0;
        for (column, new) in changes {
            let Some(place) = span.cells.get(column) else {
                continue;
            };
            if self.cell(span, column) != new.as_str() {
                let start = place.start + self.shift;
                content.extend_from_slice(file.get(kept_to..start).unwrap_or_default());
                content.extend_from_slice(quoted(new).as_bytes());
                kept_to = place.end + self.shift;
            }
        }
        content.extend_from_slice(file.get(kept_to..).unwrap_or_default());
        content
    }
}

fn parse(host: &str) -> Result<Host<'_>, EditError> {
    Host::parse(host).ok_or_else(|| EditError::Entry(Fault::Host(shown(host))))
}

/// The host as rows are compared by it.
fn canonical(host: Host<'_>) -> Host<'_> {
    match host {
        Host::Block(block, _) => Host::Block(block, false),
        Host::Name(_) | Host::Address(_) => host,
    }
}

/// The line end of the header; a header without one gets `\n`.
fn line_end(header: &[u8]) -> &'static [u8] {
    match header {
        [.., b'\r', b'\n'] => b"\r\n",
        [.., b'\r'] => b"\r",
        _ => b"\n",
    }
}
