//! The services' clients, from the SDK's default chain: region, credentials and endpoints as the AWS CLI finds them.
//! Calls nothing.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, ConfigLoader, Region, SdkConfig, retry::RetryConfig, sts::AssumeRoleProvider,
    timeout::TimeoutConfig,
};
use aws_sdk_kinesis::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};

use crate::{
    backend::{
        BackendError, Result,
        aws::{Object, ObjectName},
    },
    config::agent::Access,
};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one attempt may take: the largest answer is 10 MiB (Kinesis, `GetRecords`).
const ATTEMPT: Duration = Duration::from_secs(30);

/// The session of a role that an agent's configuration names, as the agent calls it.
const SESSION: &str = "AWSKinesisAgent";

/// A client for each service.
#[derive(Clone, Debug)]
pub struct Clients {
    pub(super) kinesis: aws_sdk_kinesis::Client,
    pub(super) dynamodb: aws_sdk_dynamodb::Client,
    pub(super) s3: aws_sdk_s3::Client,
    pub(super) sqs: aws_sdk_sqs::Client,
    pub(super) cloudwatch: aws_sdk_cloudwatch::Client,
    /// Without the SDK's retries: a call to `PutMetricData` that is made twice counts twice.
    pub(super) cloudwatch_once: aws_sdk_cloudwatch::Client,
}

impl Clients {
    /// Clients of the default chain: `AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL[_SERVICE]`, instance roles.
    ///
    /// # Errors
    /// [`BackendError::Refused`] if nothing names a region.
    pub async fn from_environment() -> Result<Self> {
        Ok(Self::new(&with_region(loader().load().await)?))
    }

    /// As [`Self::from_environment`], but where an agent's configuration says otherwise.
    ///
    /// # Errors
    /// [`BackendError::Refused`] if nothing names a region.
    pub async fn of_agent(access: &Access) -> Result<Self> {
        let mut loader = loader();
        if let Some(region) = &access.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some((id, secret)) = &access.credentials {
            loader = loader.credentials_provider(Credentials::new(
                id.expose(),
                secret.expose(),
                None,
                None,
                "agent",
            ));
        }
        let mut config = with_region(loader.load().await)?;
        if let Some(role) = &access.role {
            let mut taking = AssumeRoleProvider::builder(role).session_name(SESSION);
            if let Some(id) = &access.external_id {
                taking = taking.external_id(id);
            }
            let sts = match &access.sts_endpoint {
                Some(endpoint) => config.clone().into_builder().endpoint_url(endpoint).build(),
                None => config.clone(),
            };
            let role = SharedCredentialsProvider::new(taking.configure(&sts).build().await);
            config = config.into_builder().credentials_provider(role).build();
        }
        let clients = Self::new(&config);
        Ok(match &access.kinesis_endpoint {
            Some(endpoint) => clients.with_kinesis(&config.into_builder().endpoint_url(endpoint).build()),
            None => clients,
        })
    }

    /// Clients of one configuration.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        let once = aws_sdk_cloudwatch::config::Builder::from(config).retry_config(RetryConfig::disabled());
        // By their path buckets are found at every endpoint, also those whose names hold dots.
        let s3 = aws_sdk_s3::config::Builder::from(config).force_path_style(true);
        Self {
            kinesis: aws_sdk_kinesis::Client::new(config),
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            s3: aws_sdk_s3::Client::from_conf(s3.build()),
            sqs: aws_sdk_sqs::Client::new(config),
            cloudwatch: aws_sdk_cloudwatch::Client::new(config),
            cloudwatch_once: aws_sdk_cloudwatch::Client::from_conf(once.build()),
        }
    }

    /// One object in S3.
    #[must_use]
    pub fn object(&self, name: ObjectName) -> Object {
        Object::new(self.s3.clone(), name)
    }

    /// These clients, with the Kinesis that `config` names.
    #[must_use]
    pub fn with_kinesis(mut self, config: &SdkConfig) -> Self {
        self.kinesis = aws_sdk_kinesis::Client::new(config);
        self
    }
}

fn loader() -> ConfigLoader {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build();
    aws_config::defaults(BehaviorVersion::latest()).http_client(http).timeout_config(timeouts)
}

/// The configuration, if it names a region.
fn with_region(config: SdkConfig) -> Result<SdkConfig> {
    if config.region().is_some() {
        return Ok(config);
    }
    Err(BackendError::Refused {
        what: "no AWS region: set AWS_REGION, or region in the profile of ~/.aws/config".to_owned(),
        source: None,
    })
}
