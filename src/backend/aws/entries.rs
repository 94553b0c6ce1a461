//! Items of the ledger, read. Changes none of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::KeysAndAttributes;

use crate::{
    backend::{
        BackendError, Result,
        aws::{
            call::Call,
            ledger::{Claim, Item, Ledger, STALE_MS, number, parcel_key, text},
        },
    },
    engine::time::Timestamp,
};

/// Keys that one read of items takes (`BatchGetItem`).
const KEYS: usize = 100;
/// Attributes of a [`Head`].
const HEAD: &str = "id, callState, attempt, claimedAt, worker, parcelCount";

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// About to be sent, or its sender died.
    Claimed,
    /// CloudWatch has it.
    Done,
    /// Nobody knows whether CloudWatch has it.
    Doubt,
    /// CloudWatch will never take it.
    Refused,
}

impl State {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Done => "done",
            Self::Doubt => "doubt",
            Self::Refused => "refused",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Claimed, Self::Done, Self::Doubt, Self::Refused]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// What the ledger says of a call beside its datums.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    pub(super) key: String,
    pub(super) state: State,
    pub(super) attempt: u64,
    pub(super) at: Timestamp,
    pub(super) worker: String,
    pub(super) parcels: u64,
}

impl Head {
    /// Whether whoever claimed it is gone; or by a clock so far ahead that it cannot be waited for.
    pub(super) fn is_stale(&self, now: Timestamp) -> bool {
        now.millis_since(self.at).saturating_abs() > STALE_MS
    }

    /// A claim on it as it stands.
    pub(super) fn claim(&self) -> Claim {
        Claim { key: self.key.clone(), attempt: self.attempt, at: self.at, units: Vec::new() }
    }
}

/// A call and its datums.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) head: Head,
    pub(super) call: Call,
    /// Why it is in doubt or refused.
    pub(super) reason: String,
    /// Whose rows it adds; absent where an earlier version claimed it.
    pub(super) pipeline: Option<String>,
}

impl Ledger {
    /// The keys of the calls that these units belong to; units that nobody claimed are missing.
    pub(super) async fn calls_of(&self, units: &[String]) -> Result<BTreeMap<String, String>> {
        let by_key: HashMap<String, &String> = units.iter().map(|unit| (parcel_key(unit), unit)).collect();
        let mut calls = BTreeMap::new();
        for item in self.items(by_key.keys(), "id, callId").await? {
            if let (Some(unit), Some(call)) = (by_key.get(self.string(&item, "id")?), item.get("callId")) {
                let call = call.as_s().map_err(|_| self.damaged("callId"))?;
                calls.insert((*unit).clone(), call.clone());
            }
        }
        Ok(calls)
    }

    /// What the ledger says of these calls; those that are past their time are missing.
    pub(super) async fn heads(&self, keys: &BTreeSet<String>) -> Result<BTreeMap<String, Head>> {
        let items = self.items(keys.iter(), HEAD).await?;
        items.iter().map(|item| self.head(item).map(|head| (head.key.clone(), head))).collect()
    }

