//! Tokens → parts: what each directive means, and which of several gives a field. Lays out no steps: `lower` does.

use super::{
    directive::{Directive, Name, Piece, Token, tokens},
    error::FormatError,
    lower,
    step::{Client, Program, Slot, Time},
    strftime::{Clock, TimeOf, time_of},
};

/// A token with its meaning.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) position: usize,
    pub(super) kind: Kind,
    pub(super) slot: Slot,
    /// Counted for the event time, or marked as the client.
    pub(super) chosen: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    Literal(Vec<u8>),
    Host,
    Server,
    Port,
    /// A bracketed stamp, or one without brackets.
    Stamp {
        brackets: bool,
    },
    Clock(Clock),
    Status,
    Number,
    Duration,
    Hexadecimal,
    Connection,
    Request,
    Text,
}

impl Part {
    pub(super) fn is_literal(&self, text: &[u8]) -> bool {
        matches!(&self.kind, Kind::Literal(bytes) if bytes == text)
    }
}

/// Compiles `text`; `client` names the directive of the calling host if it is not the default.
pub(super) fn compile(text: &str, client: Option<&str>, open_end: bool) -> Result<Program, FormatError> {
    let mut tokens = tokens(text)?;
    fold_request(&mut tokens);
    let marked = client.map(|client| find_client(&tokens, client)).transpose()?;
    let mut parts = Vec::with_capacity(tokens.len());
    let mut ends = Vec::new();
    for token in tokens {
        let (part, end) = meaning(token)?;
        ends.push(end);
        parts.push(part);
    }
    elect(&mut parts, Slot::Host, Slot::Address);
    elect(&mut parts, Slot::Response, Slot::FirstResponse);
    elect(&mut parts, Slot::Bytes, Slot::BytesSent);
    for slot in [
        Slot::Ident,
        Slot::User,
        Slot::Request,
        Slot::Method,
        Slot::Uri,
        Slot::Query,
        Slot::Protocol,
        Slot::Referer,
        Slot::Agent,
    ] {
        elect(&mut parts, slot, slot);
    }
    let time = choose_time(&mut parts, &ends)?;
    let client = choose_client(&mut parts, marked);
    lower::lower(parts, client, time, open_end)
}

/// `"%m %U%q %H"` is a request put together again: its path may hold raw spaces, so only the whole is certain.
fn fold_request(tokens: &mut Vec<Token>) {
    let name = |index: usize| match tokens.get(index).map(|token| &token.piece) {
        Some(Piece::Directive(Directive { name: Name::One(letter), .. })) => Some(*letter),
        _ => None,
    };
    let literal = |index: usize| match tokens.get(index).map(|token| &token.piece) {
        Some(Piece::Literal(bytes)) => Some(bytes.as_slice()),
        _ => None,
    };
    if (0..tokens.len()).any(|index| name(index) == Some('r')) {
        return;
    }
    let folds = |start: usize| {
        let query = usize::from(name(start + 3) == Some('q'));
        let protocol = start + 4 + query;
        let whole = name(start) == Some('m')
            && literal(start + 1) == Some(b" ")
            && name(start + 2) == Some('U')
            && literal(protocol - 1) == Some(b" ")
            && name(protocol) == Some('H')
            && literal(protocol + 1).is_some_and(|then| then.starts_with(b"\""));
        whole.then_some((start, protocol))
    };
    let Some((first, last)) = (0..tokens.len()).find_map(folds) else {
        return;
    };
    let position = tokens.get(first).map_or(1, |token| token.position);
    let request = Directive { name: Name::One('r'), argument: None, original: None };
    tokens.splice(first..=last, [Token { position, piece: Piece::Directive(request) }]);
}

