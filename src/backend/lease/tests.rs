//! The rules one by one, and fleets of workers that join, leave and die, each with a clock of its own.

use proptest::prelude::*;

use super::*;

const LEASE_MS: u64 = 300;
const THIRD_MS: u64 = LEASE_MS / 3;
/// From one renewal to the next; the writes that follow from a look come up to so much later.
const RENEW_MS: u64 = renew_every_ms(LEASE_MS);
const LATENCY_MS: u64 = 30;

fn lease(number: usize, owner: &str, counter: u64) -> Seen {
    let owner = match owner {
        "" => Owner::Nobody,
        "me" => Owner::Me,
        other => Owner::Other(other.to_owned()),
    };
    Seen { shard: shard(number), owner, counter, ended: false }
}

fn shard(number: usize) -> ShardId {
    ShardId(format!("shardId-{number:012}"))
}

fn cycle_ms() -> u64 {
    Book::<ShardId>::new(LEASE_MS).cycle_ms()
}

/// Looks at `seen` at `now_ms` and plans.
fn planned(book: &mut Book, now_ms: u64, seen: &[Seen]) -> (usize, bool) {
    book.look(now_ms, seen);
    let plan = book.plan(now_ms, seen, || 0);
    if plan.steals {
        book.stole(now_ms);
    }
    (plan.take.len(), plan.undecided)
}

#[test]
fn what_is_nobodys_is_taken_at_once_up_to_the_fair_share() {
    let mut book = Book::new(LEASE_MS);
    let free: Vec<Seen> = (0..4).map(|number| lease(number, "", 0)).collect();
    assert_eq!(planned(&mut book, 0, &free), (4, false));
    let shared = [lease(0, "a", 1), lease(1, "", 0), lease(2, "", 0), lease(3, "", 0)];
    assert_eq!(planned(&mut Book::new(LEASE_MS), 0, &shared), (2, true));
    let mut ended = lease(1, "", 0);
    ended.ended = true;
    assert_eq!(planned(&mut Book::new(LEASE_MS), 0, &[ended]), (0, false));
}

#[test]
fn a_silent_owner_is_dead_after_the_lease_and_a_loud_one_is_not() {
    let mut book = Book::new(LEASE_MS);
    assert_eq!(planned(&mut book, 1_000, &[lease(0, "a", 7)]), (0, true));
    assert_eq!(
        planned(&mut book, 1_000 + LEASE_MS, &[lease(0, "a", 7)]),
        (0, true),
        "not longer than a lease"
    );
    assert_eq!(planned(&mut book, 1_100 + LEASE_MS, &[lease(0, "a", 8)]), (0, false), "renewed in time");
    assert_eq!(planned(&mut book, 1_100 + 2 * LEASE_MS, &[lease(0, "a", 8)]), (0, false));
    assert_eq!(planned(&mut book, 1_101 + 2 * LEASE_MS, &[lease(0, "a", 8)]), (1, false));
    assert_eq!(book.standing(1_101 + 2 * LEASE_MS, &lease(0, "a", 8)), Standing::Open);
}

#[test]
fn a_newcomer_steals_half_of_what_it_lacks_a_cycle_and_nothing_in_the_first() {
    let mut book = Book::new(LEASE_MS);
    let mut stolen = Vec::new();
    let held = |counter, mine: usize| -> Vec<Seen> {
        (0..6).map(|number| lease(number, if number < mine { "me" } else { "a" }, counter)).collect()
    };
    for look in 0..50 {
        let (taken, _) = planned(&mut book, look * THIRD_MS, &held(look, stolen.len()));
        stolen.extend(vec![look * THIRD_MS; taken]);
    }
    let cycle = book.cycle_ms();
    assert_eq!(stolen.len(), 3, "half of six: {stolen:?}");
    assert!(stolen[0] >= cycle && stolen[0] == stolen[1] && stolen[2] - stolen[1] >= cycle, "{stolen:?}");
}

#[test]
fn who_lost_the_race_for_a_lease_steals_at_the_next_look() {
    let mut book: Book = Book::new(LEASE_MS);
    let held = |counter| [lease(0, "a", counter), lease(1, "a", counter)];
    let looks = 2 * book.cycle_ms() / THIRD_MS;
    let stealing = (0..looks).filter(|look| {
        book.look(look * THIRD_MS, &held(*look));
        book.plan(look * THIRD_MS, &held(*look), || 0).steals
    });
    assert_eq!(
        stealing.count() as u64,
        looks - book.cycle_ms().div_ceil(THIRD_MS),
        "all but the first cycle"
    );
}

#[test]
fn nothing_is_stolen_where_something_is_open() {
    let mut book = Book::new(LEASE_MS);
    let seen = |counter| {
        let mut seen: Vec<Seen> = (0..5).map(|number| lease(number, "a", counter)).collect();
        seen[4] = lease(4, "dead", 1);
        seen
    };
    book.look(0, &seen(0));
    book.look(LEASE_MS, &seen(1));
    let now_ms = 2 * book.cycle_ms();
    book.look(now_ms, &seen(2));
    let _ = book.plan(0, &seen(2), || 0);
    let plan = book.plan(now_ms, &seen(2), || 0);
    assert_eq!(plan.take, [shard(4)]);
}

