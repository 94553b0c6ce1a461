//! Takes the payloads out of an answer of `GetRecords` while it arrives, so that they are decoded once and copied never:
//! what the SDK then reads is the same answer with empty payloads. Reads no other field.
//!
//! Half of the work of reading a stream would else be the SDK's reading of these strings. An answer is JSON (AWS JSON 1.1),
//! its payloads are base64 (RFC 4648) under the key `Data`.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use aws_sdk_kinesis::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextMut,
    },
    error::BoxError,
};
use aws_smithy_types::body::SdkBody;
use base64_simd::STANDARD;
use bytes::Bytes;
use http_body::{Body, Frame};
use memchr::{memchr, memchr2};

/// The key of a payload.
const KEY: &[u8] = b"Data";
/// A group of base64: four characters for three bytes.
const GROUP: usize = 4;

/// What to say of a payload that cannot be decoded.
const NO_BASE64: &str = "a payload of GetRecords is no base64";

/// The payloads of one answer, in its order.
#[derive(Clone, Debug)]
pub(super) struct Payloads {
    found: Arc<Mutex<Vec<Bytes>>>,
    /// As many bytes as one probably has.
    usual: usize,
}

impl Payloads {
    /// None yet; each probably of `usual` bytes.
    pub(super) fn new(usual: usize) -> Self {
        Self { found: Arc::default(), usual }
    }

    /// Takes them.
    pub(super) fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Bytes>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Payloads {
    fn name(&self) -> &'static str {
        "Payloads"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Of an attempt before this one.
        self.take();
        if context.response().status().is_success() {
            let body = std::mem::replace(context.response_mut().body_mut(), SdkBody::taken());
            let sieve = Sieve { payload: room(self.usual), ..Sieve::default() };
            let sifted = Sifted { body, sieve, payloads: self.clone() };
            *context.response_mut().body_mut() = SdkBody::from_body_1_x(sifted);
        }
        Ok(())
    }
}

/// An answer without its payloads.
struct Sifted {
    body: SdkBody,
    sieve: Sieve,
    payloads: Payloads,
}

impl Body for Sifted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            };
            let Self { sieve, payloads, .. } = &mut *self;
            let mut rest = Vec::new();
            if let Err(why) = sieve.sift(&data, &mut rest, &mut payloads.lock()) {
                return Poll::Ready(Some(Err(why.into())));
            }
            if !rest.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(rest.into()))));
            }
        }
    }
}

/// Where in the JSON the sifting stands.
#[derive(Debug, Default)]
struct Sieve {
    at: At,
    /// Characters of a payload that make no group yet.
    group: Vec<u8>,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Between strings.
    #[default]
    Outside,
    /// In a string; how much of [`KEY`] it is so far, if it is nothing else.
    Text(Option<usize>),
    /// Behind a backslash in a string.
    Escape,
    /// Behind a string that is [`KEY`].
    BehindKey,
    /// Behind that and a colon.
    BeforePayload,
    /// In a payload.
    Payload,
    /// Behind a backslash in a payload, which may only be before a slash.
    PayloadEscape,
}

impl Sieve {
    /// Sifts the next part of an answer: payloads that end in it go to `payloads`, all else to `rest`.
    fn sift(
        &mut self,
        mut part: &[u8],
        rest: &mut Vec<u8>,
        payloads: &mut Vec<Bytes>,
    ) -> Result<(), &'static str> {
        while let [first, behind @ ..] = part {
            let (taken, at) = match self.at {
                At::Outside => match memchr(b'"', part) {
                    Some(quote) => (quote + 1, At::Text(Some(0))),
                    None => (part.len(), At::Outside),
                },
                At::Text(key) => text(key, part),
                At::Escape => (1, At::Text(None)),
                At::BehindKey | At::BeforePayload if first.is_ascii_whitespace() => (1, self.at),
                At::BehindKey if *first == b':' => (1, At::BeforePayload),
                At::BeforePayload if *first == b'"' => (1, At::Payload),
                At::BehindKey | At::BeforePayload => (0, At::Outside),
                At::PayloadEscape if *first == b'/' => {
                    self.decode(b"/")?;
                    (self.at, part) = (At::Payload, behind);
                    continue;
                }
                At::PayloadEscape => return Err(NO_BASE64),
                At::Payload => {
                    part = self.payload(part, rest, payloads)?;
                    continue;
                }
            };
            self.at = at;
            let (passed, left) = part.split_at_checked(taken).unwrap_or((part, &[]));
            rest.extend_from_slice(passed);
            part = left;
        }
        Ok(())
    }

    /// Decodes what is in `part` of a payload; returns what follows. Its closing quote goes to `rest`.
    fn payload<'p>(
        &mut self,
        part: &'p [u8],
        rest: &mut Vec<u8>,
        payloads: &mut Vec<Bytes>,
    ) -> Result<&'p [u8], &'static str> {
        let end = memchr2(b'"', b'\\', part).unwrap_or(part.len());
        let (text, behind) = part.split_at_checked(end).unwrap_or((part, &[]));
        self.decode(text)?;
        match behind {
            [] => Ok(&[]),
            [b'\\', behind @ ..] => {
                self.at = At::PayloadEscape;
                Ok(behind)
            }
            [quote, behind @ ..] => {
                append(&std::mem::take(&mut self.group), &mut self.payload)?;
                // The next one is mostly as long.
                let next = room(self.payload.len());
                payloads.push(std::mem::replace(&mut self.payload, next).into());
                rest.push(*quote);
                self.at = At::Outside;
                Ok(behind)
            }
        }
    }

    /// Decodes the whole groups of `text`, with what was left before, and keeps what is left now.
    fn decode(&mut self, mut text: &[u8]) -> Result<(), &'static str> {
        if !self.group.is_empty() {
            let missing = (GROUP - self.group.len()).min(text.len());
            let (first, behind) = text.split_at_checked(missing).unwrap_or((text, &[]));
            self.group.extend_from_slice(first);
            text = behind;
            if text.is_empty() {
                return Ok(());
            }
            append_more(&std::mem::take(&mut self.group), &mut self.payload)?;
        }
        // The last group may be padded, and only the last of all may: it waits for the end.
        let whole = text.len().saturating_sub(1) / GROUP * GROUP;
        let (groups, left) = text.split_at_checked(whole).unwrap_or((text, &[]));
        append_more(groups, &mut self.payload)?;
        self.group.extend_from_slice(left);
        Ok(())
    }
}

