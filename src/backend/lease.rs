//! Which worker reads which shard, after the rules of the Kinesis Client Library 2. Asks no service and no clock.
//!
//! Every write to a lease raises its counter. A worker is alive as long as others see the counters of its leases rise;
//! each of them measures that with a monotonic clock of its own, so that no two clocks are ever compared.

use std::collections::BTreeMap;

use crate::backend::ShardId;

/// What a cycle is longer than two leases by, in milliseconds (KCL 2, `LeaseCoordinator`).
const CYCLE_MARGIN_MS: u64 = 25;
/// After so many leases' time an orphan is taken by anybody, whatever the fair share (KCL 2, `DynamoDBLeaseTaker`).
const VERY_OLD: u64 = 3;

/// Whose a lease is, as its item says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody's: it was never taken, or given up.
    Nobody,
    /// This worker's.
    Me,
    /// This other worker's, which may be dead.
    Other(String),
}

/// A lease, as its item shows it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Of which shard.
    pub shard: ShardId,
    /// Whose it is.
    pub owner: Owner,
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
pub struct Plan {
    /// The leases to take, on the condition that their counters are still those that were seen.
    pub take: Vec<ShardId>,
    /// What is to be taken is a living worker's; see [`Book::stole`].
    pub steals: bool,
    /// Some lease is in hands of which nobody knows whether they live.
    pub undecided: bool,
}

/// What a worker has seen of the leases. Times are milliseconds of its own monotonic clock.
#[derive(Debug)]
pub struct Book {
    lease_ms: u64,
    watched: BTreeMap<ShardId, Watched>,
    /// No lease is stolen before: at first the dead are found out, and then a busy worker loses one a cycle to each
    /// newcomer.
    steal_from_ms: Option<u64>,
}

#[derive(Debug)]
struct Watched {
    owner: Owner,
    counter: u64,
    since_ms: u64,
    /// Somebody's write was seen since the watch began.
    moved: bool,
}

impl Book {
    /// Nothing seen yet of leases that last this long, in milliseconds.
    #[must_use]
    pub fn new(lease_ms: u64) -> Self {
        Self { lease_ms, watched: BTreeMap::new(), steal_from_ms: None }
    }

    /// Notes what a look at the table showed.
    pub fn look(&mut self, now_ms: u64, seen: &[Seen]) {
        for Seen { shard, owner, counter, .. } in seen {
            let (owner, counter) = (owner.clone(), *counter);
            match self.watched.get_mut(shard) {
                Some(known) if known.counter == counter && known.owner == owner => {}
                Some(known) => *known = Watched { owner, counter, since_ms: now_ms, moved: true },
                None => {
                    let first = Watched { owner, counter, since_ms: now_ms, moved: false };
                    self.watched.insert(shard.clone(), first);
                }
            }
        }
    }

    /// What is to be thought of `lease` as it was last looked at.
    #[must_use]
    pub fn standing(&self, now_ms: u64, lease: &Seen) -> Standing {
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

    /// Which of the leases that were just looked at this worker is to take: its fair share of what is open, else one
    /// that another worker has too many of. `random` decides between equals.
    pub fn plan(&mut self, now_ms: u64, seen: &[Seen], mut random: impl FnMut() -> u64) -> Plan {
        let may_steal = self.may_steal(now_ms);
        let wanted: Vec<&Seen> = seen.iter().filter(|lease| !lease.ended).collect();
        let (mut mine, mut open, mut undecided) = (0, Vec::new(), false);
        let mut loads: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
        for &lease in &wanted {
            match (self.standing(now_ms, lease), &lease.owner) {
                (Standing::Open, _) => open.push((!self.is_very_old(now_ms, lease), random(), lease)),
                (standing, Owner::Other(owner)) => {
                    loads.entry(owner).or_default().push(lease);
                    undecided |= standing == Standing::Unproven;
                }
                (_, Owner::Me | Owner::Nobody) => mine += 1,
            }
        }
        let target = wanted.len().div_ceil(loads.len() + 1);
        let need = target.saturating_sub(mine);
        open.sort_by_key(|(young, random, _)| (*young, *random));
        let due = open.iter().enumerate().filter(|(at, (young, ..))| *at < need || !young);
        let mut take: Vec<ShardId> = due.map(|(_, (.., lease))| lease.shard.clone()).collect();
        let stolen =
            if may_steal && open.is_empty() { too_many(&loads, target, need, &mut random) } else { None };
        take.extend(stolen.map(|lease| lease.shard.clone()));
        Plan { take, steals: stolen.is_some(), undecided }
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
        (self.lease_ms + CYCLE_MARGIN_MS) * 2
    }

    fn is_very_old(&self, now_ms: u64, lease: &Seen) -> bool {
        self.silent_ms(now_ms, lease) > self.lease_ms * VERY_OLD
    }

    fn silent_ms(&self, now_ms: u64, lease: &Seen) -> u64 {
        self.watched.get(&lease.shard).map_or(0, |known| now_ms.saturating_sub(known.since_ms))
    }
}

/// A lease of the busiest worker, if it has more than its share, or this worker lacks more than one.
fn too_many<'s>(
    loads: &BTreeMap<&str, Vec<&'s Seen>>,
    target: usize,
    need: usize,
    random: &mut impl FnMut() -> u64,
) -> Option<&'s Seen> {
    let busiest = loads.values().max_by_key(|leases| (leases.len(), random()))?;
    let has_too_many = (need > 0 && busiest.len() > target) || (need > 1 && busiest.len() == target);
    busiest.iter().copied().filter(|_| has_too_many).max_by_key(|_| random())
}

#[cfg(test)]
mod tests;
