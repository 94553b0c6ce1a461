//! The Lambda function behind a double of the Runtime API, on doubles of the services. Knows no role.

mod analyze;
mod deliver;

use std::{
    io::{self, Read, Write},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use aws_smithy_types::base64;
use logtally::engine::time::Timestamp;
use serde_json::{Value, json};

use super::{
    bridge::{Request, Response},
    moto::REGION,
};

/// Longer than anything takes that ends.
const PATIENCE: Duration = Duration::from_mins(2);

/// An environment of the function: a process, and Lambda's side of it.
struct Function {
    process: Child,
    events: Sender<Value>,
    answers: Receiver<Result<Value, Value>>,
    diagnostics: Arc<Mutex<Vec<u8>>>,
}

impl Function {
    /// Starts a process in `role` with these variables and no others.
    fn start(role: &str, variables: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (events, next) = channel();
        let (answer, answers) = channel();
        let next = Arc::new(Mutex::new(next));
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (next, answer) = (Arc::clone(&next), answer.clone());
                thread::spawn(move || {
                    let request = Request::read(&stream)?;
                    let response = serve(&request, &next, &answer)?;
                    response.write(&mut stream).ok()
                });
            }
        });
        let mut process = Command::new(env!("CARGO_BIN_EXE_logtally-lambda"))
            .env_clear()
            .envs([
                ("AWS_LAMBDA_RUNTIME_API", address.as_str()),
                ("AWS_LAMBDA_FUNCTION_NAME", "logtally"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "192"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                ("AWS_REGION", REGION),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("LOGTALLY_ROLE", role),
            ])
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let diagnostics = Arc::<Mutex<Vec<u8>>>::default();
        let (mut stderr, said) = (process.stderr.take().unwrap(), Arc::clone(&diagnostics));
        thread::spawn(move || {
            let mut some = [0; 4_096];
            while let Ok(length @ 1..) = stderr.read(&mut some) {
                said.lock().unwrap().extend_from_slice(&some[..length]);
            }
        });
        Self { process, events, answers, diagnostics }
    }

    /// What it answers to an event: the answer, or the error that it reports.
    fn invoke(&self, event: &Value) -> Result<Value, Value> {
        self.send(event);
        self.answer()
    }

    fn send(&self, event: &Value) {
        self.events.send(event.clone()).unwrap();
    }

    fn answer(&self) -> Result<Value, Value> {
        let answer = self.answers.recv_timeout(PATIENCE);
        answer.unwrap_or_else(|why| panic!("no answer ({why}):\n{}", self.said()))
    }

    /// Waits until its diagnostics hold `text`: they come by a pipe of their own.
    #[track_caller]
    fn tells(&self, text: &str) {
        let pause = Duration::from_millis(10);
        for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
            if self.said().contains(text) {
                return;
            }
            thread::sleep(pause);
        }
        panic!("not told: {text}\n{}", self.said());
    }

    /// Its diagnostics so far.
    fn said(&self) -> String {
        String::from_utf8_lossy(&self.diagnostics.lock().unwrap()).into_owned()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            drop(writeln!(io::stderr(), "{}", self.said()));
        }
    }
}

/// The Runtime API, as AWS documents it: "next invocation", "invocation response", "invocation error".
fn serve(
    request: &Request,
    next: &Mutex<Receiver<Value>>,
    answer: &Sender<Result<Value, Value>>,
) -> Option<Response> {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let body = || serde_json::from_slice(&request.body).unwrap();
    let path = request.path.strip_prefix("/2018-06-01/runtime/invocation/").unwrap();
    match (request.method.as_str(), path.rsplit('/').next().unwrap()) {
        ("GET", "next") => {
            let event = next.lock().unwrap().recv().ok()?;
            let headers = vec![
                header("content-type", "application/json"),
                header("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
                header("lambda-runtime-deadline-ms", "4102444800000"),
                header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:1:function:logtally"),
            ];
            return Some(Response { status: 200, headers, body: event.to_string().into_bytes() });
        }
        ("POST", "response") => answer.send(Ok(body())).ok()?,
        ("POST", "error") => answer.send(Err(body())).ok()?,
        other => panic!("no call of the Runtime API: {other:?}"),
    }
    Some(Response {
        status: 202,
        headers: vec![header("content-type", "application/json")],
        body: b"{}".into(),
    })
}

/// A record of a stream.
#[derive(Clone, Debug)]
struct Record {
    key: String,
    sequence: String,
    arrival: Timestamp,
    data: Vec<u8>,
}

/// What Lambda makes of records of a shard (developer guide, "Using Lambda to process records from Kinesis").
fn event(shard: &str, records: &[Record]) -> Value {
    let record = |record: &Record| {
        #[expect(clippy::cast_precision_loss, reason = "as Lambda does")]
        let seconds = record.arrival.as_millis() as f64 / 1_000.0;
        json!({
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": record.key,
                "sequenceNumber": record.sequence,
                "data": base64::encode(&record.data),
                "approximateArrivalTimestamp": seconds,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": format!("{shard}:{}", record.sequence),
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::123456789012:role/logtally",
            "awsRegion": REGION,
            "eventSourceARN": "arn:aws:kinesis:us-east-1:123456789012:stream/a-stream",
        })
    };
    json!({ "Records": records.iter().map(record).collect::<Vec<_>>() })
}

/// What an answer says of the record from which on the batch is to come again; the bare sequence numbers.
fn failures(answer: &Value) -> Vec<&str> {
    let failures = answer["batchItemFailures"].as_array().unwrap();
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect()
}
