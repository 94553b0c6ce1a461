//! Format strings that are refused: where, why, and the remedy. Parses no line.

use super::*;

fn refusal(text: &str) -> String {
    LogFormat::from_str(text).unwrap_err().to_string()
}

#[test]
fn a_bad_format_is_refused_with_position_and_reason() {
    insta::assert_snapshot!(refusal("combind"), @r#"log format, byte 1: "combind" is neither a format string, which holds a %, nor one of the names combinedio, vhost_combined, combined, common"#);
    insta::assert_snapshot!(refusal("%h %Z"), @"log format, byte 4: %Z is no directive of Apache's LogFormat; a percent sign itself is %%");
    insta::assert_snapshot!(refusal("%h %i"), @"log format, byte 4: %i needs a name, as in %{Name}i");
    insta::assert_snapshot!(refusal("%^ti"), @"log format, byte 1: %^ti needs a name, as in %{Name}^ti");
    insta::assert_snapshot!(refusal("%{h}T"), @"log format, byte 1: %{h}T is no directive of Apache's LogFormat");
    insta::assert_snapshot!(refusal("%h%l"), @"log format, byte 1: nothing stands between this directive and the next, so no parser can tell them apart; put a space or quotes there");
    insta::assert_snapshot!(refusal("%h %r %s"), @r#"log format, byte 4: %r holds spaces, so a space cannot end it; write \"%r\""#);
    insta::assert_snapshot!(refusal("%h\\n%s"), @r"log format, byte 3: a newline would tear each record into several lines; take out the \n");
    insta::assert_snapshot!(refusal("%h %{%H:%M}t"), @"log format, byte 4: the time directives together give no date and time; add what is missing (a zone is optional)");
    insta::assert_snapshot!(refusal("%h %{%Y-%m-%d %T %Z}t"), @"log format, byte 4: %Z names a zone but not its offset; write %z");
    insta::assert_snapshot!(refusal("%h %{%Y %!}t"), @r#"log format, byte 4: "%Y %!" is no format of strftime; %{%d/%b/%Y:%T %z}t is one"#);
    insta::assert_snapshot!(refusal("%%"), @"log format, byte 1: the format holds no directive; begin with %h, the calling host");
    insta::assert_snapshot!(LogFormat::compile("").unwrap_err(), @"log format, byte 1: the format holds no directive; begin with %h, the calling host");
}

#[test]
fn a_client_that_the_format_does_not_hold_is_refused() {
    let refusal = |client: &str| combined().with_client(client).unwrap_err().to_string();
    insta::assert_snapshot!(refusal("%a"), @"log format, byte 1: the format does not hold the client %a; add it, or name another client");
    insta::assert_snapshot!(refusal("%{X-Forwarded-For}i"), @"log format, byte 1: the format does not hold the client %{X-Forwarded-For}i; add it, or name another client");
    insta::assert_snapshot!(refusal("%u"), @"log format, byte 1: %u is never a host; name %h, %a or a header such as %{X-Forwarded-For}i");
    insta::assert_snapshot!(refusal("h"), @r#"log format, byte 1: "h" is not one directive; name one, such as %h, %a or %{X-Forwarded-For}i"#);
    assert!(combined().with_client("%h").is_ok());
}
