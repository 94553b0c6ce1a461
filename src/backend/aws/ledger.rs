//! What was published: claims in a DynamoDB table. Sends no metric.
//!
//! The table has the partition key `id` (String), no sort key, and the TTL attribute `expires`. A claim is one
//! transaction: the item `call#<random>` with the datums of the call, and an item `parcel#<id>` for each parcel in it,
//! none of which may exist before. Attributes of a call: `callState`, `attempt` (1, and 1 more each time that it is
//! sent again), `claimedAt` and `firstTime`, `lastTime` (milliseconds), `worker`, `parcelCount`, `datums`
//! ([`Call::encode`]), `reason`, `finder` (who found its sender gone), `pipeline` (whose rows they are). Attributes of a parcel: `callId`.

use std::{collections::HashMap, fmt::Display};

use aws_sdk_dynamodb::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput},
    primitives::Blob,
    types::{AttributeValue, Delete, Put, TransactWriteItem},
};

use crate::{
    backend::{
        BackendError, Result,
        aws::{
            Shared,
            call::Call,
            entries::{Head, State},
            error,
        },
    },
    clock::Clock,
    engine::time::Timestamp,
};

/// How long parcels and the calls that are done are remembered, in milliseconds: 16 days. No datum of a call is more
/// than two hours ahead when it is claimed, so that CloudWatch, which takes timestamps of two weeks, would not take
/// one of them a second time once the claim is gone, however long the output stream keeps its records.
pub(super) const DONE_MS: i64 = 16 * 24 * 3_600_000;
/// How long calls that are not done are kept for `audit`, in milliseconds.
const OPEN_MS: i64 = 90 * 24 * 3_600_000;
/// How long a claim may be neither done nor given back before it is taken for dead, in milliseconds: twice what one
/// attempt at a call may take ...
pub(super) const STALE_MS: i64 = 60_000;
/// ... for a call is not sent that was claimed longer ago than this, in milliseconds.
const FRESH_MS: i64 = STALE_MS / 2;

/// Reasons to cancel a transaction that pass (`TransactionCanceledException`).
const PASSING: [&str; 4] =
    ["ConditionalCheckFailed", "ProvisionedThroughputExceeded", "ThrottlingError", "TransactionConflict"];

/// The longest name of a pipeline.
const MAX_NAME: usize = 64;

const CALL: &str = "call#";
const PARCEL: &str = "parcel#";

/// A claim that this process makes or holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Claim {
    /// The key of the call's item.
    pub(super) key: String,
    /// How many times it was claimed.
    pub(super) attempt: u64,
    pub(super) at: Timestamp,
    /// The ids of its units.
    pub(super) units: Vec<String>,
}

impl Claim {
    pub(super) fn new(units: Vec<String>, at: Timestamp) -> Self {
        let random = u128::from(getrandom::u64().unwrap_or_default()) << 64
            | u128::from(getrandom::u64().unwrap_or_default());
        Self { key: format!("{CALL}{random:032x}"), attempt: 1, at, units }
    }

    /// The pipeline whose rows these are, if they are of one.
    fn pipeline(&self) -> Option<&str> {
        let mut names = self.units.iter().map(|unit| unit.split_once('/').map(|(name, _)| name));
        let first = names.next()??;
        (first.len() <= MAX_NAME && names.all(|name| name == Some(first))).then_some(first)
    }

    /// Whether nobody will take it for dead while it is sent.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        now.millis_since(self.at).saturating_abs() <= FRESH_MS
    }
}

/// What came of a claim.
#[derive(Debug)]
pub(super) enum Claimed {
    /// It is ours to send.
    Ours,
    /// Nothing was claimed: these units were before, by others.
    Known(Vec<String>),
}

/// The table.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    pub(super) client: Client,
    pub(super) table: String,
    worker: String,
    clock: Clock,
}

impl Ledger {
    pub(super) fn new(shared: &Shared) -> Self {
        let settings = &shared.settings;
        Self {
            client: shared.clients.dynamodb.clone(),
            table: settings.ledger.clone(),
            worker: settings.worker.clone(),
            clock: settings.clock.clone(),
        }
    }

    /// Claims `call`, whose units `claim` names. After an error it may be claimed: [`release`](Self::release) it.
    pub(super) async fn claim(&self, claim: &Claim, call: &Call) -> Result<Claimed> {
        let mut items = vec![self.call_item(claim, call)?];
        for unit in &claim.units {
            items.push(self.parcel_item(claim, unit)?);
        }
        // The SDK's retries of one transaction are one to DynamoDB for ten minutes (`ClientRequestToken`).
        match self.write(items, Some(claim.key.trim_start_matches(CALL))).await {
            Ok(_) => Ok(Claimed::Ours),
            Err(error) => self.claimed_before(claim, error).await,
        }
    }

