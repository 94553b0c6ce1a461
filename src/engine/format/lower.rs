//! Parts → steps: where each field ends, and what it may not hold for that end to be certain. Parses no line.

use std::collections::BTreeSet;

use super::{
    compile::{Kind, Part},
    error::FormatError,
    step::{Client, End, Field, Program, Slot, Step, Time},
};

/// Lays out the steps of `parts`.
pub(super) fn lower(
    mut parts: Vec<Part>,
    client: Client,
    time: Time,
    open_end: bool,
) -> Result<Program, FormatError> {
    join_path_and_query(&mut parts);
    if let Some(Part { kind: Kind::Literal(bytes), .. }) = parts.last_mut()
        && bytes.ends_with(b"\r")
    {
        // A line's own trailing carriage return is taken off before it is parsed.
        bytes.pop();
    }
    let never = ambiguous_ends(&parts);
    let before_port = before_port(&parts);
    let mut lead = Box::default();
    let mut steps: Vec<Step> = Vec::new();
    let mut rest = parts.into_iter().zip(never).zip(before_port).peekable();
    while let Some(((part, never), before_port)) = rest.next() {
        let then = rest.peek().map(|((next, _), _)| &next.kind);
        if let Kind::Literal(bytes) = part.kind {
            match steps.last_mut() {
                Some(step) => step.then = bytes.into(),
                None => lead = bytes.into(),
            }
        } else {
            let end = end_of(&part, then)?;
            steps.push(step(part, end, never, before_port, client));
        }
    }
    if steps.is_empty() {
        return Err(FormatError::new(1, "the format holds no directive; begin with %h, the calling host"));
    }
    straighten(&mut steps, client, time);
    Ok(Program { lead, steps: steps.into(), client, time, open_end })
}

/// `%U%q` has no literal between, but it needs none: together they are the path as it was requested.
fn join_path_and_query(parts: &mut Vec<Part>) {
    let mut index = 0;
    while let Some([first, second]) = parts.get(index..index + 2) {
        if first.slot == Slot::Uri && second.slot == Slot::Query {
            parts.remove(index + 1);
        }
        index += 1;
    }
}

/// Which parts have `:` and a port behind them, so that the last colon ends them: an address may hold more.
fn before_port(parts: &[Part]) -> Vec<bool> {
    let port = |index: usize| matches!(parts.get(index), Some(Part { kind: Kind::Port, .. }));
    let colon = |index: usize| parts.get(index).is_some_and(|part| part.is_literal(b":"));
    (0..parts.len()).map(|index| colon(index + 1) && port(index + 2)).collect()
}

/// What ends a field: the literal behind it, unless the field knows its own end.
fn end_of(part: &Part, then: Option<&Kind>) -> Result<End, FormatError> {
    let end = match then {
        None => End::Line,
        Some(Kind::Literal(bytes)) => match bytes.first() {
            None => End::Line,
            Some(b'"') => End::Quote,
            Some(&byte) => End::Byte(byte),
        },
        Some(_) => match part.kind {
            Kind::Stamp { .. } | Kind::Clock(_) | Kind::Status | Kind::Connection => End::Line,
            _ => {
                return Err(FormatError::new(
                    part.position,
                    "nothing stands between this directive and the next, so no parser can tell them apart; \
                     put a space or quotes there",
                ));
            }
        },
    };
    if matches!(part.kind, Kind::Request) && end == End::Byte(b' ') {
        return Err(FormatError::new(
            part.position,
            "%r holds spaces, so a space cannot end it; write \\\"%r\\\"",
        ));
    }
    Ok(end)
}

/// For each part the bytes that it may not hold.
///
/// Apache escapes quotes, backslashes and control bytes, and nothing else. So the quotes of a line cut it into
/// segments that are certain, but within a segment a client who sends a space (or whatever ends a field) can shift
/// the fields behind it. If no text field of a segment holds a byte that ends one of them, then the line has just
/// as many such bytes as the format, and there is one way only to read it; any other line is refused.
fn ambiguous_ends(parts: &[Part]) -> Vec<Box<[u8]>> {
    let mut all = Vec::with_capacity(parts.len());
    let mut segment = 0;
    let mut ends = BTreeSet::new();
    let close = |all: &mut Vec<Box<[u8]>>, count: usize, ends: &mut BTreeSet<u8>| {
        let set: Box<[u8]> = std::mem::take(ends).into_iter().collect();
        all.extend(std::iter::repeat_n(set, count));
    };
    for (index, part) in parts.iter().enumerate() {
        segment += 1;
        match &part.kind {
            Kind::Literal(bytes) if bytes.contains(&b'"') => {
                close(&mut all, std::mem::take(&mut segment), &mut ends);
            }
            Kind::Text | Kind::Request => {
                if let Some(Part { kind: Kind::Literal(then), .. }) = parts.get(index + 1)
                    && let Some(&byte) = then.first().filter(|&&byte| byte != b'"')
                {
                    ends.insert(byte);
                }
            }
            _ => {}
        }
    }
    close(&mut all, segment, &mut ends);
    all
}

