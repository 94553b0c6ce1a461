//! Where each row and each cell of a CSV file stands, byte for byte, and whether its quotes are sound. Reads no
//! meaning: `csv` does.
//!
//! The `csv` crate takes an unterminated quote for a cell that goes on to the end of the file, and drops the rows in
//! it without a word. Here that is a fault. Editing needs the places, so that it can leave every other byte alone.

use std::{borrow::Cow, ops::Range};

use crate::engine::reference::error::Fault;

/// One row: `\n`, `\r` and `\r\n` end it. A blank line is a row of one empty cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// From the first byte to behind the line end.
    pub(super) bytes: Range<usize>,
    /// The cells, quotes included.
    pub(super) cells: Vec<Range<usize>>,
}

/// The rows of a file; after a fault, with the offset of its row, there are no more.
pub(super) struct Spans<'a> {
    data: &'a [u8],
    next: usize,
}

impl<'a> Spans<'a> {
    pub(super) fn of(data: &'a [u8]) -> Self {
        Self { data, next: 0 }
    }

    /// The end of the cell that begins at `start`.
    fn cell_end(&self, start: usize) -> Result<usize, Fault> {
        if self.data.get(start) != Some(&b'"') {
            return Ok(self.plain_end(start));
        }
        let mut at = start + 1;
        loop {
            let rest = self.data.get(at..).unwrap_or_default();
            let quote = at + memchr::memchr(b'"', rest).ok_or(Fault::OpenQuote)?;
            match self.data.get(quote + 1) {
                Some(b'"') => at = quote + 2,
                None | Some(b',' | b'\r' | b'\n') => return Ok(quote + 1),
                Some(_) => return Err(Fault::BehindQuote),
            }
        }
    }

    fn plain_end(&self, start: usize) -> usize {
        let rest = self.data.get(start..).unwrap_or_default();
        memchr::memchr3(b',', b'\r', b'\n', rest).map_or(self.data.len(), |length| start + length)
    }

    /// Puts the cells of the row at `start` into `cells`, and returns where the next row begins.
    fn row(&self, start: usize, cells: &mut Vec<Range<usize>>) -> Result<usize, Fault> {
        cells.clear();
        let mut cell_start = start;
        loop {
            let end = self.cell_end(cell_start)?;
            cells.push(cell_start..end);
            return Ok(match (self.data.get(end), self.data.get(end + 1)) {
                (Some(b','), _) => {
                    cell_start = end + 1;
                    continue;
                }
                (Some(b'\r'), Some(b'\n')) => end + 2,
                (Some(_), _) => end + 1,
                (None, _) => end,
            });
        }
    }
}

impl Iterator for Spans<'_> {
    type Item = Result<Span, (Fault, usize)>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.next;
        if start >= self.data.len() {
            return None;
        }
        let mut cells = Vec::new();
        let row = self.row(start, &mut cells);
        self.next = *row.as_ref().unwrap_or(&self.data.len());
        Some(row.map(|end| Span { bytes: start..end, cells }).map_err(|fault| (fault, start)))
    }
}

/// The cells of one row, which may have a line end behind it.
pub(super) fn cells(row: &[u8], cells: &mut Vec<Range<usize>>) -> Result<(), Fault> {
    Spans::of(row).row(0, cells).map(|_| ())
}

/// What a cell says: without its quotes and the blanks around it.
pub(super) fn text<'a>(data: &'a [u8], cell: &Range<usize>) -> Cow<'a, str> {
    match unquoted(data, cell) {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

/// A cell without its quotes.
pub(super) fn unquoted<'a>(data: &'a [u8], cell: &Range<usize>) -> Cow<'a, str> {
    let raw = data.get(cell.clone()).unwrap_or_default();
    let raw = std::str::from_utf8(raw).unwrap_or_default();
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if inner.contains('"') => Cow::Owned(inner.replace("\"\"", "\"")),
        Some(inner) => Cow::Borrowed(inner),
        None => Cow::Borrowed(raw),
    }
}

/// A cell as it must be written.
pub(super) fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\r', '\n']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cells(data: &str) -> Result<Vec<Vec<String>>, (Fault, usize)> {
        let rows = Spans::of(data.as_bytes()).map(|span| {
            let cells = span?.cells;
            Ok(cells.iter().map(|cell| text(data.as_bytes(), cell).into_owned()).collect())
        });
        rows.collect()
    }

    #[test]
    fn an_unsound_quote_is_a_fault_with_its_row() {
        assert_eq!(cells("a,b\nc,\"d\ne,f\n"), Err((Fault::OpenQuote, 4)));
        assert_eq!(cells("a,\"b\nc,\"d\"\n"), Err((Fault::BehindQuote, 0)));
        assert_eq!(cells("\""), Err((Fault::OpenQuote, 0)));
        assert_eq!(cells("\"\"\""), Err((Fault::OpenQuote, 0)));
    }

    proptest! {
        /// The csv crate is the oracle wherever quotes are sound.
        #[test]
        fn cells_are_those_of_the_csv_crate(data in r#"(("(a|""|,|\n|\r)*"|[ab"]{0,2}|a\r?)(,|\n|\r|\r\n)?){0,12}"#) {
            let Ok(rows) = cells(&data) else { return Ok(()) };
            let mut reader = ::csv::ReaderBuilder::new();
            let mut reader = reader.has_headers(false).flexible(true).trim(::csv::Trim::All).from_reader(data.as_bytes());
            let expected: Vec<Vec<String>> = reader
                .records()
                .map(|record| record.unwrap().iter().map(str::to_owned).collect())
                .filter(|row| row != &[""])
                .collect();
            let rows: Vec<Vec<String>> = rows.into_iter().filter(|row| row != &[""]).collect();
            prop_assert_eq!(rows, expected);
        }

        #[test]
        fn rows_and_cells_tile_the_file(data in r#"[ab,"\r\n]{0,40}"#) {
            let mut next = 0;
            for span in Spans::of(data.as_bytes()) {
                let Ok(span) = span else { return Ok(()) };
                prop_assert_eq!(span.bytes.start, next);
                prop_assert_eq!(span.cells[0].start, next);
                for pair in span.cells.windows(2) {
                    prop_assert_eq!(pair[0].end + 1, pair[1].start);
                }
                next = span.bytes.end;
            }
            prop_assert_eq!(next, data.len());
        }

        #[test]
        fn what_is_quoted_reads_back(text in r#"([a,"]( ?[a,"\n])*)?"#) {
            prop_assert_eq!(cells(&format!("x,{}", quoted(&text))), Ok(vec![vec!["x".to_owned(), text.trim().to_owned()]]));
        }
    }
}
