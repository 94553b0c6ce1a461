//! Cuts in the table and in the bucket, over lines that lose answers and repeat requests.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue::{self, N, S};
use logtally::backend::{Backend, BackendError, CheckpointStore, Outbox, Stage};

use super::{
    line::Line,
    workers::{BUCKET, Office, TABLE, Worker, cut, outbox, shards},
};

const KEY: &str = "p/analyze/logtally-input/shardId-000000000000";

/// What zstd cannot make smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    getrandom::fill(&mut noise).unwrap();
    noise
}

async fn item(office: &Office) -> HashMap<String, AttributeValue> {
    let client = aws_sdk_dynamodb::Client::new(&office.moto.config());
    let item = client.get_item().table_name(TABLE).key("leaseKey", S(KEY.to_owned())).send().await.unwrap();
    item.item.unwrap()
}

async fn objects(office: &Office) -> Vec<String> {
    let config = aws_sdk_s3::config::Builder::from(&office.moto.config()).force_path_style(true);
    let listed = aws_sdk_s3::Client::from_conf(config.build()).list_objects_v2().bucket(BUCKET).send().await;
    listed.unwrap().contents().iter().map(|object| object.key().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_item_says_what_the_kinesis_client_library_would_and_more() {
    let office = Office::open().await;
    let mut shards = shards(1);
    shards[0].parents = vec![logtally::backend::ShardId("shardId-000000000007".to_owned())];
    let worker = office.worker("one").await;
    worker.hold_until(&shards, 1).await;
    worker.load(&shards[0]).await;
    assert_eq!(item(&office).await["checkpoint"], S("TRIM_HORIZON".to_owned()));
    worker
        .0
        .save(
            &shards[0].id,
            cut("49590338271490256608559692538361571095921575989136588898@1700000000123", "state"),
            outbox(),
        )
        .await
        .unwrap();
    let mut item = item(&office).await;
    let owner = item.remove("leaseOwner").unwrap();
    assert!(owner.as_s().unwrap().starts_with("one-"));
    let saved = item.remove("saved").unwrap();
    assert!(saved.as_n().unwrap().parse::<i64>().unwrap() > 1_700_000_000_000);
    let compressed = item.remove("cut").unwrap();
    assert_eq!(zstd::decode_all(compressed.as_b().unwrap().as_ref()).unwrap(), b"state");
    let number = |number: &str| N(number.to_owned());
    let sequence = "49590338271490256608559692538361571095921575989136588898";
    let expected = [
        ("leaseKey", S(KEY.to_owned())),
        ("leaseCounter", number("2")),
        ("checkpoint", S(sequence.to_owned())),
        ("checkpointSubSequenceNumber", number("0")),
        ("ownerSwitchesSinceCheckpoint", number("0")),
        ("parentShardId", AttributeValue::Ss(vec!["shardId-000000000007".to_owned()])),
        ("position", S(format!("{sequence}@1700000000123"))),
        ("outboxPending", AttributeValue::Bool(true)),
        ("saves", number("1")),
    ];
    assert_eq!(item, expected.map(|(name, value)| (name.to_owned(), value)).into());
}

#[tokio::test]
async fn a_large_cut_goes_to_the_bucket_and_comes_back() {
    let mut office = Office::open().await;
    let shards = shards(1);
    office.bucket = Some(BUCKET.to_owned());
    let (one, other) = (office.worker("one").await, office.worker("other").await);
    one.hold_until(&shards, 1).await;
    one.load(&shards[0]).await;
    let mut names = Vec::new();
    for save in 0..3 {
        let large = cut(&save.to_string(), noise(1_000_000));
        one.save(&shards[0], large.clone()).await.unwrap();
        assert_eq!(other.load(&shards[0]).await.unwrap().0, large);
        let listed = objects(&office).await;
        assert_eq!(listed.len(), 1, "the former is deleted: {listed:?}");
        assert!(listed[0].starts_with(&format!("cuts/{KEY}/one-")), "{listed:?}");
        names.extend(listed);
    }
    names.dedup();
    assert_eq!(names.len(), 3, "no object is ever written twice");

    // The next holder replaces the object of the former one.
    one.0.release(&shards[0].id).await.unwrap();
    other.hold_until(&shards, 1).await;
    other.load(&shards[0]).await.unwrap();
    other.save(&shards[0], cut("4", noise(10_000))).await.unwrap();
    assert_eq!(objects(&office).await.len(), 1);
    other.save(&shards[0], cut("5", "small")).await.unwrap();
    assert!(objects(&office).await.is_empty(), "a small cut is in the item");
    other.save(&shards[0], cut("6", noise(10_000))).await.unwrap();
    assert!(!item(&office).await.contains_key("cut"));

    // Whoever is not told of the bucket says so.
    office.bucket = None;
    let error = office.worker("third").await.0.load(&shards[0].id).await.unwrap_err();
    assert_eq!(error.to_string(), "table leases points to cuts in S3: name their bucket in [aws] bucket");
}

#[tokio::test]
async fn a_cut_that_is_gone_from_the_bucket_is_named() {
    let mut office = Office::open().await;
    let shards = shards(1);
    office.bucket = Some(BUCKET.to_owned());
    let one = office.worker("one").await;
    one.hold_until(&shards, 1).await;
    one.load(&shards[0]).await;
    one.save(&shards[0], cut("1", noise(10_000))).await.unwrap();
    let object = objects(&office).await.remove(0);
    let config = aws_sdk_s3::config::Builder::from(&office.moto.config()).force_path_style(true);
    let client = aws_sdk_s3::Client::from_conf(config.build());
    client.delete_object().bucket(BUCKET).key(&object).send().await.unwrap();
    let error = one.0.load(&shards[0].id).await.unwrap_err();
    assert!(matches!(error, BackendError::Failed { .. }), "{error:?}");
    let expected = format!(
        "the cut s3://{BUCKET}/{object} is gone: restore it, or delete the item {KEY} of table leases and count \
         again what the stream holds"
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn without_a_bucket_a_cut_is_as_large_as_an_item_may_be() {
    let office = Office::open().await;
    let shards = shards(1);
    let one = office.worker("one").await;
    one.hold_until(&shards, 1).await;
    one.load(&shards[0]).await;
    let fits = cut("1", noise(299_000));
    one.save(&shards[0], fits.clone()).await.unwrap();
    let refused = one.save(&shards[0], cut("2", noise(300_000))).await.unwrap_err();
    assert!(matches!(refused, BackendError::Refused { .. }), "{refused:?}");
    let message = refused.to_string();
    let (start, end) =
        ("a cut of 3000", "is too large for an item of table leases: name a bucket for such in [aws] bucket");
    assert!(message.starts_with(start) && message.ends_with(end), "{message}");
    assert_eq!(one.load(&shards[0]).await.unwrap().0, fits, "the last good one is kept");
}

#[tokio::test]
async fn a_save_whose_answer_is_lost_is_made_once() {
    let mut office = Office::open().await;
    office.bucket = Some(BUCKET.to_owned());
    let shards = shards(1);
    let line = Line::new();
    let aws = office.aws("one", Some(&line)).await;
    let one = Worker(aws.checkpoints(Stage::Analyze).await.unwrap());
    line.lose(1);
    one.hold_until(&shards, 1).await;
    assert_eq!(line.to_lose(), 0, "the lease was taken although nobody said so");
    one.load(&shards[0]).await;
    for lost in 0..3 {
        line.lose(lost);
        let large = cut(&lost.to_string(), noise(10_000));
        let pending = one.0.save(&shards[0].id, large.clone(), outbox()).await.unwrap();
        assert_eq!((pending, line.to_lose()), (Outbox::Pending, 0));
        assert_eq!(one.load(&shards[0]).await.unwrap(), (large, Outbox::Pending));
        assert_eq!(objects(&office).await.len(), 1);
    }
}

#[tokio::test]
async fn a_save_that_arrives_late_is_refused() {
    let office = Office::open().await;
    let shards = shards(1);
    let line = Line::new();
    let aws = office.aws("one", Some(&line)).await;
    let one = Worker(aws.checkpoints(Stage::Analyze).await.unwrap());
    one.hold_until(&shards, 1).await;
    one.load(&shards[0]).await;
    line.forget();
    one.save(&shards[0], cut("1", "first")).await.unwrap();
    one.save(&shards[0], cut("2", "second")).await.unwrap();
    let before = item(&office).await;
    assert_eq!(line.repeat().await, [400, 400]);
    assert_eq!(item(&office).await, before);
}

#[tokio::test]
async fn what_the_table_refuses_is_said_in_one_line() {
    let office = Office::open().await;
    office.moto.create_table("other", "id").await;
    let shards = shards(1);
    for (table, expected) in [
        (
            "other",
            "table other is no table of leases: its partition key must be leaseKey, a string, without a sort key, \
             and every item have a leaseCounter; create one (infra/deploy.sh does), or name another in [aws] table",
        ),
        ("none", "table none does not exist: create it (infra/deploy.sh does), or name another in [aws]"),
    ] {
        let settings = logtally::backend::aws::Settings {
            table: table.to_owned(),
            ..logtally::backend::aws::Settings::new("one", logtally::clock::Clock::system())
        };
        let clients = logtally::backend::aws::Clients::new(&office.moto.config());
        let aws = logtally::backend::aws::Aws::open(clients, settings).await.unwrap();
        let store = aws.checkpoints(Stage::Analyze).await.unwrap();
        let failures = [
            store.hold(&shards).await.unwrap_err(),
            store.hold_all(&shards).await.unwrap_err(),
            store.load(&shards[0].id).await.unwrap_err(),
        ];
        for failure in failures {
            assert!(matches!(failure, BackendError::Refused { .. }), "{failure:?}");
            assert_eq!(failure.to_string(), expected);
        }
    }
}
