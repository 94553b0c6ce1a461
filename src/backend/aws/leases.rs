//! The items of one stage's leases in DynamoDB, as [`Holder`] has them written. Decides nothing.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue::S;

use crate::backend::{
    BackendError, Result, Shard, ShardId, Stage,
    aws::{
        Shared,
        table::{self, OWNER, SWITCHES, Table},
    },
    lease::{
        holder::Holder,
        table::{self as leases, Change, Item, Written},
    },
};

/// The least time that an attempt at a call may take; else a third of a lease.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// The leases of one stage.
#[derive(Debug)]
pub(super) struct Leases {
    pub(super) table: Table,
    /// `pipeline/stage/stream/`
    prefix: String,
}

impl Leases {
    /// A worker that holds none of them yet.
    pub(super) fn holder(shared: &Shared, prefix: String, stage: Stage) -> Result<Holder<Self>> {
        let random = getrandom::u64().map_err(|why| BackendError::failed("no random numbers", why))?;
        let settings = &shared.settings;
        let patience = PATIENCE.max(Duration::from_millis(settings.lease_ms / 3));
        let leases = Self { table: Table::new(shared, patience), prefix };
        let name = format!("{}-{random:016x}", settings.worker);
        Ok(Holder::new(leases, name, stage, settings.lease_ms))
    }

    pub(super) fn key(&self, shard: &ShardId) -> String {
        format!("{}{shard}", self.prefix)
    }
}

impl leases::Leases for Leases {
    type Save = table::Change;

    async fn all(&self, now: bool) -> Result<BTreeMap<ShardId, Item>> {
        let items = self.table.leases(&self.prefix, now).await?;
        let lease = |item: table::Item| {
            let shard = ShardId(item.key.strip_prefix(&self.prefix)?.to_owned());
            Some((shard, item.into()))
        };
        Ok(items.into_iter().filter_map(lease).collect())
    }

    async fn one(&self, shard: &ShardId) -> Result<Option<Item>> {
        Ok(self.table.read(&self.key(shard)).await?.map(Item::from))
    }

    async fn create(&self, shard: &Shard) -> Result<()> {
        self.table.create(&self.key(&shard.id), shard).await
    }

    async fn write(
        &self,
        shard: &ShardId,
        counter: u64,
        owner: Option<&str>,
        change: Change<table::Change>,
    ) -> Result<Written> {
        let nothing = table::Change::default();
        let change = match change {
            Change::Renew => nothing,
            Change::Take(owner) => {
                table::Change { set: vec![(OWNER, S(owner))], add: vec![SWITCHES], ..nothing }
            }
            Change::Release => table::Change { remove: vec![OWNER], ..nothing },
            Change::Save(change) => change,
        };
        self.table.write(&self.key(shard), counter, owner, change).await
    }
}

impl From<table::Item> for Item {
    fn from(item: table::Item) -> Self {
        let table::Item { owner, counter, ended, pending, object, .. } = item;
        Self { owner, counter, ended: ended && !pending, object }
    }
}
