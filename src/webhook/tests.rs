//! The webhook against a small HTTP server. Tests only.

use std::{
    future::ready,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use insta::assert_snapshot;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::engine::alarm::{Alarm, Missing};
use crate::engine::time::WindowSize;

/// What the server does with one connection.
enum Reply {
    Status(u16),
    /// Reads the request and never answers, until the server goes.
    Hang,
    /// Answers something that is no HTTP.
    Garbage,
}

/// Serves one connection for each reply, in order, then closes every further one unread.
struct Server {
    url: WebhookUrl,
    requests: mpsc::UnboundedReceiver<(String, String)>,
    /// Dropped with the server: what hangs then closes.
    _alive: std::sync::mpsc::Sender<()>,
}

impl Server {
    fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/T0/s3cret?key=s3cret", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::unbounded_channel();
        let (alive, gone) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for reply in replies {
                let (stream, _) = listener.accept().unwrap();
                serve(&stream, &reply, &sender).unwrap();
                if matches!(reply, Reply::Hang) {
                    let _ = gone.recv();
                }
            }
            // The port stays taken, so that no other test's server gets these connections.
            while listener.accept().is_ok() {}
        });
        Self { url: url.parse().unwrap(), requests, _alive: alive }
    }

    /// Head and body of the next request.
    async fn request(&mut self) -> (String, String) {
        self.requests.recv().await.unwrap()
    }
}

fn serve(
    mut stream: &TcpStream,
    reply: &Reply,
    requests: &mpsc::UnboundedSender<(String, String)>,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            break;
        }
        let last = head.lines().last().unwrap().to_ascii_lowercase();
        if let Some(value) = last.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let _ = requests.send((head, String::from_utf8(body).unwrap()));
    match reply {
        Reply::Status(status) => write!(
            stream,
            "HTTP/1.1 {status} X\r\nlocation: /elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ),
        Reply::Garbage => write!(stream, "\0\0\0"),
        Reply::Hang => Ok(()),
    }
}

fn event(application: &str) -> Notification {
    let rule: Rule = "* > 100".parse().unwrap();
    let size = WindowSize::FIVE_MINUTES;
    let mut alarm = Alarm::new("strangers".to_owned(), rule.clone(), Missing::default(), size);
    let sums = [(application.to_owned(), 142)].into();
    let start = Timestamp::from_millis(1_795_236_900_000);
    let transition = alarm.observe(start, &sums).remove(0);
    Notification {
        contact: "ops@example.com".to_owned(),
        top_hosts: vec![HostCount { host: "10.0.0.9\n\"\u{9b}\u{202e}<b>".to_owned(), count: 140, error: 2 }],
        ..Notification::of(transition, rule, size.end_of(start).plus_millis(10_250))
    }
}

fn policy() -> Policy {
    Policy {
        timeout: Duration::from_mins(1),
        attempts: 3,
        backoff: Backoff { base_ms: 1, max_ms: 2 },
        grace: Duration::from_mins(1),
    }
}

/// Hands in one notification and waits until its fate is known.
async fn delivered_to(replies: Vec<Reply>) -> (Fates, usize) {
    let mut server = Server::start(replies);
    let (webhook, courier) = Webhook::with(server.url.clone(), policy());
    webhook.notify(&event("Unknown"));
    courier.run(ready(())).await;
    server.requests.close();
    let mut requests = 0;
    while server.requests.recv().await.is_some() {
        requests += 1;
    }
    (webhook.fates(), requests)
}

fn fates(delivered: u64, failed: u64) -> Fates {
    Fates { notified: 1, delivered, dropped: 0, failed }
}

