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
        let since = self.clock.now();
        loop {
            append(backend, stream, vec![placed(0, "new"); 64]).await;
            let stats = backend.stream_stats(stream).await.unwrap();
            let mut oldest = stats.iter().filter_map(|shard| shard.arrivals);
            if oldest.all(|(first, _)| first >= since) {
                return;
            }
            // At first what is unread is kept, for the clock jumped.
            self.clock.advance(60_000);
        }
    }
}

contract_of_streams!(async { Directory::new() });

contract! {
    async { Directory::new() };
    state::saves_a_cut_and_its_outbox_once,
    state::gives_a_stage_to_one_holder,
    state::gives_a_shard_to_one_holder,
    state::adds_a_parcel_once,
    state::keeps_the_cut_of_an_unknown_shard_apart,
}
