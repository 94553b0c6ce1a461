//! The wire of today's CloudWatch clients (Smithy RPC v2 CBOR) in front of moto's older one (AWS JSON 1.0), with faults
//! on request. Passes on as it is whatever is no call to CloudWatch. Keeps no metric.

#![cfg(test)]

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use flate2::read::GzDecoder;
use serde_json::{Value as Json, json};

use super::cbor::{to_cbor, to_json};

const CLOUDWATCH: &str = "/service/GraniteServiceVersion20100801/operation/";

/// What only a broken product or machine takes.
const PATIENCE: Duration = Duration::from_mins(10);

/// What happens to the next call of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is done, and answered with 500.
    DoneButFailed,
    /// It is done, and the connection ends without an answer.
    DoneButLost,
    /// It is done, and never answered.
    DoneButSilent,
    /// It is not done, and the connection ends without an answer.
    Lost,
    /// It is not done, and never answered.
    Silent,
    /// It is not done, and answered with this status and code.
    Answered(u16, &'static str),
    /// It is done once [`Bridge::release`] is called, and answered.
    Held,
    /// It is done, and half of its answer arrives.
    Halved,
    /// Nothing: it is done, and answered.
    Passed,
}

/// A server that answers until the process ends.
#[derive(Debug)]
pub(crate) struct Bridge {
    endpoint: String,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    target: String,
    faults: Mutex<VecDeque<(String, Fault)>>,
    /// What befalls every other call.
    outage: Mutex<Option<Fault>>,
    /// Operation and length in bytes, before compression, of each call.
    seen: Mutex<Vec<(String, usize)>>,
    /// How many calls are being done.
    active: AtomicUsize,
    /// How many calls are never answered, or held, of those whose time has come.
    silenced: AtomicUsize,
    released: (Mutex<bool>, Condvar),
}

impl Bridge {
    /// A bridge to the server at `target`.
    pub(crate) fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = State {
            target: target.to_owned(),
            faults: Mutex::default(),
            outage: Mutex::default(),
            seen: Mutex::default(),
            active: AtomicUsize::new(0),
            silenced: AtomicUsize::new(0),
            released: Default::default(),
        };
        let state = Arc::new(state);
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let active = Active::of(&serving);
                thread::spawn(move || active.0.serve(stream));
            }
        });
        Self { endpoint, state }
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What befalls the next calls of `operation` that no earlier fault waits for.
    pub(crate) fn inject(&self, operation: &str, faults: impl IntoIterator<Item = Fault>) {
        let faults = faults.into_iter().map(|fault| (operation.to_owned(), fault));
        self.state.faults.lock().unwrap().extend(faults);
    }

    /// What befalls every call from now on that no other fault waits for.
    pub(crate) fn suffer(&self, fault: Fault) {
        *self.state.outage.lock().unwrap() = Some(fault);
    }

    /// Nothing happens to any call from now on.
    pub(crate) fn mend(&self) {
        self.state.faults.lock().unwrap().clear();
        *self.state.outage.lock().unwrap() = None;
    }

    /// Waits until every call has come to its end, those included whose callers have gone.
    pub(crate) async fn idle(&self) {
        until("every call ends", || self.state.active.load(SeqCst) == 0).await;
    }

    /// Lets what is held go on.
    pub(crate) fn release(&self) {
        let (released, told) = &self.state.released;
        *released.lock().unwrap() = true;
        told.notify_all();
    }

    /// Waits until a call that is never answered has been done, if it is to be done, or one is held.
    pub(crate) async fn silent(&self) {
        until("a call is silent", || self.state.silenced.load(SeqCst) > 0).await;
    }

    /// Lengths in bytes of the calls of `operation` so far, before compression.
    pub(crate) fn seen(&self, operation: &str) -> Vec<usize> {
        let seen = self.state.seen.lock().unwrap();
        seen.iter().filter(|(name, _)| name == operation).map(|(_, length)| *length).collect()
    }
}

