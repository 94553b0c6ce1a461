//! Processing against what the agent's documentation and source say. The lines are hostile, the objects written by hand.

use serde_json::json;

use super::{
    pattern::{Delimiter, Whole},
    *,
};
use crate::engine::format::{FIELDS, LogFormat};

const GOOD: &str = r#"64.242.88.10 - frank [07/Mar/2004:16:10:02 -0800] "GET /mailman/listinfo/hsdivision HTTP/1.1" 200 6291 "-" "Mozilla/5.0""#;

fn log_to_json(log: ApacheLog, format: JsonFormat) -> Chain {
    Chain(vec![Step::LogToJson(LogToJson::apache(log, None, format).unwrap())])
}

/// What is sent of a record, with `left ` before what stayed as it was.
fn sent(chain: &Chain, record: &str) -> String {
    let now = Timestamp::from_millis(1_795_235_700_007);
    let (data, left) = chain.apply(record.as_bytes().to_vec(), now, &mut StampCache::default());
    format!("{}{}", if left { "left " } else { "" }, String::from_utf8(data).unwrap())
}

#[test]
fn a_combined_line_becomes_the_object_that_the_guide_shows() {
    let combined = log_to_json(ApacheLog::Combined, JsonFormat::Compact);
    insta::assert_snapshot!(sent(&combined, &format!("{GOOD}\n")), @r#"{"host":"64.242.88.10","ident":null,"authuser":"frank","datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /mailman/listinfo/hsdivision HTTP/1.1","response":"200","bytes":"6291","referer":null,"agent":"Mozilla/5.0"}"#);
    let common = log_to_json(ApacheLog::Common, JsonFormat::PrettyPrint);
    insta::assert_snapshot!(sent(&common, &format!("{GOOD}\n")), @r#"
    {
      "host" : "64.242.88.10",
      "ident" : null,
      "authuser" : "frank",
      "datetime" : "07/Mar/2004:16:10:02 -0800",
      "request" : "GET /mailman/listinfo/hsdivision HTTP/1.1",
      "response" : "200",
      "bytes" : "6291"
    }
    "#);
    for log in [ApacheLog::Common, ApacheLog::Combined] {
        for format in [JsonFormat::Compact, JsonFormat::PrettyPrint] {
            assert!(sent(&log_to_json(log, format), GOOD).ends_with("}\n"), "with or without a newline");
        }
    }
}

/// The lines that the agent drops, and the one that it cuts short.
#[test]
fn no_line_is_dropped() {
    let combined = log_to_json(ApacheLog::Combined, JsonFormat::Compact);
    let changed = |from: &str, to: &str| sent(&combined, &GOOD.replacen(from, to, 1));
    let lines = [
        changed("64.242.88.10", "2001:db8::1"),
        changed("\"-\"", "\"\""),
        changed("Mozilla/5.0", ""),
        changed("/mailman", r#"/a?b=\"c\""#),
        changed("frank", "frank@example.com"),
        changed("frank", "two words"),
        changed("frank", "\"\""),
        changed("Mozilla/5.0", r#"a \"b\" c"#),
        changed("Mozilla/5.0", r"M\xc3\xbcller"),
        changed("200 6291", "- -"),
        sent(&combined, &format!("{GOOD} 12 345\r\n")),
        changed("07/Mar", "39/Mar"),
        changed("07/Mar", "31/Feb"),
        changed("64.242.88.10", "a.example.com:443 64.242.88.10") + "\n",
        "left ".to_owned() + &sent(&Chain::default(), "nonsense\n"),
        sent(&combined, "nonsense\n"),
    ];
    insta::assert_snapshot!(lines.concat(), @r#"
    {"host":"2001:db8::1","ident":null,"authuser":"frank","datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /mailman/listinfo/hsdivision HTTP/1.1","response":"200","bytes":"6291","referer":null,"agent":"Mozilla/5.0"}
    {"host":"64.242.88.10","ident":null,"authuser":"frank","datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /mailman/listinfo/hsdivision HTTP/1.1","response":"200","bytes":"6291","referer":"","agent":"Mozilla/5.0"}
    {"host":"64.242.88.10","ident":null,"authuser":"frank","datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /mailman/listinfo/hsdivision HTTP/1.1","response":"200","bytes":"6291","referer":null,"agent":""}
    {"host":"64.242.88.10","ident":null,"authuser":"frank","datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /a?b=\\\"c\\\"/listinfo/hsdivision HTTP/1.1","response":"200","bytes":"6291","referer":null,"agent":"Mozilla/5.0"}
    {"host":"64.242.88.10","ident":null,"authuser":"frank@example.com","datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /mailman/listinfo/hsdivision HTTP/1.1","response":"200","bytes":"6291","referer":null,"agent":"Mozilla/5.0"}
    {"host":"64.242.88.10","ident":null,"authuser":"two words","datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /mailman/listinfo/hsdivision HTTP/1.1","response":"200","bytes":"6291","referer":null,"agent":"Mozilla/5.0"}
    {"host":"64.242.88.10","ident":null,"authuser":"","datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /mailman/listinfo/hsdivision HTTP/1.1","response":"200","bytes":"6291","referer":null,"agent":"Mozilla/5.0"}
    {"host":"64.242.88.10","ident":null,"authuser":"frank","datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /mailman/listinfo/hsdivision HTTP/1.1","response":"200","bytes":"6291","referer":null,"agent":"a \\\"b\\\" c"}
    {"host":"64.242.88.10","ident":null,"authuser":"frank","datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /mailman/listinfo/hsdivision HTTP/1.1","response":"200","bytes":"6291","referer":null,"agent":"M\\xc3\\xbcller"}
    {"host":"64.242.88.10","ident":null,"authuser":"frank","datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /mailman/listinfo/hsdivision HTTP/1.1","response":null,"bytes":null,"referer":null,"agent":"Mozilla/5.0"}
    {"host":"64.242.88.10","ident":null,"authuser":"frank","datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /mailman/listinfo/hsdivision HTTP/1.1","response":"200","bytes":"6291","referer":null,"agent":"Mozilla/5.0"}
    left 64.242.88.10 - frank [39/Mar/2004:16:10:02 -0800] "GET /mailman/listinfo/hsdivision HTTP/1.1" 200 6291 "-" "Mozilla/5.0"{"host":"64.242.88.10","ident":null,"authuser":"frank","datetime":"31/Feb/2004:16:10:02 -0800","request":"GET /mailman/listinfo/hsdivision HTTP/1.1","response":"200","bytes":"6291","referer":null,"agent":"Mozilla/5.0"}
    left a.example.com:443 64.242.88.10 - frank [07/Mar/2004:16:10:02 -0800] "GET /mailman/listinfo/hsdivision HTTP/1.1" 200 6291 "-" "Mozilla/5.0"
    left nonsense
    left nonsense
    "#);
}

#[test]
fn every_line_that_the_agent_reads_is_read_the_same() {
    let format = LogFormat::named("combined").unwrap();
    let (mut both, mut shaped) = (0, 0);
    for line in include_str!("../../../fixtures/access.log").lines() {
        let Some(of_shape) = apache::of_shape(ApacheLog::Combined, line.as_bytes()) else { continue };
        shaped += 1;
        if let Ok(event) = format.parse(line.as_bytes(), &mut StampCache::default())
            && !line.contains("\\\"")
        {
            assert_eq!(apache::of_event(&event), of_shape, "{line}");
            both += 1;
        }
    }
    assert!(shaped >= both && both > 3_700, "{shaped}, {both}");
}

#[test]
fn fields_have_the_names_that_are_asked_for() {
    let names: Vec<String> = FIELDS.iter().map(|field| field.to_uppercase()).collect();
    let by = |names| LogToJson::apache(ApacheLog::Combined, Some(names), JsonFormat::Compact);
    let chain = Chain(vec![Step::LogToJson(by(names.clone()).unwrap())]);
    assert!(sent(&chain, GOOD).starts_with(r#"{"HOST":"64.242.88.10","IDENT":null,"#));
    assert!(by(names[..7].to_vec()).is_none());

    let whole = Whole::new(r"(\S+) (\d+)(?: (\w+))?").unwrap();
    assert!(LogToJson::pattern(whole.clone(), vec!["a".to_owned()], JsonFormat::Compact).is_none());
    let names = ["path", "ms", "node"].map(str::to_owned).to_vec();
    let step = LogToJson::pattern(whole, names, JsonFormat::Compact).unwrap();
    let chain = Chain(vec![Step::LogToJson(step)]);
    assert_eq!(sent(&chain, "/a 12 n1\n"), "{\"path\":\"/a\",\"ms\":\"12\",\"node\":\"n1\"}\n");
    assert_eq!(sent(&chain, "- 12\n"), "{\"path\":null,\"ms\":\"12\",\"node\":null}\n");
    assert_eq!(sent(&chain, "other\n"), "left other\n");
}

#[test]
fn columns_become_an_object() {
    let names = ["field1", "field2", "field3"].map(str::to_owned).to_vec();
    let delimiter = Delimiter::new("\\t").unwrap();
    let chain = Chain(vec![Step::CsvToJson(CsvToJson { names, delimiter, format: JsonFormat::Compact })]);
    insta::assert_snapshot!(["a\tb\tc\td\n", "a\n", "\"x\t\\\n", "\n"].map(|line| sent(&chain, line)).concat(), @r#"
    {"field1":"a","field2":"b","field3":"c"}
    {"field1":"a","field2":null,"field3":null}
    {"field1":"\"x","field2":"\\","field3":null}
    {"field1":"","field2":null,"field3":null}
    "#);
}

#[test]
fn metadata_goes_around_and_steps_follow_each_other() {
    let metadata = json!({ "service": { "tags": ["a", "b"], "none": [], "empty": {} }, "n": 1 });
    let add = |timestamp, format| Step::AddMetadata { metadata: metadata.clone(), timestamp, format };
    insta::assert_snapshot!(sent(&Chain(vec![add(true, JsonFormat::Compact)]), "a \"b\"\n"), @r#"{"ts":"2026-11-21T04:35:00.007Z","metadata":{"n":1,"service":{"empty":{},"none":[],"tags":["a","b"]}},"data":"a \"b\""}"#);
    insta::assert_snapshot!(sent(&Chain(vec![add(false, JsonFormat::PrettyPrint)]), "a\n"), @r#"
    {
      "metadata" : {
        "n" : 1,
        "service" : {
          "empty" : { },
          "none" : [ ],
          "tags" : [ "a", "b" ]
        }
      },
      "data" : "a"
    }
    "#);
    let mut chain = log_to_json(ApacheLog::Common, JsonFormat::Compact);
    chain.0.push(add(false, JsonFormat::Compact));
    assert!(
        sent(&chain, "nonsense\n").ends_with("\"data\":\"nonsense\"}\n"),
        "a line that is left is wrapped"
    );
    let wrapped = sent(&chain, GOOD);
    let (mut memory, mut stamps) = (Vec::new(), StampCache::default());
    let read = LogFormat::named("combined").unwrap();
    let event = read.parse_or_object(wrapped.trim_end().as_bytes(), &mut memory, &mut stamps).unwrap();
    assert_eq!((event.client, event.bytes), (&b"64.242.88.10"[..], 6291), "what is sent is read again");
}

#[test]
fn lines_are_joined_and_bracketed() {
    for (trim, escape, joined) in [
        (true, false, "{a {b: 1}}\n"),
        (false, false, "{a \t  {b: 1} }\n"),
        (true, true, "{a\\\\n\\\\n{b: 1}\\\\n}\n"),
    ] {
        let chain = Chain(vec![Step::SingleLine { trim, escape }]);
        let record = if escape { "{a \n\n {b: 1}\n}\n\n" } else { "{a \t\n  {b: 1} \n}\n" };
        let expected = if trim && !escape { "{a{b: 1}}\n" } else { joined };
        assert_eq!(sent(&chain, record), expected);
        assert_eq!(sent(&chain, "\n"), "\n");
    }
    let chain = Chain(vec![Step::SingleLine { trim: true, escape: false }, Step::AddBrackets]);
    assert_eq!(sent(&chain, "\"a\": 1,\n\"b\": 2\n"), "{\"a\": 1,\"b\": 2\n}");
}