#[tokio::test]
async fn a_change_is_posted_as_json_while_the_pipeline_runs() {
    let mut server = Server::start(vec![Reply::Status(204)]);
    let (webhook, courier) = Webhook::with(server.url.clone(), policy());
    let (stop, stopped) = oneshot::channel::<()>();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(courier.run(async { drop(stopped.await) }));
    webhook.notify(&event("Unknown"));
    let (head, body) = server.request().await;
    stop.send(()).unwrap();
    tasks.join_all().await;
    assert!(head.starts_with("POST /T0/s3cret?key=s3cret HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    assert_snapshot!(body, @r#"{"alarm":"strangers","rule":"* > 100","application":"Unknown","contact":"ops@example.com","state":"ALARM","previousState":"INSUFFICIENT_DATA","windowStart":"2026-11-21T04:55:00Z","windowEnd":"2026-11-21T05:00:00Z","value":142,"reason":"142 > 100 in 1 of 1 windows","topHosts":[{"host":"10.0.0.9\n\"\u009b\u202e\u003cb>","count":140,"error":2}],"at":"2026-11-21T05:00:10.250Z"}"#);
    assert_eq!(webhook.fates(), fates(1, 0));
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let replies = vec![Reply::Status(500), Reply::Status(429), Reply::Status(200)];
    assert_eq!(delivered_to(replies).await, (fates(1, 0), 3));
    assert_eq!(delivered_to(vec![Reply::Garbage, Reply::Status(200)]).await, (fates(1, 0), 2));
}

#[tokio::test]
async fn what_will_not_pass_is_given_up() {
    for status in [400, 404, 302] {
        assert_eq!(delivered_to(vec![Reply::Status(status)]).await, (fates(0, 1), 1));
    }
    let replies = (0..9).map(|_| Reply::Status(503)).collect();
    assert_eq!(delivered_to(replies).await, (fates(0, 1), 3), "attempts are bounded");
    assert_eq!(delivered_to(vec![]).await, (fates(0, 1), 0), "hangs up at once");
}

#[tokio::test]
async fn a_hanging_receiver_blocks_nobody_and_the_oldest_give_way() {
    let mut server = Server::start(vec![Reply::Hang]);
    let (webhook, courier) = Webhook::with(server.url.clone(), policy());
    let mut tasks = tokio::task::JoinSet::new();
    let (stop, stopped) = oneshot::channel::<()>();
    tasks.spawn(courier.run(async { drop(stopped.await) }));
    webhook.notify(&event("first"));
    server.request().await;
    for number in 0..QUEUE + 10 {
        webhook.notify(&event(&number.to_string()));
    }
    assert_eq!(webhook.fates().dropped, 10);
    drop(server);
    stop.send(()).unwrap();
    tasks.join_all().await;
    let all = QUEUE as u64 + 11;
    let expected = Fates { notified: all, delivered: 0, dropped: 10, failed: all - 10 };
    assert_eq!(webhook.fates(), expected);
}

#[tokio::test]
async fn the_latest_are_kept_and_arrive_in_order() {
    let mut server = Server::start((0..QUEUE).map(|_| Reply::Status(200)).collect());
    let (webhook, courier) = Webhook::with(server.url.clone(), policy());
    for number in 0..QUEUE + 5 {
        webhook.notify(&event(&number.to_string()));
    }
    courier.run(ready(())).await;
    for number in 5..QUEUE + 5 {
        let (_, body) = server.request().await;
        assert!(body.contains(&format!(r#""application":"{number}""#)), "{number}: {body}");
    }
    assert_eq!((webhook.fates().delivered, webhook.fates().dropped), (QUEUE as u64, 5));
    webhook.notify(&event("after the end"));
    assert_eq!(webhook.fates().dropped, 6);
}

#[tokio::test]
async fn after_the_grace_the_rest_is_counted_as_failed() {
    let server = Server::start(vec![Reply::Status(500)]);
    let url = server.url.clone();
    let never = Backoff { base_ms: u64::MAX, max_ms: 1 << 40 };
    let brief = Policy { backoff: never, grace: Duration::from_millis(100), ..policy() };
    let (webhook, courier) = Webhook::with(url, brief);
    webhook.notify(&event("one"));
    webhook.notify(&event("two"));
    courier.run(ready(())).await;
    assert_eq!((webhook.fates().delivered, webhook.fates().failed), (0, 2));
}

#[tokio::test]
async fn tls_starts_on_a_bare_machine() {
    let server = Server::start(vec![]);
    let url = server.url.uri().to_string().replace("http:", "https:");
    let poster = Poster::new(url.parse().unwrap(), Duration::from_mins(1));
    assert!(matches!(poster.post(Arc::default()).await, Answer::Failed(_)));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/s3cret", listener.local_addr().unwrap());
    let (sender, mut first) = mpsc::unbounded_channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 3];
        stream.read_exact(&mut hello).unwrap();
        sender.send(hello).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    });
    let poster = Poster::new(url.parse().unwrap(), Duration::from_mins(1));
    let answer = poster.post(Arc::default()).await;
    // A TLS handshake record, and an answer in plain text that is not taken for one.
    assert_eq!(first.recv().await.unwrap(), [22, 3, 1]);
    let Answer::Failed(why) = answer else { panic!("{answer:?}") };
    assert!(why.starts_with("rustls: ") || why.starts_with("i/o: "), "{why}");
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_logs_nor_debug_show_the_secret() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // With one dispatcher alive, tracing asks only the thread that meets a log statement first whether anybody
    // listens, and that may be another test's; with two, it asks both.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();
    let server = Server::start(vec![Reply::Status(500), Reply::Garbage, Reply::Status(400)]);
    let shown = server.url.to_string();
    let (webhook, courier) = Webhook::with(server.url.clone(), policy());
    let debug = format!("{webhook:?} {courier:?}");
    webhook.notify(&event("Unknown"));
    courier.run(ready(())).await;
    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("will retry") && logged.contains("given up"), "{logged}");
    assert!(logged.contains(&shown) && debug.contains(&shown), "{logged}{debug}");
    assert!(!logged.contains("s3cret") && !debug.contains("s3cret"), "{logged}{debug}");
}
