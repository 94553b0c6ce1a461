//! Where the rows of a CSV file end, however it is cut into blocks. Keeps no bytes.
//!
//! `scan` says the same of a file that is there at once.

use crate::engine::reference::error::Fault;

/// What the bytes so far of a row say about the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// A quote here begins a quoted cell.
    #[default]
    CellStart,
    /// In a cell without quotes around it.
    Plain,
    Quoted,
    /// Behind a quote in a quoted cell: it ends the cell, or stands for one.
    BehindQuote,
}

/// Finds the ends of rows: behind a `\n` or `\r` that is in no quoted cell. The `\n` of a `\r\n` is left to the caller.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    place: Place,
}

impl Splitter {
    /// Looks at the next bytes of a row: how many belong to it, if it ends in them.
    pub(super) fn row_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let mut at = 0;
        while let Some(rest @ [next, ..]) = bytes.get(at..) {
            let (place, step) = match (self.place, next) {
                (Place::CellStart | Place::BehindQuote, b'"') => (Place::Quoted, 1),
                (Place::BehindQuote, b',') => (Place::CellStart, 1),
                (Place::BehindQuote, b'\r' | b'\n') => (Place::Plain, 0),
                (Place::BehindQuote, _) => return Err(Fault::BehindQuote),
                (Place::Quoted, _) => match memchr::memchr(b'"', rest) {
                    Some(quote) => (Place::BehindQuote, quote + 1),
                    None => return Ok(None),
                },
                (Place::CellStart | Place::Plain, _) => match memchr::memchr3(b'"', b'\r', b'\n', rest) {
                    Some(found) if rest.get(found) == Some(&b'"') => match rest.get(..found) {
                        Some([.., b',']) => (Place::CellStart, found),
                        _ => (Place::Plain, found + 1),
                    },
                    Some(found) => {
                        self.place = Place::CellStart;
                        return Ok(Some(at + found + 1));
                    }
                    None if rest.ends_with(b",") => (Place::CellStart, rest.len()),
                    None => (Place::Plain, rest.len()),
                },
            };
            self.place = place;
            at += step;
        }
        Ok(None)
    }

    /// Whether a quoted cell is still open.
    pub(super) fn is_open(&self) -> bool {
        self.place == Place::Quoted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::reference::scan::Spans;

    /// The rows of `data`, given in blocks that end at the multiples of `block`.
    fn rows(data: &[u8], block: usize) -> Result<Vec<Vec<u8>>, Fault> {
        let (mut splitter, mut rows, mut row) = (Splitter::default(), Vec::new(), Vec::new());
        for mut rest in data.chunks(block) {
            while let Some(end) = splitter.row_end(rest)? {
                let (inside, behind) = rest.split_at(end);
                row.extend_from_slice(inside);
                rows.push(std::mem::take(&mut row));
                rest = behind;
            }
            row.extend_from_slice(rest);
        }
        if splitter.is_open() {
            return Err(Fault::OpenQuote);
        }
        rows.push(row);
        Ok(rows.into_iter().filter(|row| !matches!(row.as_slice(), [] | [b'\r' | b'\n'])).collect())
    }

    proptest! {
        #[test]
        fn rows_end_where_they_do_in_a_whole_file(data in r#"[ab,"\r\n]{0,40}"#, block in 1_usize..50) {
            let data = data.as_bytes();
            let spans = Spans::of(data).map(|span| {
                let span = span.map_err(|(fault, _)| fault)?;
                Ok(data[span.bytes].to_vec())
            });
            let without_lf = |row: Vec<u8>| if row.ends_with(b"\r\n") { row[..row.len() - 1].to_vec() } else { row };
            let spans = spans.map(|row| row.map(without_lf));
            let spans = spans.filter(|row| !matches!(row.as_deref(), Ok([b'\r' | b'\n'])));
            prop_assert_eq!(rows(data, block), spans.collect());
        }
    }
}
