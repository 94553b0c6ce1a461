//! Workers that come, work, go and die.

use std::collections::{BTreeMap, BTreeSet};

use logtally::backend::{
    Backend, BackendError, CheckpointStore, Outbox, SequenceNumber, Shard, ShardId, Stage,
};

use super::workers::{Office, Worker, cut, is_closed, outbox, pause, shards};

#[tokio::test]
async fn another_worker_goes_on_where_a_dead_one_stopped() {
    let office = Office::open().await;
    let shards = shards(4);
    let (dead, heir) = (office.worker("dead").await, office.worker("heir").await);
    assert_eq!(dead.hold(&shards).await.shards.len(), 4, "nobody's leases are taken at once");
    for shard in &shards {
        assert_eq!(dead.load(shard).await, None);
        dead.save(shard, cut("5@1000", shard.id.0.clone())).await.unwrap();
    }
    let first = heir.hold(&shards).await;
    assert!(first.shards.is_empty() && first.undecided, "who is dead shows in time: {first:?}");

    heir.hold_until(&shards, 4).await;
    for shard in &shards {
        let (found, outbox) = heir.load(shard).await.unwrap();
        assert_eq!((found, outbox), (cut("5@1000", shard.id.0.clone()), Outbox::Sent));
        let late = dead.save(shard, cut("6@1000", "late")).await;
        assert!(is_closed(&late), "{late:?}");
        heir.save(shard, cut("7@1000", "heir")).await.unwrap();
        assert_eq!(heir.load(shard).await.unwrap().0, cut("7@1000", "heir"));
    }
    assert!(dead.hold(&shards).await.shards.is_empty());
}

#[tokio::test]
async fn a_lease_that_is_given_up_is_had_at_once() {
    let office = Office::open().await;
    let shards = shards(2);
    let (one, other) = (office.worker("one").await, office.worker("other").await);
    one.hold_until(&shards, 2).await;
    one.load(&shards[0]).await;
    one.save(&shards[0], cut("5@1000", "last")).await.unwrap();
    one.0.release(&shards[0].id).await.unwrap();
    assert!(is_closed(&one.save(&shards[0], cut("6@1000", "after it")).await));
    assert_eq!(other.hold(&shards).await.shards, [shards[0].id.clone()]);
    assert_eq!(other.load(&shards[0]).await.unwrap().0, cut("5@1000", "last"));
    assert_eq!(one.hold(&shards).await.shards, [shards[1].id.clone()]);
    // What is not asked for any more is given up as well: a shard that ended.
    one.hold(&[]).await;
    assert_eq!(other.hold(&shards[1..]).await.shards, [shards[1].id.clone()]);
}

#[tokio::test]
async fn a_newcomer_gets_its_share_and_the_cut_of_it() {
    let office = Office::open().await;
    let shards = shards(4);
    let (old, new) = (office.worker("old").await, office.worker("new").await);
    old.hold_until(&shards, 4).await;
    for shard in &shards {
        old.load(shard).await;
        old.save(shard, cut("5@1000", "old")).await.unwrap();
    }
    let (mut olds, mut news) = (BTreeSet::new(), BTreeSet::new());
    while (olds.len(), news.len()) != (2, 2) {
        news = new.hold(&shards).await.shards.into_iter().collect();
        olds = old.hold(&shards).await.shards.into_iter().collect();
        assert!(olds.len() >= 2, "no more than its share was stolen: {olds:?}");
        pause().await;
    }
    assert!(olds.is_disjoint(&news));
    for shard in shards.iter().filter(|shard| news.contains(&shard.id)) {
        assert!(is_closed(&old.save(shard, cut("6@1000", "late")).await));
        assert_eq!(new.load(shard).await.unwrap().0, cut("5@1000", "old"));
    }
}

