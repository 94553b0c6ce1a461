//! Every equation of the books, in one table, and what they come to. Collects no figure.

use crate::{
    audit::{Book, Excuse, FileBook, InputBook, OutputBook, SumBook, TotalBook},
    engine::{
        metric::{Series, equal},
        state::State,
    },
};

/// What an equation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One life of one file.
    File,
    /// A shard of the input stream.
    Input,
    /// A shard of the output stream.
    Output,
    /// A series and window.
    Window,
    /// Everything.
    All,
}

/// A figure of the books.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// A count: exact.
    Whole(u64),
    /// A sum that need not be whole.
    Sum(f64),
}

/// A figure and its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// What it counts.
    pub name: &'static str,
    /// How much of it there is.
    pub figure: Figure,
}

/// How an equation came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both sides are equal.
    Balances,
    /// They are not, which says nothing yet.
    Excused(Excuse),
    /// They are not.
    Differs,
}

/// One equation with its figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What kind of thing it is about.
    pub scope: Scope,
    /// Which one.
    pub about: String,
    /// What is compared.
    pub equation: &'static str,
    /// The terms of the left side.
    pub left: Vec<Term>,
    /// The terms of the right side.
    pub right: Vec<Term>,
    /// How it came out.
    pub verdict: Verdict,
    /// What is known besides and enters neither side.
    pub aside: Vec<Term>,
}

impl Scope {
    /// The name in CSV and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Input => "input shard",
            Self::Output => "output shard",
            Self::Window => "window",
            Self::All => "all",
        }
    }
}

impl Entry {
    /// Left less right.
    #[must_use]
    pub fn difference(&self) -> Difference {
        difference(&self.left, &self.right)
    }

    /// The left side.
    #[must_use]
    pub fn left_sum(&self) -> Figure {
        sum(&self.left)
    }

    /// The right side.
    #[must_use]
    pub fn right_sum(&self) -> Figure {
        sum(&self.right)
    }

    /// The equation in words and figures: `read 12 = counted 10 + malformed 2 + duplicate 0`.
    #[must_use]
    pub fn terms(&self) -> String {
        let side = |terms: &[Term]| {
            let words = terms.iter().map(|term| format!("{} {}", term.name, term.figure));
            words.collect::<Vec<_>>().join(" + ")
        };
        let sign = if self.difference().is_none() { "=" } else { "≠" };
        format!("{} {sign} {}", side(&self.left), side(&self.right))
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(count) => write!(f, "{count}"),
            Self::Sum(sum) => write!(f, "{sum}"),
        }
    }
}

/// How far two sides are apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Difference {
    /// Of counts.
    Whole(i128),
    /// Of sums; nought if they are the same but for the order in which they were added up.
    Sum(f64),
}

impl Difference {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(self) -> bool {
        match self {
            Self::Whole(count) => count == 0,
            Self::Sum(sum) => sum == 0.0,
        }
    }
}

fn sum(terms: &[Term]) -> Figure {
    let add = |sum, figure| match (sum, figure) {
        (Figure::Whole(sum), Figure::Whole(count)) => Figure::Whole(sum.saturating_add(count)),
        (sum, figure) => Figure::Sum(sum.as_sum() + figure.as_sum()),
    };
    terms.iter().map(|term| term.figure).reduce(add).unwrap_or(Figure::Whole(0))
}

fn difference(left: &[Term], right: &[Term]) -> Difference {
    let whole = |terms: &[Term]| {
        let count = |term: &Term| match term.figure {
            Figure::Whole(count) => Some(i128::from(count)),
            Figure::Sum(_) => None,
        };
        terms.iter().map(count).sum::<Option<i128>>()
    };
    if let (Some(left), Some(right)) = (whole(left), whole(right)) {
        return Difference::Whole(left - right);
    }
    let (left, right) = (sum(left).as_sum(), sum(right).as_sum());
    Difference::Sum(if equal(left, right) { 0.0 } else { left - right })
}

impl Figure {
    #[expect(clippy::cast_precision_loss, reason = "sums are floating point: exact up to 2^53")]
    fn as_sum(self) -> f64 {
        match self {
            Self::Whole(count) => count as f64,
            Self::Sum(sum) => sum,
        }
    }
}

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

const OF_A_WINDOW: &[Equation<SumBook>] = &[Equation {
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
    let Book { files, inputs, outputs, sums, total, windows: _ } = book;
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
    for sum in sums {
        let about = format!("{} {}", sum.timestamp, named(&sum.series));
        let first = entries.len();
        enter(OF_A_WINDOW, sum, (Scope::Window, &about), &mut entries);
        for entry in entries.iter_mut().skip(first) {
            entry.aside = sum.aside();
            if let (Verdict::Differs, Some(excuse)) = (entry.verdict, sum.excuse) {
                entry.verdict = Verdict::Excused(excuse);
            }
        }
    }
    entries
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
