//! Reference data in S3: read when it changed, replaced when it did not.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    thread,
};

use bytes::Bytes;
use logtally::{
    backend::{
        Backend, BackendError, ReferenceStore, Version,
        aws::{Aws, Clients, Object, ObjectName, Settings},
    },
    clock::Clock,
};

use super::moto::{self, Moto};

const LOCATION: &str = "s3://data.example/reference/of web nodes/hosts.csv";

async fn object(moto: &Moto, location: &str) -> Object {
    let settings = Settings::new("worker", Clock::system());
    let aws = Aws::open(Clients::new(&moto.config()), settings).await.unwrap();
    aws.reference(location).await.unwrap()
}

fn message<T: std::fmt::Debug>(result: Result<T, BackendError>) -> String {
    result.unwrap_err().to_string()
}

#[tokio::test]
async fn only_the_expected_version_is_replaced() {
    let moto = Moto::start();
    moto.create_bucket("data.example").await;
    let mut store = object(&moto, LOCATION).await;
    let missing = store.fetch(None, Vec::new()).await;
    assert!(matches!(missing, Err(BackendError::Failed { .. })));
    assert_eq!(message(missing), format!("{LOCATION} does not exist; `logtally reference add` makes it"));
    let nothing = Version("\"d41d8cd98f00b204e9800998ecf8427e\"".to_owned());
    let changed = format!("{LOCATION} was changed by somebody else: read it again");
    assert_eq!(message(store.replace(Some(&nothing), Bytes::new()).await), changed);

    store.replace(None, Bytes::from("one")).await.unwrap();
    let exists = store.replace(None, Bytes::from("two")).await;
    assert!(matches!(exists, Err(BackendError::Busy { .. })));
    assert_eq!(message(exists), format!("{LOCATION} exists: read it first"));
    let (one, content) = store.fetch(None, Vec::new()).await.unwrap().unwrap();
    assert_eq!(content, b"one");
    assert_eq!(store.fetch(Some(&one), Vec::new()).await.unwrap(), None);

    let mut editor = object(&moto, LOCATION).await;
    editor.replace(Some(&one), Bytes::from("two")).await.unwrap();
    let late = store.replace(Some(&one), Bytes::from("six")).await;
    assert!(matches!(late, Err(BackendError::Busy { .. })));
    assert_eq!(message(late), changed);
    let (two, content) = store.fetch(Some(&one), Vec::new()).await.unwrap().unwrap();
    assert_eq!(content, b"two");
    for _ in 0..2 {
        assert_eq!(store.fetch(Some(&two), Vec::new()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named() {
    let moto = Moto::start();
    let mut store = object(&moto, "s3://nowhere/hosts.csv").await;
    let expected = "s3://nowhere/hosts.csv: bucket nowhere does not exist: create it, or name another";
    let fetched = store.fetch(None, Vec::new()).await;
    assert!(matches!(fetched, Err(BackendError::Refused { .. })));
    assert_eq!(message(fetched), expected);
    assert_eq!(message(store.replace(None, Bytes::new()).await), expected);
}

/// moto answers one request after the other, so that two edits never meet there as they do on S3.
#[tokio::test]
async fn two_edits_that_meet_are_told_to_come_again() {
    let body = "<Error><Code>ConditionalRequestConflict</Code><Message>Come again.</Message></Error>";
    let mut store =
        answered(format!("HTTP/1.1 409 Conflict\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let known = Version("\"1\"".to_owned());
    let met = store.replace(Some(&known), Bytes::from("two")).await;
    assert!(matches!(met, Err(BackendError::Busy { .. })), "{met:?}");
    assert_eq!(message(met), "s3://bucket/hosts.csv was changed by somebody else: read it again");
}

#[tokio::test]
async fn what_is_too_large_is_not_read() {
    let mut store =
        answered("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 268435457\r\n\r\nHost".to_owned());
    let expected = "s3://bucket/hosts.csv cannot be read: it has over 268435456 bytes";
    assert_eq!(message(store.fetch(None, Vec::new()).await), expected);
}

/// An object whose first request is answered so, whatever it asks for.
fn answered(answer: String) -> Object {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = BufReader::new(stream.try_clone().unwrap());
        let (mut line, mut body) = (String::new(), 0);
        while request.read_line(&mut line).unwrap() > 2 {
            let length = line
                .to_ascii_lowercase()
                .strip_prefix("content-length: ")
                .map(|length| length.trim().parse());
            body = length.map_or(body, Result::unwrap);
            line.clear();
        }
        request.read_exact(&mut vec![0; body]).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let config = aws_sdk_s3::config::Builder::from(&moto::config(&endpoint)).force_path_style(true);
    let name: ObjectName = "s3://bucket/hosts.csv".parse().unwrap();
    Object::new(aws_sdk_s3::Client::from_conf(config.build()), name)
}

#[test]
fn an_object_is_named_by_bucket_and_key() {
    let name: ObjectName = LOCATION.parse().unwrap();
    assert_eq!(
        (name.bucket.as_str(), name.key.as_str()),
        ("data.example", "reference/of web nodes/hosts.csv")
    );
    assert_eq!(name.to_string(), LOCATION);
    for wrong in ["hosts.csv", "s3://", "s3://bucket", "s3://bucket/", "s3:///key", "https://bucket/key", ""]
    {
        let expected = format!("{wrong}: reference data in S3 is named s3://bucket/key");
        assert_eq!(message(wrong.parse::<ObjectName>()), expected);
    }
}