/// The meaning of one token, and whether it is a time of the end of the request.
fn meaning(token: Token) -> Result<(Part, bool), FormatError> {
    let position = token.position;
    let directive = match token.piece {
        Piece::Literal(bytes) => {
            if bytes.contains(&b'\n') {
                return Err(FormatError::new(
                    position,
                    "a newline would tear each record into several lines; take out the \\n",
                ));
            }
            let kind = Kind::Literal(bytes);
            return Ok((Part { position, kind, slot: Slot::None, chosen: false }, false));
        }
        Piece::Directive(directive) => directive,
    };
    let (kind, slot, end) = if directive.name == Name::One('t') {
        let TimeOf { kind, end } = time_of(directive.argument.as_deref().unwrap_or_default(), position)?;
        (kind, Slot::Datetime, end)
    } else {
        let (kind, slot) = kind_of(&directive, position)?;
        (kind, slot, false)
    };
    Ok((Part { position, kind, slot, chosen: false }, end))
}

fn kind_of(directive: &Directive, position: usize) -> Result<(Kind, Slot), FormatError> {
    let argument = directive.argument.as_deref();
    Ok(match (directive.name, argument) {
        (Name::One('h'), None | Some("c")) => (Kind::Host, Slot::Host),
        (Name::One('a'), None | Some("c")) => (Kind::Host, Slot::Address),
        (Name::One('A'), None) => (Kind::Host, Slot::None),
        (Name::One('v' | 'V'), None) => (Kind::Server, Slot::None),
        (Name::One('p'), None | Some("canonical" | "local" | "remote")) => (Kind::Port, Slot::None),
        (Name::One('l'), None) => (Kind::Text, Slot::Ident),
        (Name::One('u'), None) => (Kind::Text, Slot::User),
        (Name::One('r'), None) => (Kind::Request, Slot::Request),
        (Name::One('m'), None) => (Kind::Text, Slot::Method),
        (Name::One('U'), None) => (Kind::Text, Slot::Uri),
        (Name::One('q'), None) => (Kind::Text, Slot::Query),
        (Name::One('H'), None) => (Kind::Text, Slot::Protocol),
        (Name::One('s'), None) if directive.original == Some(false) => (Kind::Status, Slot::Response),
        (Name::One('s'), None) => (Kind::Status, Slot::FirstResponse),
        (Name::One('b' | 'B'), None) => (Kind::Number, Slot::Bytes),
        (Name::One('O'), None) => (Kind::Number, Slot::BytesSent),
        (Name::One('I' | 'S' | 'k'), None) | (Name::One('P'), None | Some("pid" | "tid")) => {
            (Kind::Number, Slot::None)
        }
        (Name::One('P'), Some("hextid")) => (Kind::Hexadecimal, Slot::None),
        (Name::One('D' | 'T') | Name::Caret('F', 'B'), None) | (Name::One('T'), Some("s" | "ms" | "us")) => {
            (Kind::Duration, Slot::None)
        }
        (Name::One('X'), None) => (Kind::Connection, Slot::None),
        (Name::One('L'), None | Some("c")) | (Name::One('f' | 'R'), None) => (Kind::Text, Slot::None),
        (Name::One('i'), Some(header)) => (Kind::Text, header_slot(header)),
        (Name::One('o' | 'C' | 'e' | 'n' | 'x' | 'c') | Name::Caret('t', 'i' | 'o'), Some(_)) => {
            (Kind::Text, Slot::None)
        }
        (name, argument) => return Err(unknown(name, argument, position)),
    })
}

fn header_slot(header: &str) -> Slot {
    if header.eq_ignore_ascii_case("Referer") {
        Slot::Referer
    } else if header.eq_ignore_ascii_case("User-Agent") {
        Slot::Agent
    } else {
        Slot::None
    }
}

fn unknown(name: Name, argument: Option<&str>, position: usize) -> FormatError {
    let letters = match name {
        Name::One(letter) => letter.to_string(),
        Name::Caret(first, second) => format!("^{first}{second}"),
    };
    let reason = match (name, argument) {
        (Name::One('i' | 'o' | 'C' | 'e' | 'n' | 'x' | 'c') | Name::Caret('t', 'i' | 'o'), None) => {
            format!("%{letters} needs a name, as in %{{Name}}{letters}")
        }
        (_, Some(argument)) => format!("%{{{argument}}}{letters} is no directive of Apache's LogFormat"),
        (_, None) => format!("%{letters} is no directive of Apache's LogFormat; a percent sign itself is %%"),
    };
    FormatError::new(position, reason)
}

