//! The compiled form of a log format: the steps that a line is taken apart with. Executes nothing: `run` does.

use super::strftime::Clock;

/// A log format, compiled.
#[derive(Debug)]
pub(super) struct Program {
    /// What each line begins with before its first field.
    pub(super) lead: Box<[u8]>,
    pub(super) steps: Box<[Step]>,
    pub(super) client: Client,
    pub(super) time: Time,
    /// Further fields may follow the last one.
    pub(super) open_end: bool,
}

/// Where the calling host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// The format holds none.
    Absent,
    /// In the field that fills [`Slot::Host`].
    Host,
    /// In the step that is marked so: a header.
    Marked,
}

/// How the event time is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    Absent,
    /// One stamp of `%t`, whole.
    Stamp,
    /// Several directives, or one of strftime's.
    Parts,
}

/// One field and the literal behind it.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) field: Field,
    pub(super) slot: Slot,
    /// The field holds the calling host, though it does not fill [`Slot::Host`].
    pub(super) client: bool,
    pub(super) then: Box<[u8]>,
}

/// How a field reads.
#[derive(Debug)]
pub(super) enum Field {
    /// `%h %l %u %t "%r" %>s %b`, and with `agents` also ` "%{Referer}i" "%{User-Agent}i"`: the straight path.
    Combined {
        agents: bool,
    },
    /// An address or a host name; unless `strict` also `-`.
    Host {
        end: End,
        strict: bool,
    },
    /// A host name with a port behind it, so that the last colon ends it.
    HostBeforePort {
        strict: bool,
    },
    /// `%u %t`, whose user may hold spaces if a `%l` stands before it.
    UserStamp {
        ident_before: bool,
        counts: bool,
    },
    /// `[10/Oct/2000:13:55:36 -0700]`, or the same without brackets.
    Stamp {
        brackets: bool,
        counts: bool,
    },
    /// A part of the time.
    Clock {
        clock: Clock,
        counts: bool,
    },
    Status,
    /// Digits or `-`.
    Number,
    /// As a number, but the clock may have been set back meanwhile.
    Duration,
    Hexadecimal,
    /// `%X`: one of `X`, `+`, `-`.
    Connection,
    /// Anything, none of `never` in it.
    Text {
        end: End,
        never: Box<[u8]>,
    },
}

/// What ends a field that does not know its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// An unescaped quote.
    Quote,
    Byte(u8),
    Line,
}

/// Where the text of a field goes. A format may hold a directive twice; only one of them keeps its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    None,
    Host,
    /// `%a`: the host where there is no `%h`.
    Address,
    Ident,
    User,
    Datetime,
    Request,
    Method,
    Uri,
    Query,
    Protocol,
    /// `%>s`
    Response,
    /// `%s`: the response where there is no `%>s`.
    FirstResponse,
    Bytes,
    /// `%O`: the bytes where there is neither `%b` nor `%B`.
    BytesSent,
    Referer,
    Agent,
}
