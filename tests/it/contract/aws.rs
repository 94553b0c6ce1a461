//! The contract on the AWS backend, its services played by doubles.

use std::time::Duration;

use logtally::backend::{
    Stream,
    aws::{Aws, Clients, Settings},
    embedded,
};
use tempfile::TempDir;

use super::{Place, TestClock, stream};
use crate::aws::double::Kinesis;

const RETENTION_MS: i64 = 24 * 3_600_000;

struct Doubles {
    kinesis: Kinesis,
    directory: TempDir,
    clock: TestClock,
}

impl Doubles {
    async fn new() -> Self {
        Self {
            kinesis: Kinesis::start().await,
            directory: tempfile::tempdir().unwrap(),
            clock: TestClock::going(),
        }
    }
}

impl Place for Doubles {
    type Backend = Aws;

    async fn open(&self) -> Aws {
        let local = embedded::Settings::new(self.directory.path().join("local.db"), self.clock.clock());
        let settings =
            Settings { tip_wait_ms: 10, local: Some(local), ..Settings::new("worker", self.clock.clock()) };
        Aws::open(Clients::new(&self.kinesis.config), settings).await.unwrap()
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

macro_rules! contract {
    ($($part:ident::$name:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $part::$name(&Doubles::new().await).await;
            }
        )+
    };
}

contract! {
    stream::keeps_the_order_within_a_shard,
    stream::gives_back_what_was_appended,
    stream::divides_the_whole_hash_space,
    stream::places_by_hash_key_or_md5,
    stream::keeps_what_it_acknowledged,
    stream::starts_where_it_is_told,
    stream::refuses_a_shard_it_does_not_have,
    stream::refuses_what_kinesis_would,
    stream::is_complete_to_the_time_of_asking_at_the_tip,
    stream::stamps_arrivals_in_order_whatever_the_clock_does,
    stream::reads_what_several_processes_append,
    stream::never_gives_what_it_declared_complete,
    stream::takes_appends_at_once,
    stream::loses_nothing_when_a_read_is_cancelled,
    stream::says_what_is_gone,
    stream::stores_sources_with_their_records,
}