#[tokio::test]
async fn of_ten_workers_on_four_shards_six_are_idle() {
    let office = Office::open().await;
    let shards = shards(4);
    let mut workers = Vec::new();
    for number in 0..10 {
        workers.push(office.worker(&format!("w{number}")).await);
    }
    let mut known: BTreeSet<(usize, ShardId)> = BTreeSet::new();
    loop {
        let mut claims: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
        for (number, worker) in workers.iter().enumerate() {
            let held = worker.hold(&shards).await.shards;
            known.retain(|(of, shard)| *of != number || held.contains(shard));
            for shard in held {
                // As a stage does: the cut is loaded when the work on a shard begins, and not again.
                if known.insert((number, shard.clone())) {
                    worker.0.load(&shard).await.unwrap();
                }
                claims.entry(shard).or_default().push(number);
            }
        }
        let mut holders = BTreeSet::new();
        for shard in &shards {
            let mut saved = Vec::new();
            for number in claims.get(&shard.id).into_iter().flatten() {
                if workers[*number].save(shard, cut("5@1000", "cut")).await.is_ok() {
                    saved.push(*number);
                }
            }
            assert!(saved.len() <= 1, "{saved:?} work on {} at once", shard.id);
            holders.extend(saved);
        }
        if holders.len() == 4 && claims.values().all(|workers| workers.len() == 1) {
            return;
        }
        pause().await;
    }
}

#[tokio::test]
async fn a_shard_is_ended_when_nothing_of_it_is_left_to_send() {
    let office = Office::open().await;
    let mut shards = shards(3);
    shards[2].parents = vec![shards[0].id.clone(), shards[1].id.clone()];
    let (one, other) = (office.worker("one").await, office.worker("other").await);
    one.hold_until(&shards[..2], 2).await;
    let mut end = cut("9@1000", "end");
    end.ended = true;
    for shard in &shards[..2] {
        one.load(shard).await;
    }
    one.save(&shards[0], end.clone()).await.unwrap();
    let pending = one.0.save(&shards[1].id, end.clone(), outbox()).await.unwrap();
    assert_eq!(pending, Outbox::Pending);
    for shard in &shards[..2] {
        one.0.release(&shard.id).await.unwrap();
    }
    let held = other.hold(&shards[..2]).await;
    assert_eq!(held.ended, [shards[0].id.clone()]);
    assert_eq!(held.shards, [shards[1].id.clone()], "its rows are still to be sent");
    assert_eq!(other.load(&shards[1]).await.unwrap(), (end.clone(), Outbox::Pending));
    other.save(&shards[1], end.clone()).await.unwrap();
    let held = other.hold(&shards[..2]).await;
    assert_eq!(held.ended, [shards[0].id.clone(), shards[1].id.clone()]);
    assert!(held.shards.is_empty() && !held.undecided);
    assert_eq!(
        one.load(&shards[1]).await.unwrap(),
        (end, Outbox::Sent),
        "parents are read by who holds a child"
    );
    assert_eq!(other.hold(&shards[2..]).await.shards, [shards[2].id.clone()]);
}

