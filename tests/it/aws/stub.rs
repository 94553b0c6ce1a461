//! A service that answers what a test says. Tests nothing, and knows no service.

use aws_config::{SdkConfig, retry::RetryConfig};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::double::config;

/// The service. Ends when dropped.
pub(crate) struct Stub {
    /// How to reach it; without the SDK's own retries.
    pub(crate) config: SdkConfig,
    _server: JoinSet<()>,
}

impl Stub {
    /// Answers every request by `answer`.
    pub(crate) async fn start<F>(answer: F) -> Self
    where
        F: Fn(&str, &serde_json::Value) -> (u16, serde_json::Value) + Clone + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = config(&format!("http://{}", listener.local_addr().unwrap())).await;
        let config = config.into_builder().retry_config(RetryConfig::disabled()).build();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(serve(connection, answer.clone()));
            }
        });
        Self { config, _server: server }
    }
}

async fn serve<F>(connection: TcpStream, answer: F)
where
    F: Fn(&str, &serde_json::Value) -> (u16, serde_json::Value),
{
    let mut connection = BufReader::new(connection);
    loop {
        let (mut operation, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                if line.trim_end().is_empty() {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "x-amz-target" => operation = value.rsplit('.').next().unwrap().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.unwrap();
        let (status, body) = answer(&operation, &serde_json::from_slice(&body).unwrap_or_default());
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} Answer\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if connection.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}
