//! `logtally deliver --dry-run`: the calls to CloudWatch that are due now. Takes no lease, saves no position, and sends
//! nothing.

use std::{collections::BTreeSet, io::Write};

use crate::{
    app::{Error, Exit, ledger::columns, output::Results, places, undelivered::Undelivered},
    backend::aws::{Plan, PlannedCall, PlannedDatum},
    clock::Clock,
    config::Config,
    render::{Cell, Format, Report, json::write_line, render},
};

/// `logtally deliver --dry-run`
pub(super) async fn command(format: Format, mut config: Config) -> Result<Exit, Error> {
    // A consumer of enhanced fan-out sends a shard to one reader at a time: to deliver, if it runs.
    config.aws.fan_out = false;
    let aws = places::aws(&config, &[], &Clock::system()).await?;
    let leases = aws.stored_leases().await?;
    let mut printed = Printed::new(format);
    let mut due = Undelivered::open(&aws, (&leases, &config.aws.output_stream), None).await?;
    // A batch is planned by itself, as `deliver` publishes it by itself.
    while let Some(parcels) = due.next().await? {
        printed.add(aws.plan(parcels).await?)?;
    }
    printed.duplicates += due.repeated;
    printed.end()?;
    Ok(Exit::Success)
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
