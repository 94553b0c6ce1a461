//! What is remembered beside the streams: alarms, contacts, unknown hosts, and for how long.

use std::collections::BTreeMap;

use super::{Sandbox, at};
use crate::{
    backend::{
        Backend, Datum, MetricSink, Parcel, Series,
        embedded::{
            Embedded, Settings, TOP_HOSTS,
            alarms::{HISTORY, StoredAlarm, Transition},
            group::Tx,
            metrics,
        },
    },
    engine::{
        row::{HostCount, Row, UNKNOWN},
        time::Timestamp,
    },
};

fn row(application: &str, contact: &str, start: i64, hosts: &[(&str, u64)]) -> Row {
    Row {
        row_id: String::new(),
        window_start: Timestamp::from_millis(start),
        window_end: Timestamp::from_millis(start + 300_000),
        revision: 0,
        application_name: application.to_owned(),
        contact: contact.to_owned(),
        response: Some(200),
        response_count: 1,
        bytes: 0,
        top_hosts: hosts
            .iter()
            .map(|&(host, count)| HostCount { host: host.to_owned(), count, error: 0 })
            .collect(),
    }
}

async fn publish(backend: &Embedded, id: &str, rows: Vec<Row>) {
    let datums = vec![Datum {
        series: Series { name: "RequestCount".to_owned(), dimensions: Vec::new() },
        timestamp: Timestamp::from_millis(0),
        value: 1.0,
    }];
    let parcel = Parcel { id: id.to_owned(), datums, rows };
    backend.metrics().await.unwrap().publish(vec![parcel].into()).await.unwrap();
}

#[tokio::test]
async fn the_contact_of_the_latest_window_is_kept() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    publish(&backend, "1", vec![row("Billing", "new@x", 600_000, &[]), row(UNKNOWN, "", 600_000, &[])]).await;
    publish(&backend, "2", vec![row("Billing", "old@x", 300_000, &[])]).await;
    let expected = BTreeMap::from([("Billing".to_owned(), "new@x".to_owned())]);
    assert_eq!(backend.contacts().await.unwrap(), expected);
}

#[tokio::test]
async fn unknown_hosts_add_up_and_what_fell_off_is_stated_as_error() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    let many: Vec<String> = (0..TOP_HOSTS).map(|index| format!("host{index:03}")).collect();
    let many: Vec<(&str, u64)> = many.iter().map(|host| (host.as_str(), 10)).collect();
    publish(&backend, "1", vec![row(UNKNOWN, "", 0, &many)]).await;
    publish(&backend, "2", vec![row(UNKNOWN, "", 0, &[("host000", 5), ("light", 3)])]).await;
    publish(&backend, "3", vec![row(UNKNOWN, "", 0, &[("heavy", 100), ("evil\u{0}\"'; --", u64::MAX)])])
        .await;
    publish(&backend, "3", vec![row(UNKNOWN, "", 0, &[("heavy", 100)])]).await;
    publish(&backend, "4", vec![row(UNKNOWN, "", 300_000, &[("other", 1)])]).await;
    let read = backend.top_hosts(Timestamp::from_millis(0), Timestamp::from_millis(300_000)).await.unwrap();
    assert_eq!(read.len(), TOP_HOSTS as usize);
    let shown: Vec<String> = read
        .iter()
        .take(4)
        .map(|(_, host)| format!("{} {} +{}", host.host.escape_default(), host.count, host.error))
        .collect();
    assert_eq!(
        shown,
        [
            format!("evil\\u{{0}}\\\"\\'; -- {} +3", i64::MAX / 4),
            "heavy 100 +3".to_owned(),
            "host000 15 +0".to_owned(),
            "host001 10 +0".to_owned(),
        ]
    );
    let all = backend.top_hosts(Timestamp::MIN, Timestamp::MAX).await.unwrap();
    assert_eq!(all.len(), TOP_HOSTS as usize + 1);
}

