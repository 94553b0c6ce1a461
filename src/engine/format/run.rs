//! One line → one event, by the steps of a compiled format. Allocates nothing for a well-formed line.

use super::{
    event::Event,
    host,
    number::{connection, duration, hexadecimal, number, status},
    stamp::{STAMP, StampCache},
    step::{Client, End, Field, Program, Slot, Step, Time},
    strftime::Moment,
    text::{literal, quoted, text},
    torn,
    user::{UserStamp, bracketed, user_stamp},
};
use crate::engine::{
    reason::{Malformed, Reason},
    record::MAX_LINE,
    time::Timestamp,
};

impl Program {
    pub(super) fn parse<'l>(&self, line: &'l [u8], stamps: &mut StampCache) -> Result<Event<'l>, Malformed> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > MAX_LINE {
            return Err(Malformed { reason: Reason::TooLong, column: MAX_LINE + 1 });
        }
        let mut run = Run { rest: line, event: Event::default() };
        match run.line(self, stamps) {
            Ok(()) => Ok(run.event),
            Err(reason) => Err(torn::verdict(line, run.rest.len(), reason)),
        }
    }
}

/// A line of the common format, or with `agents` of the combined one, with nothing behind it.
pub(super) fn straight<'l>(
    line: &'l [u8],
    agents: bool,
    stamps: &mut StampCache,
) -> Result<Event<'l>, Malformed> {
    if line.len() > MAX_LINE {
        return Err(Malformed { reason: Reason::TooLong, column: MAX_LINE + 1 });
    }
    let mut run = Run { rest: line, event: Event::default() };
    match run.straight(agents, stamps) {
        Ok(()) => Ok(run.event),
        Err(reason) => Err(torn::verdict(line, run.rest.len(), reason)),
    }
}

/// A line that is being taken apart. On an error `rest` begins where it was found.
struct Run<'l> {
    rest: &'l [u8],
    event: Event<'l>,
}

impl<'l> Run<'l> {
    #[inline]
    fn line(&mut self, program: &Program, stamps: &mut StampCache) -> Result<(), Reason> {
        if !program.lead.is_empty() {
            literal(&mut self.rest, &program.lead, Reason::Literal)?;
        }
        match program.time {
            Time::Absent | Time::Stamp => {
                for step in &program.steps {
                    self.step(step, program, stamps, None)?;
                }
            }
            Time::Parts => self.line_in_parts(program, stamps)?,
        }
        if self.rest.is_empty() { Ok(()) } else { self.trailing(program.open_end) }
    }

    #[inline(never)]
    fn line_in_parts(&mut self, program: &Program, stamps: &mut StampCache) -> Result<(), Reason> {
        let mut moment = Moment::default();
        for step in &program.steps {
            self.step(step, program, stamps, Some(&mut moment))?;
        }
        self.event.time = Some(moment.resolve().ok_or(Reason::Time)?);
        Ok(())
    }

    /// What follows the last field: nothing, or where `open_end` allows it further fields.
    #[inline(never)]
    fn trailing(&mut self, open_end: bool) -> Result<(), Reason> {
        if torn::holds_stamp(self.rest) {
            return Err(Reason::Torn);
        }
        if !open_end || self.rest.first() != Some(&b' ') {
            return Err(Reason::Trailing);
        }
        if self.rest.iter().any(|&byte| torn::is_control(byte)) { Err(Reason::Binary) } else { Ok(()) }
    }

    /// One field and the literal behind it.
    #[inline]
    fn step(
        &mut self,
        step: &Step,
        program: &Program,
        stamps: &mut StampCache,
        moment: Option<&mut Moment>,
    ) -> Result<(), Reason> {
        let otherwise = match &step.field {
            Field::Combined { agents } => {
                self.combined(*agents, stamps)?;
                if *agents { Reason::Literal } else { Reason::Number }
            }
            other => self.field(other, step, program, stamps, moment)?,
        };
        literal(&mut self.rest, &step.then, otherwise)
    }

    fn straight(&mut self, agents: bool, stamps: &mut StampCache) -> Result<(), Reason> {
        self.combined(agents, stamps)?;
        if agents {
            literal(&mut self.rest, b"\"", Reason::Literal)?;
        }
        if self.rest.is_empty() { Ok(()) } else { self.trailing(false) }
    }

    /// `%h %l %u %t "%r" %>s %b`, and with `agents` also the referer and the user agent.
    #[inline]
    fn combined(&mut self, agents: bool, stamps: &mut StampCache) -> Result<(), Reason> {
        let Self { rest, event } = self;
        event.client = host::host(rest, End::Byte(b' '), true)?;
        event.raw.host = Some(event.client);
        literal(rest, b" ", Reason::Host)?;
        let ident = text(rest, End::Byte(b' '), b" ")?;
        if ident.is_empty() {
            return Err(Reason::Literal);
        }
        event.raw.ident = Some(ident);
        literal(rest, b" ", Reason::Literal)?;
        let UserStamp { user, stamp, time } = user_stamp(rest, b" \"", ident == b"-", stamps)?;
        event.raw.authuser = Some(user);
        event.raw.datetime = Some(stamp);
        event.time = Some(time);
        literal(rest, b" \"", Reason::Literal)?;
        event.raw.request = Some(quoted(rest)?);
        literal(rest, b"\" ", Reason::Literal)?;
        event.response = status(rest)?;
        literal(rest, b" ", Reason::Response)?;
        let (bytes, value) = number(rest)?;
        event.raw.bytes = Some(bytes);
        event.bytes = value;
        if agents {
            literal(rest, b" \"", Reason::Number)?;
            event.raw.referer = Some(quoted(rest)?);
            literal(rest, b"\" \"", Reason::Literal)?;
            event.raw.agent = Some(quoted(rest)?);
        }
        Ok(())
    }

