//! Every equation of the books, in one table. Collects no figure.

use crate::{
    audit::{
        Book, Entry, Excuse, Figure, FileBook, InputBook, OutputBook, Scope, SumBook, Term, TotalBook,
        Verdict, WindowTotal, entry::difference,
    },
    engine::{journal::Posted, metric::Series, state::State},
};

/// A term: its name, and where its figure is found. Absent: the backend does not know it.
type Part<T> = (&'static str, fn(&T) -> Option<Figure>);

/// `left` is `right`, where every part is known.
struct Equation<T: 'static> {
    name: &'static str,
    left: &'static [Part<T>],
    right: &'static [Part<T>],
}

const OF_A_FILE: &[Equation<FileBook>] = &[Equation {
    name: "bytes sent",
    left: &[("sent", |file| whole(file.known.as_ref()?.position))],
    right: &[
        ("passed over", |file| whole(file.known.as_ref()?.first)),
        ("analyzed", |file| whole(file.analyzed.bytes)),
        ("waiting", |file| whole(file.waiting?)),
        ("not known by file", |file| whole(file.unattributed()?)),
    ],
}];

const OF_AN_INPUT: &[Equation<InputBook>] = &[
    Equation {
        name: "lines read",
        left: &[("read", |shard| whole(shard.state()?.counters.read))],
        right: &[
            ("counted", |shard| whole(shard.state()?.counters.counted)),
            ("malformed", |shard| whole(shard.state()?.counters.malformed_lines())),
            ("duplicate", |shard| whole(shard.state()?.counters.duplicate)),
        ],
    },
    Equation {
        name: "requests counted",
        left: &[("counted", |shard| whole(shard.state()?.counters.counted))],
        right: &[
            ("published", |shard| whole(shard.state()?.published)),
            ("in open windows", |shard| whole(shard.state()?.open.requests())),
            ("in corrections", |shard| whole(shard.state()?.late.requests())),
        ],
    },
    Equation {
        name: "counted by window",
        left: &[
            ("counted", |shard| whole(shard.state()?.counters.counted)),
            ("published before this epoch", |shard| whole(shard.state()?.published_before)),
        ],
        right: &[
            ("in the windows kept apart", |shard| whole(shard.apart()?.counted)),
            ("in older windows", |shard| whole(shard.state()?.journal.joined().counted)),
        ],
    },
    Equation {
        name: "published by window",
        left: &[
            ("published", |shard| whole(shard.state()?.published)),
            ("published before this epoch", |shard| whole(shard.state()?.published_before)),
        ],
        right: &[
            ("of the windows kept apart", |shard| whole(shard.apart()?.published)),
            ("of older windows", |shard| whole(shard.state()?.journal.joined().published)),
        ],
    },
    Equation {
        name: "bytes passed",
        left: &[("appended up to the position", |shard| whole(shard.before?))],
        right: &[
            ("read", |shard| whole(shard.state()?.counters.read_bytes)),
            ("not lines", |shard| whole(shard.state()?.counters.control_bytes)),
            ("skipped", |shard| whole(shard.state()?.counters.skipped_bytes)),
            ("expired", |shard| whole(shard.state()?.counters.expired_bytes)),
        ],
    },
    Equation {
        name: "records kept",
        left: &[("appended", |shard| whole(shard.kept?.appended.records))],
        right: &[
            ("past retention", |shard| whole(shard.kept?.deleted.records)),
            ("kept", |shard| whole(shard.kept?.found.records)),
        ],
    },
    Equation {
        name: "bytes kept",
        left: &[("appended", |shard| whole(shard.kept?.appended.bytes))],
        right: &[
            ("past retention", |shard| whole(shard.kept?.deleted.bytes)),
            ("kept", |shard| whole(shard.kept?.found.bytes)),
        ],
    },
];

const OF_AN_OUTPUT: &[Equation<OutputBook>] = &[
    Equation {
        name: "parcels delivered",
        left: &[("passed by deliver", |shard| whole(shard.passed))],
        right: &[("published", |shard| whole(shard.published))],
    },
    Equation {
        name: "parcels kept",
        left: &[("appended", |shard| whole(shard.kept.appended.records))],
        right: &[
            ("past retention", |shard| whole(shard.kept.deleted.records)),
            ("kept", |shard| whole(shard.kept.found.records)),
        ],
    },
];