    /// A call with its datums; `None` if it is past its time.
    pub(super) async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        let request =
            self.client.get_item().table_name(&self.table).key("id", text(key)).consistent_read(true);
        let found = request.send().await.map_err(|error| self.fault("dynamodb:GetItem", error))?;
        found.item().map(|item| self.decode(item)).transpose()
    }

    /// Gives every call with a timestamp in `from..=to`, in one of `states`, to `each`. Reads the whole table.
    pub(super) async fn each_call(
        &self,
        (from, to): (Timestamp, Timestamp),
        states: &[State],
        mut each: impl FnMut(Entry) + Send,
    ) -> Result<()> {
        let names: Vec<String> = (0..states.len()).map(|index| format!(":state{index}")).collect();
        let filter = format!(
            "begins_with(id, :call) AND firstTime <= :to AND lastTime >= :from AND callState IN ({})",
            names.join(", ")
        );
        let mut request = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .filter_expression(filter)
            .expression_attribute_values(":call", text("call#"))
            .expression_attribute_values(":from", number(from.as_millis()))
            .expression_attribute_values(":to", number(to.as_millis()));
        for (name, state) in names.iter().zip(states) {
            request = request.expression_attribute_values(name, text(state.as_str()));
        }
        let mut start = None;
        loop {
            let page = request.clone().set_exclusive_start_key(start).send().await;
            let page = page.map_err(|error| self.fault("dynamodb:Scan", error))?;
            for item in page.items() {
                each(self.decode(item)?);
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(());
            }
        }
    }

    async fn items(&self, keys: impl Iterator<Item = &String> + Send, projection: &str) -> Result<Vec<Item>> {
        let keys: Vec<Item> = keys.map(|key| Item::from([("id".to_owned(), text(key))])).collect();
        let mut items = Vec::with_capacity(keys.len());
        for keys in keys.chunks(KEYS) {
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(keys.to_vec()))
                .consistent_read(true)
                .projection_expression(projection)
                .build()
                .map_err(|why| BackendError::failed("a read of the ledger cannot be built", why))?;
            let mut wanted = Some(HashMap::from([(self.table.clone(), wanted)]));
            while let Some(request) = wanted.take().filter(|request| !request.is_empty()) {
                let page = self.client.batch_get_item().set_request_items(Some(request)).send().await;
                let page = page.map_err(|error| self.fault("dynamodb:BatchGetItem", error))?;
                let found: Vec<Item> = page.responses.unwrap_or_default().into_values().flatten().collect();
                if found.is_empty() && page.unprocessed_keys.as_ref().is_some_and(|left| !left.is_empty()) {
                    let why = format!("ledger table {}: reads are throttled", self.table);
                    return Err(BackendError::Busy { why });
                }
                items.extend(found);
                wanted = page.unprocessed_keys;
            }
        }
        Ok(items)
    }

    fn decode(&self, item: &Item) -> Result<Entry> {
        let head = self.head(item)?;
        let datums = item.get("datums").and_then(|value| value.as_b().ok());
        let bytes = datums.ok_or_else(|| self.damaged("datums"))?;
        let call = Call::decode(bytes.as_ref()).map_err(|why| BackendError::Failed {
            what: format!("ledger table {}, item {}: {why}", self.table, head.key),
            source: Some(Box::new(why)),
        })?;
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
        let (reason, pipeline) = (text("reason").unwrap_or_default(), text("pipeline"));
        Ok(Entry { head, call, reason, pipeline })
    }

    fn head(&self, item: &Item) -> Result<Head> {
        Ok(Head {
            key: self.string(item, "id")?.to_owned(),
            state: State::parse(self.string(item, "callState")?).ok_or_else(|| self.damaged("callState"))?,
            attempt: self.integer(item, "attempt")?,
            at: Timestamp::from_millis(self.integer(item, "claimedAt")?),
            worker: self.string(item, "worker")?.to_owned(),
            parcels: self.integer(item, "parcelCount")?,
        })
    }

    fn integer<T: std::str::FromStr>(&self, item: &Item, name: &'static str) -> Result<T> {
        let number = item.get(name).and_then(|value| value.as_n().ok());
        number.and_then(|number| number.parse().ok()).ok_or_else(|| self.damaged(name))
    }

    fn string<'a>(&self, item: &'a Item, name: &'static str) -> Result<&'a str> {
        let text = item.get(name).and_then(|value| value.as_s().ok());
        text.map(String::as_str).ok_or_else(|| self.damaged(name))
    }

    fn damaged(&self, attribute: &str) -> BackendError {
        BackendError::Failed {
            what: format!(
                "ledger table {}: an item has no usable {attribute}: another program, or another version of logtally, \
                 wrote it",
                self.table
            ),
            source: None,
        }
    }
}
