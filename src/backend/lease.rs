//! Which worker reads which shard, after the rules of the Kinesis Client Library 2. Asks no service and no clock: `holder`
//! does, by the `table` that it is given.
//!
//! That library steals one lease at a time, and takes all that are open at once. Here a worker steals half of what it
//! lacks, and takes at most a hundred at once: else a fleet on ten thousand shards takes hours to come to rest. That library
//! looks at others every two leases; here it is every lease, so that what a dead worker read waits for two leases, not four.
//!
//! Every write to a lease raises its counter. A worker is alive as long as others see the counters of its leases rise;
//! each of them measures that with a monotonic clock of its own, so that no two clocks are ever compared.
//!
//! `S` names a shard and `W` a worker: a simulation of ten thousand shards gives them numbers.

pub mod holder;
mod start;
pub mod table;

use std::{collections::BTreeMap, hash::Hash};

use hashbrown::HashMap;

use crate::backend::ShardId;

/// What a third of a lease is exceeded by between two renewals, and two leases by a cycle, in milliseconds (KCL 2,
/// `LeaseCoordinator`, has it for the cycle).
const MARGIN_MS: u64 = 25;
/// Renewals in a lease's time, and a little more (KCL 2, `LeaseCoordinator`).
const RENEWALS: u64 = 3;
/// After so many leases' time an orphan is taken by anybody, whatever the fair share (KCL 2, `DynamoDBLeaseTaker`).
const VERY_OLD: u64 = 3;
/// Leases that one look takes at most: they are taken one after the other, and renewals wait. It is also what a fleet
/// that starts on an empty table, where each worker thinks itself alone, wastes.
const MOST_TAKEN: usize = 100;

/// Whose a lease is, as its item says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner<W = String> {
    /// Nobody's: it was never taken, or given up.
    Nobody,
    /// This worker's.
    Me,
    /// This other worker's, which may be dead.
    Other(W),
}

impl<W: PartialEq> Owner<W> {
    /// What an item shows `me`, unless I know better: I may have written since the look.
    pub fn of(is_held: bool, there: Option<W>, me: &W) -> Self {
        match there {
            _ if is_held => Self::Me,
            Some(owner) if owner != *me => Self::Other(owner),
            // What I took or gave up by a write whose answer was lost is to be had.
            Some(_) | None => Self::Nobody,
        }
    }
}

/// A lease, as its item shows it.
#[derive(Clone, Debug)]
pub struct Seen<S = ShardId, W = String> {
    /// Of which shard.
    pub shard: S,
    /// Whose it is.
    pub owner: Owner<W>,
    /// Raised by each write.
    pub counter: u64,
    /// The shard was read to its end and nothing of it is left to send: nobody needs the lease.
    pub ended: bool,
}

/// What is to be thought of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Held by this worker.
    Mine,
    /// To be had: nobody's, or its owner was silent for longer than a lease lasts.
    Open,
    /// Its owner renewed it while this worker looked on.
    Living,
    /// Its owner was not watched for long enough.
    Unproven,
}

/// What to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan<S = ShardId> {
    /// The leases to take, on the condition that their counters are still those that were seen.
    pub take: Vec<S>,
    /// What is to be taken is a living worker's; see [`Book::stole`].
    pub steals: bool,
    /// Some lease is in hands of which nobody knows whether they live.
    pub undecided: bool,
    /// With which renewal from now the next look is due: the first that would find somebody dead. In a fleet at rest that
    /// is the third, for at each look all have written since the last one. If there may be more to take, the next.
    pub next: u64,
}

/// What a worker has seen of the leases. Times are milliseconds of its own monotonic clock.
#[derive(Debug)]
pub struct Book<S = ShardId, W = String> {
    lease_ms: u64,
    watched: HashMap<S, Watched<W>>,
    /// No lease is stolen before: at first the dead are found out, and then others see what was stolen, and look again.
    steal_from_ms: Option<u64>,
    /// Renewals before the next look.
    rest: u64,
}

/// How often a worker renews what it holds, in milliseconds.
#[must_use]
pub const fn renew_every_ms(lease_ms: u64) -> u64 {
    lease_ms / RENEWALS + MARGIN_MS
}

#[derive(Debug)]
struct Watched<W> {
    owner: Owner<W>,
    counter: u64,
    since_ms: u64,
    /// Somebody's write was seen since the watch began.
    moved: bool,
}

impl<S: Clone + Eq + Hash, W: Clone + Ord> Book<S, W> {
    /// Nothing seen yet of leases that last this long, in milliseconds.
    #[must_use]
    pub fn new(lease_ms: u64) -> Self {
        Self { lease_ms, watched: HashMap::new(), steal_from_ms: None, rest: 0 }
    }

    /// Whether this renewal may do without a look. What was lost shows without one: the renewal is refused.
    pub const fn may_skip(&mut self) -> bool {
        let may = self.rest > 0;
        self.rest = self.rest.saturating_sub(1);
        may
    }

    /// The next look is due with this renewal from now, 1 being the next.
    pub const fn look_with(&mut self, renewal: u64) {
        self.rest = renewal.saturating_sub(1);
    }

