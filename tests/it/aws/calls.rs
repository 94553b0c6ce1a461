//! What calls of CloudWatch hold, and what is refused, on doubles of DynamoDB and CloudWatch.

use std::collections::BTreeMap;

use logtally::{
    backend::{Backend, BackendError, MetricSink, Published, aws::Verdict},
    config::InDoubt,
    engine::time::Timestamp,
};
use tokio::task::JoinSet;

use super::{
    bridge::Fault::{Answered, DoneButLost, Lost},
    metrics::{MINUTE, Rig, datum, parcel, published},
};

const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

#[tokio::test]
async fn a_large_parcel_is_several_calls_and_small_ones_share_a_call() {
    let rig = Rig::new().await;
    let large = || {
        let datums = (0..2_500).map(|n| datum(&format!("application {n:04}"), rig.window, 1.0));
        parcel("large", datums.collect())
    };
    // The second call of the large parcel is not added at first.
    let aws = rig.open("one", |_| ()).await;
    let mut sink = aws.metrics().await.unwrap();
    let small = (0..98).map(|n| rig.parcel(&format!("small {n}"), 1.0));
    let all: Vec<_> = std::iter::once(large()).chain(small).collect();
    let plan = aws.plan(all.clone()).await.unwrap();
    let planned: Vec<usize> = plan.calls.iter().map(|call| call.metric_data.len()).collect();
    assert_eq!((planned, plan.series), (vec![1_000, 1_000, 502], 2_502));
    assert_eq!(plan.calls[2].parcels[0], "large#2");

    rig.bridge.inject("PutMetricData", [Lost]);
    let doubted = sink.publish(all.clone().into()).await.unwrap();
    assert_eq!(doubted, published(98, 0, 1_502, 1), "one part in doubt is a parcel in doubt");
    let lengths = rig.bridge.seen("PutMetricData");
    // The second one says that something is in doubt.
    let lengths = [lengths[0], lengths[2], lengths[3]];
    for (call, length) in plan.calls.iter().zip(lengths) {
        assert!(length <= call.bytes && length + length / 5 >= call.bytes, "{length} of {}", call.bytes);
    }
    rig.clock.advance(HOUR);
    assert_eq!(rig.settle().await, [Verdict::Sent]);
    let sums = rig.sums("RequestCount").await;
    assert_eq!((sums.len(), sums.contains(&("Billing".to_owned(), 0, 98.0))), (2_502, true));
    let mut ones = sums.iter().filter(|(name, ..)| name.starts_with("application"));
    assert!(ones.all(|(_, _, sum)| (sum - 1.0).abs() < 1e-9));
    assert_eq!(sink.publish(all.clone().into()).await.unwrap(), published(0, 99, 0, 0));
    let plan = aws.plan(all).await.unwrap();
    assert_eq!((plan.calls.len(), plan.duplicates, plan.in_doubt), (0, 101, 0));
}