fn step(part: Part, end: End, never: Box<[u8]>, before_port: bool, client: Client) -> Step {
    let counts = part.chosen;
    let strict = part.chosen || (part.slot == Slot::Host && client == Client::Host);
    let field = match part.kind {
        Kind::Host | Kind::Server if before_port => Field::HostBeforePort { strict },
        Kind::Host | Kind::Server => Field::Host { end, strict },
        Kind::Stamp { brackets } => Field::Stamp { brackets, counts },
        Kind::Clock(clock) => Field::Clock { clock, counts },
        Kind::Status => Field::Status,
        Kind::Number | Kind::Port => Field::Number,
        Kind::Duration => Field::Duration,
        Kind::Hexadecimal => Field::Hexadecimal,
        Kind::Connection => Field::Connection,
        Kind::Literal(_) | Kind::Request | Kind::Text => Field::Text { end, never },
    };
    let client = part.chosen && !matches!(field, Field::Stamp { .. } | Field::Clock { .. });
    Step { field, slot: part.slot, client, then: Box::default() }
}

/// Joins steps that are only certain, or much faster, together.
fn straighten(steps: &mut Vec<Step>, client: Client, time: Time) {
    let user = steps.iter().position(|step| step.slot == Slot::User && !step.client);
    if let Some(index) = user
        && let Some([user, stamp]) = steps.get(index..index + 2)
        && *user.then == *b" "
        && let Field::Stamp { brackets: true, counts } = stamp.field
    {
        let ident_before = is_behind_ident(steps.get(..index).unwrap_or_default());
        let then = steps.remove(index + 1).then;
        if let Some(user) = steps.get_mut(index) {
            user.field = Field::UserStamp { ident_before, counts };
            user.then = then;
        }
    }
    if time != Time::Stamp {
        return;
    }
    let start = steps.iter().position(|step| step.slot == Slot::Host).unwrap_or_default();
    let plain = steps.get(start..).map_or(0, |steps| straight_prefix(steps, client));
    if plain >= COMMON.len() {
        let agents = plain == COMBINED.len();
        let taken = if agents { COMBINED.len() } else { COMMON.len() };
        let then =
            steps.get_mut(start + taken - 1).map(|last| std::mem::take(&mut last.then)).unwrap_or_default();
        let joined = Step { field: Field::Combined { agents }, slot: Slot::None, client: false, then };
        steps.splice(start..start + taken, [joined]);
    }
}

/// Whether `before`, the steps before a user, ends in an identity, with nothing in front of it that a client can
/// stretch: only then do the words between identity and stamp belong to the user alone.
fn is_behind_ident(before: &[Step]) -> bool {
    let Some((ident, rest)) = before.split_last() else {
        return false;
    };
    let certain = |step: &Step| !matches!(step.field, Field::Text { .. }) || step.then.contains(&b'"');
    ident.slot == Slot::Ident && *ident.then == *b" " && rest.iter().all(certain)
}

/// The slots of the straight path with the literals between them.
const COMBINED: [(Slot, &[u8]); 8] = [
    (Slot::Host, b" "),
    (Slot::Ident, b" "),
    (Slot::User, b" \""),
    (Slot::Request, b"\" "),
    (Slot::Response, b" "),
    (Slot::Bytes, b" \""),
    (Slot::Referer, b"\" \""),
    (Slot::Agent, b"\""),
];

/// The first of them: what the format `common` is.
const COMMON: &[(Slot, &[u8])] = COMBINED.split_at(6).0;

/// How many of the first steps are those of the straight path: none, the common ones, or all.
fn straight_prefix(steps: &[Step], client: Client) -> usize {
    let plain = |step: &Step| match &step.field {
        Field::Host { strict, .. } => *strict && client == Client::Host,
        Field::UserStamp { ident_before, counts } => *ident_before && *counts,
        Field::Status | Field::Number | Field::Text { .. } => true,
        _ => false,
    };
    let same =
        |(step, (slot, _)): &(&Step, &(Slot, &[u8]))| step.slot == *slot && !step.client && plain(step);
    let count = steps.iter().zip(&COMBINED).take_while(same).count();
    let literals = |count: usize| {
        let mut pairs = steps.iter().zip(&COMBINED).take(count);
        // The last literal of the format is longer where further fields follow, or there is none behind a number.
        pairs.all(|(step, (slot, then))| match slot {
            Slot::Agent => step.then.starts_with(then),
            Slot::Bytes if count == COMMON.len() => true,
            _ => *step.then == **then,
        })
    };
    match count {
        8 if literals(8) => 8,
        6.. if literals(6) => 6,
        _ => 0,
    }
}