const OF_A_WINDOW: &[Equation<WindowTotal>] = &[
    Equation {
        name: "counted in a window",
        left: &[("counted", |window| whole(window.counted))],
        right: &[
            ("published", |window| whole(window.published)),
            ("in open windows", |window| whole(window.open)),
            ("in corrections", |window| whole(window.corrections)),
        ],
    },
    Equation {
        name: "published of a window",
        left: &[("published", |window| whole(window.published))],
        right: &[
            ("in the metrics", |window| whole(window.rows?.published)),
            ("not delivered yet", |window| whole(window.rows?.waiting)),
            ("in the outbox", |window| whole(window.rows?.outbox)),
            ("in doubt", |window| whole(window.rows?.in_doubt)),
            ("refused", |window| whole(window.rows?.refused)),
            ("out of range", |window| whole(window.rows?.out_of_range)),
        ],
    },
];

const OF_A_SERIES: &[Equation<SumBook>] = &[Equation {
    name: "delivered",
    left: &[
        ("delivered", |sum| Some(Figure::Sum(sum.delivered))),
        ("in doubt and added", |sum| Some(Figure::Sum(sum.doubted()))),
    ],
    right: &[("in the metrics", |sum| Some(Figure::Sum(sum.found)))],
}];

const OF_ALL: &[Equation<TotalBook>] = &[Equation {
    name: "requests published",
    left: &[("published", |total| whole(total.published))],
    right: &[
        ("in the metrics", |total| whole(total.metrics)),
        ("not delivered yet", |total| whole(total.waiting)),
        ("past the metrics' retention", |total| whole(total.aged)),
    ],
}];

#[expect(clippy::unnecessary_wraps, reason = "a part of an equation may be unknown")]
const fn whole(count: u64) -> Option<Figure> {
    Some(Figure::Whole(count))
}

/// Every equation that the book has the figures for.
#[must_use]
pub fn entries(book: &Book) -> Vec<Entry> {
    let Book { files, inputs, outputs, totals, sums, total, windows: _ } = book;
    let mut entries = Vec::new();
    for shard in inputs {
        enter(OF_AN_INPUT, shard, (Scope::Input, &shard.shard.0), &mut entries);
    }
    for shard in outputs {
        enter(OF_AN_OUTPUT, shard, (Scope::Output, &shard.shard.0), &mut entries);
    }
    if let Some(total) = total {
        enter(OF_ALL, total, (Scope::All, "all shards"), &mut entries);
    }
    for file in files {
        enter(OF_A_FILE, file, (Scope::File, &file.name()), &mut entries);
    }
    for window in totals {
        let about = window.start.map_or_else(|| "older windows".to_owned(), |start| start.to_string());
        let first = entries.len();
        enter(OF_A_WINDOW, window, (Scope::Window, &about), &mut entries);
        // What is in motion are rows.
        excuse(window.excuse, entries.iter_mut().skip(first + 1));
    }
    for sum in sums {
        let about = format!("{} {}", sum.timestamp, named(&sum.series));
        let first = entries.len();
        enter(OF_A_SERIES, sum, (Scope::Series, &about), &mut entries);
        excuse(sum.excuse, entries.iter_mut().skip(first));
        entries.iter_mut().skip(first).for_each(|entry| entry.aside = sum.aside());
    }
    entries
}

fn excuse<'e>(excuse: Option<Excuse>, entries: impl Iterator<Item = &'e mut Entry>) {
    let Some(excuse) = excuse else { return };
    for entry in entries.filter(|entry| entry.verdict == Verdict::Differs) {
        entry.verdict = Verdict::Excused(excuse);
    }
}

fn enter<T>(table: &[Equation<T>], of: &T, (scope, about): (Scope, &str), entries: &mut Vec<Entry>) {
    let side = |parts: &[Part<T>]| {
        let term = |(name, figure): &Part<T>| Some(Term { name, figure: figure(of)? });
        parts.iter().map(term).collect::<Option<Vec<Term>>>()
    };
    for Equation { name, left, right } in table {
        if let (Some(left), Some(right)) = (side(left), side(right)) {
            let equal = difference(&left, &right).is_none();
            let verdict = if equal { Verdict::Balances } else { Verdict::Differs };
            let about = about.to_owned();
            entries.push(Entry { scope, about, equation: name, left, right, verdict, aside: Vec::new() });
        }
    }
}