/// Leaves `slot` to the first part that has it, or failing that to the first that has `instead`.
fn elect(parts: &mut [Part], slot: Slot, instead: Slot) {
    let first = |wanted| parts.iter().position(|part| part.slot == wanted);
    let winner = first(slot).or_else(|| first(instead));
    for (index, part) in parts.iter_mut().enumerate() {
        if part.slot == slot || part.slot == instead {
            part.slot = if Some(index) == winner { slot } else { Slot::None };
        }
    }
}

/// The time of the request is when it began; only where no directive says that, when it ended.
fn choose_time(parts: &mut [Part], ends: &[bool]) -> Result<Time, FormatError> {
    let has_begin = parts.iter().zip(ends).any(|(part, end)| part.slot == Slot::Datetime && !end);
    for (part, &end) in parts.iter_mut().zip(ends) {
        part.chosen = part.slot == Slot::Datetime && end != has_begin;
    }
    let chosen: Vec<&Part> = parts.iter().filter(|part| part.chosen).collect();
    let time = match chosen.as_slice() {
        [] => Time::Absent,
        [Part { kind: Kind::Stamp { .. }, .. }] => Time::Stamp,
        [first, ..] => {
            let clocks = chosen.iter().filter_map(|part| match &part.kind {
                Kind::Clock(clock) => Some(clock),
                _ => None,
            });
            let stamped = chosen.iter().any(|part| matches!(part.kind, Kind::Stamp { .. }));
            if !stamped && !Clock::tell_a_time(clocks) {
                return Err(FormatError::new(
                    first.position,
                    "the time directives together give no date and time; add what is missing (a zone is optional)",
                ));
            }
            Time::Parts
        }
    };
    let mut first = true;
    for part in parts.iter_mut().filter(|part| part.slot == Slot::Datetime) {
        if !(part.chosen && std::mem::take(&mut first)) {
            part.slot = Slot::None;
        }
    }
    Ok(time)
}

/// The part that holds the calling host, marked unless it is that of [`Slot::Host`].
fn choose_client(parts: &mut [Part], marked: Option<usize>) -> Client {
    let has_host = parts.iter().any(|part| part.slot == Slot::Host);
    match marked.and_then(|index| parts.get_mut(index)) {
        Some(part) if part.slot == Slot::Host => Client::Host,
        Some(part) => {
            part.chosen = true;
            Client::Marked
        }
        None if has_host => Client::Host,
        None => Client::Absent,
    }
}

/// The index of the token that `client` names.
fn find_client(tokens: &[Token], client: &str) -> Result<usize, FormatError> {
    let named = self::tokens(client)?;
    let [Token { piece: Piece::Directive(wanted), .. }] = named.as_slice() else {
        return Err(FormatError::new(
            1,
            format!("{client:?} is not one directive; name one, such as %h, %a or %{{X-Forwarded-For}}i"),
        ));
    };
    if !matches!(wanted.name, Name::One('h' | 'a' | 'i' | 'o' | 'e' | 'n' | 'C')) {
        return Err(FormatError::new(
            1,
            format!("{client} is never a host; name %h, %a or a header such as %{{X-Forwarded-For}}i"),
        ));
    }
    let is_wanted = |token: &Token| match &token.piece {
        Piece::Literal(_) => false,
        Piece::Directive(found) => found.name == wanted.name && same_argument(found, wanted),
    };
    tokens.iter().position(is_wanted).ok_or_else(|| {
        FormatError::new(
            1,
            format!("the format does not hold the client {client}; add it, or name another client"),
        )
    })
}

fn same_argument(one: &Directive, other: &Directive) -> bool {
    match (&one.argument, &other.argument) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        (None, None) => true,
        _ => false,
    }
}