    /// Notes what a look at the table showed. It may show what was a moment ago: a counter that goes back passes for a
    /// write, so that nobody counts as dead the sooner for it.
    pub fn look(&mut self, now_ms: u64, seen: &[Seen<S, W>]) {
        for Seen { shard, owner, counter, .. } in seen {
            match self.watched.get_mut(shard) {
                Some(known) if known.counter == *counter && known.owner == *owner => {}
                Some(known) => {
                    known.owner.clone_from(owner);
                    (known.counter, known.since_ms, known.moved) = (*counter, now_ms, true);
                }
                None => {
                    let (owner, counter) = (owner.clone(), *counter);
                    let first = Watched { owner, counter, since_ms: now_ms, moved: false };
                    self.watched.insert(shard.clone(), first);
                }
            }
        }
    }

    /// What is to be thought of `lease` as it was last looked at.
    #[must_use]
    pub fn standing(&self, now_ms: u64, lease: &Seen<S, W>) -> Standing {
        let silent_ms = self.silent_ms(now_ms, lease);
        let moved = self.watched.get(&lease.shard).is_some_and(|known| known.moved);
        match lease.owner {
            Owner::Me => Standing::Mine,
            Owner::Nobody => Standing::Open,
            Owner::Other(_) if silent_ms > self.lease_ms => Standing::Open,
            Owner::Other(_) if moved => Standing::Living,
            Owner::Other(_) => Standing::Unproven,
        }
    }

    /// Which of the leases that were just looked at this worker is to take: its fair share of what is open, else half
    /// of what it lacks, of workers that have too many. `random` decides between equals.
    pub fn plan(&mut self, now_ms: u64, seen: &[Seen<S, W>], mut random: impl FnMut() -> u64) -> Plan<S> {
        let may_steal = self.may_steal(now_ms);
        let wanted: Vec<&Seen<S, W>> = seen.iter().filter(|lease| !lease.ended).collect();
        let (mut mine, mut open, mut undecided, mut silent_ms) = (0, Vec::new(), false, 0);
        let mut loads: BTreeMap<&W, Vec<&Seen<S, W>>> = BTreeMap::new();
        for &lease in &wanted {
            match (self.standing(now_ms, lease), &lease.owner) {
                (Standing::Open, _) => open.push((!self.is_very_old(now_ms, lease), random(), lease)),
                (standing, Owner::Other(owner)) => {
                    loads.entry(owner).or_default().push(lease);
                    undecided |= standing == Standing::Unproven;
                    silent_ms = silent_ms.max(self.silent_ms(now_ms, lease));
                }
                (_, Owner::Me | Owner::Nobody) => mine += 1,
            }
        }
        let target = wanted.len().div_ceil(loads.len() + 1);
        let need = target.saturating_sub(mine);
        open.sort_by_key(|(young, random, _)| (*young, *random));
        let due = open.iter().enumerate().filter(|(at, (young, ..))| *at < need || !young);
        let mut take: Vec<S> = due.map(|(_, (.., lease))| lease.shard.clone()).collect();
        let stolen = if may_steal && open.is_empty() {
            surplus(&loads, target, need, &mut random)
        } else {
            Vec::new()
        };
        take.extend(stolen.iter().map(|lease| lease.shard.clone()));
        undecided |= take.len() > MOST_TAKEN;
        take.truncate(MOST_TAKEN);
        let left_ms = self.lease_ms.saturating_sub(silent_ms);
        let next = if undecided { 1 } else { left_ms / renew_every_ms(self.lease_ms) + 1 };
        Plan { take, steals: !stolen.is_empty(), undecided, next }
    }

    /// A lease was stolen: the next waits for a cycle. Who lost the race for one tries again at the next look.
    pub fn stole(&mut self, now_ms: u64) {
        self.steal_from_ms = Some(now_ms + self.cycle_ms());
    }

    fn may_steal(&mut self, now_ms: u64) -> bool {
        let first = now_ms + self.cycle_ms();
        *self.steal_from_ms.get_or_insert(first) <= now_ms
    }

    fn cycle_ms(&self) -> u64 {
        (self.lease_ms + MARGIN_MS) * 2
    }

    fn is_very_old(&self, now_ms: u64, lease: &Seen<S, W>) -> bool {
        self.silent_ms(now_ms, lease) > self.lease_ms * VERY_OLD
    }

    /// How long ago its last write was first seen.
    fn silent_ms(&self, now_ms: u64, lease: &Seen<S, W>) -> u64 {
        self.watched.get(&lease.shard).map_or(0, |known| now_ms.saturating_sub(known.since_ms))
    }
}

/// Half of what this worker lacks, so that many newcomers do not overshoot, of what others have beyond their share: of each
/// the first leases, so that two thieves race for one instead of taking two. One of a worker's that has just its share, if
/// nobody has more, but this one lacks more than one.
fn surplus<'s, S, W>(
    loads: &BTreeMap<&W, Vec<&'s Seen<S, W>>>,
    target: usize,
    need: usize,
    random: &mut impl FnMut() -> u64,
) -> Vec<&'s Seen<S, W>> {
    let over = loads.values().filter(|leases| need > 0 && leases.len() > target);
    let over = over.flat_map(|leases| leases.iter().take(leases.len() - target));
    let mut over: Vec<(u64, &Seen<S, W>)> = over.map(|lease| (random(), *lease)).collect();
    over.sort_unstable_by_key(|(random, _)| *random);
    if !over.is_empty() {
        return over.into_iter().map(|(_, lease)| lease).take(need.div_ceil(2)).collect();
    }
    let full = loads.values().filter(|leases| need > 1 && leases.len() == target).flatten();
    full.copied().max_by_key(|_| random()).into_iter().collect()
}

#[cfg(test)]
mod tests;
