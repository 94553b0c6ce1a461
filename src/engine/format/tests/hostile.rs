//! Combined lines as clients, proxies and broken disks make them: the truth, or a reason. Holds no custom format.

use super::*;
use crate::engine::record::MAX_LINE;

const GOOD: &str = r#"10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 5 "-" "curl""#;

#[test]
fn a_line_gives_its_fields() {
    let line = r#"10.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a?b=\"c\" HTTP/1.0" 200 2326 "" "M\xc3\xbcller\t\\""#;
    insta::assert_snapshot!(fields(&combined(), line), @r#"{"host":"10.0.0.1","ident":null,"authuser":"frank","datetime":"10/Oct/2000:13:55:36 -0700","time":"2000-10-10T20:55:36Z","request":"GET /a?b=\"c\" HTTP/1.0","method":"GET","path":"/a?b=\"c\"","protocol":"HTTP/1.0","response":200,"bytes":2326,"referer":"","agent":"Müller\t\\"}"#);
}

#[test]
fn requests_that_are_none_are_told_as_they_are() {
    let tls = GOOD.replace("GET / HTTP/1.1\" 200 5", "\\x16\\x03\\x01\" 400 226");
    insta::assert_snapshot!(fields(&combined(), tls), @r#"{"host":"10.0.0.1","ident":null,"authuser":null,"datetime":"10/Oct/2000:13:55:36 -0700","time":"2000-10-10T20:55:36Z","request":"\u0016\u0003\u0001","method":"\u0016\u0003\u0001","path":null,"protocol":null,"response":400,"bytes":226,"referer":null,"agent":"curl"}"#);
    let timeout = GOOD.replace("GET / HTTP/1.1\" 200 5", "-\" 408 -");
    insta::assert_snapshot!(fields(&combined(), timeout), @r#"{"host":"10.0.0.1","ident":null,"authuser":null,"datetime":"10/Oct/2000:13:55:36 -0700","time":"2000-10-10T20:55:36Z","request":null,"method":null,"path":null,"protocol":null,"response":408,"bytes":null,"referer":null,"agent":"curl"}"#);
    let spaces = GOOD.replace("GET / HTTP/1.1", "GET /a b  c HTTP/1.1");
    let old = GOOD.replace("GET / HTTP/1.1", "GET /a b");
    let path = |line: &str| {
        let event = serde_json::from_str::<serde_json::Value>(&fields(&combined(), line)).unwrap();
        (event["path"].clone(), event["protocol"].clone())
    };
    assert_eq!(path(&spaces), ("/a b  c".into(), "HTTP/1.1".into()));
    assert_eq!(path(&old), ("/a b".into(), serde_json::Value::Null));
}

#[test]
fn users_of_every_kind_are_read() {
    for (user, read) in [
        ("frank", "frank"),
        ("\"\"", ""),
        ("John Doe", "John Doe"),
        ("Mary Ann Smith", "Mary Ann Smith"),
        ("[bob]", "[bob]"),
        ("a\\\"b", "a\\\"b"),
        ("CN=x,O=y\\\\z", "CN=x,O=y\\\\z"),
        ("m\u{fc}ller", "m\u{fc}ller"),
    ] {
        let line = GOOD.replace("- - [", &format!("- {user} ["));
        let format = combined();
        let event = parse(&format, line.as_bytes()).unwrap();
        assert_eq!(event.raw.authuser, Some(read.as_bytes()));
        assert_eq!(event.response, Some(200));
    }
}

#[test]
fn hosts_of_every_kind_are_read() {
    for host in ["::1", "2001:db8::ff", "::ffff:10.0.0.1", "fe80::1%eth0", "web-1.example.com", "localhost"] {
        let line = GOOD.replacen("10.0.0.1", host, 1);
        assert_eq!(parse(&combined(), line.as_bytes()).unwrap().client, host.as_bytes());
    }
}

#[test]
fn what_stands_behind_the_last_field_of_a_named_format_is_further_fields() {
    for behind in ["", " 17", " 17 \"x\" [y]", "\r", " ", " 17\r"] {
        assert_eq!(reason(&combined(), format!("{GOOD}{behind}")), None, "{behind:?}");
    }
    for (behind, expected) in [
        ("x", Reason::Trailing),
        ("\"", Reason::Trailing),
        ("\r\r", Reason::Binary),
        (" \0", Reason::Binary),
        (" x [10/Oct/2000:13", Reason::Torn),
        ("x [10/Oct/2000:13", Reason::Torn),
    ] {
        assert_eq!(reason(&combined(), format!("{GOOD}{behind}")), Some(expected), "{behind:?}");
    }
}

#[test]
fn each_malformed_line_has_its_reason_and_column() {
    let line = |from: &str, to: &str| GOOD.replacen(from, to, 1);
    for (line, expected) in [
        (String::new(), "empty at 1"),
        (" \t ".into(), "empty at 1"),
        ("\r".into(), "empty at 1"),
        ("10.0.0.1".into(), "truncated at 1"),
        (GOOD[..30].into(), "truncated at 14"),
        (GOOD[..70].into(), "quote at 71"),
        (line("10.0.0.1", "10.0.0.256"), "host at 1"),
        (line("10.0.0.1", "1.2.35.6.7.8"), "host at 1"),
        (line("10.0.0.1", "-"), "host at 1"),
        (line("10.0.0.1", "\0\0\0"), "binary at 1"),
        (line("/ H", "/\0 H"), "binary at 49"),
        (line("curl", "cu\x1brl"), "binary at 73"),
        (line("curl", "cu\\\0rl"), "binary at 74"),
        (line("curl", "cu\x7f"), "binary at 73"),
        (line("10/Oct", "32/Oct"), "time at 14"),
        (line("Oct", "Okt"), "time at 14"),
        (line("] \"", "]\""), "literal at 42"),
        (line(" 200", " 20"), "response at 60"),
        (line(" 200", " 2000"), "response at 63"),
        (line(" 200", " 099"), "response at 60"),
        (line(" 5 ", " 5x "), "number at 65"),
        (line(" 5 ", " 18446744073709551616 "), "number at 64"),
        (line("/1.1\" ", "/1.1 "), "literal at 65"),
        (line("- - [", "- a [1 ["), "user at 12"),
        (line("- - [", "x a b ["), "user at 12"),
        (line("- - [", "-  ["), "user at 12"),
        (line("- - [", "- a\"b ["), "user at 12"),
        ("a b".repeat(40), "time at 6"),
        ("{\"a\": 1}".into(), "host at 1"),
    ] {
        assert_eq!(fields(&combined(), &line), expected, "{line}");
    }
}

#[test]
fn a_line_may_be_long_but_not_endless() {
    let long = |length: usize| {
        let path = "a".repeat(length - GOOD.len());
        GOOD.replacen("/ H", &format!("/{path} H"), 1)
    };
    assert_eq!(reason(&combined(), long(64 * 1024)), None);
    assert_eq!(reason(&combined(), long(MAX_LINE)), None);
    assert_eq!(reason(&combined(), long(MAX_LINE) + "\r"), None);
    assert_eq!(reason(&combined(), long(MAX_LINE + 1)), Some(Reason::TooLong));
}

#[test]
fn bytes_beyond_utf8_are_read_and_shown_replaced() {
    let line = [&GOOD.as_bytes()[..GOOD.len() - 2], b"\xff\""].concat();
    let format = combined();
    let event = parse(&format, &line).unwrap();
    assert_eq!(event.raw.agent, Some(&b"cur\xff"[..]));
    assert_eq!(Fields::from(&event).agent.as_deref(), Some("cur\u{fffd}"));
}

#[test]
fn a_stamp_in_a_request_is_only_text() {
    let line = GOOD.replace("GET / HTTP/1.1", &format!("GET /{STAMP} HTTP/1.1"));
    assert_eq!(reason(&combined(), line), None);
}
