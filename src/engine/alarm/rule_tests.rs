//! Rules read, written and refused. Tests only.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

fn refused(text: &str) -> String {
    text.parse::<Rule>().expect_err(text).to_string()
}

#[test]
fn rules_read_as_they_are_written() {
    for (text, canonical) in [
        ("Unknown > 100", "Unknown > 100"),
        ("  Unknown>100  ", "Unknown > 100"),
        ("Billing >= 5000", "Billing >= 5000"),
        ("* > 10000", "* > 10000"),
        ("\"*\" > 1", "\"*\" > 1"),
        ("\"My App\" < 1 for 2 of 3", "\"My App\" < 1 for 2 of 3"),
        ("\"Unknown\" <= 0", "Unknown <= 0"),
        ("Unknown > 100 2 of 3", "Unknown > 100 for 2 of 3"),
        ("a.b:c/d-e_f > 1 FOR 100 OF 100", "a.b:c/d-e_f > 1 for 100 of 100"),
        ("x > 1 for 1 of 1", "x > 1"),
        ("x > 18446744073709551615", "x > 18446744073709551615"),
        (r#""say \"hi\" \\" > 1"#, r#""say \"hi\" \\" > 1"#),
        ("\"Bücher\" > 1", "\"Bücher\" > 1"),
        ("for > 1 for 2 of 3", "for > 1 for 2 of 3"),
    ] {
        let rule: Rule = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(rule.to_string(), canonical);
    }
}

#[test]
fn a_quoted_star_is_a_name() {
    let name = Target::Application("*".to_owned());
    assert_eq!("\"*\" > 1".parse::<Rule>().unwrap().target(), &name);
    assert_eq!("* > 1".parse::<Rule>().unwrap().target(), &Target::Each);
}

#[test]
fn comparisons_differ_at_the_threshold() {
    for (sign, breaching) in [
        (">", [false, false, true]),
        (">=", [false, true, true]),
        ("<", [true, false, false]),
        ("<=", [true, true, false]),
    ] {
        let rule: Rule = format!("x {sign} 10").parse().unwrap();
        assert_eq!([9, 10, 11].map(|value| rule.breaches(value)), breaching, "{sign}");
    }
}

#[test]
fn messages_say_where_what_and_what_instead() {
    assert_snapshot!(refused(""), @r#"alarm rule "", column 1: expected an application name (in double quotes unless it is one word), or *, found the end; a rule reads like: Unknown > 100 for 2 of 3"#);
    assert_snapshot!(refused("My App > 1"), @r#"alarm rule "My App > 1", column 4: expected one of > >= < <=, found "App"; a rule reads like: Unknown > 100 for 2 of 3"#);
    assert_snapshot!(refused("Unknown = 1"), @r#"alarm rule "Unknown = 1", column 9: expected one of > >= < <=, found "="; a rule reads like: Unknown > 100 for 2 of 3"#);
    assert_snapshot!(refused("Unknown >"), @r#"alarm rule "Unknown >", column 10: expected a threshold from 0 to 18446744073709551615, found the end; a rule reads like: Unknown > 100 for 2 of 3"#);
    assert_snapshot!(refused("Unknown > -5"), @r#"alarm rule "Unknown > -5", column 11: expected a threshold from 0 to 18446744073709551615, found "-5"; a rule reads like: Unknown > 100 for 2 of 3"#);
    assert_snapshot!(refused("Unknown > 10k"), @r#"alarm rule "Unknown > 10k", column 13: expected the end, or `for M of N`, found "k"; a rule reads like: Unknown > 100 for 2 of 3"#);
    assert_snapshot!(refused("Unknown > 1 per hour"), @r#"alarm rule "Unknown > 1 per hour", column 13: expected the end, or `for M of N`, found "per"; a rule reads like: Unknown > 100 for 2 of 3"#);
    assert_snapshot!(refused("Unknown > 1 for ever"), @r#"alarm rule "Unknown > 1 for ever", column 17: expected a number of windows from 1 to 100, found "ever"; a rule reads like: Unknown > 100 for 2 of 3"#);
    assert_snapshot!(refused("Unknown > 1 for 2"), @r#"alarm rule "Unknown > 1 for 2", column 18: expected ` of N`, found the end; a rule reads like: Unknown > 100 for 2 of 3"#);
    assert_snapshot!(refused("Unknown > 1 for 3 of 2"), @r#"alarm rule "Unknown > 1 for 3 of 2", column 17: expected M of N with M not over N, found "3"; a rule reads like: Unknown > 100 for 2 of 3"#);
    assert_snapshot!(refused("Unknown > 1 for 2 of 101"), @r#"alarm rule "Unknown > 1 for 2 of 101", column 22: expected a number of windows from 1 to 100, found "101"; a rule reads like: Unknown > 100 for 2 of 3"#);
    assert_snapshot!(refused("\"Ünknown > 1"), @r#"alarm rule "\"Ünknown > 1", column 1: expected an application name (in double quotes unless it is one word), or *, found "\"Ünknown"; a rule reads like: Unknown > 100 for 2 of 3"#);
    assert_snapshot!(refused("Ünknown > 1"), @r#"alarm rule "Ünknown > 1", column 1: expected an application name (in double quotes unless it is one word), or *, found "Ünknown"; a rule reads like: Unknown > 100 for 2 of 3"#);
}

#[test]
fn hostile_rules_are_refused_in_bounded_words() {
    let long = format!("\"{}\" > 1", "x".repeat(MAX_NAME + 1));
    for text in [
        long.as_str(),
        "\"\" > 1",
        "\"a\nb\" > 1",
        "x > 99999999999999999999999",
        "x > 1 for 0 of 0",
        "x > 1 for 0 of 3",
        "x > 1 2 of 3 4",
        "x > 1\0",
        "x > 1 for2 of 3",
        "x > 1 for 2of3",
        "x > 1for 2 of 3",
        "* * > 1",
        "> 1",
        "\"a\\n\" > 1",
    ] {
        assert!(refused(text).chars().count() < 400, "{}", refused(text));
    }
    let longest = format!("{} > 1", "x".repeat(MAX_NAME));
    assert!(longest.parse::<Rule>().is_ok());
}

#[test]
fn a_rule_is_its_text_in_any_encoding() {
    let rule: Rule = "\"My App\" < 1 for 2 of 3".parse().unwrap();
    let json = serde_json::to_string(&rule).unwrap();
    assert_eq!(json, r#""\"My App\" < 1 for 2 of 3""#);
    assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule);
    assert!(serde_json::from_str::<Rule>(r#""My App < 1""#).is_err());
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let name = prop_oneof!["[A-Za-z0-9_.:/-]{1,12}", "[\"\\\\ *a-zé>]{1,12}"].prop_map(Target::Application);
    let comparison = prop::sample::select(vec![
        Comparison::Greater,
        Comparison::GreaterOrEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
    ]);
    let target = prop_oneof![Just(Target::Each), name];
    (target, comparison, any::<u64>(), 1..=MAX_WINDOWS, 1..=MAX_WINDOWS).prop_map(
        |(target, comparison, threshold, one, other)| Rule {
            target,
            comparison,
            threshold,
            needed: one.min(other),
            windows: one.max(other),
        },
    )
}

proptest! {
    #[test]
    fn every_rule_reads_back(rule in any_rule()) {
        prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule));
    }

    #[test]
    fn no_text_panics_and_what_is_read_reads_back(text in "[\\PC\"*><=0-9 forx\\\\]{0,40}") {
        if let Ok(rule) = text.parse::<Rule>() {
            prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule));
        }
    }
}