impl FileBook {
    /// Its name, if that is known, and its life.
    #[must_use]
    pub fn name(&self) -> String {
        let generation = self.source.generation;
        match &self.known {
            Some(known) => format!("{} ({generation})", known.path.to_string_lossy()),
            None => format!("{}.{generation}", self.source.node),
        }
    }

    /// What is missing of it, where nobody knows of which file the bytes are that were skipped or expired.
    fn unattributed(&self) -> Option<u64> {
        let known = self.known.as_ref()?;
        let accounted = known.first.saturating_add(self.analyzed.bytes).saturating_add(self.waiting?);
        Some(if self.loose { known.position.saturating_sub(accounted) } else { 0 })
    }
}

impl InputBook {
    fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// What its journal has of windows that are kept apart.
    fn apart(&self) -> Option<Posted> {
        let mut sum = Posted::default();
        self.state()?.journal.pages().for_each(|(_, page)| sum += page.posted);
        Some(sum)
    }
}

impl SumBook {
    /// Of what is in doubt, as much as the metrics show.
    fn doubted(&self) -> f64 {
        (self.found - self.delivered).clamp(self.in_doubt.min(0.0), self.in_doubt.max(0.0))
    }

    fn aside(&self) -> Vec<Term> {
        let terms =
            [("in doubt", self.in_doubt), ("refused", self.refused), ("out of range", self.out_of_range)];
        let odd = terms.into_iter().filter(|(_, sum)| *sum != 0.0);
        odd.map(|(name, sum)| Term { name, figure: Figure::Sum(sum) }).collect()
    }
}

/// `RequestCount Billing`
#[must_use]
pub fn named(series: &Series) -> String {
    let dimensions = series.dimensions.iter().map(|(_, value)| value.as_str());
    std::iter::once(series.name.as_str()).chain(dimensions).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{audit::WindowBook, engine::time::Timestamp};

    fn verdicts(book: &Book) -> Vec<(&'static str, Verdict)> {
        entries(book).into_iter().map(|entry| (entry.equation, entry.verdict)).collect()
    }

    /// A window of which two requests lie in rows that the metrics lack.
    fn window(excuse: Option<Excuse>) -> WindowTotal {
        let rows = Some(WindowBook { published: 5, ..WindowBook::default() });
        WindowTotal { counted: 7, published: 7, rows, excuse, ..WindowTotal::default() }
    }

    #[test]
    fn rows_in_motion_excuse_what_became_of_rows_and_not_what_was_counted() {
        let (counted, published) = ("counted in a window", "published of a window");
        for (excuse, verdict) in
            [(None, Verdict::Differs), (Some(Excuse::Moving), Verdict::Excused(Excuse::Moving))]
        {
            let totals = vec![window(excuse), WindowTotal { counted: 8, ..window(excuse) }];
            let expected = [
                (counted, Verdict::Balances),
                (published, verdict),
                (counted, Verdict::Differs),
                (published, verdict),
            ];
            assert_eq!(verdicts(&Book { totals, ..Book::default() }), expected);
        }
        let rows = Some(WindowBook { published: 7, ..WindowBook::default() });
        let totals = vec![WindowTotal { rows, ..window(Some(Excuse::Moving)) }];
        let expected = [(counted, Verdict::Balances), (published, Verdict::Balances)];
        assert_eq!(verdicts(&Book { totals, ..Book::default() }), expected, "nothing is there to excuse");
    }

    #[test]
    fn each_series_is_excused_by_itself() {
        let sum = |found, excuse| SumBook {
            series: Series { name: "RequestCount".to_owned(), dimensions: Vec::new() },
            timestamp: Timestamp::MIN,
            delivered: 3.0,
            in_doubt: 1.0,
            refused: 0.0,
            out_of_range: 0.0,
            found,
            excuse,
        };
        let sums = vec![
            sum(2.0, Some(Excuse::ToCome)),
            sum(2.0, None),
            sum(3.0, None),
            sum(4.0, None),
            sum(5.0, None),
            sum(4.0, Some(Excuse::Moving)),
        ];
        let verdicts: Vec<Verdict> =
            verdicts(&Book { sums, ..Book::default() }).into_iter().map(|(_, verdict)| verdict).collect();
        let to_come = Verdict::Excused(Excuse::ToCome);
        let (balances, differs) = (Verdict::Balances, Verdict::Differs);
        assert_eq!(verdicts, [to_come, differs, balances, balances, differs, balances]);
    }
}
