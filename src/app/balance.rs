//! What the equations of an audit came to, as tables and in words. Evaluates none.

use crate::{
    app::ledger::{Titled, columns},
    audit::{Difference, Entry, Excuse, Figure, Scope, Verdict},
    render::{Cell, Format, Report},
};

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
            Scope::Window => "windows",
            Scope::Series => "windows and series",
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
        found.unwrap_or(if entry.scope == Scope::Series { Cell::Number(0.0) } else { Cell::Empty })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Term;

    fn entry(about: &str, verdict: Verdict) -> Entry {
        let right = if verdict == Verdict::Balances { 5 } else { 4 };
        let term = |name, count| vec![Term { name, figure: Figure::Whole(count) }];
        Entry {
            scope: Scope::File,
            about: about.to_owned(),
            equation: "bytes sent",
            left: term("sent", 5),
            right: term("analyzed", right),
            verdict,
            aside: Vec::new(),
        }
    }

    fn entries() -> Vec<Entry> {
        let aside = vec![Term { name: "in doubt", figure: Figure::Whole(1) }];
        vec![
            entry("whole", Verdict::Balances),
            Entry { aside, ..entry("whole, and something aside", Verdict::Balances) },
            entry("to come", Verdict::Excused(Excuse::ToCome)),
            entry("moving", Verdict::Excused(Excuse::Moving)),
            entry("wrong", Verdict::Differs),
        ]
    }

    #[test]
    fn only_what_differs_for_good_is_wrong() {
        let all = entries();
        assert_eq!(wrong(&all), 1);
        assert_eq!(conclusion(&all), "1 equation does not balance");
        assert_eq!(conclusion(&[all.clone(), all.clone()].concat()), "2 equations do not balance");
        assert_eq!(conclusion(&all[..2]), "the books balance");
        assert_eq!(conclusion(&all[..3]), "nothing is known to differ");
    }

    #[test]
    fn the_table_counts_each_equation_and_shows_those_of_note() {
        let tables = books(&entries(), Format::Table);
        let summed = vec!["bytes sent".into(), "files".into(), Cell::Count(2), Cell::Count(3)];
        assert_eq!(tables[0].1.rows, [summed]);
        let about: Vec<&Cell> = tables[1].1.rows.iter().map(|row| &row[0]).collect();
        let noted: Vec<Cell> =
            ["whole, and something aside", "to come", "moving", "wrong"].map(Into::into).into();
        assert_eq!(about, noted.iter().collect::<Vec<_>>());
    }

    #[test]
    fn other_formats_hold_every_equation() {
        let every = books(&entries(), Format::Json);
        assert_eq!(every[0].1.rows.len(), 5);
    }
}
