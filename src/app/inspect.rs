//! The commands status and audit: what the embedded file says; what AWS says is in `inspect_aws` and `audit_aws`.
//! Changes nothing.

use std::io::{self, Write};

#[cfg(feature = "aws")]
use crate::app::{audit_aws, inspect_aws};
use crate::{
    app::{
        Error, Exit,
        balance::{books, conclusion, wrong},
        ledger::{COUNTED, Titled, columns, counted, print, seconds_since, tables},
        output::Results,
        places::Place,
    },
    audit::{self, Book, collect::Unreadable},
    backend::{
        Stage, StoredCheckpoint,
        embedded::{
            Embedded,
            books::{Books, InputShard, OutputShard},
        },
    },
    cli::{AuditArgs, StatusArgs},
    clock::Clock,
    config::Config,
    engine::{state::State, time::Timestamp},
    render::{Format, Report},
};

/// `logtally audit`
pub(crate) async fn audit(args: AuditArgs, mut config: Config) -> Result<Exit, Error> {
    // A consumer of enhanced fan-out sends a shard to one reader at a time: to deliver, if it runs.
    config.aws.fan_out = false;
    let clock = Clock::system();
    match Place::open(&config, false, &[], &clock).await? {
        Place::Embedded(backend) => audit_here(args, &backend, clock.now()).await,
        #[cfg(feature = "aws")]
        Place::Aws(backend) => Box::pin(audit_aws::audit(args, (&config, &backend), &clock)).await,
    }
}

async fn audit_here(args: AuditArgs, backend: &Embedded, now: Timestamp) -> Result<Exit, Error> {
    if args.since.is_some() {
        let why = "--since is for backend = \"aws\": on this machine every window is compared";
        return Err(Error::new(Exit::Usage, why));
    }
    if args.settle {
        // Not a diagnostic that a filter may hide.
        drop(writeln!(io::stderr(), "nothing to settle: on this machine no call is ever in doubt"));
    }
    let format = args.output.format;
    let found = backend.books().await?;
    let book = Book::of_embedded(&found)?;
    let entries = audit::entries(&book);
    let mut out = Results::stdout();
    let mut reports = tables(&book, (true, format), shards(&found, &book, now));
    reports.push(("output shards", outputs(&found, now)));
    reports.extend(books(&entries, format));
    print(&reports, format, &mut out)?;
    if format == Format::Table {
        writeln!(out, "\n{}", conclusion(&entries))?;
    }
    out.flush()?;
    Ok(if wrong(&entries) == 0 { Exit::Success } else { Exit::Found })
}

impl From<Unreadable> for Error {
    fn from(error: Unreadable) -> Self {
        Self::new(Exit::Data, error)
    }
}

/// `logtally status`
pub(crate) async fn status(args: StatusArgs, config: Config) -> Result<Exit, Error> {
    let clock = Clock::system();
    let format = args.output.format;
    let reports = match Place::open(&config, false, &[], &clock).await? {
        Place::Embedded(backend) => here(&backend, format, clock.now()).await?,
        #[cfg(feature = "aws")]
        Place::Aws(backend) => inspect_aws::status((&config, &backend), format, clock.now()).await?,
    };
    let mut out = Results::stdout();
    print(&reports, format, &mut out)?;
    out.flush()?;
    Ok(Exit::Success)
}

async fn here(backend: &Embedded, format: Format, now: Timestamp) -> Result<Vec<Titled>, Error> {
    let books = backend.books().await?;
    let book = Book::of_embedded(&books)?;
    let mut reports = tables(&book, (false, format), shards(&books, &book, now));
    reports.extend([("output shards", outputs(&books, now)), ("alarms", alarms(backend).await?)]);
    Ok(reports)
}

fn shards(books: &Books, book: &Book, now: Timestamp) -> Report {
    let row = |shard: &InputShard| {
        let id = &shard.stats.shard.id;
        let unread = shard.stats.appended_bytes.saturating_sub(shard.before);
        let mut row = vec![id.0.clone().into(), shard.stats.appended_bytes.into(), unread.into()];
        let known = book.inputs.iter().find(|known| known.shard == *id);
        if let Some(state) = known.and_then(|known| known.state.as_ref()) {
            row.extend(counted(state));
            row.extend(mark(state, now));
        }
        row
    };
    let stream = [("shard", "Shard"), ("appendedBytes", "Bytes taken#"), ("unreadBytes", "Unread#")];
    let names = [&stream[..], &COUNTED[..], &MARK[..]].concat();
    Report { columns: columns(&names), rows: books.input.iter().map(row).collect() }
}

/// The columns of [`mark`].
pub(super) const MARK: [(&str, &str); 2] = [("completeTo", "Complete to"), ("behindSeconds", "Behind s#")];

/// How far a shard is complete.
pub(super) fn mark(state: &State, now: Timestamp) -> [crate::render::Cell; 2] {
    let complete = (state.complete_to > Timestamp::MIN).then_some(state.complete_to);
    [complete.into(), complete.map(|complete| seconds_since(complete, now)).into()]
}

fn outputs(books: &Books, now: Timestamp) -> Report {
    let row = |shard: &OutputShard| {
        let stats = &shard.stats;
        let of_shard =
            |found: &&StoredCheckpoint| found.stage == Stage::Deliver && found.shard == stats.shard.id;
        let saved = books.checkpoints.iter().find(of_shard).map(|found| seconds_since(found.saved, now));
        vec![
            stats.shard.id.0.clone().into(),
            stats.appended_records.into(),
            shard.waiting.into(),
            stats.expired_records.into(),
            saved.into(),
        ]
    };
    Report {
        columns: columns(&[
            ("shard", "Shard"),
            ("parcels", "Parcels#"),
            ("waiting", "Waiting#"),
            ("expiredRecords", "Expired#"),
            ("deliveredSecondsAgo", "Delivered s ago#"),
        ]),
        rows: books.output.iter().map(row).collect(),
    }
}

async fn alarms(backend: &Embedded) -> Result<Report, Error> {
    let mut rows = Vec::new();
    for stored in backend.alarms().load().await? {
        let Ok(alarm) = postcard::from_bytes::<crate::engine::alarm::Alarm>(&stored.state) else { continue };
        for (application, state) in alarm.states() {
            let rule = alarm.rule().to_string();
            rows.push(vec![
                stored.name.clone().into(),
                rule.into(),
                application.into(),
                state.as_str().into(),
            ]);
        }
    }
    let columns = columns(&[
        ("alarm", "Alarm"),
        ("rule", "Rule"),
        ("applicationName", "Application"),
        ("state", "State"),
    ]);
    Ok(Report { columns, rows })
}
