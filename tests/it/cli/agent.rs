//! An Amazon Kinesis Agent's configuration, checked and converted; its objects, parsed and replayed. Serves no flow.

use std::fs;

use super::{Home, told};

const AGENT: &str = r#"{
  "cloudwatch.emitMetrics": true,
  "maxSendingTreads": 4,
  "flows": [
    {"filePattern": "HERE/access.log*", "kinesisStream": "requests",
     "dataProcessingOptions": [{"optionName": "LOGTOJSON", "logFormat": "COMBINEDAPACHELOG"}]},
    {"filePattern": ["HERE/stacks.log", "HERE/access.log"], "kinesisStream": "stacks", "multiLineStartPattern": "^\\[",
     "partitionKeyOption": "DETERMINISTIC", "initialPosition": "START_OF_FILE"},
    {"filePattern": "HERE/plain.log", "kinesisStream": "plain"},
    {"filePattern": "HERE/x.log", "deliveryStream": "x"}
  ]
}"#;

fn home() -> Home {
    let home = Home::new();
    let here = home.path().to_str().unwrap();
    fs::write(home.path().join("agent.json"), AGENT.replace("HERE", here)).unwrap();
    fs::write(home.path().join("access.log"), "").unwrap();
    home
}

#[test]
fn check_names_each_flow_and_each_key_without_effect() {
    let home = home();
    let output = home.command("check --agent-config agent.json --format csv").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stdout).unwrap().replace(home.path().to_str().unwrap(), "HERE");
    let of_agent: Vec<&str> = text.lines().filter(|line| line.starts_with("agent.json")).collect();
    insta::assert_snapshot!(of_agent.join("\n"), @r#"
    agent.json,FAILED,3 of 4 flows can be served
    agent.json flow 1,ok,"HERE/access.log*: 1 file now, from their ends; to stream requests: each line as a record, by LOGTOJSON COMBINEDAPACHELOG; partition key: random"
    agent.json flow 2,ok,"HERE/stacks.log, HERE/access.log: 1 file now, nothing for HERE/stacks.log, from their beginnings; to stream stacks: lines from one start to the next as a record; partition key: the MD5 sum of the data"
    agent.json flow 3,ok,"HERE/plain.log: nothing there now, from their ends; to stream plain: each line as a record; partition key: where the bytes come from (logtally analyze recognises what is sent twice)"
    agent.json cloudwatch.emitMetrics,ok,ignored: the agent's metrics are not published
    agent.json maxSendingTreads,FAILED,"unknown: did you mean ""maxSendingThreads""?"
    agent.json flow 4 deliveryStream,FAILED,not supported: Firehose is not served: send to a Kinesis stream that it reads
    "#);
    let without = AGENT
        .replace("\"maxSendingTreads\": 4,", "")
        .replace(",\n    {\"filePattern\": \"HERE/x.log\", \"deliveryStream\": \"x\"}", "");
    fs::write(home.path().join("agent.json"), without.replace("HERE", home.path().to_str().unwrap()))
        .unwrap();
    let good = home.result("check --agent-config agent.json");
    assert!(good.contains("3 of 3 flows can be served") && !good.contains("FAILED"), "{good}");
    assert!(home.refusal("check --agent-config nowhere.json").starts_with("78 "));
}

#[test]
fn what_convert_prints_is_toml_for_each_flow() {
    let home = home();
    let printed = home.result("convert agent.json");
    let documents: Vec<&str> =
        printed.split("\n# agent.json flow ").filter(|part| part.contains("[produce]")).collect();
    let streams: Vec<String> = documents
        .iter()
        .map(|document| {
            let document = document.strip_prefix("# ").unwrap_or(document);
            let body = document.split_once('\n').unwrap().1;
            let table: toml::Table = body.parse().unwrap();
            table["aws"]["input_stream"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(streams, ["requests", "stacks", "plain"]);
    fs::write(home.path().join("agent.json"), "{}").unwrap();
    assert_eq!(home.command("convert agent.json").output().unwrap().status.code(), Some(78));
}

#[test]
fn a_configuration_that_cannot_be_served_is_refused_and_creates_nothing() {
    let home = home();
    let mut refusals = vec![home.refusal("produce --agent-config nowhere.json")];
    for text in [
        "{",
        "{}",
        r#"{"flows": [{"filePattern": "a.log", "kinesisStream": "s"}]}"#,
        r#"{"flows": [{"filePattern": "/a/b[", "kinesisStream": "s"}]}"#,
    ] {
        fs::write(home.path().join("agent.json"), text).unwrap();
        refusals.push(home.refusal("produce --agent-config agent.json --once"));
    }
    insta::assert_snapshot!(refusals.join(""), @r#"
    78 logtally: cannot read the configuration nowhere.json: No such file or directory (os error 2)
    78 logtally: agent.json line 1: it is no JSON object: EOF while parsing an object
    78 logtally: agent.json: none of 0 flows can be served
    78 logtally: agent.json: none of 1 flows can be served
      agent.json flow 1: filePattern is invalid: "a.log" must name a directory and a file, as /var/log/app.log*
    78 logtally: agent.json flow 1: file pattern "/a/b[": unclosed character class; missing ']'
    "#);
    assert!(!home.path().join(".local").exists());
    let both = home.refusal("produce --agent-config agent.json access.log");
    assert!(both.starts_with("64 error: the argument '--agent-config <FILE>' cannot be used with"), "{both}");
}

#[test]
fn objects_of_the_agent_are_parsed_and_replayed_like_lines() {
    let home = home();
    let object = r#"{"host":"10.0.0.1","ident":null,"authuser":null,"datetime":"24/Oct/2026:22:30:00 +0000","request":"GET / HTTP/1.1","response":"200","bytes":"5","referer":null,"agent":"curl"}"#;
    let line = r#"10.0.0.1 - - [24/Oct/2026:22:30:00 +0000] "GET / HTTP/1.1" 200 5 "-" "curl""#;
    fs::write(home.path().join("objects.log"), format!("{object}\n{object}\n{{\"host\":1}}\n")).unwrap();
    fs::write(home.path().join("lines.log"), format!("{line}\n{line}\n{{\"host\":1}}\n")).unwrap();
    for command in ["parse", "replay --format csv"] {
        let run = |file: &str| home.command(&format!("{command} {file}")).output().unwrap();
        let (objects, lines) = (run("objects.log"), run("lines.log"));
        assert!(objects.status.success(), "{command}: {}", told(&objects));
        assert_eq!(String::from_utf8(objects.stdout).unwrap(), String::from_utf8(lines.stdout).unwrap());
    }
}
