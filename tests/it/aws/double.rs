//! Kinesis inside the test process. Tests nothing.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use axum::extract::DefaultBodyLimit;
use ferrokinesis::{create_app, serve_plain_http, store::StoreOptions};
use tokio::{net::TcpListener, sync::oneshot};

pub(crate) const INPUT: &str = "logtally-input";
pub(crate) const OUTPUT: &str = "logtally-output";

/// The largest request, in bytes: 10 MiB in base64, as Kinesis has it (`PutRecords`), with room for what is around.
const MOST_BODY: usize = 15 * 1024 * 1024;

/// A Kinesis with the pipeline's two streams: four input shards, one output shard. Ends when dropped.
///
/// It has a thread to itself, and only one: it draws a sequence number and files the record in two steps, between which
/// a reader on another thread would pass the record by.
pub(crate) struct Kinesis {
    pub(crate) config: SdkConfig,
    pub(crate) client: aws_sdk_kinesis::Client,
    _stop: oneshot::Sender<()>,
}

impl Kinesis {
    pub(crate) async fn start() -> Self {
        Self::with(StoreOptions::default()).await
    }

    pub(crate) async fn with(options: StoreOptions) -> Self {
        let options = StoreOptions { create_stream_ms: 0, update_stream_ms: 0, shard_limit: 100, ..options };
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, address) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let (app, _) = create_app(options);
                let app = app.layer(DefaultBodyLimit::max(MOST_BODY));
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    served = serve_plain_http(listener, app, std::future::pending()) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        let config = config(&format!("http://{}", address.await.unwrap())).await;
        let client = aws_sdk_kinesis::Client::new(&config);
        let kinesis = Self { config, client, _stop: stop };
        kinesis.create(INPUT, 4).await;
        kinesis.create(OUTPUT, 1).await;
        kinesis
    }

    pub(crate) async fn create(&self, stream: &str, shards: i32) {
        self.client.create_stream().stream_name(stream).shard_count(shards).send().await.unwrap();
        self.active(stream).await;
    }

    /// Waits for what was asked of the stream to be done.
    pub(crate) async fn active(&self, stream: &str) {
        loop {
            let summary = self.client.describe_stream_summary().stream_name(stream).send().await.unwrap();
            if summary.stream_description_summary.unwrap().stream_status.as_str() == "ACTIVE" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The SDK's configuration for services at `endpoint`, by plain HTTP.
pub(crate) async fn config(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint)
        .load()
        .await
}
