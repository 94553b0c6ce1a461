//! The contract on the embedded backend.

use logtally::backend::{
    Stream,
    embedded::{Embedded, Settings},
};
use tempfile::TempDir;

use super::{Place, TestClock, append, placed, state, stream};

const RETENTION_MS: i64 = 24 * 3_600_000;

struct Directory {
    directory: TempDir,
    clock: TestClock,
}

impl Directory {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), clock: TestClock::new() }
    }
}

impl Place for Directory {
    type Backend = Embedded;

    async fn open(&self) -> Embedded {
        let settings = Settings {
            tip_wait_ms: 10,
            ..Settings::new(self.directory.path().join("state.db"), self.clock.clock())
        };
        Embedded::open(settings).await.unwrap()
    }

    fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// Old records are deleted as new ones come: these go to the first shard, too.
    async fn expire(&self, backend: &Embedded, stream: Stream) {
        self.clock.advance(RETENTION_MS + 1);
        loop {
            append(backend, stream, vec![placed(0, "new"); 64]).await;
            let stats = backend.stream_stats(stream).await.unwrap();
            let mut oldest = stats.iter().filter_map(|shard| shard.arrivals);
            if oldest.all(|(first, _)| first >= self.clock.now()) {
                return;
            }
        }
    }
}

macro_rules! contract {
    ($($part:ident::$name:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $part::$name(&Directory::new()).await;
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
    state::saves_a_cut_and_its_outbox_once,
    state::gives_a_stage_to_one_holder,
    state::gives_a_shard_to_one_holder,
    state::adds_a_parcel_once,
    state::keeps_the_cut_of_an_unknown_shard_apart,
}