#[tokio::test]
async fn all_are_held_only_when_nobody_works() {
    let office = Office::open().await;
    let shards = shards(3);
    let (alive, dead) = (office.worker("alive").await, office.worker("dead").await);
    dead.hold_until(&shards[..1], 1).await;
    alive.hold_until(&shards[2..], 1).await;
    let starter = office.worker("starter").await;
    let working = async {
        loop {
            alive.hold(&shards[2..]).await;
            pause().await;
        }
    };
    let refused = tokio::select! {
        refused = starter.0.hold_all(&shards) => refused.unwrap_err(),
        () = working => unreachable!(),
    };
    let BackendError::Closed { why } = refused else { panic!("{refused}") };
    let (shard, rest) = why.split_once(" is being read by worker alive-").unwrap();
    assert_eq!(shard, "shardId-000000000002");
    assert!(rest.ends_with(" of analyze: stop every analyze, then start this one"), "{rest}");
    let next = office.worker("next").await;
    assert!(next.hold(&shards[1..2]).await.shards.len() == 1, "what was taken is given up");
    next.hold(&[]).await;

    // Nobody renews any more.
    drop((alive, next));
    starter.0.hold_all(&shards).await.unwrap();
    for shard in &shards {
        starter.load(shard).await;
        starter.save(shard, cut("1@1000", "new epoch")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_five_makes_the_first_cuts() {
    let office = Office::open().await;
    let shards = shards(4);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..5 {
        let worker = office.worker(&format!("w{number}")).await;
        tasks.spawn(first_cuts(worker, shards.clone()));
    }
    let firsts = tasks.join_all().await.into_iter().filter(|first| *first).count();
    assert_eq!(firsts, 1);
}

/// As `analyze` starts; whether this was the first.
async fn first_cuts(worker: Worker, shards: Vec<Shard>) -> bool {
    loop {
        if worker.load(&shards[0]).await.is_some() {
            return false;
        }
        match worker.0.hold_all(&shards).await {
            Ok(()) if worker.load(&shards[0]).await.is_some() => return false,
            Ok(()) => {
                for shard in shards.iter().rev() {
                    worker.load(shard).await;
                    worker.save(shard, cut("1@1000", "first")).await.unwrap();
                }
                return true;
            }
            Err(BackendError::Closed { .. }) => pause().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_start_that_takes_its_time_keeps_what_it_holds() {
    let office = Office::open().await;
    let shards = shards(4);
    let aws = office.aws("starter", None).await;
    let starter = Worker(aws.checkpoints(Stage::Analyze).await.unwrap());
    starter.0.hold_all(&shards).await.unwrap();
    starter.load(&shards[0]).await;
    // The first shard alone is worked on, and nobody calls hold.
    let counters = async || -> Vec<u64> {
        aws.stored_leases().await.unwrap().iter().skip(1).map(|lease| lease.counter).collect()
    };
    let before = counters().await;
    loop {
        starter.save(&shards[0], cut("1", "first")).await.unwrap();
        let now = counters().await;
        if now.iter().zip(&before).all(|(now, before)| *now >= before + 2) {
            return;
        }
        pause().await;
    }
}

#[tokio::test]
async fn a_lease_that_was_lost_and_had_again_takes_no_cut_of_the_time_before() {
    let office = Office::open().await;
    let shards = shards(1);
    let (one, other) = (office.worker("one").await, office.worker("other").await);
    one.hold_until(&shards, 1).await;
    one.load(&shards[0]).await;
    one.save(&shards[0], cut("1@1000", "one")).await.unwrap();
    other.hold_until(&shards, 1).await;
    other.load(&shards[0]).await;
    other.save(&shards[0], cut("9@1000", "other")).await.unwrap();
    other.0.release(&shards[0].id).await.unwrap();
    one.hold_until(&shards, 1).await;
    assert!(is_closed(&one.save(&shards[0], cut("2@1000", "one, from its memory")).await));
    assert_eq!(one.load(&shards[0]).await.unwrap().0, cut("9@1000", "other"));
    one.save(&shards[0], cut("10@1000", "one")).await.unwrap();
}

#[tokio::test]
async fn the_table_shows_who_reads_what() {
    let office = Office::open().await;
    let shards = shards(2);
    let aws = office.aws("one", None).await;
    let analyze = Worker(aws.checkpoints(Stage::Analyze).await.unwrap());
    let deliver = Worker(aws.checkpoints(Stage::Deliver).await.unwrap());
    analyze.hold_until(&shards, 2).await;
    deliver.hold_until(&shards[..1], 1).await;
    analyze.load(&shards[1]).await;
    analyze.0.save(&shards[1].id, cut("5@1000", "state"), outbox()).await.unwrap();
    let mut first = cut("", "");
    first.position = None;
    deliver.load(&shards[0]).await;
    deliver.save(&shards[0], first.clone()).await.unwrap();

    let leases = aws.stored_leases().await.unwrap();
    let shown =
        leases.iter().map(|lease| (lease.stage, lease.stream.as_str(), lease.shard.0.as_str(), lease.saves));
    let expected = [
        (Stage::Analyze, "logtally-input", "shardId-000000000000", 0),
        (Stage::Analyze, "logtally-input", "shardId-000000000001", 1),
        (Stage::Deliver, "logtally-output", "shardId-000000000000", 1),
    ];
    assert!(shown.eq(expected), "{leases:#?}");
    assert!(leases.iter().all(|lease| lease.owner.as_ref().unwrap().starts_with("one-")));
    assert_eq!(leases[0].checkpoint, None);
    let checkpoint = leases[1].checkpoint.as_ref().unwrap();
    assert_eq!((&checkpoint.checkpoint, leases[1].outbox), (&cut("5@1000", "state"), Outbox::Pending));
    assert_eq!(leases[2].checkpoint.as_ref().unwrap().checkpoint, first);
    assert_eq!(checkpoint.checkpoint.position, Some(SequenceNumber("5@1000".to_owned())));
}
