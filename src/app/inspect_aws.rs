//! The command status on AWS: what the table of leases says. Takes no lease and changes nothing.

use std::io::{self, Write};

use crate::{
    app::{
        Error, Exit,
        inspect::{COUNTED, columns, counted, malformed, seconds_since},
    },
    audit::{self, ShardCut},
    backend::{Outbox, Stage, StoredCheckpoint, StoredLease, aws::Aws},
    config::Config,
    engine::time::Timestamp,
    render::{Cell, Report},
};

/// What the leases say.
pub(super) async fn status(
    (config, backend): (&Config, &Aws),
    now: Timestamp,
) -> Result<Vec<(&'static str, Report)>, Error> {
    let leases = backend.stored_leases().await?;
    if leases.is_empty() {
        say_that_nothing_ran(config);
    }
    let cuts = cuts(&leases)?;
    let samples: Vec<ShardCut> = cuts.iter().filter_map(|(_, cut)| cut.clone()).collect();
    Ok(vec![
        ("input shards", inputs(&cuts, now)),
        ("malformed lines", malformed(&samples)),
        ("output shards", outputs(&leases, now)),
    ])
}

/// That there is no lease: not a diagnostic that a filter may hide.
pub(super) fn say_that_nothing_ran(config: &Config) {
    let (table, pipeline) = (&config.aws.table, config.pipeline.as_str());
    let hint = format!("no stage of pipeline {pipeline} has taken a shard in table {table} yet");
    drop(writeln!(io::stderr(), "{hint}"));
}

/// The leases of `analyze`, each with its cut once one was saved.
pub(super) fn cuts(leases: &[StoredLease]) -> Result<Vec<(&StoredLease, Option<ShardCut>)>, Error> {
    let cut = |lease| {
        let cut = decoded(lease).map_err(|error| Error::new(Exit::Data, error))?;
        Ok((lease, cut))
    };
    leases.iter().filter(|lease| lease.stage == Stage::Analyze).map(cut).collect()
}

fn decoded(lease: &StoredLease) -> Result<Option<ShardCut>, crate::engine::cut::CutError> {
    let stored: &[StoredCheckpoint] = lease.checkpoint.as_slice();
    Ok(audit::cuts(stored)?.pop())
}

fn inputs(cuts: &[(&StoredLease, Option<ShardCut>)], now: Timestamp) -> Report {
    let row = |(lease, cut): &(&StoredLease, Option<ShardCut>)| {
        let mut row = place(lease);
        if let Some(ShardCut { state, .. }) = cut {
            let complete = state.complete_to;
            row.extend([
                (complete > Timestamp::MIN).then_some(complete).into(),
                (complete > Timestamp::MIN).then(|| seconds_since(complete, now)).into(),
            ]);
            row.extend(counted(state));
            row.push(outbox(lease.outbox).into());
        }
        row
    };
    let own = [("completeTo", "Complete to"), ("behindSeconds", "Behind s#")];
    let names = [&PLACE[..], &own[..], &COUNTED[..], &[("outbox", "Outbox")][..]].concat();
    Report { columns: columns(&names), rows: cuts.iter().map(row).collect() }
}

fn outputs(leases: &[StoredLease], now: Timestamp) -> Report {
    let row = |lease: &StoredLease| {
        let saved = lease.checkpoint.as_ref().map(|found| seconds_since(found.saved, now));
        [place(lease), vec![saved.into()]].concat()
    };
    let of_deliver = leases.iter().filter(|lease| lease.stage == Stage::Deliver);
    let own = [("savedSecondsAgo", "Saved s ago#")];
    Report { columns: columns(&[&PLACE[..], &own[..]].concat()), rows: of_deliver.map(row).collect() }
}

/// The columns of [`place`].
const PLACE: [(&str, &str); 4] =
    [("stream", "Stream"), ("shard", "Shard"), ("worker", "Worker"), ("position", "Position")];

/// Which shard, who reads it, and how far it was read.
fn place(lease: &StoredLease) -> Vec<Cell> {
    let checkpoint = lease.checkpoint.as_ref().map(|found| &found.checkpoint);
    let position = checkpoint.and_then(|found| match &found.position {
        _ if found.ended => Some("end of shard".to_owned()),
        // Behind the sign stands a time, which has a column of its own.
        Some(position) => position.0.split('@').next().map(str::to_owned),
        None => None,
    });
    vec![
        lease.stream.clone().into(),
        lease.shard.0.clone().into(),
        lease.owner.clone().into(),
        position.into(),
    ]
}

const fn outbox(outbox: Outbox) -> &'static str {
    match outbox {
        Outbox::Sent => "sent",
        Outbox::Pending => "pending",
    }
}