#[test]
fn one_look_takes_a_hundred_leases_at_most_and_says_that_there_are_more() {
    let free: Vec<Seen> = (0..=MOST_TAKEN).map(|number| lease(number, "", 0)).collect();
    assert_eq!(planned(&mut Book::new(LEASE_MS), 0, &free), (MOST_TAKEN, true));
    assert_eq!(planned(&mut Book::new(LEASE_MS), 0, &free[1..]), (MOST_TAKEN, false));
}

#[test]
fn what_nobody_takes_for_long_is_taken_beyond_the_fair_share() {
    let mut book = Book::new(LEASE_MS);
    let seen =
        |counter| [lease(0, "me", counter), lease(1, "a", counter), lease(2, "", 0), lease(3, "me", 0)];
    for look in 0..=9 {
        assert_eq!(planned(&mut book, look * THIRD_MS, &seen(look)).0, 0, "the other one's to take");
    }
    assert_eq!(planned(&mut book, 9 * THIRD_MS + 1, &seen(10)).0, 1);
}

#[test]
fn a_look_is_due_with_every_third_renewal_or_when_somebody_would_be_found_dead() {
    for lease_ms in [300, 2_000, 10_001] {
        assert!(3 * renew_every_ms(lease_ms) > lease_ms, "who renewed nothing between two looks is dead");
        let cycle_ms = Book::<ShardId>::new(lease_ms).cycle_ms();
        assert!(6 * renew_every_ms(lease_ms) >= cycle_ms, "every other look may steal");
    }
    let mut book = Book::new(LEASE_MS);
    let mut next = |renewal: u64, counter| {
        let seen = [lease(0, "me", renewal), lease(1, "a", counter)];
        book.look(renewal * RENEW_MS, &seen);
        book.plan(renewal * RENEW_MS, &seen, || 0).next
    };
    assert_eq!(next(0, 1), 1, "nobody is known to live");
    assert_eq!([next(1, 2), next(4, 3)], [3, 3]);
    assert_eq!([next(5, 3), next(6, 3)], [2, 1], "looks that came early");
    assert_eq!(book.standing(7 * RENEW_MS, &lease(1, "a", 3)), Standing::Open);

    book.look_with(3);
    assert_eq!([(); 4].map(|()| book.may_skip()), [true, true, false, false]);
    book.look_with(1);
    assert!(!book.may_skip());
}

/// What happens to the fleet.
#[derive(Clone, Copy, Debug)]
enum Event {
    Join,
    /// Gives up what it holds.
    Leave(usize),
    /// Says nothing any more.
    Die(usize),
}

#[derive(Debug)]
struct Worker {
    name: String,
    book: Book,
    /// What its clock shows more than the others'.
    ahead_ms: u64,
    /// With the counters that it knows.
    held: BTreeMap<usize, u64>,
    next_ms: u64,
    /// What its last look showed; acted on at `next_ms`.
    seen: Option<Vec<Seen>>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    owner: String,
    counter: u64,
    changed_ms: u64,
}

/// A table and its workers.
struct Fleet {
    table: Vec<Row>,
    workers: Vec<Worker>,
    joined: usize,
    now_ms: u64,
    seed: u64,
}

