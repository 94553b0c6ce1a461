//! What an equation came to: its terms with their figures, and the verdict. Holds no equation.

use crate::{audit::Excuse, engine::metric::equal};

/// What an equation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One life of one file.
    File,
    /// A shard of the input stream.
    Input,
    /// A shard of the output stream.
    Output,
    /// A window.
    Window,
    /// A series and window.
    Series,
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
            Self::Series => "series",
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

pub(super) fn difference(left: &[Term], right: &[Term]) -> Difference {
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
