//! moto's server, one for each test, with nothing in it. Needs python3 (3.11 or later) and, once, the package registry.

#![cfg(test)]

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::{
    config::{Credentials, SharedCredentialsProvider},
    types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType::S},
};
use aws_smithy_http_client::Builder;

/// The region of everything.
pub(crate) const REGION: &str = "us-east-1";

/// A server that ends with this.
#[derive(Debug)]
pub(crate) struct Moto {
    server: Child,
    endpoint: String,
    /// Reads what the server says, so that it never waits for a reader.
    diagnostics: Option<JoinHandle<String>>,
}

impl Moto {
    /// Starts a server and waits until it listens. Says what is missing where it cannot.
    pub(crate) fn start() -> Self {
        let mut server = Command::new(python())
            .arg(root().join("tests/it/aws/serve_moto.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = server.stderr.take().unwrap();
        let diagnostics = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let Ok(port) = port.trim().parse::<u16>() else {
            panic!("moto's server did not start:\n{}", diagnostics.join().unwrap());
        };
        Self { server, endpoint: format!("http://127.0.0.1:{port}"), diagnostics: Some(diagnostics) }
    }

    /// Where it listens: what `AWS_ENDPOINT_URL` is to say.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What clients of it are made from; nothing of the environment is in it.
    pub(crate) fn config(&self) -> SdkConfig {
        config(&self.endpoint)
    }

    /// Creates a table of leases, as `infra/logtally.yaml` does.
    pub(crate) async fn create_table_of_leases(&self, name: &str) {
        self.create_table(name, "leaseKey").await;
    }

    /// Creates a table of published parcels, as `infra/logtally.yaml` does.
    pub(crate) async fn create_ledger(&self, name: &str) {
        self.create_table(name, "id").await;
    }

    /// Creates a table whose partition key is the text `key`.
    pub(crate) async fn create_table(&self, name: &str, key: &str) {
        let attribute = AttributeDefinition::builder().attribute_name(key).attribute_type(S);
        let schema = KeySchemaElement::builder().attribute_name(key).key_type(KeyType::Hash);
        aws_sdk_dynamodb::Client::new(&self.config())
            .create_table()
            .table_name(name)
            .attribute_definitions(attribute.build().unwrap())
            .key_schema(schema.build().unwrap())
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .unwrap();
    }

    /// Creates a bucket.
    pub(crate) async fn create_bucket(&self, name: &str) {
        let config = aws_sdk_s3::config::Builder::from(&self.config()).force_path_style(true);
        let client = aws_sdk_s3::Client::from_conf(config.build());
        client.create_bucket().bucket(name).send().await.unwrap();
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        if let Some(diagnostics) = self.diagnostics.take().filter(|_| thread::panicking()) {
            // Shown with the failed test: errors of the server look like lost answers from outside.
            eprintln!("{}", diagnostics.join().unwrap_or_default());
        }
    }
}

/// What clients of a double at `endpoint` are made from.
pub(crate) fn config(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(endpoint)
        .http_client(Builder::new().build_http())
        .build()
}

/// The python of the virtual environment with moto in it; made by the first test that asks.
fn python() -> PathBuf {
    let mut command = Command::new("python3");
    command.arg(root().join("tests/it/virtual_environment.py"));
    command.arg("aws-doubles").arg(root().join("tests/it/aws/requirements-moto.txt"));
    let output = command.output().unwrap_or_else(|error| {
        panic!("the doubles of AWS need python3 (3.11 or later, with venv and pip): {error}")
    });
    let diagnostics = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "no virtual environment for the doubles of AWS: {diagnostics}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