#[tokio::test]
async fn a_plan_shows_the_calls_that_would_be_made() {
    let rig = Rig::new().await;
    let aws = rig.open("one", |_| ()).await;
    let far = datum("Far", rig.window + DAY, 1.0);
    let plan = aws.plan(vec![parcel("p/1/s/1/0", vec![datum("Größe", rig.window, 2.5), far])]).await.unwrap();
    insta::assert_json_snapshot!(plan, @r#"
    {
      "calls": [
        {
          "Namespace": "Logtally",
          "MetricData": [
            {
              "MetricName": "RequestCount",
              "Dimensions": [
                {
                  "Name": "ApplicationName",
                  "Value": "Gr%C3%B6%C3%9Fe"
                }
              ],
              "Timestamp": "2027-01-15T07:55:00Z",
              "Value": 2.5,
              "Unit": "Count",
              "StorageResolution": 60
            }
          ],
          "Parcels": [
            "p/1/s/1/0"
          ],
          "Bytes": 482
        }
      ],
      "series": 1,
      "duplicates": 0,
      "inDoubt": 0,
      "outOfRange": [
        {
          "MetricName": "RequestCount",
          "Dimensions": [
            {
              "Name": "ApplicationName",
              "Value": "Far"
            }
          ],
          "Timestamp": "2027-01-16T07:55:00Z",
          "Value": 1.0,
          "Unit": "Count",
          "StorageResolution": 60
        }
      ]
    }
    "#);
    assert!(rig.items().await.is_empty() && rig.bridge.seen("PutMetricData").is_empty());
}

#[tokio::test]
async fn any_name_is_published_and_read_back() {
    let rig = Rig::new().await;
    let names =
        ["Größe 100%", " padded ", "", "line\nbreak", "Gr%C3%B6%C3%9Fe 100%25", "\u{1f4c8}", ":colon"];
    let long = ["x".repeat(2_000), "x".repeat(2_001)];
    let all = names.map(str::to_owned).into_iter().chain(long);
    let datums = (0_u32..).zip(all).map(|(n, name)| datum(&name, rig.window, f64::from(n)));
    rig.publish("one", vec![parcel("a", datums.collect())]).await.unwrap();
    let sums: BTreeMap<String, f64> =
        rig.sums("RequestCount").await.into_iter().map(|(name, _, value)| (name, value)).collect();
    for (n, name) in (0_u32..).zip(names) {
        assert_eq!(sums.get(name), Some(&f64::from(n)), "{name:?}");
    }
    let cut: Vec<f64> = sums.iter().filter(|(name, _)| name.contains("xx%~")).map(|(_, sum)| *sum).collect();
    assert_eq!((sums.len(), cut.iter().sum::<f64>()), (9, 15.0));
}

#[tokio::test]
async fn timestamps_out_of_range_are_kept_out_and_told() {
    let rig = Rig::new().await;
    let now = rig.clock.now().as_millis();
    let datums = vec![
        datum("Old", now - 14 * DAY, 1.0),
        datum("Just", now - 14 * DAY + MINUTE, 2.0),
        datum("Near", now + 2 * HOUR - MINUTE, 4.0),
        datum("Far", now + 2 * HOUR, 8.0),
    ];
    let aws = rig.open("one", |_| ()).await;
    let mut sink = aws.metrics().await.unwrap();
    let plan = aws.plan(vec![parcel("a", datums.clone())]).await.unwrap();
    assert_eq!((plan.calls.len(), plan.series, plan.out_of_range.len()), (1, 2, 2));
    let out = parcel("b", vec![datum("Far", now + 9 * DAY, 16.0)]);
    let first = sink.publish(vec![parcel("a", datums)].into()).await.unwrap();
    assert_eq!(first, Published { out_of_range: 2, ..published(1, 0, 2, 0) });
    assert_eq!(
        sink.publish(vec![out].into()).await.unwrap(),
        Published { out_of_range: 1, ..published(1, 0, 0, 0) }
    );
    assert_eq!(rig.bridge.seen("PutMetricData").len(), 1, "there is nothing to send of the second");
    assert_eq!(rig.states().await, ["done", "done"]);

    let account = aws.account(Timestamp::MIN, Timestamp::MAX).await.unwrap();
    assert_eq!((account.done, account.in_doubt, account.refused), (2, 0, 0));
    assert!(account.lines.iter().all(logtally::backend::aws::AccountLine::balances));
    let lines = account.lines.iter();
    let lines: Vec<(f64, f64, f64)> = lines.map(|line| (line.done, line.out_of_range, line.found)).collect();
    let (far, just, near, old) = ((0.0, 8.0, 0.0), (2.0, 0.0, 2.0), (4.0, 0.0, 4.0), (0.0, 1.0, 0.0));
    assert_eq!(lines, [far, (0.0, 16.0, 0.0), just, near, old]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sinks_at_once_add_a_parcel_once() {
    let rig = Rig::new().await;
    let mut tasks = JoinSet::new();
    for worker in 0..4 {
        let aws = rig.open(&format!("worker {worker}"), |_| ()).await;
        let parcels: Vec<_> = (0..20).map(|n| rig.parcel(&format!("{n}"), 1.0)).collect();
        tasks.spawn(async move {
            let mut sink = aws.metrics().await.unwrap();
            let mut total = Published::default();
            for parcels in parcels.chunks(4) {
                let published = loop {
                    match sink.publish(parcels.to_vec().into()).await {
                        Err(BackendError::Busy { .. }) => tokio::task::yield_now().await,
                        done => break done.unwrap(),
                    }
                };
                total.parcels += published.parcels;
                total.duplicates += published.duplicates;
                total.in_doubt += published.in_doubt;
            }
            total
        });
    }
    let totals = tasks.join_all().await;
    let sum = |of: fn(&Published) -> u64| totals.iter().map(of).sum::<u64>();
    let counts = (sum(|one| one.parcels), sum(|one| one.duplicates), sum(|one| one.in_doubt));
    assert_eq!((counts, rig.sum().await), ((20, 60, 0), "40".to_owned()));
}

#[tokio::test]
async fn what_is_in_doubt_is_sent_again_where_the_policy_says_so() {
    let rig = Rig::new().await;
    let aws = rig.open("one", |settings| settings.in_doubt = InDoubt::Resend).await;
    let mut sink = aws.metrics().await.unwrap();
    rig.bridge.inject("PutMetricData", [DoneButLost, Lost]);
    for _ in 0..2 {
        let busy = sink.publish(vec![rig.parcel("a", 5.0)].into()).await;
        assert!(matches!(busy, Err(BackendError::Busy { .. })), "{busy:?}");
    }
    let sent = sink.publish(vec![rig.parcel("a", 5.0)].into()).await.unwrap();
    assert_eq!(sent, Published { resent: 2, ..published(1, 0, 2, 0) });
    assert_eq!(rig.sum().await, "12", "the first attempt had come through: this is what the policy accepts");
    assert_eq!(rig.states().await, ["done"]);
}

#[tokio::test]
async fn a_call_refused_for_good_is_told_and_kept() {
    let rig = Rig::new().await;
    let aws = rig.open("one", |_| ()).await;
    let mut sink = aws.metrics().await.unwrap();
    rig.bridge.inject("PutMetricData", [Answered(400, "InvalidParameterValue")]);
    let refused = sink.publish(vec![rig.parcel("a", 5.0)].into()).await.unwrap();
    assert_eq!(refused, Published { refused: 2, ..published(1, 0, 0, 0) });
    assert_eq!(sink.publish(vec![rig.parcel("b", 2.0)].into()).await.unwrap(), published(1, 0, 2, 0));
    assert_eq!(rig.states().await, ["done", "refused"]);
    let account = aws.account(Timestamp::MIN, Timestamp::MAX).await.unwrap();
    let sums: Vec<(f64, f64)> = account.lines.iter().map(|line| (line.refused, line.found)).collect();
    assert_eq!((account.refused, sums), (1, vec![(5.0, 2.0), (1.0, 1.0)]));
}

#[tokio::test]
async fn a_sum_that_nothing_explains_stays_in_doubt() {
    let rig = Rig::new().await;
    rig.bridge.inject("PutMetricData", [DoneButLost]);
    rig.publish("one", vec![rig.parcel("a", 5.0)]).await.unwrap();
    // Somebody else adds to the same series.
    let other = rig.open("other", |settings| settings.ledger = "another-ledger".to_owned()).await;
    rig.moto.create_ledger("another-ledger").await;
    other.metrics().await.unwrap().publish(vec![rig.parcel("theirs", 0.5)].into()).await.unwrap();
    rig.clock.advance(HOUR);
    let [Verdict::Undecided(Some(difference))] = &rig.settle().await[..] else { panic!("settled") };
    assert_eq!((difference.done, difference.in_doubt, difference.found), (0.0, 5.0, 5.5));
    assert_eq!(rig.states().await, ["doubt"]);

    rig.clock.advance(15 * DAY);
    let account = rig.open("one", |_| ()).await.account(Timestamp::MIN, Timestamp::MAX).await.unwrap();
    assert_eq!(account.in_doubt, 1, "it is not forgotten");
}

#[tokio::test]
async fn what_the_configuration_asks_for_in_vain_is_said_in_a_line() {
    let rig = Rig::new().await;
    rig.moto.create_table("of-leases", "leaseKey").await;
    let mut refusals = Vec::new();
    for (ledger, operation) in [
        ("none-such", None),
        ("of-leases", None),
        ("logtally-ledger", Some("TransactWriteItems")),
        ("logtally-ledger", Some("PutMetricData")),
    ] {
        rig.bridge.inject(operation.unwrap_or_default(), [Answered(403, "AccessDeniedException")]);
        let aws = rig.open("one", |settings| settings.ledger = ledger.to_owned()).await;
        let refused = aws.metrics().await.unwrap().publish(vec![rig.parcel("a", 5.0)].into()).await;
        let Err(BackendError::Refused { what, .. }) = refused else { panic!("{refused:?}") };
        refusals.push(what);
    }
    insta::assert_snapshot!(refusals.join("\n"), @"
    table none-such does not exist: create it (infra/deploy.sh does), or name another in [aws]
    table of-leases is no ledger: its key must be id (String) alone: create it (infra/deploy.sh does), or name another in [aws] ledger (KeyError: 'leaseKey')
    dynamodb:PutItem on table logtally-ledger: not permitted: allow dynamodb:PutItem in the role's policy (so the test wants it)
    cloudwatch:PutMetricData on namespace Logtally: not permitted: allow cloudwatch:PutMetricData in the role's policy (so the test wants it)
    ");
    assert!(rig.items().await.is_empty(), "nothing stays claimed");
}
