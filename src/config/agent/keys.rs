//! Every key that the agent knows, and what becomes of it here. Reads no value.

use serde_json::{Map, Value};

use super::finding::{Finding, Verdict};
use crate::config::keys::nearest;

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It is read.
    Read,
    /// It has no effect, for this reason.
    Ignored(&'static str),
    /// Whatever it asks for is not done, for this reason.
    Unsupported(&'static str),
}

type Keys<const N: usize> = [(&'static str, Use); N];

const METRICS: Use = Use::Ignored("the agent's metrics are not published");
const THREADS: Use = Use::Ignored("threads and connections are not configured");
const LOGS: Use = Use::Ignored("diagnostics go to standard error: see LOGTALLY_LOG");
const RETRIES: Use = Use::Ignored("what fails is retried for as long as it takes");
const QUEUES: Use = Use::Ignored("queues are bounded by themselves");
const POSITIONS: Use =
    Use::Ignored("positions are kept in the state directory, and those of the agent are not taken over");
const JAVA: Use = Use::Unsupported("no Java class is loaded: give credentials as AWS tools take them");
const FIREHOSE: Use = Use::Ignored("no flow goes to a delivery stream");

/// Keys of the whole file.
pub(super) const GENERAL: Keys<41> = [
    ("flows", Use::Read),
    ("awsAccessKeyId", Use::Read),
    ("awsSecretAccessKey", Use::Read),
    ("assumeRoleARN", Use::Read),
    ("assumeRoleExternalId", Use::Read),
    ("kinesis.endpoint", Use::Read),
    ("kinesis.region", Use::Read),
    ("sts.endpoint", Use::Read),
    ("userDefinedCredentialsProvider.classname", JAVA),
    ("userDefinedCredentialsProvider.location", JAVA),
    ("firehose.endpoint", FIREHOSE),
    ("cloudwatch.emitMetrics", METRICS),
    ("cloudwatch.endpoint", METRICS),
    ("cloudwatch.namespace", METRICS),
    ("cloudwatch.tagInstance", METRICS),
    ("cloudwatch.metricsBufferTimeMillis", METRICS),
    ("cloudwatch.metricsQueueSize", METRICS),
    ("checkpointFile", POSITIONS),
    ("checkpointTimeToLiveDays", POSITIONS),
    ("checkpoints.connectionTimeoutSeconds", POSITIONS),
    ("checkpoints.queryTimeoutSeconds", POSITIONS),
    ("shutdownTimeoutMillis", Use::Ignored("a stop saves at once")),
    ("maxSendingThreads", THREADS),
    ("maxSendingThreadsPerCore", THREADS),
    ("sendingThreadsKeepAliveMillis", THREADS),
    ("sendingThreadsMaxQueueSize", THREADS),
    ("maxConnections", THREADS),
    ("connectionTimeoutMillis", THREADS),
    ("connectionTTLMillis", THREADS),
    ("socketTimeoutMillis", THREADS),
    ("useTcpKeepAlive", THREADS),
    ("useHttpGzip", THREADS),
    ("userAgent", THREADS),
    ("userAgentOverride", THREADS),
    ("log.level", LOGS),
    ("log.file", LOGS),
    ("log.maxBackupIndex", LOGS),
    ("log.maxFileSize", LOGS),
    ("log.emitMetrics", LOGS),
    ("log.emitInternalMetrics", LOGS),
    ("log.statusReportingPeriodSeconds", LOGS),
];

/// Keys of a flow.
pub(super) const FLOW: Keys<23> = [
    ("filePattern", Use::Read),
    ("kinesisStream", Use::Read),
    ("partitionKeyOption", Use::Read),
    ("initialPosition", Use::Read),
    ("maxBufferAgeMillis", Use::Read),
    ("maxBufferSizeRecords", Use::Read),
    ("maxBufferSizeBytes", Use::Read),
    ("multiLineStartPattern", Use::Read),
    ("skipHeaderLines", Use::Read),
    ("truncatedRecordTerminator", Use::Read),
    ("dataProcessingOptions", Use::Read),
    ("deliveryStream", Use::Unsupported("Firehose is not served: send to a Kinesis stream that it reads")),
    ("fileFooterPattern", Use::Unsupported("files are read to their ends")),
    ("aggregatedRecordSizeBytes", Use::Ignored("it is for Firehose alone")),
    ("minTimeBetweenFilePollsMillis", Use::Ignored("files are read as they grow")),
    ("maxTimeBetweenFileTrackerRefreshMillis", Use::Ignored("directories are looked at every second")),
    ("retryInitialBackoffMillis", RETRIES),
    ("retryMaxBackoffMillis", RETRIES),
    ("publishQueueCapacity", QUEUES),
    ("waitOnFullPublishQueueMillis", QUEUES),
    ("waitOnEmptyPublishQueueMillis", QUEUES),
    ("waitOnFullRetryQueueMillis", QUEUES),
    ("log.emitInternalMetrics", LOGS),
];

/// Keys of LOGTOJSON.
pub(super) const LOG_TO_JSON: Keys<5> = [
    ("optionName", Use::Read),
    ("logFormat", Use::Read),
    ("matchPattern", Use::Read),
    ("customFieldNames", Use::Read),
    ("jsonFormat", Use::Read),
];

/// Keys of CSVTOJSON.
pub(super) const CSV_TO_JSON: Keys<4> = [
    ("optionName", Use::Read),
    ("customFieldNames", Use::Read),
    ("delimiter", Use::Read),
    ("jsonFormat", Use::Read),
];

/// Keys of ADDMETADATA.
pub(super) const ADD_METADATA: Keys<4> =
    [("optionName", Use::Read), ("metadata", Use::Read), ("timestamp", Use::Read), ("jsonFormat", Use::Read)];

/// Keys of SINGLELINE.
pub(super) const SINGLE_LINE: Keys<2> = [("optionName", Use::Read), ("parseOptions", Use::Read)];

/// Keys of ADDBRACKETS.
pub(super) const ADD_BRACKETS: Keys<1> = [("optionName", Use::Read)];

/// What there is to say of the keys of `entries`, in their order.
pub(super) fn judge(place: &str, keys: &[(&str, Use)], entries: &Map<String, Value>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for key in entries.keys() {
        let (verdict, note) = match keys.iter().find(|(name, _)| name == key).map(|(_, kind)| *kind) {
            Some(Use::Read) => continue,
            Some(Use::Ignored(why)) => (Verdict::Ignored, why.to_owned()),
            Some(Use::Unsupported(why)) => (Verdict::Unsupported, why.to_owned()),
            None => match nearest(key, keys.iter().map(|(name, _)| *name)) {
                Some(meant) => (Verdict::Unknown, format!("did you mean \"{meant}\"?")),
                None => (Verdict::Unknown, "the agent passes over it too".to_owned()),
            },
        };
        let shown: String = key.chars().take(60).flat_map(char::escape_debug).collect();
        findings.push(Finding::new(place, &shown, verdict, note));
    }
    findings
}
