//! What a holder writes, and on which condition, over a table in memory that no call to fails. Tests no faults: the
//! simulation does.

use super::*;

/// The table, and of each write the counter and the owner that it was on the condition of.
#[derive(Clone, Default)]
struct Memory(Arc<std::sync::Mutex<State>>);

#[derive(Default)]
struct State {
    items: BTreeMap<ShardId, Item>,
    writes: Vec<(u64, Option<String>)>,
    /// Looks that were consistent, and those that were not.
    looks: (usize, usize),
}

impl Leases for Memory {
    type Save = bool;

    async fn all(&self, now: bool) -> Result<BTreeMap<ShardId, Item>> {
        let mut state = self.0.lock().unwrap();
        let (consistent, others) = state.looks;
        state.looks = if now { (consistent + 1, others) } else { (consistent, others + 1) };
        Ok(state.items.clone())
    }

    async fn one(&self, shard: &ShardId) -> Result<Option<Item>> {
        Ok(self.0.lock().unwrap().items.get(shard).cloned())
    }

    async fn create(&self, shard: &Shard) -> Result<()> {
        self.0.lock().unwrap().items.entry(shard.id.clone()).or_default();
        Ok(())
    }

    async fn write(
        &self,
        shard: &ShardId,
        counter: u64,
        owner: Option<&str>,
        change: Change<bool>,
    ) -> Result<Written> {
        let mut state = self.0.lock().unwrap();
        state.writes.push((counter, owner.map(str::to_owned)));
        let item = state.items.get_mut(shard).unwrap();
        if item.counter != counter || owner.is_some() && item.owner.as_deref() != owner {
            return Ok(Written::Refused(Some(item.clone())));
        }
        item.counter += 1;
        match change {
            Change::Renew => {}
            Change::Take(owner) => item.owner = Some(owner),
            Change::Release => item.owner = None,
            Change::Save(ended) => item.ended = ended,
        }
        Ok(Written::Made)
    }
}

fn shards(count: u32) -> Vec<Shard> {
    let id = |number| ShardId(format!("shardId-{number:012}"));
    let shard =
        |number| Shard { id: id(number), first_hash: 0, last_hash: 9, parents: Vec::new(), closed: false };
    (0..count).map(shard).collect()
}

/// A holder that has just taken these.
async fn holding(shards: &[Shard]) -> (Memory, Arc<Holder<Memory>>) {
    let memory = Memory::default();
    let holder = Arc::new(Holder::new(memory.clone(), "me".to_owned(), Stage::Analyze, 9_000));
    assert_eq!(holder.hold(shards).await.unwrap().shards.len(), shards.len());
    (memory, holder)
}

#[tokio::test(start_paused = true)]
async fn each_write_is_on_the_condition_of_the_one_before_and_of_its_owner() {
    let shards = shards(1);
    let (memory, holder) = holding(&shards).await;
    let tenure = holder.tenure(&shards[0].id).unwrap();
    for change in [Change::Renew, Change::Save(false)] {
        holder.write(&tenure, &mut *tenure.state.lock().await, change).await.unwrap();
    }
    holder.release(&shards[0].id).await.unwrap();
    let me = || Some("me".to_owned());
    assert_eq!(memory.0.lock().unwrap().writes, [(0, None), (1, me()), (2, me()), (3, me())]);
    assert_eq!(memory.0.lock().unwrap().items[&shards[0].id].owner, None, "others may have it at once");
    let late = holder.write(&tenure, &mut *tenure.state.lock().await, Change::Renew).await;
    assert!(matches!(late, Err(BackendError::Closed { .. })));
    assert_eq!(memory.0.lock().unwrap().writes.len(), 4, "what was given up is not written again");
}

#[tokio::test(start_paused = true)]
async fn what_a_look_shows_as_anothers_is_found_out_at_once() {
    let shards = shards(2);
    let (memory, holder) = holding(&shards).await;
    let taken = Change::Take("other".to_owned());
    let counter = memory.0.lock().unwrap().items[&shards[0].id].counter;
    assert!(matches!(memory.write(&shards[0].id, counter, None, taken).await, Ok(Written::Made)));
    // Other shards are asked for: it looks, long before a renewal is due.
    let held = holder.hold(&shards[..1]).await.unwrap();
    assert_eq!(held, Held::default());
    assert!(holder.tenure(&shards[0].id).is_none());
}

#[tokio::test(start_paused = true)]
async fn who_ended_a_shard_looks_at_once_and_twice() {
    let shards = shards(1);
    let (memory, holder) = holding(&shards).await;
    let tenure = holder.tenure(&shards[0].id).unwrap();
    holder.write(&tenure, &mut *tenure.state.lock().await, Change::Save(true)).await.unwrap();
    assert!(holder.hold(&shards).await.unwrap().ended.is_empty(), "no look is due");
    holder.note_end();
    assert_eq!(holder.hold(&shards).await.unwrap().ended, [shards[0].id.clone()]);
    assert_eq!(memory.0.lock().unwrap().looks, (1, 2), "an end is believed only as it is now");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_this_workers_already_is_taken_by_a_write_all_the_same() {
    let shards = shards(1);
    let (memory, holder) = holding(&shards).await;
    // As after a release whose answer was lost, and which was not made.
    let tenure = holder.tenure(&shards[0].id).unwrap();
    holder.forget(&tenure, &mut *tenure.state.lock().await);
    holder.write(&tenure, &mut *tenure.state.lock().await, Change::Renew).await.unwrap_err();
    let old = Seen { shard: shards[0].id.clone(), owner: Owner::Nobody, counter: 0, ended: false };
    assert!(holder.take(&shards[0], &old).await.unwrap());
    let writes = memory.0.lock().unwrap().writes.clone();
    assert_eq!(writes, [(0, None), (0, None), (1, None)]);
    let tenure = holder.tenure(&shards[0].id).unwrap();
    let tenant = tenure.state.lock().await;
    assert_eq!((tenant.counter, tenant.loaded), (2, false));
}
