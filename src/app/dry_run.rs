//! `logtally deliver --dry-run`: the calls to CloudWatch that are due now. Takes no lease, saves no position, and sends
//! nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use crate::{
    app::{Error, Exit, ledger::columns, output::Results, places},
    backend::{
        Backend, BackendError, Batch, Checkpoint, SequenceNumber, Shard, ShardId, Stage, StartAt, Stream,
        aws::{Aws, Plan, PlannedCall, PlannedDatum, Reader},
        retry::next_batch,
    },
    clock::Clock,
    config::Config,
    deliver,
    render::{Cell, Format, Report, json::write_line, render},
    stop::{Phase, channel},
};

/// `logtally deliver --dry-run`
pub(super) async fn command(format: Format, mut config: Config) -> Result<Exit, Error> {
    // A consumer of enhanced fan-out sends a shard to one reader at a time: to deliver, if it runs.
    config.aws.fan_out = false;
    let aws = places::aws(&config, &[], &Clock::system()).await?;
    let mut due = Due { printed: Printed::new(format), aws, planned: BTreeSet::new() };
    let positions = positions(&due.aws, &config.aws.output_stream).await?;
    for shard in due.aws.shards(Stream::Output).await? {
        match positions.get(&shard.id) {
            Some(None) => {}
            Some(Some(position)) => Box::pin(due.read(&shard, Some(position.clone()))).await?,
            None => Box::pin(due.read(&shard, None)).await?,
        }
    }
    due.printed.end()?;
    Ok(Exit::Success)
}

/// Where `deliver` stopped in each shard that it knows; nowhere in those that it read to their end.
async fn positions(
    aws: &Aws,
    stream: &str,
) -> Result<BTreeMap<ShardId, Option<SequenceNumber>>, BackendError> {
    let leases = aws.stored_leases().await?.into_iter();
    let of_deliver = leases.filter(|lease| lease.stage == Stage::Deliver && lease.stream == stream);
    let position = |(shard, checkpoint): (ShardId, Checkpoint)| {
        if checkpoint.ended { Some((shard, None)) } else { Some((shard, Some(checkpoint.position?))) }
    };
    let saved = of_deliver.filter_map(|lease| Some((lease.shard, lease.checkpoint?.checkpoint)));
    Ok(saved.filter_map(position).collect())
}

/// What `deliver` has before it.
struct Due {
    aws: Aws,
    printed: Printed,
    /// The parcels that were read: the ledger does not know them yet.
    planned: BTreeSet<String>,
}

impl Due {
    /// Reads a shard to its tip. A batch is planned by itself, as `deliver` publishes it by itself.
    async fn read(&mut self, shard: &Shard, position: Option<SequenceNumber>) -> Result<(), Error> {
        let mut reader = self.open(&shard.id, position).await?;
        let (stopper, mut stop) = channel();
        stopper.set(Phase::Drain);
        while let Some((batch, drained)) =
            Box::pin(next_batch(&mut reader, &mut stop, "reading the output stream")).await?
        {
            let ended = drained || batch.end_of_shard;
            self.plan(&shard.id, batch).await?;
            if ended {
                break;
            }
        }
        Ok(())
    }

    async fn open(&self, shard: &ShardId, position: Option<SequenceNumber>) -> Result<Reader, Error> {
        let start = position.map_or(StartAt::TrimHorizon, StartAt::After);
        match self.aws.reader(Stream::Output, shard, start).await {
            Err(BackendError::Gone { loss, .. }) => {
                tracing::warn!(%shard, "rows were past retention before delivery: {loss} are lost");
                Ok(self.aws.reader(Stream::Output, shard, StartAt::TrimHorizon).await?)
            }
            opened => Ok(opened?),
        }
    }

    async fn plan(&mut self, shard: &ShardId, batch: Batch) -> Result<(), Error> {
        let mut parcels = Vec::with_capacity(batch.records.len());
        for record in batch.records {
            let (parcel, foreign) = deliver::parcel(record.partition_key, &record.data);
            if foreign > 0 {
                tracing::warn!(%shard, lines = foreign, "lines of the output stream are no rows");
            }
            if self.planned.insert(parcel.id.clone()) {
                parcels.push(parcel);
            } else {
                self.printed.duplicates += 1;
            }
        }
        if parcels.is_empty() {
            return Ok(());
        }
        let plan = self.aws.plan(parcels).await?;
        Ok(self.printed.add(plan)?)
    }
}

/// What was printed so far.
struct Printed {
    out: Results,
    format: Format,
    /// One row a datum, for what is no JSON.
    rows: Vec<Vec<Cell>>,
    calls: u64,
    datums: usize,
    series: BTreeSet<(String, String)>,
    duplicates: usize,
    in_doubt: usize,
    out_of_range: usize,
}

impl Printed {
    fn new(format: Format) -> Self {
        let (out, rows, series) = (Results::stdout(), Vec::new(), BTreeSet::new());
        Self { out, format, rows, calls: 0, datums: 0, series, duplicates: 0, in_doubt: 0, out_of_range: 0 }
    }

    fn add(&mut self, plan: Plan) -> std::io::Result<()> {
        self.duplicates += plan.duplicates;
        self.in_doubt += plan.in_doubt;
        self.out_of_range += plan.out_of_range.len();
        for call in plan.calls {
            self.calls += 1;
            self.datums += call.metric_data.len();
            self.series.extend(call.metric_data.iter().map(series));
            match self.format {
                Format::Json => write_line(&mut self.out, &call)?,
                Format::Table | Format::Csv => self.rows.extend(rows(self.calls, call)),
            }
        }
        Ok(())
    }

    /// The summary is part of the table; beside what programs read it goes to standard error.
    fn end(mut self) -> Result<(), Error> {
        if self.format != Format::Json && !self.rows.is_empty() {
            let columns = columns(&[
                ("call", "Call#"),
                ("metricName", "Metric"),
                ("dimensions", "Dimensions"),
                ("timestamp", "Timestamp"),
                ("value", "Value#"),
                ("unit", "Unit"),
            ]);
            render(&Report { columns, rows: std::mem::take(&mut self.rows) }, self.format, &mut self.out)?;
        }
        let Self { calls, datums, duplicates, in_doubt, out_of_range, .. } = self;
        let summary = format!(
            "calls of PutMetricData due: {calls}, with {datums} datums of {} custom metrics; parcels published \
             before: {duplicates}, in doubt: {in_doubt}; datums too old or too far ahead for CloudWatch: \
             {out_of_range}",
            self.series.len()
        );
        if self.format == Format::Table {
            let gap = if calls > 0 { "\n" } else { "" };
            writeln!(self.out, "{gap}{summary}")?;
        } else {
            // Not a diagnostic that a filter may hide.
            drop(writeln!(std::io::stderr(), "{summary}"));
        }
        Ok(self.out.flush()?)
    }
}

fn rows(number: u64, call: PlannedCall) -> impl Iterator<Item = Vec<Cell>> {
    call.metric_data.into_iter().map(move |datum| {
        let (name, dimensions) = series(&datum);
        vec![
            number.into(),
            name.into(),
            dimensions.into(),
            datum.timestamp.into(),
            Cell::Number(datum.value),
            datum.unit.into(),
        ]
    })
}

/// Name and dimensions, as texts.
fn series(datum: &PlannedDatum) -> (String, String) {
    let dimensions = datum.dimensions.iter().map(|found| format!("{}={}", found.name, found.value));
    (datum.metric_name.clone(), dimensions.collect::<Vec<_>>().join(", "))
}