#[tokio::test]
async fn absurd_counts_in_a_row_of_somebody_else_stop_nothing() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    for parcel in 0..12 {
        publish(&backend, &parcel.to_string(), vec![row(UNKNOWN, "", 0, &[("evil", u64::MAX)])]).await;
    }
    let read = backend.top_hosts(Timestamp::MIN, Timestamp::MAX).await.unwrap();
    assert_eq!((read.len(), read[0].1.count), (1, (i64::MAX / 4).unsigned_abs()));
}

#[tokio::test]
async fn a_value_that_cannot_add_up_is_refused_with_its_parcel() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    let series = Series { name: "LagSeconds".to_owned(), dimensions: Vec::new() };
    let parcel = |value| Parcel {
        id: "1".to_owned(),
        datums: vec![Datum { series: series.clone(), timestamp: Timestamp::from_millis(0), value }],
        rows: Vec::new(),
    };
    let mut sink = backend.metrics().await.unwrap();
    insta::assert_snapshot!(
        sandbox.message(sink.publish(vec![parcel(f64::NAN)].into()).await),
        @"failed: a value of LagSeconds is NaN: only finite numbers add up"
    );
    assert_eq!(sink.publish(vec![parcel(1.0)].into()).await.unwrap().parcels, 1, "its id was not remembered");
}

#[tokio::test]
async fn sums_and_the_ledger_are_forgotten_in_their_time() {
    let sandbox = Sandbox::new();
    let backend = sandbox.open().await;
    publish(&backend, "1", vec![row(UNKNOWN, "", 0, &[("host", 1)])]).await;
    let now = backend.store.clock.now();
    let days = |days: i64| now.plus_millis(days * 24 * 3_600_000 + 1);
    let bounds = backend.store.bounds.clone();
    let count = async |at: Timestamp| {
        let bounds = bounds.clone();
        let sweep = move |tx: &mut Tx<'_>| {
            while metrics::next_due(tx.conn, &bounds)?.is_some_and(|due| due <= at) {
                metrics::sweep(tx.conn, &bounds, at)?;
            }
            let sql = "SELECT (SELECT count(*) FROM parcel) || ' ' || (SELECT count(*) FROM metric) || ' ' || \
                       (SELECT count(*) FROM series) || ' ' || (SELECT count(*) FROM top_host)";
            Ok(tx.conn.query_row(sql, [], |row| row.get::<_, String>(0))?)
        };
        backend.store.write(0, sweep).await.unwrap()
    };
    assert_eq!(count(days(1)).await, "1 1 1 1", "a parcel is remembered longer than its record is kept");
    assert_eq!(count(days(2)).await, "0 1 1 1");
    assert_eq!(count(days(62)).await, "0 1 1 1");
    assert_eq!(count(days(63)).await, "0 0 0 0");
}

#[tokio::test]
async fn alarms_come_back_with_their_latest_transitions() {
    let sandbox = Sandbox::new();
    let stored = |name: &str, state: &[u8]| StoredAlarm {
        name: name.to_owned(),
        state: state.to_vec(),
        updated: Timestamp::from_millis(5),
    };
    let transition = |at: i64| Transition {
        alarm: "Unknown > 100".to_owned(),
        at: Timestamp::from_millis(at),
        from: "OK".to_owned(),
        to: "ALARM".to_owned(),
        reason: format!("{at}"),
        detail: "{}".to_owned(),
    };
    let alarms = sandbox.open().await.alarms();
    alarms.save(vec![stored("a", b"1"), stored("b", b"2")], vec![transition(1)]).await.unwrap();
    let many = (2..=i64::from(HISTORY) + 1).map(transition).collect();
    alarms.save(vec![stored("a", b"3"), stored("b", b"")], many).await.unwrap();
    drop(alarms);
    let settings = Settings { clock: at(0), ..sandbox.settings() };
    let alarms = Embedded::open(settings).await.unwrap().alarms();
    assert_eq!(alarms.load().await.unwrap(), [stored("a", b"3")]);
    let history = alarms.history(Timestamp::MIN).await.unwrap();
    assert_eq!((history.len(), history[0].clone()), (HISTORY as usize, transition(2)));
    let latest = alarms.history(Timestamp::from_millis(i64::from(HISTORY))).await.unwrap();
    assert_eq!(latest.len(), 2);
}
