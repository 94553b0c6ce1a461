//! What a line tells: the event that is counted, and the fields it was read from. Owns no bytes.

use super::straight::Request;
use crate::engine::time::Timestamp;

/// One request, read from one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event<'l> {
    /// The calling host as the log spells it; empty only where the format holds none.
    pub client: &'l [u8],
    /// When the request was received; `None` only where the format holds no time.
    pub time: Option<Timestamp>,
    /// The response status; `None` for `-`, or where the format holds none.
    pub response: Option<u16>,
    /// The size of the response; 0 for `-`, or where the format holds none.
    pub bytes: u64,
    /// The fields as they stand in the line.
    pub raw: Raw<'l>,
}

impl<'l> From<&Event<'l>> for Request<'l> {
    fn from(event: &Event<'l>) -> Self {
        let &Event { client, time, response, bytes, .. } = event;
        Self { client, wide: None, time, response, bytes }
    }
}

/// Fields as they stand in the line, escapes and `-` included; `None` where the format does not hold the field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raw<'l> {
    /// `%h`, or failing that `%a`.
    pub host: Option<&'l [u8]>,
    /// `%l`
    pub ident: Option<&'l [u8]>,
    /// `%u`; empty where Apache wrote `""`.
    pub authuser: Option<&'l [u8]>,
    /// The first directive of the time, without brackets.
    pub datetime: Option<&'l [u8]>,
    /// `%r`, or `%m %U%q %H` where they stand for it.
    pub request: Option<&'l [u8]>,
    /// `%m`
    pub method: Option<&'l [u8]>,
    /// `%U`, with the query if `%q` follows at once.
    pub uri: Option<&'l [u8]>,
    /// `%q` on its own.
    pub query: Option<&'l [u8]>,
    /// `%H`
    pub protocol: Option<&'l [u8]>,
    /// `%b` or `%B`, or failing that `%O`.
    pub bytes: Option<&'l [u8]>,
    /// `%{Referer}i`
    pub referer: Option<&'l [u8]>,
    /// `%{User-Agent}i`
    pub agent: Option<&'l [u8]>,
}
