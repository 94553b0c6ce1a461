//! Formats beyond the named ones: each directive, and what stands between them. Tests no hostile bytes.

use super::*;

/// The fields that are not null, as `name=value`, by name.
fn told(format: &str, line: &str) -> String {
    let text = fields(&LogFormat::compile(format).unwrap(), line);
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(&text) else {
        return text;
    };
    let present = fields.iter().filter(|(_, value)| !value.is_null());
    present.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// Each directive with values that Apache writes for it.
const DIRECTIVES: &[(&str, &[&str])] = &[
    ("%h", &["10.0.0.1", "::1", "a.example"]),
    ("%a", &["10.0.0.1"]),
    ("%{c}a", &["10.0.0.1"]),
    ("%A", &["10.0.0.1", "-"]),
    ("%l", &["-", "id"]),
    ("%u", &["-", "bob", "\"\""]),
    ("%t", &[STAMP]),
    ("%{begin:sec}t", &["971186136"]),
    ("%{end:msec}t", &["971186136123"]),
    ("%{usec}t", &["971186136123456"]),
    ("%{%s}t", &["971186136"]),
    ("%{%F %T%z}t", &["2000-10-10 13:55:36-0700"]),
    ("%m", &["GET", "-"]),
    ("%U", &["/a"]),
    ("%q", &["?a=b", ""]),
    ("%H", &["HTTP/1.1"]),
    ("%s", &["200", "-"]),
    ("%<s", &["200"]),
    ("%>s", &["200"]),
    ("%b", &["0", "-", "17"]),
    ("%B", &["0"]),
    ("%I", &["17"]),
    ("%O", &["17"]),
    ("%S", &["17"]),
    ("%D", &["1500", "-3"]),
    ("%T", &["1"]),
    ("%{ms}T", &["1"]),
    ("%{us}T", &["1"]),
    ("%v", &["www.example.com", "[::1]"]),
    ("%V", &["www.example.com"]),
    ("%p", &["80"]),
    ("%{remote}p", &["54321"]),
    ("%P", &["4711"]),
    ("%{tid}P", &["140000000000000"]),
    ("%{hextid}P", &["7f00ab12", "0x7f"]),
    ("%L", &["-", "Vx1+/abc"]),
    ("%k", &["3"]),
    ("%X", &["X", "+", "-"]),
    ("%f", &["/var/www/index.html"]),
    ("%R", &["-", "proxy-server"]),
    ("%{Referer}i", &["https://a.example/", "-"]),
    ("%{X}o", &["x"]),
    ("%{session}C", &["x"]),
    ("%{UNIQUE_ID}e", &["x"]),
    ("%{note}n", &["x"]),
    ("%{SSL_PROTOCOL}x", &["TLSv1.3"]),
    ("%{Trailer}^ti", &["x"]),
    ("%{Trailer}^to", &["x"]),
    ("%^FB", &["-", "1500"]),
    ("%!200,304{Referer}i", &["-", "x"]),
    ("%%%k\\t", &["%3\t"]),
];

#[test]
fn every_directive_reads_what_it_writes() {
    for (directive, values) in DIRECTIVES {
        for value in *values {
            for (format, line) in [
                ((*directive).to_owned(), (*value).to_owned()),
                (format!("{directive} %k"), format!("{value} 1")),
                (format!("x {directive}|%k"), format!("x {value}|1")),
                (format!("\\\"{directive}\\\" \"%k\""), format!("\"{value}\" \"1\"")),
            ] {
                if format.starts_with("\\\"%u") && *value == "\"\"" {
                    continue;
                }
                let compiled = LogFormat::compile(&format).unwrap();
                assert_eq!(parse(&compiled, line.as_bytes()).err(), None, "{format} on {line}");
            }
        }
    }
}

#[test]
fn slots_are_filled_by_the_best_directive() {
    insta::assert_snapshot!(told("%s %>s %O %b %a %h", "301 200 99 17 10.0.0.2 10.0.0.1"), @r#"bytes=17 host="10.0.0.1" response=200"#);
    insta::assert_snapshot!(told("%s %O %a", "301 99 10.0.0.2"), @r#"bytes=99 host="10.0.0.2" response=301"#);
    insta::assert_snapshot!(told("%h %h", "10.0.0.1 10.0.0.2"), @r#"host="10.0.0.1""#);
    insta::assert_snapshot!(told("%h \"%m %U%q %H\" %>s", r#"10.0.0.1 "GET /a b?c=d HTTP/1.1" 200"#), @r#"host="10.0.0.1" method="GET" path="/a b?c=d" protocol="HTTP/1.1" request="GET /a b?c=d HTTP/1.1" response=200"#);
    insta::assert_snapshot!(told("%h|%m|%U%q|%H", r"10.0.0.1|GET|/a?b|HTTP/1.1"), @r#"host="10.0.0.1" method="GET" path="/a?b" protocol="HTTP/1.1" request="GET /a?b HTTP/1.1""#);
    insta::assert_snapshot!(told("%h\\t%m\\t%U\\t%q", "10.0.0.1\tGET\t/a b\t?c"), @r#"host="10.0.0.1" method="GET" path="/a b?c" request="GET /a b?c""#);
}

#[test]
fn times_combine_and_are_utc_without_a_zone() {
    for (format, line, time) in [
        ("%t.%{msec_frac}t", "[10/Oct/2000:13:55:36 -0700].042", "2000-10-10T20:55:36.042Z"),
        (
            "%{%d/%b/%Y %T}t.%{usec_frac}t %{%z}t",
            "10/Oct/2000 13:55:36.042999 -0700",
            "2000-10-10T20:55:36.042Z",
        ),
        ("%{sec}t%{msec_frac}t", "971186136042", "refused"),
        ("%{sec}t.%{msec_frac}t", "971186136.042", "2000-10-10T13:55:36.042Z"),
        ("%{msec}t", "971186136042", "2000-10-10T13:55:36.042Z"),
        ("%{usec}t", "971186136042999", "2000-10-10T13:55:36.042Z"),
        ("%{%Y-%m-%dT%H:%M:%S}t", "2000-10-10T13:55:36", "2000-10-10T13:55:36Z"),
        ("%{%Y-%m-%dT%H:%M:%S}t", "2016-12-31T23:59:60", "2017-01-01T00:00:00Z"),
        ("[%{%d/%b/%Y:%T %z}t]", STAMP, "2000-10-10T20:55:36Z"),
        ("%{end:sec}t %{sec}t", "971186140 971186136", "2000-10-10T13:55:36Z"),
        ("%{end:sec}t", "971186140", "2000-10-10T13:55:40Z"),
        ("%t %t", "[10/Oct/2000:13:55:36 -0700] [10/Oct/2000:13:55:37 -0700]", "2000-10-10T20:55:36Z"),
    ] {
        let compiled = LogFormat::compile(format).unwrap();
        assert!(compiled.has_time());
        let event = parse(&compiled, line.as_bytes());
        let read = event.map_or("refused".to_owned(), |event| event.time.unwrap().to_string());
        assert_eq!(read, time, "{format} on {line}");
    }
    for (format, line) in [
        ("%{sec}t", "99999999999999999"),
        ("%{sec}t", "-"),
        ("%{%Y-%m-%d %T}t", "2000-13-10 00:00:00"),
        ("%{%Y-%m-%d %T}t", "2000-10-10\t00:00:00"),
        ("%{%Y-%m-%d %T}t", "\u{a0}2000-10-10 00:00:00"),
        ("%t", "-"),
    ] {
        assert!(reason(&LogFormat::compile(format).unwrap(), line).is_some(), "{format} on {line}");
    }
    assert!(!LogFormat::compile("%h").unwrap().has_time());
}

#[test]
fn the_client_is_the_host_unless_another_directive_is_named() {
    let format = LogFormat::compile(r#"%h %a %t "%{x-forwarded-for}i""#).unwrap();
    let line = |header: &str| format!(r#"10.0.0.1 10.0.0.2 {STAMP} "{header}""#);
    let client = |directive: &str, header: &str| {
        let format = format.clone().with_client(directive).unwrap();
        parse(&format, line(header).as_bytes())
            .map(|event| String::from_utf8_lossy(event.client).into_owned())
    };
    assert_eq!(client("%h", "-").unwrap(), "10.0.0.1");
    assert_eq!(client("%a", "-").unwrap(), "10.0.0.2");
    assert_eq!(client("%{X-Forwarded-For}i", "10.0.0.3").unwrap(), "10.0.0.3");
    assert_eq!(client("%{X-Forwarded-For}i", "10.0.0.3, 10.0.0.4").unwrap(), "10.0.0.4");
    for header in ["-", "", "10.0.0.3,", "x y", "1.2.3.4\\\""] {
        assert_eq!(client("%{X-Forwarded-For}i", header).unwrap_err().reason, Reason::Host);
    }
    let fallback = LogFormat::compile("%a %k").unwrap();
    assert_eq!(parse(&fallback, b"10.0.0.2 1").unwrap().client, b"10.0.0.2");
    assert!(!LogFormat::compile("%k").unwrap().has_client());
}

/// Text without quotes around it may hold what ends it. Then there is more than one way to read the line, and none
/// is taken.
#[test]
fn a_space_in_bare_text_never_shifts_the_fields_behind_it() {
    for (format, line, expected) in [
        ("%h %U %>s %b", "10.0.0.1 /a 200 5 404 7", "trailing"),
        ("%h %U %{X}i", "10.0.0.1 /a b", "ok"),
        ("%h %U %{X}i", "10.0.0.1 /a b c", "literal"),
        ("%h %{X}i", "10.0.0.1 a b c", "ok"),
        ("%h %U|%{X}i", "10.0.0.1 /a|b|c", "literal"),
        ("%h \"%m %U\" \"%{X}i\"", r#"10.0.0.1 "GET /a b" "c d""#, "literal"),
        ("%h \"%m %U\" \"%{X}i\"", r#"10.0.0.1 "GET /a" "c d""#, "ok"),
        ("%h %u %t %>s", "10.0.0.1 John Doe [10/Oct/2000:13:55:36 -0700] 200", "user"),
        ("%h %l %u %t %>s", "10.0.0.1 - John Doe [10/Oct/2000:13:55:36 -0700] 200", "ok"),
        ("%U %l %u %t %>s", "/a - John Doe [10/Oct/2000:13:55:36 -0700] 200", "user"),
        ("%h %{X}i", "10.0.0.1 a\"b", "quote"),
        ("%h %k", "10.0.0.1 1 x", "trailing"),
        ("%h %k", "10.0.0.1 1\r", "ok"),
        ("%h %k\\r", "10.0.0.1 1\r", "ok"),
        ("%h:%{remote}p %k", "2001:db8::1:443 1", "ok"),
    ] {
        let compiled = LogFormat::compile(format).unwrap();
        let found = reason(&compiled, line).map_or("ok", Reason::as_str);
        assert_eq!(found, expected, "{format} on {line}");
    }
}

#[test]
fn json_and_tabs_are_formats_like_others() {
    let json = r#"{ "time":"%{%Y-%m-%dT%T}t", "host":"%h", "status":%>s, "agent":"%{User-Agent}i" }"#;
    let line = r#"{ "time":"2000-10-10T13:55:36", "host":"10.0.0.1", "status":200, "agent":"a \"b\" }" }"#;
    insta::assert_snapshot!(told(json, line), @r#"agent="a \"b\" }" datetime="2000-10-10T13:55:36" host="10.0.0.1" response=200 time="2000-10-10T13:55:36Z""#);
    insta::assert_snapshot!(told("%h\\t%t\\t%r\\t%>s", &format!("10.0.0.1\t{STAMP}\tGET / HTTP/1.0\t200")), @r#"datetime="10/Oct/2000:13:55:36 -0700" host="10.0.0.1" method="GET" path="/" protocol="HTTP/1.0" request="GET / HTTP/1.0" response=200 time="2000-10-10T20:55:36Z""#);
}