    async fn claimed_before(
        &self,
        claim: &Claim,
        error: SdkError<TransactWriteItemsError, HttpResponse>,
    ) -> Result<Claimed> {
        let failed = conditions_failed(&error);
        if failed.is_empty() {
            return Err(self.transaction_fault("dynamodb:PutItem", error));
        }
        // The first item is the call's: it exists if an earlier attempt of the SDK came through.
        let is_known = |index: usize| failed.contains(&0) || failed.contains(&(index + 1));
        let units = claim.units.iter().enumerate();
        let known: Vec<String> =
            units.filter(|(index, _)| is_known(*index)).map(|(_, unit)| unit.clone()).collect();
        let calls = self.calls_of(&known).await?;
        let ours = calls.values().any(|key| *key == claim.key);
        Ok(if ours { Claimed::Ours } else { Claimed::Known(known) })
    }

    fn call_item(&self, claim: &Claim, call: &Call) -> Result<TransactWriteItem> {
        // There is nothing to send where everything is out of range.
        let state = if call.datums.is_empty() { State::Done } else { State::Claimed };
        let (first, last) = call.span();
        let mut put = self.new_item();
        if let Some(pipeline) = claim.pipeline() {
            put = put.item("pipeline", text(pipeline));
        }
        let put = put
            .item("id", text(&claim.key))
            .item("callState", text(state.as_str()))
            .item("attempt", number(claim.attempt))
            .item("claimedAt", number(claim.at.as_millis()))
            .item("worker", text(&self.worker))
            .item("parcelCount", number(claim.units.len()))
            .item("firstTime", number(first.as_millis()))
            .item("lastTime", number(last.as_millis()))
            .item("expires", seconds(claim.at.plus_millis(keep_ms(state))))
            .item("datums", AttributeValue::B(Blob::new(call.encode()?)));
        transact(put.build().map(|put| TransactWriteItem::builder().put(put).build()))
    }

    fn parcel_item(&self, claim: &Claim, unit: &str) -> Result<TransactWriteItem> {
        let put = self
            .new_item()
            .item("id", AttributeValue::S(parcel_key(unit)))
            .item("callId", text(&claim.key))
            .item("expires", seconds(claim.at.plus_millis(DONE_MS)));
        transact(put.build().map(|put| TransactWriteItem::builder().put(put).build()))
    }

    fn new_item(&self) -> aws_sdk_dynamodb::types::builders::PutBuilder {
        Put::builder().table_name(&self.table).condition_expression("attribute_not_exists(id)")
    }

    /// Gives back a claim that was certainly not sent, if it still stands.
    pub(super) async fn release(&self, claim: &Claim) -> Result<()> {
        let delete = |key: String, condition: &str, is: AttributeValue| {
            Delete::builder()
                .table_name(&self.table)
                .key("id", AttributeValue::S(key))
                .condition_expression(format!("attribute_not_exists(id) OR {condition}"))
                .expression_attribute_values(":is", is)
        };
        let unsent = "attempt = :is AND callState = :claimed";
        let call = delete(claim.key.clone(), unsent, number(claim.attempt))
            .expression_attribute_values(":claimed", text(State::Claimed.as_str()));
        let parcels =
            claim.units.iter().map(|unit| delete(parcel_key(unit), "callId = :is", text(&claim.key)));
        let items = std::iter::once(call).chain(parcels);
        let items = items.map(|delete| {
            transact(delete.build().map(|delete| TransactWriteItem::builder().delete(delete).build()))
        });
        let items = items.collect::<Result<Vec<_>>>()?;
        match self.write(items, None).await {
            Ok(_) => Ok(()),
            // Somebody took it for dead and went on: it stays in doubt, for who would publish it now?
            Err(error) if !conditions_failed(&error).is_empty() => Ok(()),
            Err(error) => Err(self.transaction_fault("dynamodb:DeleteItem", error)),
        }
    }

    async fn write(
        &self,
        items: Vec<TransactWriteItem>,
        token: Option<&str>,
    ) -> Result<TransactWriteItemsOutput, SdkError<TransactWriteItemsError, HttpResponse>> {
        let token = token.map(str::to_owned);
        let request = self.client.transact_write_items().set_client_request_token(token);
        request.set_transact_items(Some(items)).send().await
    }

    /// Enters what became of a claim, unless somebody has sent the call again since: then `false`.
    pub(super) async fn enter(&self, claim: &Claim, state: State, reason: &str) -> Result<bool> {
        let expires = claim.at.plus_millis(keep_ms(state));
        let update = self
            .update(&claim.key)
            .update_expression("SET callState = :state, expires = :expires, reason = :reason")
            // Also where it says so already: an attempt of the SDK may have come through unheard.
            .condition_expression("attempt = :attempt AND callState IN (:claimed, :doubt, :state)")
            .expression_attribute_values(":state", text(state.as_str()))
            .expression_attribute_values(":expires", seconds(expires))
            .expression_attribute_values(":reason", text(reason))
            .expression_attribute_values(":attempt", number(claim.attempt))
            .expression_attribute_values(":claimed", text(State::Claimed.as_str()))
            .expression_attribute_values(":doubt", text(State::Doubt.as_str()));
        self.updated(update.send().await)
    }

