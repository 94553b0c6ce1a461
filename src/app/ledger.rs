//! The tables that status and audit have in common, and the equations of an audit. Collects nothing.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use crate::{
    audit::{
        Book, Entry, Excuse, Figure, FileBook, InputBook, Scope, Verdict, WindowBook, equations::Difference,
    },
    engine::{reason::Reason, state::State, time::Timestamp},
    render::{Align, Cell, Column, Format, Report, render},
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

/// What the books say of files, shards, reasons, applications and windows. With `all`, of every window, else of those
/// that are not finished.
pub(super) fn tables(book: &Book, all: bool, inputs: Report) -> Vec<Titled> {
    vec![
        ("files", files(&book.files)),
        ("input shards", inputs),
        ("malformed lines", malformed(&book.inputs)),
        ("applications", applications(&book.windows)),
        ("windows", windows(&book.windows, all)),
    ]
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

fn files(files: &[FileBook]) -> Report {
    let row = |file: &FileBook| {
        let known = file.known.as_ref();
        // Of a compressed file the size says nothing about its lines.
        let plain = known.filter(|known| !known.packed && !known.complete);
        let size = plain.and_then(|known| std::fs::metadata(&known.path).ok()).map(|found| found.len());
        let name = known.map_or_else(|| file.name(), |known| known.path.to_string_lossy().into_owned());
        vec![
            name.into(),
            file.source.generation.into(),
            file.source.node.to_string().into(),
            known.map(|known| known.position).into(),
            known.zip(size).map(|(known, size)| size.saturating_sub(known.position)).into(),
            known.map(|known| known.first).into(),
            file.waiting.into(),
            file.analyzed.bytes.into(),
            file.analyzed.lines.into(),
            known.map(state).into(),
        ]
    };
    Report {
        columns: columns(&[
            ("file", "File"),
            ("generation", "Life#"),
            ("node", "Node"),
            ("sentBytes", "Sent bytes#"),
            ("unsentBytes", "Not sent#"),
            ("passedOverBytes", "Passed over#"),
            ("waitingBytes", "Waiting#"),
            ("analyzedBytes", "Analyzed#"),
            ("analyzedLines", "Lines#"),
            ("state", "State"),
        ]),
        rows: files.iter().map(row).collect(),
    }
}

fn state(known: &crate::tail::Known) -> String {
    match known.absent_since {
        _ if known.complete => "read to its end".to_owned(),
        Some(since) => format!("not found since {since}"),
        None => "followed".to_owned(),
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

fn windows(windows: &BTreeMap<(Timestamp, String), WindowBook>, all: bool) -> Report {
    let shown = windows.iter().filter(|(_, window)| all || window.is_unfinished());
    let row = |((start, application), window): (&(Timestamp, String), &WindowBook)| {
        [&[(*start).into(), application.clone().into()][..], &parts(window)].concat()
    };
    let names = [&[("windowStart", "Window"), ("applicationName", "Application")][..], &PARTS].concat();
    Report { columns: columns(&names), rows: shown.map(row).collect() }
}

/// The equations: for people how many of each balance, and those that do not or are of note; else every one.
pub(super) fn books(entries: &[Entry], format: Format) -> Vec<Titled> {
    if format != Format::Table {
        return vec![("books", every(entries))];
    }
    let of_note = |entry: &&Entry| entry.verdict != Verdict::Balances || !entry.aside.is_empty();
    let row = |entry: &Entry| {
        let aside = entry.aside.iter().map(|term| format!("; {} {}", term.name, term.figure));
        let terms = entry.terms() + &aside.collect::<String>();
        vec![entry.about.clone().into(), verdict(entry).into(), difference(entry), terms.into()]
    };
    let names =
        [("about", "About"), ("balances", "Balances"), ("difference", "Difference#"), ("terms", "Books")];
    let noted = Report { columns: columns(&names), rows: entries.iter().filter(of_note).map(row).collect() };
    vec![("books", summary(entries)), ("of note", noted)]
}

fn summary(entries: &[Entry]) -> Report {
    let mut sums: Vec<(Scope, &str, u64, u64)> = Vec::new();
    for entry in entries {
        let known =
            sums.iter_mut().find(|(scope, name, ..)| (*scope, *name) == (entry.scope, entry.equation));
        let differs = u64::from(entry.verdict != Verdict::Balances);
        match known {
            Some((_, _, all, wrong)) => (*all, *wrong) = (*all + 1, *wrong + differs),
            None => sums.push((entry.scope, entry.equation, 1, differs)),
        }
    }
    let row = |(scope, name, all, wrong): (Scope, &str, u64, u64)| {
        let over = match scope {
            Scope::File => "files",
            Scope::Input => "input shards",
            Scope::Output => "output shards",
            Scope::Window => "windows and series",
            Scope::All => "all shards together",
        };
        vec![name.into(), over.into(), Cell::Count(all - wrong), Cell::Count(wrong)]
    };
    let names =
        [("equation", "Equation"), ("scope", "Of"), ("balanced", "Balanced#"), ("different", "Different#")];
    Report { columns: columns(&names), rows: sums.into_iter().map(row).collect() }
}

fn every(entries: &[Entry]) -> Report {
    let aside = |entry: &Entry, name: &str| {
        let found = entry.aside.iter().find(|term| term.name == name).map(|term| cell(term.figure));
        found.unwrap_or(if entry.scope == Scope::Window { Cell::Number(0.0) } else { Cell::Empty })
    };
    let row = |entry: &Entry| {
        vec![
            entry.about.clone().into(),
            entry.scope.as_str().into(),
            entry.equation.into(),
            cell(entry.left_sum()),
            cell(entry.right_sum()),
            difference(entry),
            verdict(entry).into(),
            entry.terms().into(),
            aside(entry, "in doubt"),
            aside(entry, "refused"),
            aside(entry, "out of range"),
        ]
    };
    Report {
        columns: columns(&[
            ("about", "About"),
            ("scope", "Scope"),
            ("equation", "Equation"),
            ("left", "Left#"),
            ("right", "Right#"),
            ("difference", "Difference#"),
            ("balances", "Balances"),
            ("terms", "Books"),
            ("inDoubt", "In doubt#"),
            ("refused", "Refused#"),
            ("outOfRange", "Out of range#"),
        ]),
        rows: entries.iter().map(row).collect(),
    }
}

fn cell(figure: Figure) -> Cell {
    match figure {
        Figure::Whole(count) => Cell::Count(count),
        Figure::Sum(sum) => Cell::Number(sum),
    }
}

fn difference(entry: &Entry) -> Cell {
    match entry.difference() {
        Difference::Whole(count) => {
            let (least, most) = (i128::from(i64::MIN), i128::from(i64::MAX));
            Cell::Difference(i64::try_from(count.clamp(least, most)).unwrap_or_default())
        }
        Difference::Sum(sum) => Cell::Number(sum),
    }
}

const fn verdict(entry: &Entry) -> &'static str {
    match entry.verdict {
        Verdict::Balances => "yes",
        Verdict::Excused(Excuse::ToCome) => "not yet",
        Verdict::Excused(Excuse::Moving) => "in motion",
        Verdict::Differs => "NO",
    }
}

/// How many equations do not balance, and will not by waiting.
pub(super) fn wrong(entries: &[Entry]) -> usize {
    entries.iter().filter(|entry| entry.verdict == Verdict::Differs).count()
}

/// What it comes to, in a line.
pub(super) fn conclusion(entries: &[Entry]) -> String {
    let excused = entries.iter().any(|entry| entry.verdict == Verdict::Excused(Excuse::ToCome));
    match wrong(entries) {
        0 if excused => "nothing is known to differ".to_owned(),
        0 => "the books balance".to_owned(),
        1 => "1 equation does not balance".to_owned(),
        wrong => format!("{wrong} equations do not balance"),
    }
}

/// Seconds from `then` to `now`.
pub(super) fn seconds_since(then: Timestamp, now: Timestamp) -> u64 {
    now.millis_since(then).max(0).unsigned_abs() / 1_000
}
