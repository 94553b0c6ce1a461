//! The items of the table of leases, one a stage and shard. Decides nothing.
//!
//! | attribute | what |
//! |---|---|
//! | `leaseKey` S | `pipeline/stage/stream/shard` |
//! | `leaseOwner` S | the worker that holds the lease; absent: nobody |
//! | `leaseCounter` N | raised by every write, and the condition of every write: two never build on the same one |
//! | `checkpoint` S | the bare sequence number, `TRIM_HORIZON` or `SHARD_END`, for tools that know the Kinesis Client Library |
//! | `checkpointSubSequenceNumber` N | 0: records are processed whole |
//! | `ownerSwitchesSinceCheckpoint` N, `parentShardId` SS | as that library writes them |
//! | `position` S | the position as its reader wrote it |
//! | `cut` B, `cutObject` S | the state, compressed; or the key of the S3 object that holds it; neither if it is empty |
//! | `outboxPending` BOOL | the cut holds rows that may not have been sent |
//! | `saves` N, `saved` N | how many cuts were saved, and when the last one was, in milliseconds since 1970 |

use std::{collections::HashMap, error::Error, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    config::{http::HttpResponse, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    operation::{put_item::PutItemError, scan::builders::ScanFluentBuilder, update_item::UpdateItemError},
    primitives::Blob,
    types::{
        AttributeValue::{self, B, Bool, N, S, Ss},
        ReturnValuesOnConditionCheckFailure,
    },
};

use crate::backend::{
    BackendError, Result, Shard,
    aws::{Shared, error::Call},
    lease::table::Written,
};

pub(super) const OWNER: &str = "leaseOwner";
pub(super) const CHECKPOINT: &str = "checkpoint";
pub(super) const SUB_SEQUENCE: &str = "checkpointSubSequenceNumber";
pub(super) const SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
pub(super) const POSITION: &str = "position";
pub(super) const CUT: &str = "cut";
pub(super) const CUT_OBJECT: &str = "cutObject";
pub(super) const PENDING: &str = "outboxPending";
pub(super) const SAVES: &str = "saves";
pub(super) const SAVED: &str = "saved";
const KEY: &str = "leaseKey";
const COUNTER: &str = "leaseCounter";
const PARENTS: &str = "parentShardId";

/// [`CHECKPOINT`] in front of the first record.
pub(super) const TRIM_HORIZON: &str = "TRIM_HORIZON";
/// [`CHECKPOINT`] of a shard that was read to its end.
pub(super) const SHARD_END: &str = "SHARD_END";

/// An item, or as much of it as was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Item {
    pub(super) key: String,
    pub(super) owner: Option<String>,
    pub(super) counter: u64,
    pub(super) ended: bool,
    pub(super) pending: bool,
    pub(super) saves: u64,
    pub(super) saved_ms: i64,
    pub(super) position: Option<String>,
    pub(super) cut: Option<Vec<u8>>,
    pub(super) object: Option<String>,
}

/// What to change of an item.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub(super) set: Vec<(&'static str, AttributeValue)>,
    pub(super) add: Vec<&'static str>,
    pub(super) remove: Vec<&'static str>,
}

/// The table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    client: Client,
    name: String,
}

impl Table {
    /// An attempt at a call ends with `patience`: what takes longer helps no lease.
    pub(super) fn new(shared: &Shared, patience: Duration) -> Self {
        let client = &shared.clients.dynamodb;
        let known = client.config().timeout_config().cloned();
        let timeouts = known.map_or_else(TimeoutConfig::builder, TimeoutConfig::into_builder);
        let timeouts = timeouts.operation_attempt_timeout(patience).build();
        let config = client.config().to_builder().timeout_config(timeouts).build();
        Self { client: Client::from_conf(config), name: shared.settings.table.clone() }
    }