/// Room for a payload of about so many bytes: records of whole lines are nearly of one length, and one that grew out of
/// its room would be moved.
fn room(bytes: usize) -> Vec<u8> {
    Vec::with_capacity(bytes + bytes / 16)
}

/// Decodes `groups`, which are not the last: they are not padded.
fn append_more(groups: &[u8], payload: &mut Vec<u8>) -> Result<(), &'static str> {
    if groups.ends_with(b"=") { Err(NO_BASE64) } else { append(groups, payload) }
}

/// Decodes `groups`.
fn append(groups: &[u8], payload: &mut Vec<u8>) -> Result<(), &'static str> {
    // More than it asks for, so that a payload in many parts is not moved for each of them.
    payload.reserve(groups.len() / GROUP * 3);
    STANDARD.decode_append(groups, payload).map_err(|_| NO_BASE64)
}

/// How much of `part`, which begins in a string, is passed on at once, and where that leads.
fn text(key: Option<usize>, part: &[u8]) -> (usize, At) {
    match (key, part.first()) {
        (Some(length), Some(b'"')) if length == KEY.len() => (1, At::BehindKey),
        (Some(length), byte) if byte.is_some() && KEY.get(length) == byte => (1, At::Text(Some(length + 1))),
        _ => match memchr2(b'"', b'\\', part) {
            Some(at) if part.get(at) == Some(&b'"') => (at + 1, At::Outside),
            Some(at) => (at + 1, At::Escape),
            None => (part.len(), At::Text(None)),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// The answer without its payloads, and those, if it comes in parts that end at `ends`.
    fn sift(answer: &[u8], ends: &[usize]) -> Result<(Vec<u8>, Vec<Bytes>), &'static str> {
        let (mut sieve, mut rest, mut payloads) = (Sieve::default(), Vec::new(), Vec::new());
        let mut ends: Vec<usize> = ends.iter().map(|end| end % (answer.len() + 1)).collect();
        ends.extend([0, answer.len()]);
        ends.sort_unstable();
        for part in ends.windows(2) {
            sieve.sift(&answer[part[0]..part[1]], &mut rest, &mut payloads)?;
        }
        Ok((rest, payloads))
    }

    #[test]
    fn only_values_under_the_key_are_taken_out() {
        let answer = br#"{ "Data" : "YWJj", "Records":[{"Data":"","PartitionKey":"Data"},{"Data":"YQ==",
            "PartitionKey":"\"Data\":\"YQ==\\"},{"Data":null},{"Data":7},{"D":"YQ=="},{"Datas":"YQ=="},{"":"YQ=="}]}"#;
        let left = br#"{ "Data" : "", "Records":[{"Data":"","PartitionKey":"Data"},{"Data":"",
            "PartitionKey":"\"Data\":\"YQ==\\"},{"Data":null},{"Data":7},{"D":"YQ=="},{"Datas":"YQ=="},{"":"YQ=="}]}"#;
        let (rest, payloads) = sift(answer, &[]).unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), String::from_utf8_lossy(left));
        assert_eq!(payloads, ["abc", "", "a"]);
        for end in 0..answer.len() {
            assert_eq!(sift(answer, &[end]).unwrap(), (rest.clone(), payloads.clone()), "{end}");
        }
    }

    #[test]
    fn a_slash_may_be_escaped_and_nothing_else() {
        assert_eq!(sift(br#""Data":"\/\/\/\/Pz8\/""#, &[]).unwrap().1, [&b"\xff\xff\xff???"[..]]);
        for bad in [
            r#""Data":"YQ\n==""#,
            r#""Data":"YQ=""#,
            r#""Data":"YQ==YQ==""#,
            r#""Data":"Y Q=""#,
            r#""Data":"Y""#,
        ] {
            assert!(sift(bad.as_bytes(), &[]).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn an_answer_in_any_parts_gives_its_payloads_and_the_rest(
            records in prop::collection::vec((any::<Vec<u8>>(), any::<String>()), 0..8),
            ends: Vec<usize>,
        ) {
            let answer = |data: &dyn Fn(&[u8]) -> String| {
                let record = |(payload, key): &(Vec<u8>, String)| json!({"Data": data(payload), "PartitionKey": key});
                let records: Vec<Value> = records.iter().map(record).collect();
                serde_json::to_vec(&json!({"NextShardIterator": "a\"Data", "Records": records})).unwrap()
            };
            let whole = answer(&|payload| STANDARD.encode_to_string(payload));
            let (rest, payloads) = sift(&whole, &ends).unwrap();
            prop_assert_eq!(rest, answer(&|_| String::new()));
            prop_assert!(payloads.iter().eq(records.iter().map(|(payload, _)| payload)));
        }
    }
}
