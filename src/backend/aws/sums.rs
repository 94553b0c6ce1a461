//! Sums read back from CloudWatch. Adds nothing.

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::DateTime,
    types::{Metric, MetricDataQuery, MetricDataResult, MetricStat, ScanBy, StatusCode},
};

use crate::{
    backend::{
        BackendError, Datum, Result, Series,
        aws::{Shared, error, names, send},
    },
    engine::time::{Timestamp, WindowSize},
};

/// Queries that a call takes (`GetMetricData`).
const QUERIES: usize = 500;
/// How long sums are kept by the minute, by five minutes and by the hour (`MetricDatum`).
const BY_MINUTE_MS: i64 = 15 * DAY_MS;
const BY_FIVE_MINUTES_MS: i64 = 63 * DAY_MS;
const BY_HOUR_MS: i64 = 455 * DAY_MS;
/// How far ahead of now a timestamp may be (`MetricDatum`).
const AHEAD_MS: i64 = 2 * 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// A series with both its names.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    /// As the pipeline knows it.
    ours: Series,
    /// As CloudWatch has it.
    theirs: Series,
}

/// As finely as recent sums are kept.
pub(super) const MINUTE: WindowSize = WindowSize::MINUTE;

/// Where CloudWatch shows what is stamped `timestamp`.
pub(super) fn minute(timestamp: Timestamp) -> Timestamp {
    MINUTE.start_of(timestamp)
}

/// Sums by series and timestamp.
pub(super) type Sums = BTreeMap<(Series, Timestamp), f64>;

/// Sums of the metric `name` in `from..to`, ordered by series and timestamp. CloudWatch lists the metrics that were
/// added to in the last two weeks (`ListMetrics`), and gives timestamps to the minute: windows that are no whole
/// minutes come back at the minute that they begin in.
pub(super) async fn read(shared: &Shared, name: &str, from: Timestamp, to: Timestamp) -> Result<Vec<Datum>> {
    let settings = &shared.settings;
    let series = list(shared, name).await?;
    let sums = query(shared, &settings.namespace, &series, (from, to), settings.window).await?;
    Ok(sums.into_iter().map(|((series, timestamp), value)| Datum { series, timestamp, value }).collect())
}

async fn list(shared: &Shared, name: &str) -> Result<Vec<Listed>> {
    let namespace = &shared.settings.namespace;
    let wanted = Series { name: name.to_owned(), dimensions: Vec::new() };
    let name = names::valid(&wanted).name;
    let mut pages = shared
        .clients
        .cloudwatch
        .list_metrics()
        .namespace(namespace)
        .metric_name(name)
        .into_paginator()
        .send();
    let mut series = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| fault("cloudwatch:ListMetrics", namespace, error))?;
        series.extend(page.metrics.unwrap_or_default().iter().map(listed));
    }
    series.sort_unstable();
    series.dedup();
    Ok(series)
}

fn listed(metric: &Metric) -> Listed {
    let dimensions = metric.dimensions().iter();
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let theirs = Series {
        name: text(metric.metric_name()),
        dimensions: dimensions.map(|found| (text(found.name()), text(found.value()))).collect(),
    };
    Listed { ours: names::original(&theirs), theirs }
}

/// Sums of these series in `from..to`, by the minute while CloudWatch has them so; what was never added to is missing.
pub(super) async fn of(
    shared: &Shared,
    namespace: &str,
    series: &[Series],
    from: Timestamp,
    to: Timestamp,
) -> Result<Sums> {
    let listed = |series: &Series| Listed { theirs: names::valid(series), ours: series.clone() };
    let series: Vec<Listed> = series.iter().map(listed).collect();
    query(shared, namespace, &series, (from, to), MINUTE).await
}

async fn query(
    shared: &Shared,
    namespace: &str,
    series: &[Listed],
    (from, to): (Timestamp, Timestamp),
    window: WindowSize,
) -> Result<Sums> {
    let mut sums = Sums::new();
    for segment in segments(window, from, to, shared.settings.clock.now()) {
        for series in series.chunks(QUERIES) {
            for (index, timestamp, sum) in segment.read(shared, namespace, series).await? {
                if let Some(series) = series.get(index).filter(|_| segment.holds(timestamp)) {
                    *sums.entry((series.ours.clone(), timestamp)).or_insert(0.0) += sum;
                }
            }
        }
    }
    Ok(sums)
}

/// A stretch of time that CloudWatch keeps by one period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    from: Timestamp,
    to: Timestamp,
    period_ms: i64,
}

/// `from..to` in the finest periods that are no finer than a window and that CloudWatch still has, oldest first.
fn segments(window: WindowSize, from: Timestamp, to: Timestamp, now: Timestamp) -> Vec<Segment> {
    let ago = |age_ms: i64, unit_ms: i64| {
        let edge = now.plus_millis(-age_ms);
        // Up to the next whole unit, for what lies before it is kept no finer.
        edge.plus_millis((-edge.as_millis()).rem_euclid(unit_ms))
    };
    let (minute, five, hour) = (60_000, 300_000, 3_600_000);
    let latest = now.plus_millis(AHEAD_MS + hour);
    let edges = [
        (ago(BY_HOUR_MS, hour), hour),
        (ago(BY_FIVE_MINUTES_MS, hour), five),
        (ago(BY_MINUTE_MS, five), minute),
    ];
    let ends = edges.iter().skip(1).map(|(edge, _)| *edge).chain([latest]);
    let mut segments: Vec<Segment> = Vec::new();
    for ((begin, unit), end) in edges.into_iter().zip(ends) {
        let size = window.as_millis();
        let period_ms = if size % unit == 0 { size } else { unit };
        let segment = Segment { from: begin.max(from), to: end.min(to), period_ms };
        match segments.last_mut() {
            _ if segment.from >= segment.to => {}
            Some(last) if last.period_ms == period_ms => last.to = segment.to,
            _ => segments.push(segment),
        }
    }
    segments
}

