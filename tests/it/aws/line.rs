//! A client's line to a service that a test may spoil: answers get lost, requests arrive twice. Serves nothing.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use aws_smithy_http_client::Builder;
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};

/// The line; clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    inner: SharedHttpClient,
    spoilt: Arc<Spoilt>,
}

#[derive(Debug, Default)]
struct Spoilt {
    lose: AtomicUsize,
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    connector: SharedHttpConnector,
    request: HttpRequest,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self { inner: Builder::new().build_http(), spoilt: Arc::default() }
    }

    /// The next `answers` to writes of DynamoDB items are lost on their way; the requests are not.
    pub(crate) fn lose(&self, answers: usize) {
        self.spoilt.lose.store(answers, Ordering::SeqCst);
    }

    /// How many answers are still to be lost.
    pub(crate) fn to_lose(&self) -> usize {
        self.spoilt.lose.load(Ordering::SeqCst)
    }

    /// Forgets the requests until now.
    pub(crate) fn forget(&self) {
        self.spoilt.kept.lock().unwrap().clear();
    }

    /// Sends every write of a DynamoDB item since [`Self::forget`] once more, and returns the answers' codes.
    pub(crate) async fn repeat(&self) -> Vec<u16> {
        let kept = std::mem::take(&mut *self.spoilt.kept.lock().unwrap());
        let mut codes = Vec::new();
        for Kept { connector, request } in kept {
            codes.push(connector.call(request).await.unwrap().status().as_u16());
        }
        codes
    }
}

impl HttpClient for Line {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Wire { connector, spoilt: Arc::clone(&self.spoilt) })
    }
}

#[derive(Debug)]
struct Wire {
    connector: SharedHttpConnector,
    spoilt: Arc<Spoilt>,
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        if !target.ends_with(".UpdateItem") {
            return self.connector.call(request);
        }
        let kept = Kept { connector: self.connector.clone(), request: request.try_clone().unwrap() };
        self.spoilt.kept.lock().unwrap().push(kept);
        let one_less = |answers: usize| answers.checked_sub(1);
        let lost = self.spoilt.lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
        let answer = self.connector.call(request);
        HttpConnectorFuture::new(async move {
            match answer.await {
                Ok(_) if lost => Err(ConnectorError::io("the answer was lost".into())),
                answer => answer,
            }
        })
    }
}
