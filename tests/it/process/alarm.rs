//! From a line to a metric, and from metrics to an alarm and its webhook. Measures no time.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
};

use serde_json::Value;

use super::{
    home::{CONFIG, Home},
    load::lines,
    oracle::published,
};

/// A receiver of webhooks: where it listens, and what it was told.
pub(super) fn receiver() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook/s3cret", listener.local_addr().unwrap());
    let (told, notifications) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if told.send(answered(stream.unwrap())).is_err() {
                return;
            }
        }
    });
    (url, notifications)
}

/// Reads one request and thanks for it.
fn answered(mut stream: TcpStream) -> Value {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn a_line_becomes_a_metric_while_the_pipeline_runs() {
    let home = Home::new();
    let process = home.start("run");
    for count in 1..=3 {
        home.log(&lines("web.example.com", 1));
        home.until("the metric", || published(&home, "Shop") == count);
    }
    process.stop();
}

#[test]
fn an_alarm_goes_off_with_the_unknown_hosts_and_calls_its_webhook() {
    let (url, notifications) = receiver();
    let alarm = format!("\n[[alarm]]\nname = \"strangers\"\nrule = \"Unknown > 20\"\nwebhook = \"{url}\"\n");
    // Lines that come in time, for an alarm looks at no corrections.
    let config = CONFIG.replace("allowed_lateness = \"0s\"", "allowed_lateness = \"2s\"") + &alarm;
    let home = Home::with(&config);
    let process = home.start("run");
    let next_of = |state: &str, text: &dyn Fn() -> String| {
        let mut found = None;
        home.until(state, || {
            home.log(&text());
            found = notifications.try_iter().find(|notification| notification["state"] == state);
            found.is_some()
        });
        found.unwrap()
    };
    // All of one second: asked for twice, they could be of two windows.
    let many = || lines("stranger.example.net", 33).replacen("stranger.example.net", "10.9.9.9", 3);
    let notification = next_of("ALARM", &many);
    assert_eq!(notification["alarm"], "strangers");
    assert_eq!(notification["application"], "Unknown");
    assert_eq!(notification["contact"], "");
    assert!(notification["value"].as_u64().unwrap() > 20, "{notification}");
    assert_eq!(notification["topHosts"][0]["host"], "stranger.example.net", "{notification}");
    assert_eq!(notification["topHosts"][1]["host"], "10.9.9.9", "{notification}");
    assert!(home.result("status").contains("strangers"));

    let notification = next_of("OK", &String::new);
    assert_eq!(notification["previousState"], "ALARM");
    process.stop();
    assert!(!home.said().contains("s3cret"), "the address is a secret: {}", home.said());
}
