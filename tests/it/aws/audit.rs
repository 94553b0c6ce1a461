//! Books on AWS that do not balance: one number of a table is changed, and audit names the equation and the difference.

use std::{collections::HashMap, process::Stdio};

use aws_sdk_dynamodb::{Client, primitives::Blob, types::AttributeValue};
use logtally::engine::{
    cut::{Cut, CutRef},
    parcel::pack,
    row::{Origin, Output, Row},
    time::Timestamp,
};
use serde_json::Value as Json;

use super::{
    bridge::Fault::{Held, Lost, Passed},
    commands::{Home, rows},
};

type Item = HashMap<String, AttributeValue>;

/// A pipeline with the lease whose shard read the most.
struct Books {
    home: Home,
    window: Timestamp,
    client: Client,
    lease: Item,
    cut: Cut,
}

impl Books {
    /// As far as the output stream.
    async fn analyzed() -> Self {
        let home = Home::new().await;
        let window = home.analyzed();
        let client = Client::new(&home.moto.config());
        let leases = client.scan().table_name("logtally-leases").send().await.unwrap();
        let decoded = |item: &Item| {
            let cut = item.get("cut")?.as_b().unwrap().as_ref();
            Cut::decode(&zstd::decode_all(cut).unwrap()).ok()
        };
        let cuts = leases.items().iter().filter_map(|item| Some((item.clone(), decoded(item)?)));
        let (lease, cut) = cuts.max_by_key(|(_, cut)| cut.state.counters.read).unwrap();
        Self { home, window, client, lease, cut }
    }

    /// What `audit` says: its equations.
    fn audit(&self) -> Vec<Json> {
        let output = self.home.command("audit --format json").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let books: Vec<Json> = rows(&text).into_iter().filter(|row| row["kind"] == "books").collect();
        let is_wrong = books.iter().any(|row| row["balances"] == "NO");
        assert_eq!(output.status.code(), Some(i32::from(is_wrong)), "{text}");
        books
    }

    /// The equations that do not balance, with their differences.
    fn wrong(&self) -> Vec<String> {
        let wrong = self.audit().into_iter().filter(|row| row["balances"] == "NO");
        wrong.map(|row| format!("{} {}", row["equation"].as_str().unwrap(), row["difference"])).collect()
    }

    /// What became of the rows of the window.
    fn rows(&self) -> String {
        let of = |row: &Json| {
            row["equation"] == "published of a window" && row["about"] == self.window.to_string()
        };
        let found = self.audit().into_iter().find(of).unwrap();
        found["terms"].as_str().unwrap().to_owned()
    }

    /// Stores the cut with a change.
    async fn change(&self, pending: bool, edit: impl Fn(&mut Cut)) {
        let mut edited = self.cut.clone();
        edit(&mut edited);
        let Cut { epoch, ended, state, outbox } = &edited;
        let bytes = CutRef { epoch: *epoch, ended: *ended, state, outbox }.encode().unwrap();
        let mut item = self.lease.clone();
        item.insert("cut".to_owned(), AttributeValue::B(Blob::new(zstd::encode_all(&bytes[..], 3).unwrap())));
        item.insert("outboxPending".to_owned(), AttributeValue::Bool(pending));
        self.client.put_item().table_name("logtally-leases").set_item(Some(item)).send().await.unwrap();
    }

    async fn after(&self, edit: impl Fn(&mut Cut)) -> Vec<String> {
        self.change(false, edit).await;
        self.wrong()
    }

