//! Records of the combined format, printed as Apache prints them. Parses nothing.

use proptest::{prelude::*, sample::select};

/// A record, its texts escaped already.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) host: String,
    pub(super) ident: String,
    pub(super) user: String,
    pub(super) stamp: String,
    pub(super) request: String,
    pub(super) status: String,
    pub(super) bytes: String,
    pub(super) referer: String,
    pub(super) agent: String,
}

impl Sample {
    pub(super) fn common(&self) -> String {
        let Self { host, ident, user, stamp, request, status, bytes, .. } = self;
        format!(r#"{host} {ident} {user} [{stamp}] "{request}" {status} {bytes}"#)
    }

    pub(super) fn combined(&self) -> String {
        format!(r#"{} "{}" "{}""#, self.common(), self.referer, self.agent)
    }
}

pub(super) fn sample() -> impl Strategy<Value = Sample> {
    let front = (host(), ident(), user(), stamp());
    let back = (text(), status(), bytes(), text(), text());
    (front, back).prop_map(|((host, ident, user, stamp), (request, status, bytes, referer, agent))| Sample {
        host,
        ident,
        user,
        stamp,
        request,
        status,
        bytes,
        referer,
        agent,
    })
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<std::net::Ipv4Addr>().prop_map(|host| host.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|host| host.to_string()),
        "[a-z][a-z0-9-]{0,5}(\\.[a-z]{2,4}){1,2}\\.?",
        select(&["::1", "::ffff:10.0.0.1", "fe80::1%eth0", "10.0.0.1"][..]).prop_map(str::to_owned),
    ]
}

/// Nearly always `-`; a word where somebody still runs identd.
fn ident() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just("-".to_owned()), 1 => "[a-z]{1,5}"]
}

fn user() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("-".to_owned()),
        1 => Just("\"\"".to_owned()),
        2 => "[a-z@.\\]\\[]{1,8}",
    ]
}

fn stamp() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just("10/Oct/2000:13:55:36 -0700".to_owned()),
        1 => "(0[1-9]|1[0-9]|2[0-8])/(Jan|Feb|Dec)/(0000|1969|2026):[01][0-9]:[0-5][0-9]:([0-5][0-9]|60) [+-](0[0-9]|2[0-3])[0-5][0-9]",
    ]
}

/// Requests, referers and agents: what a client sends, as Apache escapes it.
pub(super) fn text() -> impl Strategy<Value = String> {
    let piece = select(
        &[
            "GET ",
            "/",
            "index.html",
            "?a=[1]",
            " HTTP/1.1",
            " ",
            " 200 5",
            " - - ",
            "\\\"",
            "\\\\",
            "\\x16\\x03",
            "\\n",
            "Mozilla/5.0 (X11; U)",
            "é",
            "-",
            "[10/Oct/2000:13:55:36 -0700] ",
            "[",
            "] ",
            "10.0.0.9 ",
            "400 226",
            "'",
        ][..],
    );
    prop_oneof![
        2 => Just("GET /index.html HTTP/1.1".to_owned()),
        1 => Just("-".to_owned()),
        4 => prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat()),
    ]
}

fn status() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[1-5][0-9]{2}", 1 => Just("-".to_owned())]
}

fn bytes() -> impl Strategy<Value = String> {
    prop_oneof![2 => Just("-".to_owned()), 4 => "0|[1-9][0-9]{0,9}", 1 => Just(u64::MAX.to_string())]
}
