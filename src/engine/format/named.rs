//! The formats that have a name. Guesses nothing: [`nearest`] tries them.

use super::{LogFormat, StampCache};

/// Every name with its format string: Apache's own documentation and Debian's `apache2.conf` define them so
/// (<https://httpd.apache.org/docs/2.4/mod/mod_log_config.html#examples>). The most particular comes first, as a line
/// of `combinedio` is also one of `combined` and of `common` with further fields behind.
pub const NAMED: [(&str, &str); 4] = [
    ("combinedio", r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" %I %O"#),
    ("vhost_combined", r#"%v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i""#),
    ("combined", r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#),
    ("common", r#"%h %l %u %t "%r" %>s %b"#),
];

/// The format string of `name`.
pub(super) fn text_of(name: &str) -> Option<&'static str> {
    NAMED.iter().find(|(named, _)| *named == name).map(|(_, text)| *text)
}

/// The named format that parses most of `lines`, the most particular of equals; `None` if none parses any.
pub(super) fn nearest(lines: &[&[u8]]) -> Option<&'static str> {
    let mut best = (0, None);
    for (name, _) in NAMED {
        let format = LogFormat::named(name)?;
        let mut stamps = StampCache::default();
        let parsed = lines.iter().filter(|line| format.parse(line, &mut stamps).is_ok()).count();
        if parsed > best.0 {
            best = (parsed, Some(name));
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMON: &[u8] = br#"10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 5"#;
    const COMBINED: &[u8] = br#"10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 5 "-" "curl""#;
    const IO: &[u8] = br#"10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 5 "-" "curl" 1 2"#;
    const VHOST: &[u8] =
        br#"a:80 10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 5 "-" "curl""#;

    #[test]
    fn the_nearest_is_the_most_particular_that_parses_most() {
        for (lines, name) in [
            (&[COMMON][..], Some("common")),
            (&[COMBINED, b"x"], Some("combined")),
            (&[IO], Some("combinedio")),
            (&[VHOST], Some("vhost_combined")),
            (&[COMMON, COMBINED], Some("common")),
            (&[b"", b"{}"], None),
            (&[], None),
        ] {
            assert_eq!(nearest(lines), name);
        }
    }
}
