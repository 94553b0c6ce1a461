//! The contract on the AWS backend, its services played by doubles.

use std::time::Duration;

use logtally::backend::{
    Stream,
    aws::{Aws, Clients, Settings},
    embedded,
};
use tempfile::TempDir;

use super::{Place, TestClock, state, stream};
use crate::aws::{
    bridge::Bridge,
    double::Kinesis,
    moto::{Moto, config},
};

const RETENTION_MS: i64 = 24 * 3_600_000;

struct Doubles {
    kinesis: Kinesis,
    directory: TempDir,
    clock: TestClock,
    fan_out: bool,
    /// `DynamoDB` and `CloudWatch`, where a part of the contract needs them.
    state: Option<(Moto, Bridge)>,
}

impl Doubles {
    async fn new() -> Self {
        Self {
            kinesis: Kinesis::start().await,
            directory: tempfile::tempdir().unwrap(),
            clock: TestClock::going(),
            fan_out: false,
            state: None,
        }
    }

    async fn with_state() -> Self {
        let moto = Moto::start();
        moto.create_table_of_leases("logtally-leases").await;
        moto.create_ledger("logtally-ledger").await;
        let bridge = Bridge::start(moto.endpoint());
        Self { state: Some((moto, bridge)), ..Self::new().await }
    }

    async fn with_fan_out() -> Self {
        Self { fan_out: true, ..Self::new().await }
    }
}

impl Place for Doubles {
    type Backend = Aws;

    async fn open(&self) -> Aws {
        let local = embedded::Settings::new(self.directory.path().join("local.db"), self.clock.clock());
        let settings = Settings {
            tip_wait_ms: 10,
            fan_out: self.fan_out,
            local: Some(local),
            ..Settings::new("worker", self.clock.clock())
        };
        let clients = match &self.state {
            // The bridge hands on what is not for CloudWatch.
            Some((_, bridge)) => Clients::new(&config(bridge.endpoint())).with_kinesis(&self.kinesis.config),
            None => Clients::new(&self.kinesis.config),
        };
        Aws::open(clients, settings).await.unwrap()
    }

    fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// Kinesis keeps its own time: by this machine's, retention is over.
    async fn expire(&self, _: &Aws, _: Stream) {
        self.clock.advance(RETENTION_MS + 1);
    }

    fn stamps_by_clock(&self) -> bool {
        false
    }

    fn counts_what_is_gone(&self) -> bool {
        false
    }

    fn longest_key(&self) -> String {
        "k".repeat(256)
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(50)
    }
}

contract_of_streams!(Doubles::new());

contract! {
    Doubles::with_state();
    state::saves_a_cut_and_its_outbox_once,
    state::gives_a_shard_to_one_holder,
    state::adds_a_parcel_once,
    state::keeps_the_cut_of_an_unknown_shard_apart,
}

/// What differs where a shard is sent instead of asked for: reading.
mod fan_out {
    use super::{Doubles, stream};

    contract! {
        Doubles::with_fan_out();
        stream::keeps_the_order_within_a_shard,
        stream::gives_back_what_was_appended,
        stream::starts_where_it_is_told,
        stream::refuses_a_shard_it_does_not_have,
        stream::is_complete_to_the_time_of_asking_at_the_tip,
        stream::reads_what_several_processes_append,
        stream::never_gives_what_it_declared_complete,
        stream::loses_nothing_when_a_read_is_cancelled,
        stream::says_what_is_gone,
    }
}