impl Segment {
    fn holds(&self, timestamp: Timestamp) -> bool {
        self.from <= timestamp && timestamp < self.to
    }

    /// Index of the series, timestamp and sum. Periods begin at multiples of their length where the time asked for
    /// begins at one (`GetMetricData`).
    async fn read(
        &self,
        shared: &Shared,
        namespace: &str,
        series: &[Listed],
    ) -> Result<Vec<(usize, Timestamp, f64)>> {
        let from = self.from.plus_millis(-self.from.as_millis().rem_euclid(self.period_ms));
        let to = self.to.plus_millis((-self.to.as_millis()).rem_euclid(1_000));
        let queries = series.iter().enumerate().map(|(index, listed)| self.query(namespace, index, listed));
        let mut pages = shared
            .clients
            .cloudwatch
            .get_metric_data()
            .set_metric_data_queries(Some(queries.collect()))
            .start_time(DateTime::from_millis(from.as_millis()))
            .end_time(DateTime::from_millis(to.as_millis()))
            .scan_by(ScanBy::TimestampAscending)
            .into_paginator()
            .send();
        let mut sums = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| fault("cloudwatch:GetMetricData", namespace, error))?;
            for result in page.metric_data_results() {
                add(result, namespace, &mut sums)?;
            }
        }
        Ok(sums)
    }

    fn query(&self, namespace: &str, index: usize, series: &Listed) -> MetricDataQuery {
        let period = i32::try_from(self.period_ms / 1_000).unwrap_or(i32::MAX);
        let metric = send::metric(namespace, &series.theirs);
        let stat = MetricStat::builder().metric(metric).period(period).stat("Sum").build();
        MetricDataQuery::builder().id(format!("m{index}")).metric_stat(stat).return_data(true).build()
    }
}

fn add(result: &MetricDataResult, namespace: &str, sums: &mut Vec<(usize, Timestamp, f64)>) -> Result<()> {
    match result.status_code() {
        // Partial data goes on with the next page.
        None | Some(StatusCode::Complete | StatusCode::PartialData) => {}
        Some(code) => {
            let why = format!("cloudwatch:GetMetricData on namespace {namespace}: {code}");
            return Err(BackendError::Busy { why });
        }
    }
    let index = result.id().and_then(|id| id.strip_prefix('m')?.parse().ok());
    let index: usize = index.ok_or_else(|| BackendError::Failed {
        what: format!("cloudwatch:GetMetricData answered to {:?}, which was not asked", result.id()),
        source: None,
    })?;
    for (timestamp, sum) in result.timestamps().iter().zip(result.values()) {
        let millis = timestamp
            .to_millis()
            .map_err(|why| BackendError::failed("cloudwatch:GetMetricData gave a time out of range", why))?;
        sums.push((index, Timestamp::from_millis(millis), *sum));
    }
    Ok(())
}

fn fault<E>(action: &'static str, namespace: &str, error: SdkError<E, HttpResponse>) -> BackendError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    error::Call { action, kind: "namespace", name: namespace }.fault(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-15T08:00:00Z, a whole day and eight hours.
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn text(window_ms: i64, from: Timestamp, to: Timestamp) -> String {
        let segments = segments(WindowSize::from_millis(window_ms).unwrap(), from, to, NOW);
        let line = |segment: &Segment| {
            format!("{} to {} by {} s", segment.from, segment.to, segment.period_ms / 1_000)
        };
        segments.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_age_is_read_as_finely_as_it_is_kept() {
        insta::assert_snapshot!(text(60_000, Timestamp::MIN, Timestamp::MAX), @"
        2025-10-17T08:00:00Z to 2026-11-13T08:00:00Z by 3600 s
        2026-11-13T08:00:00Z to 2026-12-31T08:00:00Z by 300 s
        2026-12-31T08:00:00Z to 2027-01-15T11:00:00Z by 60 s
        ");
        insta::assert_snapshot!(text(300_000, NOW.plus_millis(-20 * DAY_MS), NOW.plus_millis(1)), @"2026-12-26T08:00:00Z to 2027-01-15T08:00:00.001Z by 300 s");
        insta::assert_snapshot!(text(7_200_000, Timestamp::MIN, NOW), @"2025-10-17T08:00:00Z to 2027-01-15T08:00:00Z by 7200 s");
        insta::assert_snapshot!(text(1_000, NOW.plus_millis(-500), NOW), @"2027-01-15T07:59:59.500Z to 2027-01-15T08:00:00Z by 60 s");
        insta::assert_snapshot!(text(90_000, NOW.plus_millis(-DAY_MS), NOW), @"2027-01-14T08:00:00Z to 2027-01-15T08:00:00Z by 60 s");
        assert_eq!(text(60_000, NOW, NOW), "");
        assert_eq!(text(60_000, Timestamp::MIN, NOW.plus_millis(-BY_HOUR_MS)), "");
    }
}