    /// Puts a call whose sender is gone in doubt, unless somebody did before: then `false`.
    pub(super) async fn doubt(&self, head: &Head) -> Result<bool> {
        let update = self
            .update(&head.key)
            .update_expression("SET callState = :doubt, reason = :reason, finder = :finder")
            .condition_expression(
                "attempt = :attempt AND (callState = :claimed OR callState = :doubt AND finder = :finder)",
            )
            .expression_attribute_values(":finder", text(&self.worker))
            .expression_attribute_values(":doubt", text(State::Doubt.as_str()))
            .expression_attribute_values(":reason", text("its sender stopped before it said what came of it"))
            .expression_attribute_values(":attempt", number(head.attempt))
            .expression_attribute_values(":claimed", text(State::Claimed.as_str()));
        self.updated(update.send().await)
    }

    /// Claims a call in doubt once more, to send it again; `None` if somebody else did before.
    pub(super) async fn take_over(&self, head: &Head) -> Result<Option<Claim>> {
        let at = self.clock.now();
        let update = self
            .update(&head.key)
            .update_expression(
                "SET callState = :claimed, attempt = :next, claimedAt = :now, worker = :worker, expires = :expires",
            )
            .condition_expression("attempt = :attempt AND callState IN (:claimed, :doubt)")
            .expression_attribute_values(":claimed", text(State::Claimed.as_str()))
            .expression_attribute_values(":doubt", text(State::Doubt.as_str()))
            .expression_attribute_values(":attempt", number(head.attempt))
            .expression_attribute_values(":next", number(head.attempt + 1))
            .expression_attribute_values(":now", number(at.as_millis()))
            .expression_attribute_values(":worker", text(&self.worker))
            .expression_attribute_values(":expires", seconds(at.plus_millis(OPEN_MS)));
        let claim = Claim { attempt: head.attempt + 1, at, ..head.claim() };
        Ok(self.updated(update.send().await)?.then_some(claim))
    }

    fn update(
        &self,
        key: &str,
    ) -> aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).key("id", text(key))
    }

    fn updated<T, E>(&self, result: Result<T, SdkError<E, HttpResponse>>) -> Result<bool>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match result {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(false),
            Err(error) => Err(self.fault("dynamodb:UpdateItem", error)),
        }
    }

    fn transaction_fault(
        &self,
        action: &'static str,
        error: SdkError<TransactWriteItemsError, HttpResponse>,
    ) -> BackendError {
        let reasons = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                cancelled.cancellation_reasons()
            }
            _ => return self.fault(action, error),
        };
        let reasons = || reasons.iter().filter(|reason| reason.code() != Some("None"));
        if let Some(lasting) = reasons().find(|reason| !PASSING.contains(&reason.code().unwrap_or_default()))
        {
            let code = lasting.code().unwrap_or_default();
            return self.other_schema(&format!("{code}: {}", lasting.message().unwrap_or_default()));
        }
        let codes: Vec<&str> = reasons().filter_map(|reason| reason.code()).collect();
        let why = format!("ledger table {}: the transaction was cancelled: {}", self.table, codes.join(", "));
        BackendError::Busy { why }
    }

    pub(super) fn fault<E>(&self, action: &'static str, error: SdkError<E, HttpResponse>) -> BackendError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        if error.code() == Some("ValidationException") {
            return self.other_schema(error.message().unwrap_or_default());
        }
        error::Call { action, kind: "table", name: &self.table }.fault(error)
    }

    fn other_schema(&self, detail: &str) -> BackendError {
        BackendError::Refused {
            what: format!(
                "table {} is no ledger: its key must be id (String) alone: create it (infra/deploy.sh does), or name \
                 another in [aws] ledger ({detail})",
                self.table
            ),
            source: None,
        }
    }
}

const fn keep_ms(state: State) -> i64 {
    match state {
        State::Done => DONE_MS,
        State::Claimed | State::Doubt | State::Refused => OPEN_MS,
    }
}

/// Indices of the items of a transaction whose condition did not hold.
fn conditions_failed(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> Vec<usize> {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
    else {
        return Vec::new();
    };
    let reasons = cancelled.cancellation_reasons().iter().enumerate();
    let failed = reasons.filter(|(_, reason)| reason.code() == Some("ConditionalCheckFailed"));
    failed.map(|(index, _)| index).collect()
}

fn transact<T>(built: Result<T, aws_sdk_dynamodb::error::BuildError>) -> Result<T> {
    built.map_err(|why| BackendError::failed("a transaction of the ledger cannot be built", why))
}

pub(super) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(super) fn number(number: impl Display) -> AttributeValue {
    AttributeValue::N(format!("{number}"))
}

fn seconds(time: Timestamp) -> AttributeValue {
    number(time.as_millis() / 1_000)
}

pub(super) fn parcel_key(unit: &str) -> String {
    format!("{PARCEL}{unit}")
}

/// An item of the table.
pub(super) type Item = HashMap<String, AttributeValue>;
