//! The end of each shard, as this process last wrote it, for readers that wait there. Knows nothing of other
//! processes' writes.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

/// The last sequence number of every shard that this process has written or read.
#[derive(Debug, Default)]
pub(super) struct Tips(Mutex<HashMap<i64, watch::Sender<i64>>>);

impl Tips {
    /// The shard ends at `last` now.
    pub(super) fn set(&self, shard: i64, last: i64) {
        self.with(shard, |tip| {
            tip.send_if_modified(|known| {
                let news = last > *known;
                *known = last.max(*known);
                news
            });
        });
    }

    /// Follows the end of a shard.
    pub(super) fn watch(&self, shard: i64) -> watch::Receiver<i64> {
        self.with(shard, watch::Sender::subscribe)
    }

    fn with<T>(&self, shard: i64, f: impl FnOnce(&watch::Sender<i64>) -> T) -> T {
        let mut tips = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f(tips.entry(shard).or_insert_with(|| watch::Sender::new(0)))
    }
}