    /// The leases alone, without cuts, of every item whose key begins with `prefix`, in no order; as they are `now`, or
    /// for half of the price as they were a moment ago. What it costs goes by the size of the whole table nevertheless, but
    /// the items of a page share their units (DynamoDB, read consumption).
    pub(super) async fn leases(&self, prefix: &str, now: bool) -> Result<Vec<Item>> {
        let names = [KEY, OWNER, COUNTER, CHECKPOINT, PENDING];
        let projection = names.map(|name| format!("#{name}")).join(", ");
        let call = self.client.scan().consistent_read(now).projection_expression(projection);
        self.pages(call.set_expression_attribute_names(Some(names.map(name).into())), prefix).await
    }

    /// The whole item as it is now.
    pub(super) async fn read(&self, key: &str) -> Result<Option<Item>> {
        let call = self.client.get_item().table_name(&self.name).key(KEY, S(key.to_owned()));
        let answer = call.consistent_read(true).send().await;
        let answer = answer.map_err(|error| self.fault("dynamodb:GetItem", error))?;
        answer.item.map(|item| self.item(item)).transpose()
    }

    /// Every whole item whose key begins with `prefix`, in no order.
    pub(super) async fn scan(&self, prefix: &str) -> Result<Vec<Item>> {
        self.pages(self.client.scan(), prefix).await
    }

