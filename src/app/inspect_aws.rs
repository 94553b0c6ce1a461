//! The command status on AWS: what the table of leases says. Takes no lease and changes nothing.

use std::io::{self, Write};

use crate::{
    app::{
        Error,
        inspect::{MARK, mark},
        ledger::{COUNTED, Titled, columns, counted, seconds_since, tables},
    },
    audit::{Book, ShardCut, collect},
    backend::{Outbox, Stage, StoredLease, aws::Aws},
    config::Config,
    engine::time::Timestamp,
    render::{Cell, Format, Report},
};

/// What the leases say.
pub(super) async fn status(
    (config, backend): (&Config, &Aws),
    format: Format,
    now: Timestamp,
) -> Result<Vec<Titled>, Error> {
    let leases = backend.stored_leases().await?;
    if leases.is_empty() {
        say_that_nothing_ran(config);
    }
    let book = Book::of_cuts(cuts(&leases)?);
    let mut reports = tables(&book, (false, format), inputs(&leases, &book, now));
    reports.push(("output shards", outputs(&leases, now)));
    Ok(reports)
}

/// That there is no lease: not a diagnostic that a filter may hide.
pub(super) fn say_that_nothing_ran(config: &Config) {
    let (table, pipeline) = (&config.aws.table, config.pipeline.as_str());
    let hint = format!("no stage of pipeline {pipeline} has taken a shard in table {table} yet");
    drop(writeln!(io::stderr(), "{hint}"));
}

/// The cuts of `analyze`, of each lease once one was saved.
pub(super) fn cuts(leases: &[StoredLease]) -> Result<Vec<ShardCut>, Error> {
    let of_analyze = leases.iter().filter(|lease| lease.stage == Stage::Analyze);
    let saved = of_analyze.filter_map(|lease| Some((lease.checkpoint.as_ref()?, lease.outbox)));
    Ok(saved.map(|(found, outbox)| collect::cut(found, outbox)).collect::<Result<_, _>>()?)
}

/// The leases of `analyze`, with what became of the lines of their shards.
pub(super) fn inputs(leases: &[StoredLease], book: &Book, now: Timestamp) -> Report {
    let row = |lease: &StoredLease| {
        let mut row = place(lease);
        let known = book.inputs.iter().find(|known| known.shard == lease.shard);
        if let Some(state) = known.and_then(|known| known.state.as_ref()) {
            row.extend(mark(state, now));
            row.extend(counted(state));
            row.push(outbox(lease.outbox).into());
        }
        row
    };
    let names = [&PLACE[..], &MARK[..], &COUNTED[..], &[("outbox", "Outbox")][..]].concat();
    let of_analyze = leases.iter().filter(|lease| lease.stage == Stage::Analyze);
    Report { columns: columns(&names), rows: of_analyze.map(row).collect() }
}

/// The leases of `deliver`.
pub(super) fn outputs(leases: &[StoredLease], now: Timestamp) -> Report {
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
