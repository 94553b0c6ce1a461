//! Aligned columns for people. Not meant to be parsed.

use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::render::{Align, Cell, Report, text::escape_terminal};

/// The widest cell in columns of the terminal; a longer text is cut and ends in `…`. CSV and JSON hold it whole.
const MAX_CELL_WIDTH: usize = 100;
/// The widest cell of the last column, which pushes nothing aside: messages stand there.
const MAX_LAST_WIDTH: usize = 400;

/// Between two columns.
const GAP: &str = "  ";

pub(super) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    if report.columns.is_empty() {
        return Ok(());
    }
    let header: Vec<String> = report.columns.iter().map(|c| c.title.to_owned()).collect();
    let rows: Vec<Vec<String>> = report
        .cells()
        .map(|row| row.zip(most_widths(report)).map(|((_, cell), most)| show(cell, most)).collect())
        .collect();
    let mut widths: Vec<usize> = header.iter().map(|title| title.width()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    for row in std::iter::once(&header).chain(&rows) {
        writeln!(out, "{}", line(report, row, &widths))?;
    }
    Ok(())
}

fn line(report: &Report, cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (index, ((column, cell), width)) in report.columns.iter().zip(cells).zip(widths).enumerate() {
        let padding = " ".repeat(width.saturating_sub(cell.width()));
        if index > 0 {
            line.push_str(GAP);
        }
        match column.align {
            Align::Left => {
                line.push_str(cell);
                line.push_str(&padding);
            }
            Align::Right => {
                line.push_str(&padding);
                line.push_str(cell);
            }
        }
    }
    line.truncate(line.trim_end_matches(' ').len());
    line
}

fn most_widths(report: &Report) -> impl Iterator<Item = usize> {
    let last = report.columns.len().saturating_sub(1);
    (0..=last).map(move |column| if column < last { MAX_CELL_WIDTH } else { MAX_LAST_WIDTH })
}

fn show(cell: &Cell, most: usize) -> String {
    match cell {
        Cell::Text(text) => cut(&escape_terminal(text), most),
        Cell::Count(count) => count.to_string(),
        Cell::Difference(count) => count.to_string(),
        Cell::Percent(share) if share.is_finite() => format!("{:.1} %", share * 100.0),
        Cell::Number(value) if value.is_finite() => value.to_string(),
        Cell::Percent(_) | Cell::Number(_) | Cell::Empty => String::new(),
        Cell::Time(time) => time.to_string(),
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.width() <= most {
        return text.to_owned();
    }
    let mut width = 0;
    let mut kept: String = text
        .chars()
        .take_while(|character| {
            width += character.width().unwrap_or(0);
            width < most
        })
        .collect();
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Column, Format, render, sample};

    fn table(report: &Report) -> String {
        let mut out = Vec::new();
        render(report, Format::Table, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_align_by_display_width_and_escapes_are_neutralised() {
        insta::assert_snapshot!(table(&sample()), @r#"
        Window                Application                                     Requests   Share
        2026-11-21T04:55:00Z  Billing                                             1432  97.3 %
                              =cmd|'/c calc'!A1                                      0   0.0 %
                              日本 \x1b[31m\x9bm \u{202e}a,"b"\n
                                                                  18446744073709551615
        "#);
    }

    #[test]
    fn an_overlong_text_is_cut_and_says_so() {
        let report = Report {
            columns: vec![Column::left("a", "A"), Column::left("b", "B")],
            rows: vec![vec!["日".repeat(5_000).into(), "x".into()]],
        };
        let text = table(&report);
        let row = text.lines().nth(1).unwrap();
        assert!(row.ends_with("日…  x") || row.ends_with("日…   x"), "{row}");
        assert!(row.width() <= MAX_CELL_WIDTH + 3, "{}", row.width());
        let report = Report {
            columns: vec![Column::left("a", "A")],
            rows: vec![vec!["x".repeat(300).into()], vec!["日".repeat(5_000).into()]],
        };
        let widths: Vec<usize> = table(&report).lines().skip(1).map(UnicodeWidthStr::width).collect();
        assert_eq!(widths, [300, MAX_LAST_WIDTH - 1]);
    }

    #[test]
    fn a_report_of_nothing_is_a_header_or_nothing() {
        assert_eq!(table(&Report::default()), "");
        let header = Report { columns: vec![Column::right("n", "N")], rows: Vec::new() };
        assert_eq!(table(&header), "N\n");
    }
}