    /// A table may hold the leases of other stages and pipelines, and a page nothing else.
    async fn pages(&self, call: ScanFluentBuilder, prefix: &str) -> Result<Vec<Item>> {
        let call = call
            .table_name(&self.name)
            .filter_expression(format!("begins_with(#{KEY}, :prefix)"))
            .expression_attribute_names(format!("#{KEY}"), KEY)
            .expression_attribute_values(":prefix", S(prefix.to_owned()));
        let mut pages = call.into_paginator().send();
        let mut items = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.fault("dynamodb:Scan", error))?;
            for item in page.items.into_iter().flatten() {
                items.push(self.item(item)?);
            }
        }
        Ok(items)
    }

    /// Makes the item of a lease that nobody holds yet, unless it is there.
    pub(super) async fn create(&self, key: &str, shard: &Shard) -> Result<()> {
        let zero = || N("0".to_owned());
        let mut call = self
            .client
            .put_item()
            .table_name(&self.name)
            .item(KEY, S(key.to_owned()))
            .item(COUNTER, zero())
            .item(CHECKPOINT, S(TRIM_HORIZON.to_owned()))
            .item(SUB_SEQUENCE, zero())
            .item(SWITCHES, zero());
        if !shard.parents.is_empty() {
            call = call.item(PARENTS, Ss(shard.parents.iter().map(|parent| parent.0.clone()).collect()));
        }
        let condition = "attribute_not_exists(#key)";
        let made = call.condition_expression(condition).expression_attribute_names("#key", KEY).send().await;
        match made {
            Err(SdkError::ServiceError(error)) if is_there(error.err()) => Ok(()),
            Err(error) => Err(self.fault("dynamodb:PutItem", error)),
            Ok(_) => Ok(()),
        }
    }

    /// Makes `change` and raises the counter, if the counter is still `counter` and, where it is given, the owner
    /// still `owner`.
    pub(super) async fn write(
        &self,
        key: &str,
        counter: u64,
        owner: Option<&str>,
        mut change: Change,
    ) -> Result<Written> {
        change.set.push((COUNTER, number(&(counter + 1))));
        let mut names: HashMap<String, String> = change.names().map(name).collect();
        names.extend([name(COUNTER)]);
        let mut condition = format!("#{COUNTER} = :known");
        let mut call = self.client.update_item().expression_attribute_values(":known", number(&counter));
        if let Some(owner) = owner {
            names.extend([name(OWNER)]);
            condition.push_str(" AND #leaseOwner = :owner");
            call = call.expression_attribute_values(":owner", S(owner.to_owned()));
        }
        let expression = change.expression();
        for (name, value) in change.set {
            call = call.expression_attribute_values(format!(":{name}"), value);
        }
        if !change.add.is_empty() {
            call = call.expression_attribute_values(":one", number(&1));
        }
        let written = call
            .table_name(&self.name)
            .key(KEY, S(key.to_owned()))
            .update_expression(expression)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match written {
            Ok(_) => Ok(Written::Made),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                let UpdateItemError::ConditionalCheckFailedException(refused) = error.into_err() else {
                    return Ok(Written::Refused(None));
                };
                let there = refused.item.map(|item| self.item(item)).transpose()?;
                Ok(Written::Refused(there.map(Into::into)))
            }
            Err(error) => Err(self.fault("dynamodb:UpdateItem", error)),
        }
    }

    fn item(&self, mut item: HashMap<String, AttributeValue>) -> Result<Item> {
        let mut text = |name| match item.remove(name) {
            Some(S(text)) => Some(text),
            _ => None,
        };
        let key = text(KEY);
        let (owner, checkpoint, position, object) =
            (text(OWNER), text(CHECKPOINT), text(POSITION), text(CUT_OBJECT));
        let count = |name| match item.get(name) {
            Some(N(number)) => number.parse::<i64>().ok(),
            _ => None,
        };
        let unsigned = |name| count(name).and_then(|count| u64::try_from(count).ok());
        let Some((key, counter)) = key.zip(unsigned(COUNTER)) else { return Err(self.other_schema()) };
        Ok(Item {
            key,
            owner,
            counter,
            ended: checkpoint.as_deref() == Some(SHARD_END),
            pending: item.get(PENDING) == Some(&Bool(true)),
            saves: unsigned(SAVES).unwrap_or_default(),
            saved_ms: count(SAVED).unwrap_or_default(),
            position,
            cut: item
                .remove(CUT)
                .and_then(|cut| if let B(cut) = cut { Some(cut.into_inner()) } else { None }),
            object,
        })
    }

    fn fault<E>(&self, action: &'static str, error: SdkError<E, HttpResponse>) -> BackendError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        // The key is all that can be wrong with a request to read an item.
        let about_keys =
            action.ends_with("GetItem") || error.message().is_some_and(|why| why.contains("key"));
        if error.code() == Some("ValidationException") && about_keys {
            return self.other_schema();
        }
        Call { action, kind: "table", name: &self.name }.fault(error)
    }

    fn other_schema(&self) -> BackendError {
        BackendError::Refused {
            what: format!(
                "table {} is no table of leases: its partition key must be {KEY}, a string, without a sort key, and \
                 every item have a {COUNTER}; create one (infra/deploy.sh does), or name another in [aws] table",
                &self.name
            ),
            source: None,
        }
    }
}

impl Change {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        let set = self.set.iter().map(|(name, _)| *name);
        set.chain(self.add.iter().copied()).chain(self.remove.iter().copied())
    }

    /// `SET #a = :a, … ADD #b :one, … REMOVE #c, …`
    fn expression(&self) -> String {
        let part = |verb: &str, terms: Vec<String>| {
            if terms.is_empty() { String::new() } else { format!("{verb} {} ", terms.join(", ")) }
        };
        let set = self.set.iter().map(|(name, _)| format!("#{name} = :{name}")).collect();
        let add = self.add.iter().map(|name| format!("#{name} :one")).collect();
        let remove = self.remove.iter().map(|name| format!("#{name}")).collect();
        part("SET", set) + &part("ADD", add) + &part("REMOVE", remove)
    }
}

pub(super) fn number(number: &impl ToString) -> AttributeValue {
    N(number.to_string())
}

pub(super) fn bytes(bytes: Vec<u8>) -> AttributeValue {
    B(Blob::new(bytes))
}

/// Attributes are always named by placeholders: some of them are reserved words.
fn name(name: &'static str) -> (String, String) {
    (format!("#{name}"), name.to_owned())
}

fn is_there(error: &PutItemError) -> bool {
    error.is_conditional_check_failed_exception()
}