    /// One field; gives the reason to name if its literal does not follow.
    #[inline(never)]
    fn field(
        &mut self,
        field: &Field,
        step: &Step,
        program: &Program,
        stamps: &mut StampCache,
        moment: Option<&mut Moment>,
    ) -> Result<Reason, Reason> {
        let rest = &mut self.rest;
        let (value, otherwise) = match field {
            Field::Combined { agents } => {
                self.combined(*agents, stamps)?;
                return Ok(Reason::Literal);
            }
            Field::Host { end, strict } => (host::host(rest, *end, *strict)?, Reason::Host),
            Field::HostBeforePort { strict } => (host::before_port(rest, *strict)?, Reason::Host),
            Field::UserStamp { ident_before, counts } => {
                let words = *ident_before && self.event.raw.ident == Some(b"-");
                let found = user_stamp(rest, &step.then, words, stamps)?;
                self.event.raw.authuser = Some(found.user);
                self.time(found.stamp, found.time, *counts, moment);
                return Ok(Reason::Literal);
            }
            Field::Stamp { brackets, counts } => {
                self.stamp(*brackets, *counts, stamps, moment)?;
                return Ok(Reason::Literal);
            }
            Field::Clock { clock, counts } => {
                let value = match moment {
                    Some(moment) => moment.read(clock, rest, *counts)?,
                    None => Moment::default().read(clock, rest, false)?,
                };
                (value, Reason::Time)
            }
            Field::Status => {
                let response = status(rest)?;
                if step.slot == Slot::Response {
                    self.event.response = response;
                }
                return Ok(Reason::Response);
            }
            Field::Number => {
                let (value, bytes) = number(rest)?;
                if step.slot == Slot::Bytes {
                    self.event.bytes = bytes;
                }
                (value, Reason::Number)
            }
            Field::Duration => return duration(rest).map(|()| Reason::Number),
            Field::Hexadecimal => return hexadecimal(rest).map(|()| Reason::Number),
            Field::Connection => return connection(rest).map(|()| Reason::Literal),
            Field::Text { end, never } => (text(rest, *end, never)?, Reason::Literal),
        };
        self.store(value, step, program)?;
        Ok(otherwise)
    }

    fn stamp(
        &mut self,
        brackets: bool,
        counts: bool,
        stamps: &mut StampCache,
        moment: Option<&mut Moment>,
    ) -> Result<(), Reason> {
        let failed = if self.rest.len() < STAMP { Reason::Truncated } else { Reason::Time };
        let (stamp, time, after) = if brackets {
            bracketed(self.rest, stamps).ok_or(failed)?
        } else {
            let (stamp, after) = self.rest.split_first_chunk::<STAMP>().ok_or(failed)?;
            (stamp, stamps.read(stamp).ok_or(Reason::Time)?, after)
        };
        self.rest = after;
        self.time(stamp, time, counts, moment);
        Ok(())
    }

    /// Keeps a stamp if it counts for the time of the request.
    fn time(&mut self, text: &'l [u8], time: Timestamp, counts: bool, moment: Option<&mut Moment>) {
        if counts {
            self.event.raw.datetime.get_or_insert(text);
            match moment {
                Some(moment) => moment.stamp(time),
                None => self.event.time = Some(time),
            }
        }
    }

    /// Puts the text of a field where it belongs.
    fn store(&mut self, value: &'l [u8], step: &Step, program: &Program) -> Result<(), Reason> {
        if step.client {
            self.event.client = match &step.field {
                Field::Text { .. } => host::last_element(value)?,
                _ => value,
            };
        }
        let raw = &mut self.event.raw;
        let slot = match step.slot {
            Slot::None | Slot::Address | Slot::FirstResponse | Slot::BytesSent | Slot::Response => {
                return Ok(());
            }
            Slot::Host => {
                if program.client == Client::Host {
                    self.event.client = value;
                }
                &mut raw.host
            }
            Slot::Ident if value.is_empty() => return Err(Reason::Literal),
            Slot::Ident => &mut raw.ident,
            Slot::User => {
                raw.authuser = Some(if value == b"\"\"" { &[] } else { value });
                return Ok(());
            }
            Slot::Datetime => &mut raw.datetime,
            Slot::Request => &mut raw.request,
            Slot::Method => &mut raw.method,
            Slot::Uri => &mut raw.uri,
            Slot::Query => &mut raw.query,
            Slot::Protocol => &mut raw.protocol,
            Slot::Bytes => &mut raw.bytes,
            Slot::Referer => &mut raw.referer,
            Slot::Agent => &mut raw.agent,
        };
        *slot = Some(value);
        Ok(())
    }
}
