//! The engine's rows as a stream of JSON lines or CSV. Holds none of them back.

use std::io::{self, Write};

use crate::{
    engine::row::Row,
    render::{csv, json},
};

/// The header of rows as CSV, in the order of DESIGN.md §4. `topHosts` is in the JSON form only.
pub const HEADER: [&str; 9] = [
    "rowId",
    "windowStart",
    "windowEnd",
    "revision",
    "applicationName",
    "contact",
    "response",
    "responseCount",
    "bytes",
];

/// The formats that can be written row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// One JSON object a line.
    Json,
    /// CSV with [`HEADER`].
    Csv,
}

/// Writes rows as they come.
pub struct RowWriter<W: Write>(Sink<W>);

enum Sink<W: Write> {
    Json(W),
    Csv(Box<::csv::Writer<W>>),
}

impl<W: Write> RowWriter<W> {
    /// Starts a stream of rows; CSV gets its header, also where no row follows.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn new(out: W, format: RowFormat) -> io::Result<Self> {
        Ok(Self(match format {
            RowFormat::Json => Sink::Json(out),
            RowFormat::Csv => {
                let mut writer = ::csv::Writer::from_writer(out);
                writer.write_record(HEADER).map_err(csv::into_io)?;
                Sink::Csv(Box::new(writer))
            }
        }))
    }

    /// Writes one row.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn write(&mut self, row: &Row) -> io::Result<()> {
        match &mut self.0 {
            Sink::Json(out) => json::write_line(out, row),
            Sink::Csv(writer) => write_csv(writer, row),
        }
    }

    /// Writes something else as a JSON line; `false` if the format has no place for it.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn write_other(&mut self, other: &impl serde::Serialize) -> io::Result<bool> {
        match &mut self.0 {
            Sink::Json(out) => json::write_line(out, other).map(|()| true),
            Sink::Csv(_) => Ok(false),
        }
    }

    /// Hands on what is buffered here, so that a reader at the other end sees every row written so far.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Sink::Json(out) => out.flush(),
            Sink::Csv(writer) => writer.flush(),
        }
    }
}

fn write_csv<W: Write>(writer: &mut ::csv::Writer<W>, row: &Row) -> io::Result<()> {
    let response = row.response.map_or_else(String::new, |status| status.to_string());
    let cells: [&str; HEADER.len()] = [
        &*csv::text(&row.row_id),
        &row.window_start.to_string(),
        &row.window_end.to_string(),
        &row.revision.to_string(),
        &csv::text(&row.application_name),
        &csv::text(&row.contact),
        &response,
        &row.response_count.to_string(),
        &row.bytes.to_string(),
    ];
    writer.write_record(cells).map_err(csv::into_io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        row::{HostCount, UNKNOWN},
        time::Timestamp,
    };

    fn rows() -> [Row; 2] {
        let start = Timestamp::from_millis(1_795_236_900_000);
        let billing = Row {
            row_id: "default/1/shardId-000000000000/7/0".to_owned(),
            window_start: start,
            window_end: start.plus_millis(300_000),
            revision: 0,
            application_name: "Billing, \"EU\"".to_owned(),
            contact: "+49 30 1234".to_owned(),
            response: Some(200),
            response_count: u64::MAX,
            bytes: 9_120_331,
            top_hosts: Vec::new(),
        };
        let unknown = Row {
            application_name: UNKNOWN.to_owned(),
            contact: String::new(),
            revision: 9,
            response: None,
            response_count: 3,
            top_hosts: vec![HostCount { host: "\u{9b}evil".to_owned(), count: 3, error: 0 }],
            ..billing.clone()
        };
        [billing, unknown]
    }

    fn written(format: RowFormat, rows: &[Row]) -> String {
        let mut out = Vec::new();
        let mut writer = RowWriter::new(&mut out, format).unwrap();
        for row in rows {
            writer.write(row).unwrap();
        }
        writer.flush().unwrap();
        drop(writer);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_as_csv() {
        insta::assert_snapshot!(written(RowFormat::Csv, &rows()), @r#"
        rowId,windowStart,windowEnd,revision,applicationName,contact,response,responseCount,bytes
        default/1/shardId-000000000000/7/0,2026-11-21T04:55:00Z,2026-11-21T05:00:00Z,0,"Billing, ""EU""",'+49 30 1234,200,18446744073709551615,9120331
        default/1/shardId-000000000000/7/0,2026-11-21T04:55:00Z,2026-11-21T05:00:00Z,9,Unknown,,,3,9120331
        "#);
    }

    #[test]
    fn rows_as_json_carry_the_unknown_hosts_and_read_back() {
        let text = written(RowFormat::Json, &rows());
        insta::assert_snapshot!(text, @r#"
        {"rowId":"default/1/shardId-000000000000/7/0","windowStart":"2026-11-21T04:55:00Z","windowEnd":"2026-11-21T05:00:00Z","revision":0,"applicationName":"Billing, \"EU\"","contact":"+49 30 1234","response":200,"responseCount":18446744073709551615,"bytes":9120331}
        {"rowId":"default/1/shardId-000000000000/7/0","windowStart":"2026-11-21T04:55:00Z","windowEnd":"2026-11-21T05:00:00Z","revision":9,"applicationName":"Unknown","contact":"","response":null,"responseCount":3,"bytes":9120331,"topHosts":[{"host":"\u009bevil","count":3,"error":0}]}
        "#);
        for (line, row) in text.lines().zip(rows()) {
            assert_eq!(serde_json::from_str::<Row>(line).unwrap(), row);
        }
    }

    #[test]
    fn the_csv_header_names_the_json_fields_in_their_order() {
        let text = written(RowFormat::Json, &rows()[..1]);
        let names: Vec<usize> =
            HEADER.iter().map(|name| text.find(&format!("\"{name}\":")).unwrap()).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(text.matches("\":").count(), HEADER.len());
    }

    #[test]
    fn no_rows_are_an_empty_stream_and_a_header() {
        assert_eq!(written(RowFormat::Json, &[]), "");
        assert_eq!(written(RowFormat::Csv, &[]).lines().count(), 1);
    }
}