impl Fleet {
    fn new(leases: usize, seed: u64) -> Self {
        Self { table: vec![Row::default(); leases], workers: Vec::new(), joined: 0, now_ms: 0, seed }
    }

    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.seed >> 33
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Join => {
                self.joined += 1;
                let (name, book) = (format!("w{}", self.joined), Book::new(LEASE_MS));
                let ahead_ms = self.random() % 1_000_000;
                let (held, next_ms) = (BTreeMap::new(), self.now_ms);
                self.workers.push(Worker { name, book, ahead_ms, held, next_ms, seen: None });
            }
            Event::Leave(which) | Event::Die(which) if !self.workers.is_empty() => {
                let worker = self.workers.remove(which % self.workers.len());
                for (lease, counter) in worker.held {
                    if matches!(event, Event::Leave(_)) {
                        self.write(lease, counter, "");
                    }
                }
            }
            Event::Leave(_) | Event::Die(_) => {}
        }
    }

    /// A conditional write: the counter, if it was made.
    fn write(&mut self, lease: usize, counter: u64, owner: &str) -> Option<u64> {
        let row = &mut self.table[lease];
        let changed_ms = if row.owner == owner { row.changed_ms } else { self.now_ms };
        let made = row.counter == counter;
        if made {
            *row = Row { owner: owner.to_owned(), counter: counter + 1, changed_ms };
        }
        made.then_some(counter + 1)
    }

    fn run(&mut self, for_ms: u64) {
        let end = self.now_ms + for_ms;
        while self.now_ms < end {
            for at in 0..self.workers.len() {
                if self.workers[at].next_ms <= self.now_ms {
                    self.act(at);
                }
            }
            self.assert_alone();
            self.now_ms += 5;
        }
    }

    fn act(&mut self, at: usize) {
        let Some(seen) = self.workers[at].seen.take() else {
            if self.workers[at].book.may_skip() {
                let mut worker = self.workers.remove(at);
                self.renew(&mut worker);
                worker.next_ms = self.now_ms + RENEW_MS - LATENCY_MS + self.random() % LATENCY_MS;
                self.workers.insert(at, worker);
                return;
            }
            let name = self.workers[at].name.clone();
            let view = |(number, row): (usize, &Row)| {
                let owner = if row.owner == name { "me" } else { &row.owner };
                lease(number, owner, row.counter)
            };
            self.workers[at].seen = Some(self.table.iter().enumerate().map(view).collect());
            self.workers[at].next_ms = self.now_ms + self.random() % LATENCY_MS;
            return;
        };
        let mut worker = self.workers.remove(at);
        self.renew(&mut worker);
        let clock_ms = self.now_ms + worker.ahead_ms;
        worker.book.look(clock_ms, &seen);
        let plan = worker.book.plan(clock_ms, &seen, || self.random());
        for (number, lease) in seen.iter().enumerate().filter(|(_, lease)| plan.take.contains(&lease.shard)) {
            let taken = self.write(number, lease.counter, &worker.name);
            if taken.is_some() && plan.steals {
                worker.book.stole(clock_ms);
            }
            worker.held.extend(taken.map(|counter| (number, counter)));
        }
        worker.book.look_with(plan.next);
        worker.next_ms = self.now_ms + RENEW_MS - LATENCY_MS + self.random() % LATENCY_MS;
        self.workers.insert(at, worker);
    }

    fn renew(&mut self, worker: &mut Worker) {
        for (lease, counter) in std::mem::take(&mut worker.held) {
            worker.held.extend(self.write(lease, counter, &worker.name).map(|counter| (lease, counter)));
        }
    }

    /// Who believes to hold what it lost finds out before it could have been thought dead itself.
    fn assert_alone(&self) {
        for worker in &self.workers {
            for lease in worker.held.keys() {
                let Row { owner, changed_ms, .. } = &self.table[*lease];
                let lost_ms = self.now_ms - changed_ms;
                assert!(
                    *owner == worker.name || lost_ms <= RENEW_MS + LATENCY_MS,
                    "{} holds {lease}",
                    worker.name
                );
            }
        }
    }

    fn loads(&self) -> Vec<usize> {
        let owned = |worker: &Worker| self.table.iter().filter(|row| row.owner == worker.name).count();
        self.workers.iter().map(owned).collect()
    }
}

fn event() -> impl Strategy<Value = (u64, Event)> {
    let event = prop_oneof![
        3 => Just(Event::Join),
        1 => any::<usize>().prop_map(Event::Leave),
        1 => any::<usize>().prop_map(Event::Die),
    ];
    (0..4 * LEASE_MS, event)
}

proptest! {
    #[test]
    fn a_fleet_holds_every_lease_once_and_evenly(
        leases in 1_usize..13,
        events in prop::collection::vec(event(), 0..12),
        seed: u64,
    ) {
        let mut fleet = Fleet::new(leases, seed);
        for (after_ms, event) in events {
            fleet.run(after_ms);
            fleet.happen(event);
        }
        fleet.happen(Event::Join);
        let cycle_ms = cycle_ms();
        fleet.run((leases as u64 + 3) * cycle_ms);
        let loads = fleet.loads();
        prop_assert_eq!(loads.iter().sum::<usize>(), leases, "every lease is in living hands: {:?}", loads);
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{loads:?}");
        let owners = |fleet: &Fleet| fleet.table.iter().map(|row| row.owner.clone()).collect::<Vec<_>>();
        let before = owners(&fleet);
        fleet.run(3 * cycle_ms);
        prop_assert_eq!(before, owners(&fleet), "a fleet that nobody joins or leaves is at rest");
    }

    #[test]
    fn what_a_dead_worker_held_is_held_again_within_the_expiry(leases in 1_usize..9, seed: u64) {
        let mut fleet = Fleet::new(leases, seed);
        fleet.happen(Event::Join);
        fleet.happen(Event::Join);
        fleet.run((leases as u64 + 3) * cycle_ms());
        fleet.happen(Event::Die(0));
        // Seen last at a look, a lease's time after the death; counted as dead at another, a lease and at most a renewal
        // later; and each renewal a little late.
        fleet.run(LEASE_MS + (3 + 1) * (RENEW_MS + LATENCY_MS) + LATENCY_MS);
        prop_assert_eq!(fleet.loads(), [leases]);
    }
}
