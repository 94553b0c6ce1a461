//! Configurations as the agent's guide and its users write them, judged.

use std::fs;

use super::*;
use crate::config::Start;

/// A directory with these files, loaded.
fn loaded(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<AgentConfig, ConfigError>) {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("agent.d")).unwrap();
    for (name, text) in files {
        fs::write(home.path().join(name), text).unwrap();
    }
    let config = load(&home.path().join("agent.json"));
    (home, config)
}

fn config(text: &str) -> AgentConfig {
    loaded(&[("agent.json", text)]).1.unwrap()
}

/// The findings, without the directory of the file.
fn said(config: &AgentConfig) -> String {
    let directory = format!("{}/", config.file.parent().unwrap().display());
    let lines: Vec<String> =
        config.findings.iter().map(|finding| finding.to_string().replace(&directory, "")).collect();
    lines.join("\n")
}

/// What there is to say of one flow, and whether it is served.
fn flow(entries: &str) -> (Option<Flow>, String) {
    let config = config(&format!("{{\"flows\": [{{{entries}}}]}}"));
    let said = said(&config);
    (config.flows.into_iter().next(), said)
}

const PLAIN: &str = r#""filePattern": "/var/log/app.log*", "kinesisStream": "s""#;

#[test]
fn a_flow_has_the_defaults_of_the_agent() {
    let (flow, said) = flow(PLAIN);
    let flow = flow.unwrap();
    assert_eq!(said, "");
    assert_eq!(flow.kinesis_stream, "s");
    assert_eq!(flow.initial_position, Start::End);
    assert_eq!(flow.partition_key_option, PartitionKeyOption::Random);
    assert_eq!(
        (flow.max_buffer_age_ms, flow.max_buffer_records, flow.max_buffer_bytes),
        (60_000, 500, 5 << 20)
    );
    assert_eq!(flow.truncated_record_terminator, "\n");
    assert!(flow.multi_line_start.is_none() && flow.processing.is_empty() && flow.skip_header_lines == 0);
}

