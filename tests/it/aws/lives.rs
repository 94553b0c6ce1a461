//! Sinks that live and die while answers are lost: once everything is settled, every sum is exact.

use std::time::Duration;

use logtally::backend::{
    Backend, BackendError, MetricSink, Parcel, Published,
    aws::{Metrics, Settlement, Verdict},
};

use super::{
    bridge::Fault::{Answered, DoneButFailed, DoneButLost, Lost},
    metrics::{MINUTE, Rig, datum, parcel},
};

/// A xorshift: the same seed gives the same troubles. Where a life is cut off depends on the machine, too.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

fn trouble(rig: &Rig, random: &mut Random) {
    const OPERATIONS: [&str; 5] =
        ["PutMetricData", "PutMetricData", "TransactWriteItems", "UpdateItem", "BatchGetItem"];
    const FAULTS: [super::bridge::Fault; 5] = [
        DoneButLost,
        Lost,
        DoneButFailed,
        Answered(400, "ThrottlingException"),
        Answered(500, "InternalFailure"),
    ];
    for _ in 0..random.below(4) {
        let operation = OPERATIONS[usize::try_from(random.below(5)).unwrap()];
        let fault = FAULTS[usize::try_from(random.below(5)).unwrap()];
        // The SDK makes three attempts at whatever can be repeated.
        let attempts = 1 + usize::try_from(random.below(3)).unwrap();
        rig.bridge.inject(operation, vec![fault; attempts]);
    }
}

/// One application for every two parcels, and one for all.
fn batch(rig: &Rig, random: &mut Random, from: u64) -> Vec<Parcel> {
    let new = |n: u64| {
        let value = f64::from(u32::try_from(n).unwrap());
        let own = datum(&format!("application {}", n / 2), rig.window, value);
        parcel(&format!("p/1/s/{n}/0"), vec![own, datum("all", rig.window, 1.0)])
    };
    let mut parcels: Vec<Parcel> = (from..from + 3).map(new).collect();
    if from > 3 {
        // As after a rebalance, something is read again.
        parcels.push(new(random.below(from)));
    }
    parcels
}

async fn born(rig: &Rig, life: u32) -> Metrics {
    rig.open(&format!("life {life}"), |_| ()).await.metrics().await.unwrap()
}

async fn live(seed: u64) -> (Published, usize) {
    let (rig, mut random) = (Rig::new().await, Random(seed));
    let (mut total, mut lives) = (Published::default(), 0);
    let mut sink = born(&rig, 0).await;
    for from in (0..30).step_by(3) {
        let parcels = batch(&rig, &mut random, from);
        trouble(&rig, &mut random);
        loop {
            // Long enough for many a call, and short enough to cut off others.
            let cut_off = if random.one_in(4) { random.below(200) } else { u64::MAX };
            let cut_off = Duration::from_millis(cut_off);
            let Ok(published) = tokio::time::timeout(cut_off, sink.publish(parcels.clone().into())).await
            else {
                (lives, sink) = (lives + 1, born(&rig, lives + 1).await);
                continue;
            };
            match published {
                Ok(published) => {
                    total.in_doubt += published.in_doubt;
                    total.duplicates += published.duplicates;
                    break;
                }
                Err(BackendError::Busy { .. }) if random.one_in(3) => {
                    (lives, sink) = (lives + 1, born(&rig, lives + 1).await);
                }
                Err(BackendError::Busy { .. }) => rig.clock.advance(20_000),
                Err(error) => panic!("{error:?}"),
            }
        }
        rig.clock.advance(MINUTE);
    }
    rig.bridge.mend();
    rig.bridge.idle().await;
    rig.clock.advance(10 * MINUTE);
    let Settlement { calls } = rig.open("auditor", |_| ()).await.settle().await.unwrap();
    for call in &calls {
        assert!(matches!(call.verdict, Verdict::Added | Verdict::Sent), "seed {seed}: {call:?}");
    }
    let mut expected: Vec<f64> = (0..15_u32).map(|n| f64::from(4 * n + 1)).chain([30.0]).collect();
    let mut sums: Vec<f64> = rig.sums("RequestCount").await.into_iter().map(|(_, _, sum)| sum).collect();
    expected.sort_by(f64::total_cmp);
    sums.sort_by(f64::total_cmp);
    assert_eq!(sums, expected, "seed {seed}");
    assert!(rig.states().await.iter().all(|state| state == "done"), "seed {seed}");
    (total, calls.len())
}

#[tokio::test]
async fn every_sum_is_exact_in_the_end() {
    let lives =
        tokio::join!(live(0x9E37_79B9_7F4A_7C15), live(0xD1B5_4A32_D192_ED03), live(0x94D0_49BB_1331_11EB));
    let mut settled = 0;
    for (total, calls) in [lives.0, lives.1, lives.2] {
        assert!(total.duplicates > 0);
        settled += calls;
    }
    assert!(settled > 3, "lives of too little trouble: {settled} calls were in doubt");
}