    /// The calls in the ledger.
    async fn calls(&self) -> Vec<Item> {
        let items = self.client.scan().table_name("logtally-ledger").send().await.unwrap();
        items.items.unwrap().into_iter().filter(|item| item.contains_key("callState")).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_is_changed_in_a_table_is_found() {
    let books = Books::analyzed().await;
    books.home.result("deliver --once");
    assert!(books.home.result("audit").ends_with("the books balance\n"));
    let window = books.window;
    assert_eq!(books.after(|cut| cut.state.counters.duplicate += 2).await, ["lines read -2"]);
    let published = ["requests counted -1", "published by window 1"];
    assert_eq!(books.after(|cut| cut.state.published += 1).await, published);
    let counted = ["counted by window -3", "counted in a window 3"];
    assert_eq!(books.after(|cut| cut.state.journal.count(window, 3, window)).await, counted);
    let published = ["published by window -3", "counted in a window -3", "published of a window 3"];
    assert_eq!(books.after(|cut| cut.state.journal.publish(window, 3)).await, published);
    assert!(books.after(|_| {}).await.is_empty());
    // A call that was done is said to have been refused: the metric has what nobody added.
    let mut call = books.calls().await.swap_remove(0);
    call.insert("callState".to_owned(), AttributeValue::S("refused".to_owned()));
    books.client.put_item().table_name("logtally-ledger").set_item(Some(call.clone())).send().await.unwrap();
    let wrong = books.wrong();
    assert!(wrong.contains(&"delivered -30.0".to_owned()), "{window} {wrong:?}");
    // A call of which the ledger knows nothing any more: rows that went nowhere.
    let id = call.remove("id").unwrap();
    books.client.delete_item().table_name("logtally-ledger").key("id", id).send().await.unwrap();
    assert_eq!(books.wrong(), ["published of a window 42"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_followed_from_the_cut_to_the_ledger() {
    let books = Books::analyzed().await;
    let nowhere = "in the outbox 0 + in doubt 0 + refused 0 + out of range 0";
    let waiting = format!("published 42 = in the metrics 0 + not delivered yet 42 + {nowhere}");
    assert_eq!(books.rows(), waiting);

    // Rows that a cut holds and that were never sent.
    let window = books.window;
    let row = Row {
        row_id: String::new(),
        window_start: window,
        window_end: window.plus_millis(300_000),
        revision: 0,
        application_name: "Billing".to_owned(),
        contact: String::new(),
        response: Some(200),
        response_count: 5,
        bytes: 0,
        top_hosts: Vec::new(),
    };
    let more = |cut: &mut Cut| {
        (cut.state.counters.read, cut.state.counters.counted) =
            (cut.state.counters.read + 5, cut.state.counters.counted + 5);
        cut.state.published += 5;
        cut.state.journal.count(window, 5, window);
        cut.state.journal.publish(window, 5);
        let origin = Origin { pipeline: "default".to_owned(), epoch: cut.epoch, shard: "x".to_owned() };
        cut.outbox = pack(&origin, 999, &[Output::Row(row.clone())]);
    };
    books.change(true, more).await;
    let outbox = "in the outbox 5 + in doubt 0 + refused 0 + out of range 0";
    assert_eq!(books.rows(), format!("published 47 = in the metrics 0 + not delivered yet 42 + {outbox}"));
    assert!(books.wrong().is_empty());
    books.change(false, more).await;
    assert_eq!(
        books.wrong(),
        ["published of a window 5"],
        "they are said to have been sent, and are nowhere"
    );
    books.change(false, |_| {}).await;

    books.home.bridge.inject("PutMetricData", [Lost]);
    books.home.result("deliver --once");
    let doubt = "in the outbox 0 + in doubt 42 + refused 0 + out of range 0";
    assert_eq!(books.rows(), format!("published 42 = in the metrics 0 + not delivered yet 0 + {doubt}"));
    assert!(books.wrong().is_empty());

    // An earlier version did not say whose rows a call adds: nothing is said of its windows.
    for mut call in books.calls().await {
        assert_eq!(call.remove("pipeline"), Some(AttributeValue::S("default".to_owned())));
        books.client.put_item().table_name("logtally-ledger").set_item(Some(call)).send().await.unwrap();
    }
    let equations = books.audit();
    assert!(equations.iter().all(|row| row["equation"] != "published of a window"), "{equations:?}");
    assert!(equations.iter().any(|row| row["equation"] == "counted in a window"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_pipeline_with_the_same_ledger_is_left_out() {
    let books = Books::analyzed().await;
    books.home.result("deliver --once");
    let of_another = |mut call: Item| {
        call.insert("id".to_owned(), AttributeValue::S("call#another".to_owned()));
        call.insert("pipeline".to_owned(), AttributeValue::S("another".to_owned()));
        call
    };
    for call in books.calls().await.into_iter().map(of_another) {
        books.client.put_item().table_name("logtally-ledger").set_item(Some(call)).send().await.unwrap();
    }
    let nowhere = "in the outbox 0 + in doubt 0 + refused 0 + out of range 0";
    assert_eq!(books.rows(), format!("published 42 = in the metrics 42 + not delivered yet 0 + {nowhere}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_delivered_while_audit_looks_are_looked_at_again() {
    let books = Books::analyzed().await;
    let bridge = &books.home.bridge;
    // The leases, and then the ledger: by then the rows were found in the stream.
    bridge.inject("Scan", [Passed, Held]);
    let mut audit = books.home.command("audit --format json");
    let audit = audit.stdout(Stdio::piped()).spawn().unwrap();
    bridge.silent().await;
    books.home.result("deliver --once");
    let before = bridge.seen("Scan").len();
    bridge.release();
    let output = audit.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(bridge.seen("Scan").len() > before, "it looked once more");
    assert!(said.contains("published 42 = in the metrics 42 + not delivered yet 0 + "), "{said}");
}
