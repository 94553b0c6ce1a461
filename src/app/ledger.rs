//! The tables that status and audit have in common. Collects nothing.

use std::{
    collections::BTreeMap,
    fs::Metadata,
    io::{self, Write},
};

use crate::{
    audit::{Book, FileBook, InputBook, WindowBook, WindowTotal},
    engine::{reason::Reason, state::State, time::Timestamp},
    render::{Align, Cell, Column, Format, Report, render},
    tail::Known,
};

/// The most rows that a table shows to people; CSV and JSON have all.
const MOST_ROWS: usize = 50;
/// Columns that a table leaves out where there are only zeros in them: what is hoped never to happen. Every column is
/// left out that is blank.
const QUIET: [&str; 14] = [
    "passedOverBytes",
    "duplicate",
    "late",
    "skippedBytes",
    "expiredRecords",
    "expiredBytes",
    "withoutProvenance",
    "windowsClosedEarly",
    "sourcesForgotten",
    "outboxRequests",
    "corrections",
    "inDoubt",
    "refused",
    "outOfRange",
];

/// A report and its title.
pub(super) type Titled = (&'static str, Report);

/// What the books say of files, shards, reasons, applications and windows. For people windows are those that are not
/// finished, of all applications together.
pub(super) fn tables(book: &Book, (all, format): (bool, Format), inputs: Report) -> Vec<Titled> {
    let windows = match format {
        Format::Table => unfinished(book),
        Format::Csv | Format::Json => windows(&book.windows, all),
    };
    let mut tables = vec![
        ("files", files(&book.files, format)),
        ("input shards", inputs),
        ("malformed lines", malformed(&book.inputs)),
        ("applications", applications(&book.windows)),
        ("windows", windows),
    ];
    if format != Format::Table {
        tables.push(("window totals", totals(&book.totals, all)));
    }
    tables
}

/// Those of several reports that say something, each with its title.
pub(super) fn print(reports: &[(&str, Report)], format: Format, out: &mut impl Write) -> io::Result<()> {
    let mut gap = "";
    for (title, report) in reports.iter().filter(|(_, report)| !report.rows.is_empty()) {
        if format != Format::Table {
            render(&of_kind(title, report), format, out)?;
            continue;
        }
        writeln!(out, "{gap}{title}")?;
        gap = "\n";
        render(&for_people(report), format, out)?;
        let more = report.rows.len().saturating_sub(MOST_ROWS);
        if more > 0 {
            writeln!(out, "… and {more} more: --format json has all")?;
        }
    }
    Ok(())
}

/// Without the columns that say nothing, and no longer than a person reads.
fn for_people(report: &Report) -> Report {
    let rows: Vec<&Vec<Cell>> = report.rows.iter().take(MOST_ROWS).collect();
    let says = |cell: &Cell, quiet: bool| match cell {
        Cell::Empty => false,
        Cell::Count(count) => !quiet || *count > 0,
        Cell::Number(sum) => !quiet || *sum != 0.0,
        Cell::Text(_) | Cell::Difference(_) | Cell::Percent(_) | Cell::Time(_) => true,
    };
    let kept: Vec<usize> = (0..report.columns.len())
        .filter(|&index| {
            let quiet = report.columns.get(index).is_some_and(|column| QUIET.contains(&column.name));
            rows.iter().any(|row| row.get(index).is_some_and(|cell| says(cell, quiet)))
        })
        .collect();
    let cell = |row: &Vec<Cell>, index: &usize| row.get(*index).cloned().unwrap_or(Cell::Empty);
    Report {
        columns: kept.iter().filter_map(|&index| report.columns.get(index).cloned()).collect(),
        rows: rows.into_iter().map(|row| kept.iter().map(|index| cell(row, index)).collect()).collect(),
    }
}

/// With a first column that says what each row is about, for those who read several reports from one stream.
fn of_kind(kind: &str, report: &Report) -> Report {
    let kinds = [Column::left("kind", "Kind")];
    let row = |row: &Vec<Cell>| [&[Cell::from(kind)], row.as_slice()].concat();
    Report {
        columns: kinds.into_iter().chain(report.columns.iter().cloned()).collect(),
        rows: report.rows.iter().map(row).collect(),
    }
}

/// Columns of these names and titles; those whose title ends with `#` hold numbers.
pub(super) fn columns(names: &[(&'static str, &'static str)]) -> Vec<Column> {
    let align = |title: &str| if title.ends_with('#') { Align::Right } else { Align::Left };
    names
        .iter()
        .map(|&(name, title)| Column { name, title: title.trim_end_matches('#'), align: align(title) })
        .collect()
}

fn files(files: &[FileBook], format: Format) -> Report {
    let row = |file: &FileBook| {
        let known = file.known.as_ref();
        let found = known.and_then(|known| std::fs::metadata(&known.path).ok());
        // Of a compressed file the size says nothing about its lines.
        let size =
            known.filter(|known| !known.packed && !known.complete).and(found.as_ref()).map(Metadata::len);
        let name = known.map_or_else(|| file.name(), |known| known.path.to_string_lossy().into_owned());
        vec![
            name.into(),
            file.source.generation.into(),
            known.map(|known| known.position).into(),
            known.zip(size).map(|(known, size)| size.saturating_sub(known.position)).into(),
            known.map(|known| known.first).into(),
            file.waiting.into(),
            file.analyzed.bytes.into(),
            file.analyzed.lines.into(),
            known.map(|known| state(known, found.is_some())).into(),
            file.source.node.to_string().into(),
        ]
    };
    let mut columns = columns(&[
        ("file", "File"),
        ("generation", "Generation#"),
        ("sentBytes", "Sent bytes#"),
        ("unsentBytes", "Not sent#"),
        ("passedOverBytes", "Passed over#"),
        ("waitingBytes", "Waiting#"),
        ("analyzedBytes", "Analyzed#"),
        ("analyzedLines", "Lines#"),
        ("state", "State"),
        ("node", "Node"),
    ]);
    let mut rows: Vec<Vec<Cell>> = files.iter().map(row).collect();
    if format == Format::Table {
        // It is in the name of a file that is not of this node.
        columns.pop();
        // What is written now is not to be cut off.
        rows.reverse();
    }
    Report { columns, rows }
}

fn state(known: &Known, found: bool) -> String {
    match known.absent_since {
        _ if known.complete => "read to its end".to_owned(),
        Some(since) => format!("not found since {since}"),
        None if found => "followed".to_owned(),
        None => "not there".to_owned(),
    }
}

/// The columns of [`counted`].
pub(super) const COUNTED: [(&str, &str); 14] = [
    ("lines", "Lines#"),
    ("counted", "Counted#"),
    ("malformed", "Malformed#"),
    ("duplicate", "Duplicate#"),
    ("late", "Late#"),
    ("published", "Published#"),
    ("open", "In windows#"),
    ("readBytes", "Bytes read#"),
    ("skippedBytes", "Bytes skipped#"),
    ("expiredBytes", "Bytes expired#"),
    ("expiredRecords", "Records expired#"),
    ("withoutProvenance", "Records without provenance#"),
    ("windowsClosedEarly", "Closed early#"),
    ("sourcesForgotten", "Files forgotten#"),
];

/// What became of a shard's lines.
pub(super) fn counted(state: &State) -> [Cell; 14] {
    let counters = &state.counters;
    [
        counters.read,
        counters.counted,
        counters.malformed_lines(),
        counters.duplicate,
        counters.late,
        state.published,
        state.open.requests() + state.late.requests(),
        counters.read_bytes,
        counters.skipped_bytes,
        counters.expired_bytes,
        counters.expired_records,
        counters.records_without_provenance,
        counters.windows_closed_early,
        counters.sources_forgotten,
    ]
    .map(Cell::Count)
}

fn malformed(inputs: &[InputBook]) -> Report {
    let states = || inputs.iter().filter_map(|shard| shard.state.as_ref());
    let mut counts = BTreeMap::new();
    for (&reason, &lines) in states().flat_map(|state| &state.counters.malformed) {
        *counts.entry(reason).or_insert(0) += lines;
    }
    let sample = |reason| states().flat_map(|state| state.samples.iter()).find(|(of, _)| *of == reason);
    let row = |(reason, lines)| {
        let line = sample(reason).map(|(_, sample)| String::from_utf8_lossy(&sample.line).into_owned());
        vec![Cell::from(Reason::as_str(reason)), Cell::Count(lines), line.into()]
    };
    Report {
        columns: columns(&[("reason", "Reason"), ("lines", "Lines#"), ("sample", "Sample")]),
        rows: counts.into_iter().map(row).collect(),
    }
}

/// The columns of [`parts`].
const PARTS: [(&str, &str); 9] = [
    ("requests", "Requests#"),
    ("published", "Published#"),
    ("waiting", "Not delivered#"),
    ("outboxRequests", "Outbox#"),
    ("corrections", "Corrections#"),
    ("open", "In open windows#"),
    ("inDoubt", "In doubt#"),
    ("refused", "Refused#"),
    ("outOfRange", "Out of range#"),
];

fn parts(window: &WindowBook) -> [Cell; 9] {
    let WindowBook { published, waiting, outbox, corrections, open, in_doubt, refused, out_of_range } =
        *window;
    let all = window.counted();
    [all, published, waiting, outbox, corrections, open, in_doubt, refused, out_of_range].map(Cell::Count)
}

fn applications(windows: &BTreeMap<(Timestamp, String), WindowBook>) -> Report {
    let mut sums: BTreeMap<&str, WindowBook> = BTreeMap::new();
    for ((_, application), window) in windows {
        *sums.entry(application).or_default() += window;
    }
    let row = |(application, sum): (&str, WindowBook)| [&[application.into()][..], &parts(&sum)].concat();
    let names = [&[("applicationName", "Application")][..], &PARTS].concat();
    Report { columns: columns(&names), rows: sums.into_iter().map(row).collect() }
}

fn unfinished(book: &Book) -> Report {
    // What is kept apart of a window only in part is no total.
    let whole = book.totals.iter().filter(|total| total.since.is_some());
    let counted: BTreeMap<Option<Timestamp>, u64> = whole.map(|total| (total.start, total.counted)).collect();
    let shown = book.by_start().into_iter().filter(|(_, sum)| sum.is_unfinished());
    let row = |(start, sum): (Timestamp, WindowBook)| {
        let counted = counted.get(&Some(start)).copied();
        [&[start.into(), counted.into()][..], &parts(&sum)].concat()
    };
    let names = [&[("windowStart", "Window"), ("counted", "Counted#")][..], &PARTS].concat();
    Report { columns: columns(&names), rows: shown.map(row).collect() }
}

/// What was counted in each window, as the shards keep it beside their tallies.
fn totals(totals: &[WindowTotal], all: bool) -> Report {
    let shown = totals.iter().filter(|total| all || total.open + total.corrections > 0);
    let row = |total: &WindowTotal| {
        let WindowTotal { start, counted, published, open, corrections, .. } = *total;
        vec![start.into(), counted.into(), published.into(), open.into(), corrections.into()]
    };
    Report {
        columns: columns(&[
            ("windowStart", "Window"),
            ("counted", "Counted#"),
            ("published", "Published#"),
            ("open", "In open windows#"),
            ("corrections", "Corrections#"),
        ]),
        rows: shown.map(row).collect(),
    }
}

fn windows(windows: &BTreeMap<(Timestamp, String), WindowBook>, all: bool) -> Report {
    let shown = windows.iter().filter(|(_, window)| all || window.is_unfinished());
    let row = |((start, application), window): (&(Timestamp, String), &WindowBook)| {
        [&[(*start).into(), application.clone().into()][..], &parts(window)].concat()
    };
    let names = [&[("windowStart", "Window"), ("applicationName", "Application")][..], &PARTS].concat();
    Report { columns: columns(&names), rows: shown.map(row).collect() }
}

/// Seconds from `then` to `now`.
pub(super) fn seconds_since(then: Timestamp, now: Timestamp) -> u64 {
    now.millis_since(then).max(0).unsigned_abs() / 1_000
}
