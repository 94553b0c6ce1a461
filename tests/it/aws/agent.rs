//! The flows of an Amazon Kinesis Agent into Kinesis, by the binary. What becomes of lines is in `process::agent`.

use std::{fs, process::Command};

use aws_sdk_kinesis::types::ShardIteratorType;
use logtally::engine::provenance::Provenance;
use tempfile::TempDir;

use super::double::{INPUT, Kinesis, OUTPUT};

const LINE: &str =
    r#"2001:db8::7 - - [24/Oct/2026:22:30:00 +0000] "GET /NUMBER HTTP/1.1" 200 5 "" "curl \"8\"""#;

/// Every record of a stream: partition key and data.
async fn records(kinesis: &Kinesis, stream: &str) -> Vec<(String, String)> {
    let client = &kinesis.client;
    let mut records = Vec::new();
    for shard in client.list_shards().stream_name(stream).send().await.unwrap().shards() {
        let ask = client.get_shard_iterator().stream_name(stream).shard_id(shard.shard_id());
        let iterator = ask.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
        let read =
            client.get_records().shard_iterator(iterator.shard_iterator().unwrap()).send().await.unwrap();
        assert_eq!(read.millis_behind_latest(), Some(0), "all of it at once");
        let text = |record: &aws_sdk_kinesis::types::Record| {
            let data = String::from_utf8(record.data().as_ref().to_vec()).unwrap();
            (record.partition_key().unwrap().to_owned(), data)
        };
        records.extend(read.records().iter().map(text));
    }
    records.sort_by(|a, b| a.1.cmp(&b.1));
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_go_to_their_streams_with_the_keys_and_the_endpoint_of_the_file() {
    let kinesis = Kinesis::start().await;
    let home = TempDir::new().unwrap();
    let path = |name: &str| home.path().join(name);
    let endpoint = kinesis.config.endpoint_url().unwrap();
    let log = path("access.log").display().to_string();
    let agent = format!(
        r#"{{"kinesis.endpoint": "{endpoint}", "kinesis.region": "eu-west-1",
             "awsAccessKeyId": "AKIDEXAMPLE", "awsSecretAccessKey": "secret",
             "flows": [
               {{"filePattern": "{log}*", "kinesisStream": "{INPUT}", "initialPosition": "START_OF_FILE"}},
               {{"filePattern": "{log}*", "kinesisStream": "{OUTPUT}", "initialPosition": "START_OF_FILE",
                 "dataProcessingOptions": [{{"optionName": "LOGTOJSON", "logFormat": "COMBINEDAPACHELOG"}}]}}]}}"#
    );
    fs::write(path("agent.json"), agent).unwrap();
    let lines = |numbers: std::ops::Range<usize>| -> Vec<String> {
        numbers.map(|number| LINE.replace("NUMBER", &format!("{number:04}")) + "\n").collect()
    };
    let produce = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logtally"));
        command.args(["produce", "--agent-config", "agent.json", "--once", "--state-dir", "state"]);
        let output = command.env_clear().env("HOME", home.path()).current_dir(home.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    fs::write(path("access.log"), lines(0..700).concat()).unwrap();
    produce();
    fs::rename(path("access.log"), path("access.log.1")).unwrap();
    fs::write(path("access.log"), lines(700..800).concat()).unwrap();
    produce();

    let plain = records(&kinesis, INPUT).await;
    let texts: Vec<String> = plain.iter().map(|(_, data)| data.clone()).collect();
    assert_eq!(texts, lines(0..800));
    assert!(plain.iter().all(|(key, _)| key.parse::<Provenance>().is_ok()), "{:?}", plain[0]);

    let json = records(&kinesis, OUTPUT).await;
    assert_eq!(json.len(), 800);
    for (number, (key, data)) in json.iter().enumerate() {
        assert!(key.parse::<u64>().is_ok(), "{key}");
        let object: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(object["request"], format!("GET /{number:04} HTTP/1.1"));
        assert_eq!((&object["host"], &object["referer"]), (&"2001:db8::7".into(), &"".into()));
        assert_eq!(object["agent"], r#"curl \"8\""#);
    }
}
