//! Bad input: each gives one clear line, the right exit code, and nothing is lost. Checks no counts of good logs.

use std::{
    fs::{self, File},
    io::Write,
    process::Stdio,
};

use flate2::{Compression, write::GzEncoder};

use super::{Home, told};

fn fixture(name: &str) -> String {
    format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A home with `names` of the fixtures in it.
fn home(names: &[&str]) -> Home {
    let home = Home::new();
    for name in names {
        fs::copy(fixture(name), home.path().join(name)).unwrap();
    }
    home
}

fn write(home: &Home, name: &str, content: impl AsRef<[u8]>) {
    fs::write(home.path().join(name), content).unwrap();
}

#[test]
fn what_is_no_log_is_refused() {
    let home = home(&[]);
    write(&home, "empty.log", "");
    write(&home, "blank.log", "\n\n");
    write(&home, "hello.gz", "hello");
    write(&home, "binary", b"\x7fELF\x02\x01\x1b[2J\n\0\0\0\n");
    write(&home, "torn.gz", b"\x1f\x8b\x08\0\0");
    let lines = ["missing.log", ".", "empty.log", "blank.log", "hello.gz", "binary", "torn.gz"]
        .map(|log| home.refusal(&format!("replay {log} --format csv")));
    insta::assert_snapshot!(lines.concat(), @r"
    74 logtally: missing.log: No such file or directory (os error 2)
    74 logtally: .: is a directory: name the logs in it
    0 0 lines: 0 counted, 0 malformed
    65 logtally: blank.log: none of the first 2 lines can be parsed; name their LogFormat with --log-format
      empty at column 1: 
      empty at column 1: 
    65 logtally: hello.gz: its only line cannot be parsed; name their LogFormat with --log-format
      truncated at column 1: hello
    65 logtally: binary: none of the first 2 lines can be parsed; it is binary: name access logs
      binary at column 1: \x7fELF\x02\x01\x1b[2J
      binary at column 1: \x00\x00\x00
    74 logtally: torn.gz: unexpected end of file
    ");
    let refused = home.command("replay blank.log --format csv").output().unwrap();
    assert_eq!(refused.stdout, b"", "not even a header");
}

#[test]
fn a_log_in_another_format_is_refused_with_the_nearest() {
    let home = home(&["access.common.log", "access.vhost.log"]);
    let expected = home.refusal("replay access.common.log");
    insta::assert_snapshot!(expected, @r#"
    65 logtally: access.common.log: none of the first 568 lines can be parsed; --log-format common would parse them
      truncated at column 88: 198.51.100.11 - - [24/Oct/2026:22:09:46 -0100] "GET /catalog/10.html HTTP/1.1" 200 1199
      truncated at column 88: 198.51.100.11 - - [24/Oct/2026:22:09:46 -0100] "GET /catalog/37.html HTTP/1.1" 200 3819
      truncated at column 84: 198.51.100.11 - - [24/Oct/2026:22:09:46 -0100] "GET /css/app.css HTTP/1.1" 200 1040
    "#);
    let vhost = home.refusal("replay access.vhost.log");
    assert!(vhost.starts_with("65 ") && vhost.contains("--log-format vhost_combined would"), "{vhost}");

    // Standard input is refused by the same lines, also where a good log stands beside it.
    fs::copy(fixture("access.log"), home.path().join("good.log")).unwrap();
    for line in ["replay -", "replay good.log -"] {
        let input = File::open(home.path().join("access.common.log")).unwrap();
        let refused = home.command(line).stdin(input).output().unwrap();
        assert_eq!(told(&refused), expected.replace("access.common.log", "-"), "{line}");
        assert_eq!(refused.stdout, b"", "{line}");
    }
}

#[test]
fn bad_reference_data_is_refused_by_file_and_row() {
    let home = home(&["access.log"]);
    write(&home, "empty.csv", "");
    write(&home, "headless.csv", "10.0.0.1,Billing,billing@example.com\n");
    write(&home, "row.csv", "Host,ApplicationName,Contact\n10.0.0.1,Billing,\n10.0.0.300,Billing,\n");
    write(&home, "binary.csv", b"\x7fELF\xff\xfe\n");
    let lines = ["missing.csv", "empty.csv", "headless.csv", "row.csv", "binary.csv", "."]
        .map(|csv| home.refusal(&format!("replay access.log --reference {csv}")));
    insta::assert_snapshot!(lines.concat(), @r#"
    74 logtally: missing.csv does not exist; `logtally reference add` makes it: No such file or directory (os error 2)
    65 logtally: empty.csv: the file is empty: expected the header Host,ApplicationName,Contact
    65 logtally: headless.csv: row 1: no header: expected Host,ApplicationName,Contact, found "10.0.0.1,Billing,billing@example.com"
    65 logtally: row.csv: row 3: "10.0.0.300" is no host name, address or CIDR block
    65 logtally: binary.csv: row 1: not UTF-8: save the file as CSV in UTF-8
    74 logtally: . cannot be read: it is no regular file
    "#);
}

#[test]
fn a_format_client_or_rule_that_means_nothing_is_64_as_a_flag_and_78_as_a_key() {
    let home = home(&["access.log"]);
    let refused =
        |arguments: &[&str]| told(&home.command("replay access.log").args(arguments).output().unwrap());
    let lines = [
        refused(&["--log-format", "%q%Z"]),
        refused(&["--log-format", "nonesuch"]),
        refused(&["--log-format", "%h"]),
        refused(&["--client", "%z"]),
        refused(&["--alarm", "Unknown >"]),
        refused(&["--alarm", "Unknown > 100 for 6 of 3"]),
        home.refusal("parse access.log --log-format nonesuch"),
    ];
    write(&home, "logtally.toml", "[analyze]\nformat = \"%Z\"\n");
    let format = [home.refusal("replay access.log"), home.refusal("analyze --once")];
    let files = "[produce]\nfiles = [\"access.log\"]\n";
    write(&home, "logtally.toml", format!("{files}[[alarm]]\nname = \"a\"\nrule = \"bad\"\n"));
    let rule = home.refusal("run --once");
    insta::assert_snapshot!(lines.concat() + &format.concat() + &rule, @r#"
    64 logtally: log format "%q%Z", byte 3: %Z is no directive of Apache's LogFormat; a percent sign itself is %%
    64 logtally: log format "nonesuch", byte 1: "nonesuch" is neither a format string, which holds a %, nor one of the names combinedio, vhost_combined, combined, common
    64 logtally: the log format holds no time: add %t (live stages can also go by time = "arrival")
    64 logtally: client "%z", byte 1: %z is never a host; name %h, %a or a header such as %{X-Forwarded-For}i
    64 logtally: alarm rule "Unknown >", column 10: expected a threshold from 0 to 18446744073709551615, found the end; a rule reads like: Unknown > 100 for 2 of 3
    64 logtally: alarm rule "Unknown > 100 for 6 of 3", column 19: expected M of N with M not over N, found "6"; a rule reads like: Unknown > 100 for 2 of 3
    64 logtally: log format "nonesuch", byte 1: "nonesuch" is neither a format string, which holds a %, nor one of the names combinedio, vhost_combined, combined, common
    78 logtally: log format "%Z", byte 1: %Z is no directive of Apache's LogFormat; a percent sign itself is %%
    78 logtally: log format "%Z", byte 1: %Z is no directive of Apache's LogFormat; a percent sign itself is %%
    78 logtally: alarm "a": alarm rule "bad", column 4: expected one of > >= < <=, found the end; a rule reads like: Unknown > 100 for 2 of 3
    "#);
    assert!(!home.path().join(".local").exists(), "nothing is created before all of it was looked at");
}

#[test]
fn a_torn_archive_is_counted_up_to_the_tear() {
    let home = home(&[]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&fs::read(fixture("access.log")).unwrap()).unwrap();
    let whole = gzip.finish().unwrap();
    write(&home, "torn.gz", &whole[..30_000]);
    let file = home.command("replay torn.gz --format json").output().unwrap();
    assert_eq!(file.status.code(), Some(74));
    let text = told(&file);
    let last = text.lines().last().unwrap();
    insta::assert_snapshot!(last, @"logtally: torn.gz: incomplete deflate stream: what stands before it is counted");
    assert!(file.stdout.len() > 10_000);

    let input = File::open(home.path().join("torn.gz")).unwrap();
    let piped = home.command("replay - --format json").stdin(input).output().unwrap();
    assert_eq!(piped.stdout, file.stdout);
    assert_eq!(told(&piped), text.replace("torn.gz", "-"));
    insta::assert_snapshot!(home.refusal("parse torn.gz"), @"74 logtally: torn.gz: incomplete deflate stream");
}

#[test]
fn lines_around_a_hole_or_an_endless_line_are_counted() {
    let home = home(&[]);
    let text = fs::read_to_string(fixture("access.log")).unwrap();
    let lines: Vec<&str> = text.lines().take(20).collect();
    let (first, rest) = (lines[..10].join("\n"), lines[10..].join("\n"));
    let cases = [
        (
            "endless",
            format!("{first}\n{}\n{rest}\n", "x".repeat(3_000_000)),
            "21 lines: 20 counted, 1 malformed (too_long 1)",
        ),
        (
            "hole",
            format!("{first}\n{}{rest}\n", "\0".repeat(50_000)),
            "20 lines: 19 counted, 1 malformed (binary 1)",
        ),
        ("crlf", lines.join("\r\n") + "\r\n", "20 lines: 20 counted, 0 malformed"),
        ("unfinished", lines.join("\n"), "20 lines: 20 counted, 0 malformed"),
    ];
    for (name, content, expected) in cases {
        write(&home, name, content);
        let said = home.refusal(&format!("replay {name}"));
        assert_eq!(said.lines().next().unwrap(), format!("0 {expected}"), "{name}");
    }
}

#[test]
fn a_pipe_is_read_whole_though_it_cannot_be_opened_twice() {
    let home = home(&["access.log"]);
    let expected = home.result("replay access.log --format json");
    let shell = |line: &str| {
        let mut command = std::process::Command::new("bash");
        let line = format!("{} {line}", env!("CARGO_BIN_EXE_logtally"));
        command.args(["-c", &line]).current_dir(home.path()).env("HOME", home.path());
        command.stderr(Stdio::null()).output().unwrap()
    };
    for line in ["replay <(cat access.log) --format json", "replay - --format json < access.log"] {
        let output = shell(line);
        assert!(String::from_utf8(output.stdout).unwrap() == expected, "{line}");
    }
}

#[test]
fn a_log_that_is_named_twice_is_read_once_and_said_so() {
    let home = home(&["access.log"]);
    let expected = home.result("replay access.log --format csv");
    let twice = home.command("replay access.log ./access.log --format csv").output().unwrap();
    assert_eq!(String::from_utf8(twice.stdout.clone()).unwrap(), expected);
    assert!(told(&twice).contains("access.log: is named twice; it is read once"), "{}", told(&twice));
}

#[test]
fn a_replay_goes_by_the_time_of_the_requests_whatever_live_stages_do() {
    let home = home(&["access.log"]);
    let expected = home.result("replay access.log --format csv");
    let output =
        home.command("replay access.log --format csv").env("LOGTALLY_ANALYZE_TIME", "arrival").output();
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), expected);
}

#[test]
fn a_full_disk_is_74_in_every_format_and_a_reader_that_left_is_none() {
    let home = home(&["access.log", "hosts.csv"]);
    let commands = ["replay access.log", "parse access.log", "reference list --reference hosts.csv", "check"];
    let mut lines: Vec<String> =
        ["table", "csv", "json"].map(|f| format!("replay access.log --format {f}")).into();
    lines.extend(commands.map(str::to_owned));
    for line in lines {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let refused = home.command(&line).stdout(full).output().unwrap();
        let last = told(&refused).lines().last().unwrap().trim_start_matches("74 ").to_owned();
        assert_eq!(refused.status.code(), Some(74), "{line}");
        assert_eq!(last, "logtally: cannot write to standard output: No space left on device (os error 28)");

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let left = home.command(&line).stdout(writer).output().unwrap();
        assert_eq!(left.status.code(), Some(0), "{line}");
        assert!(!told(&left).contains("logtally:"), "{line}: {}", told(&left));
    }
    for line in ["--help", "replay -h", "--version"] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(home.command(line).stdout(full).status().unwrap().code(), Some(74), "{line}");
    }
    // What a command has to say beside its result does not make the result wrong.
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert!(home.command("replay access.log").stdout(Stdio::null()).stderr(full).status().unwrap().success());
}
