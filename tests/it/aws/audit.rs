//! Books on AWS that do not balance: one number of a table is changed, and audit names the equation and the difference.

use std::collections::HashMap;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use logtally::engine::cut::{Cut, CutRef};

use super::commands::{Home, rows};

type Item = HashMap<String, AttributeValue>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_is_changed_in_a_table_is_found() {
    let home = Home::new().await;
    let window = home.analyzed();
    home.result("deliver --once");
    assert!(home.result("audit").ends_with("the books balance\n"));
    let wrong = || {
        let output = home.command("audit --format json").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let wrong: Vec<String> = rows(&text)
            .iter()
            .filter(|row| row["balances"] == "NO")
            .map(|row| format!("{} {}", row["equation"].as_str().unwrap(), row["difference"]))
            .collect();
        assert_eq!(output.status.code(), Some(i32::from(!wrong.is_empty())), "{text}");
        wrong
    };
    let client = aws_sdk_dynamodb::Client::new(&home.moto.config());
    let leases = client.scan().table_name("logtally-leases").send().await.unwrap();
    let decoded = |item: &Item| {
        let cut = item.get("cut")?.as_b().unwrap().as_ref();
        Cut::decode(&zstd::decode_all(cut).unwrap()).ok()
    };
    let cuts = leases.items().iter().filter_map(|item| Some((item.clone(), decoded(item)?)));
    let (item, cut) = cuts.max_by_key(|(_, cut)| cut.state.counters.read).unwrap();
    let change = async |edit: fn(&mut Cut)| {
        let mut edited = cut.clone();
        edit(&mut edited);
        let Cut { epoch, ended, state, outbox } = &edited;
        let bytes = CutRef { epoch: *epoch, ended: *ended, state, outbox }.encode().unwrap();
        let mut item = item.clone();
        item.insert("cut".to_owned(), AttributeValue::B(Blob::new(zstd::encode_all(&bytes[..], 3).unwrap())));
        client.put_item().table_name("logtally-leases").set_item(Some(item)).send().await.unwrap();
        wrong()
    };
    assert_eq!(change(|cut| cut.state.counters.duplicate += 2).await, ["lines read -2"]);
    assert_eq!(change(|cut| cut.state.published += 1).await, ["requests counted -1"]);
    assert!(change(|_| {}).await.is_empty());
    // A call that was done is said to have been refused: the metric has what nobody added.
    let calls = client.scan().table_name("logtally-ledger").send().await.unwrap();
    let call = calls.items().iter().find(|item| item.contains_key("callState")).unwrap();
    let mut call = call.clone();
    call.insert("callState".to_owned(), AttributeValue::S("refused".to_owned()));
    client.put_item().table_name("logtally-ledger").set_item(Some(call)).send().await.unwrap();
    let wrong = wrong();
    assert!(wrong.contains(&"delivered -30.0".to_owned()), "{window} {wrong:?}");
}