#[test]
fn a_full_configuration_is_read() {
    let text = r#"
    // as the guide has it
    {
      "cloudwatch.emitMetrics": true,
      "kinesis.endpoint": "kinesis.us-west-2.amazonaws.com",
      "firehose.endpoint": "",
      "awsAccessKeyId": "AKIDEXAMPLE",
      "awsSecretAccessKey": "wJalrXUtnFEMI",
      "assumeRoleARN": "arn:aws:iam::111122223333:role/Logs",
      "assumeRoleExternalId": "x1",
      "maxSendingThreds": 3,
      "flows": [
        {
          "filePattern": ["/var/log/[a]/access.log*", "/srv/*.log"], /* two */
          "kinesisStream": "requests",
          "partitionKeyOption": "DETERMINISTIC",
          "initialPosition": "START_OF_FILE",
          "maxBufferAgeMillis": "5000",
          "maxBufferSizeRecords": 200,
          "maxBufferSizeBytes": 1048576,
          "skipHeaderLines": 1,
          "multiLineStartPattern": "^\\d",
          "truncatedRecordTerminator": "…\n",
          "retryInitialBackoffMillis": 50,
          "dataProcessingOptions": [
            {"optionName": "SINGLELINE", "parseOptions": ["NO_TRIM"]},
            {"optionName": "LOGTOJSON", "logFormat": "COMBINEDAPACHELOG", "jsonFormat": "PRETTYPRINT"},
            {"optionName": "ADDMETADATA", "metadata": {"a": 1}, "timestamp": "true"},
            {"optionName": "ADDBRACKETS"}
          ]
        },
        {"filePattern": "/tmp/a.log", "deliveryStream": "d"}
      ]
    }"#;
    let config = config(text);
    insta::assert_snapshot!(said(&config), @r#"
    agent.json: cloudwatch.emitMetrics is ignored: the agent's metrics are not published
    agent.json: firehose.endpoint is ignored: no flow goes to a delivery stream
    agent.json: maxSendingThreds is unknown: did you mean "maxSendingThreads"?
    agent.json flow 1: retryInitialBackoffMillis is ignored: what fails is retried for as long as it takes
    agent.json flow 2: deliveryStream is not supported: Firehose is not served: send to a Kinesis stream that it reads
    "#);
    let access = &config.access;
    let (id, secret) = access.credentials.as_ref().unwrap();
    assert_eq!((id.expose(), secret.expose()), ("AKIDEXAMPLE", "wJalrXUtnFEMI"));
    assert_eq!(access.kinesis_endpoint.as_deref(), Some("https://kinesis.us-west-2.amazonaws.com"));
    assert_eq!(access.region.as_deref(), Some("us-west-2"));
    assert_eq!(access.external_id.as_deref(), Some("x1"));
    assert_eq!((config.flows.len(), config.all_flows), (1, 2));
    let flow = &config.flows[0];
    assert_eq!(flow.patterns(), ["/var/log/[[]a[]]/access.log*", "/srv/*.log"]);
    assert_eq!(
        flow.processing_names,
        ["SINGLELINE", "LOGTOJSON COMBINEDAPACHELOG", "ADDMETADATA", "ADDBRACKETS"]
    );
    assert_eq!(
        (flow.max_buffer_age_ms, flow.max_buffer_records, flow.max_buffer_bytes),
        (5_000, 200, 1 << 20)
    );
    let shown = format!("{config:?}{}", config.to_toml());
    assert!(!shown.contains("wJalrXUtnFEMI") && !shown.contains("AKIDEXAMPLE"), "{shown}");
    let toml = config.to_toml().replace(&format!("{}/", config.file.parent().unwrap().display()), "");
    insta::assert_snapshot!(toml, @r#"
    # agent.json flow 1 as logtally.toml, document 1 of 1
    backend = "aws"
    stages = ["produce"]

    [produce]
    files = ["/var/log/[[]a[]]/access.log*", "/srv/*.log"]
    exclude = ["*.[gG][zZ]", "*.[bB][zZ]2", "*.[zZ][iI][pP]"]
    start = "beginning"

    [aws]
    input_stream = "requests"
    # region: set AWS_REGION=us-west-2
    # awsAccessKeyId, awsSecretAccessKey: put them into ~/.aws/credentials
    # assumeRoleARN: put it into a profile of ~/.aws/config (role_arn = arn:aws:iam::111122223333:role/Logs, external_id = x1)
    # dataProcessingOptions SINGLELINE, LOGTOJSON COMBINEDAPACHELOG, ADDMETADATA, ADDBRACKETS: lines are sent as they are, which analyze reads
    # partitionKeyOption DETERMINISTIC: partition keys say where lines come from
    # multiLineStartPattern: a record holds whole lines, and the next may go on
    # skipHeaderLines 1: headers are sent, and counted as malformed
    # the agent's own file keeps all of it: logtally produce --agent-config
    # not served: 1 of 2 flows
    # agent.json: cloudwatch.emitMetrics is ignored: the agent's metrics are not published
    # agent.json: firehose.endpoint is ignored: no flow goes to a delivery stream
    # agent.json: maxSendingThreds is unknown: did you mean "maxSendingThreads"?
    # agent.json flow 1: retryInitialBackoffMillis is ignored: what fails is retried for as long as it takes
    # agent.json flow 2: deliveryStream is not supported: Firehose is not served: send to a Kinesis stream that it reads
    "#);
    let table: ::toml::Table = toml.parse().unwrap();
    assert_eq!(table["aws"]["input_stream"].as_str(), Some("requests"));
    assert_eq!(table["produce"]["files"][1].as_str(), Some("/srv/*.log"));
}

#[test]
fn a_flow_that_cannot_be_served_says_why() {
    let refused = [
        "\"filePattern\": \"/a\"",
        "\"filePattern\": \"/a/b\"",
        "\"filePattern\": \"b\", \"kinesisStream\": \"s\"",
        "\"filePattern\": \"/a/\", \"kinesisStream\": \"s\"",
        "\"filePattern\": [], \"kinesisStream\": \"s\"",
        "\"filePattern\": \"/a/b\", \"kinesisStream\": \"a b\"",
        &format!("{PLAIN}, \"partitionKeyOption\": \"random\""),
        &format!("{PLAIN}, \"maxBufferAgeMillis\": 999"),
        &format!("{PLAIN}, \"maxBufferSizeRecords\": \"many\""),
        &format!("{PLAIN}, \"maxBufferSizeBytes\": 5242881"),
        &format!("{PLAIN}, \"skipHeaderLines\": -1"),
        &format!("{PLAIN}, \"multiLineStartPattern\": \"(?=x)\""),
        &format!("{PLAIN}, \"fileFooterPattern\": \"END\""),
        &format!("{PLAIN}, \"dataProcessingOptions\": {{}}"),
        &format!("{PLAIN}, \"dataProcessingOptions\": [1]"),
    ]
    .map(|entries| {
        let (flow, said) = flow(entries);
        assert!(flow.is_none(), "{entries}");
        said.replace("agent.json flow 1", "")
    });
    insta::assert_snapshot!(refused.join("\n"), @r#"
    : it names no kinesisStream
    : it names no kinesisStream
    : filePattern is invalid: "b" must name a directory and a file, as /var/log/app.log*
    : filePattern is invalid: "/a/" must name a directory and a file, as /var/log/app.log*
    : filePattern is invalid: write a pattern, or a list of patterns
    : kinesisStream is invalid: a stream's name has 1 to 128 letters, digits, "_", "." and "-"
    : partitionKeyOption is invalid: write RANDOM or DETERMINISTIC
    : maxBufferAgeMillis is invalid: "999" is no number from 1000 to 900000
    : maxBufferSizeRecords is invalid: "many" is no number from 1 to 500
    : maxBufferSizeBytes is invalid: "5242881" is no number from 1 to 5242880
    : skipHeaderLines is invalid: "-1" is no number from 0 to 4294967295
    : multiLineStartPattern is not supported: "(?=x)" is no pattern that can be used here: look-around, including look-ahead and look-behind, is not supported
    : fileFooterPattern is not supported: files are read to their ends
    : dataProcessingOptions is invalid: it is no list
    : dataProcessingOptions is invalid: its entry 1 is no object
    "#);
    for harmless in
        ["\"fileFooterPattern\": \"\"", "\"multiLineStartPattern\": \"\"", "\"kinesisStrem\": \"x\""]
    {
        assert!(flow(&format!("{PLAIN}, {harmless}")).0.is_some(), "{harmless}");
    }
}

#[test]
fn processing_that_is_not_done_says_so() {
    let refused = [
        r#"{"optionName": "LOGTOJSN"}"#,
        "{}",
        r#"{"optionName": "ADDEC2METADATA"}"#,
        r#"{"optionName": "USINGPLUGGIN", "className": "x"}"#,
        r#"{"optionName": "LOGTOJSON"}"#,
        r#"{"optionName": "LOGTOJSON", "logFormat": "SYSLOG"}"#,
        r#"{"optionName": "LOGTOJSON", "logFormat": "COMMONAPACHELOG", "customFieldNames": ["a"]}"#,
        r#"{"optionName": "LOGTOJSON", "logFormat": "SYSLOG", "matchPattern": "(a)(b)", "customFieldNames": ["a"]}"#,
        r#"{"optionName": "LOGTOJSON", "logFormat": "COMMONAPACHELOG", "matchPattern": "(a)"}"#,
        r#"{"optionName": "LOGTOJSON", "logFormat": "COMMONAPACHELOG", "matchPattern": "(a++)", "customFieldNames": ["a"]}"#,
        r#"{"optionName": "CSVTOJSON"}"#,
        r#"{"optionName": "CSVTOJSON", "customFieldNames": ["a"], "delimiter": "("}"#,
        r#"{"optionName": "CSVTOJSON", "customFieldNames": ["a"], "jsonFormat": "SMALL"}"#,
        r#"{"optionName": "SINGLELINE", "parseOptions": ["TRIM"]}"#,
        r#"{"optionName": "ADDMETADATA", "timestamp": 1}"#,
    ]
    .map(|option| {
        let (flow, said) = flow(&format!("{PLAIN}, \"dataProcessingOptions\": [{option}]"));
        assert!(flow.is_none(), "{option}");
        said.replace("agent.json flow 1 dataProcessingOptions 1", "")
    });
    insta::assert_snapshot!(refused.join("\n"), @r#"
    : optionName is invalid: did you mean LOGTOJSON?
    : optionName is invalid: write one of LOGTOJSON, CSVTOJSON, ADDMETADATA, SINGLELINE, ADDBRACKETS
    : optionName ADDEC2METADATA is not supported: metadata of the machine is not asked for: write it into ADDMETADATA
    : optionName USINGPLUGGIN is not supported: no Java class is loaded
    : logFormat is invalid: write COMMONAPACHELOG or COMBINEDAPACHELOG
    : logFormat is not supported: only Apache's access logs are converted: write a matchPattern
    : customFieldNames is invalid: logFormat gives 7 fields: name as many
    : customFieldNames is invalid: matchPattern gives 2 fields: name as many
    : customFieldNames is invalid: matchPattern names no fields: write customFieldNames
    : matchPattern is not supported: "(a++)" is no pattern that can be used here: possessive quantifiers, such as .*+, are not supported: take out the +
    : customFieldNames is invalid: it is missing: name the columns
    : delimiter is not supported: "(" is no pattern that can be used here: unclosed group
    : jsonFormat is invalid: write COMPACT or PRETTYPRINT
    : parseOptions is invalid: "TRIM": write NO_TRIM or ESCAPE_NEW_LINE
    : timestamp is invalid: write "true" or "false"
    "#);
    let (flow, said) = flow(&format!(
        "{PLAIN}, \"dataProcessingOptions\": [{}, {}]",
        r#"{"optionName": "LOGTOJSON", "logFormat": "SYSLOG", "matchPattern": "(a)", "customFieldNames": ["a"]}"#,
        r#"{"optionName": "ADDBRACKETS", "jsonFormt": "COMPACT"}"#,
    ));
    assert!(flow.is_some());
    assert_eq!(
        said,
        "agent.json flow 1 dataProcessingOptions 2: jsonFormt is unknown: the agent passes over it too"
    );
}

#[test]
fn the_directory_adds_flows_and_a_broken_file_in_it_is_told() {
    let other = PLAIN.replace("\"s\"", "\"t\"");
    let (_home, config) = loaded(&[
        ("agent.json", &format!("{{\"flows\": [{{{PLAIN}}}]}}")),
        (
            "agent.d/b.json",
            &format!("{{\"flows\": [{{{other}}}, {{{PLAIN}}}], \"kinesis.endpoint\": \"x\"}}"),
        ),
        ("agent.d/a.json", "{\"flows\": 1}"),
        ("agent.d/c.json", "{"),
        ("agent.d/d.txt", "nonsense"),
    ]);
    let config = config.unwrap();
    let numbers: Vec<(usize, &str)> =
        config.flows.iter().map(|flow| (flow.number, flow.kinesis_stream.as_str())).collect();
    assert_eq!(numbers, [(1, "s"), (2, "t")]);
    assert_eq!(config.access.kinesis_endpoint, None);
    insta::assert_snapshot!(said(&config), @"
    agent.d/c.json: line 1: it is no JSON object: EOF while parsing an object
    agent.d/a.json: flows is invalid: it is no list
    agent.d/b.json: kinesis.endpoint is ignored: only flows are read from this directory: write it into the main file
    agent.d/b.json flow 3: filePattern is invalid: it reads the same files into the same stream as flow 1
    ");
    assert!(loaded(&[("agent.json", "[]")]).1.is_err());
    assert!(loaded(&[]).1.is_err());
}

#[test]
fn past_the_bounds_flows_are_not_served_and_files_refused() {
    let flows = |count: usize| {
        let flow = |number| format!(r#"{{"filePattern": "/tmp/{number}.log", "kinesisStream": "s"}}"#);
        let flows: Vec<String> = (0..count).map(flow).collect();
        config(&format!("{{\"flows\": [{}]}}", flows.join(",")))
    };
    let most = flows(MAX_FLOWS);
    assert_eq!((most.flows.len(), most.findings.len()), (MAX_FLOWS, 0));
    let more = flows(MAX_FLOWS + 2);
    assert_eq!((more.flows.len(), more.all_flows, more.findings.len()), (MAX_FLOWS, MAX_FLOWS + 2, 2));
    assert!(said(&more).contains("more than 128 flows: serve the rest with another process"));

    let long = "x".repeat(1025);
    let (served, said) = flow(&format!(r#"{PLAIN}, "truncatedRecordTerminator": "{long}""#));
    assert!(served.is_none() && said.contains("it has more than 1024 bytes"), "{said}");

    let padded = |bytes: u64| " ".repeat(usize::try_from(bytes).unwrap() - 2) + "{}";
    let file = |bytes| loaded(&[("agent.json", &padded(bytes))]).1;
    assert!(file(crate::config::MAX_FILE).is_ok());
    assert!(matches!(file(crate::config::MAX_FILE + 1), Err(ConfigError::Read { .. })));
}

#[test]
fn a_flow_is_known_by_its_stream_and_patterns() {
    let id = |entries: &str| flow(entries).0.unwrap().id();
    let first = id(PLAIN);
    assert!(first.starts_with("s-") && first.len() == 18, "{first}");
    assert_eq!(id(&format!("{PLAIN}, \"maxBufferAgeMillis\": 2000")), first);
    let list = PLAIN.replace("\"/var/log/app.log*\"", "[\"/var/log/app.log*\"]");
    assert_eq!(id(&list), first);
    assert_ne!(id(&PLAIN.replace("app", "web")), first);
    assert_ne!(id(&PLAIN.replace("\"s\"", "\"t\"")), first);
}