/// Waits until `happened`; too long is a failure.
pub(super) async fn until(what: &str, happened: impl Fn() -> bool) {
    let waiting = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// One of the calls that are being done.
struct Active(Arc<State>);

impl Active {
    fn of(state: &Arc<State>) -> Self {
        state.active.fetch_add(1, SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, SeqCst);
    }
}

pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl State {
    fn serve(&self, mut stream: TcpStream) {
        let Some(request) = Request::read(&stream) else { return };
        let operation = request.operation();
        self.seen.lock().unwrap().push((operation.clone(), request.body.len()));
        let fault = {
            let mut faults = self.faults.lock().unwrap();
            let next = faults.iter().position(|(name, _)| *name == operation);
            next.and_then(|next| faults.remove(next)).map(|(_, fault)| fault)
        };
        let fault = fault.or(*self.outage.lock().unwrap());
        let pass = || self.pass(&request);
        let response = match fault {
            None | Some(Fault::Passed) => pass(),
            Some(Fault::Held) => {
                self.hold();
                pass()
            }
            Some(Fault::DoneButFailed) => {
                pass();
                request.error(500, "InternalFailure")
            }
            Some(Fault::DoneButLost) => {
                pass();
                return;
            }
            Some(Fault::DoneButSilent) => {
                pass();
                return self.silence(&mut stream);
            }
            Some(Fault::Halved) => {
                let _ = pass().write_half(&mut stream);
                return;
            }
            Some(Fault::Lost) => return,
            Some(Fault::Silent) => return self.silence(&mut stream),
            Some(Fault::Answered(status, code)) => request.error(status, code),
        };
        let _ = response.write(&mut stream);
    }

    /// Says nothing until the caller hangs up, or until the outage is over in which it does so.
    fn silence(&self, stream: &mut TcpStream) {
        self.silenced.fetch_add(1, SeqCst);
        if self.suffers() {
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            while self.suffers() && stream.read(&mut [0]).is_err() {}
        } else {
            let _ = stream.read(&mut [0]);
        }
    }

    fn suffers(&self) -> bool {
        self.outage.lock().unwrap().is_some()
    }

    fn hold(&self) {
        self.silenced.fetch_add(1, SeqCst);
        let (released, told) = &self.released;
        drop(told.wait_while(released.lock().unwrap(), |released| !*released).unwrap());
    }

    fn pass(&self, request: &Request) -> Response {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("{}{}", self.target, if request.is_cbor() { "/" } else { &request.path });
        let mut passed = ureq::http::Request::builder().method(request.method.as_str()).uri(url);
        for (name, value) in &request.headers {
            let own = ["host", "content-length", "content-encoding", "connection"];
            let of_cbor = ["content-type", "accept", "smithy-protocol"];
            let kept = !own.contains(&name.as_str());
            let kept = kept && (!request.is_cbor() || !of_cbor.contains(&name.as_str()));
            if kept {
                passed = passed.header(name, value);
            }
        }
        let body = if request.is_cbor() {
            let target = format!("GraniteServiceVersion20100801.{}", request.operation());
            passed =
                passed.header("x-amz-target", target).header("content-type", "application/x-amz-json-1.0");
            serde_json::to_vec(&to_json(ciborium::from_reader(&request.body[..]).unwrap())).unwrap()
        } else {
            request.body.clone()
        };
        let mut answer = agent.run(passed.body(body).unwrap()).unwrap();
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(64 * 1_024 * 1_024).read_to_vec().unwrap();
        if request.is_cbor() {
            return Response::cbor(status, &serde_json::from_slice(&body).unwrap_or_else(|_| json!({})));
        }
        let headers = answer.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        Response { status, headers: headers.collect(), body }
    }
}

impl Request {
    pub(super) fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let mut words = lines.first()?.split(' ').map(str::to_owned);
        let (method, path) = (words.next()?, words.next()?);
        let header = |line: &String| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers: Vec<(String, String)> = lines[1..].iter().filter_map(header).collect();
        let mut request = Self { method, path, headers, body: Vec::new() };
        let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        request.body = vec![0; length];
        reader.read_exact(&mut request.body).ok()?;
        if request.header("content-encoding") == Some("gzip") {
            let mut plain = Vec::new();
            GzDecoder::new(&request.body[..]).read_to_end(&mut plain).ok()?;
            request.body = plain;
        }
        Some(request)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn is_cbor(&self) -> bool {
        self.path.starts_with(CLOUDWATCH)
    }

    fn operation(&self) -> String {
        let target = || self.header("x-amz-target").and_then(|target| target.rsplit('.').next());
        self.path.strip_prefix(CLOUDWATCH).or_else(target).unwrap_or_default().to_owned()
    }

    fn error(&self, status: u16, code: &str) -> Response {
        let error = json!({ "__type": code, "message": "so the test wants it" });
        if self.is_cbor() {
            return Response::cbor(status, &error);
        }
        let headers = vec![("content-type".to_owned(), "application/x-amz-json-1.0".to_owned())];
        Response { status, headers, body: error.to_string().into_bytes() }
    }
}

impl Response {
    fn cbor(status: u16, json: &Json) -> Self {
        let mut body = Vec::new();
        ciborium::into_writer(&to_cbor("", json), &mut body).unwrap();
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers =
            vec![header("content-type", "application/cbor"), header("smithy-protocol", "rpc-v2-cbor")];
        Self { status, headers, body }
    }

    pub(super) fn write(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        self.write_head(stream)?;
        stream.write_all(&self.body)?;
        stream.flush()
    }

    fn write_half(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        self.write_head(stream)?;
        stream.write_all(&self.body[..self.body.len() / 2])?;
        stream.flush()
    }

    fn write_head(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        write!(stream, "HTTP/1.1 {} Answer\r\n", self.status)?;
        let own = ["content-length", "connection", "transfer-encoding"];
        for (name, value) in self.headers.iter().filter(|(name, _)| !own.contains(&name.as_str())) {
            write!(stream, "{name}: {value}\r\n")?;
        }
        write!(stream, "content-length: {}\r\nconnection: close\r\n\r\n", self.body.len())
    }
}
