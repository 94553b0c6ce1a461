//! Records that nobody can use, to an SQS queue with the reason. Judges none of them.

use aws_smithy_types::base64;
use serde::Serialize;

use crate::backend::{Result, aws::error::Call};

/// How much of a record travels in its letter, in bytes: a message with its base64 stays under the 256 KiB that every
/// queue takes (SQS, `SendMessage`). The whole of it is in the stream, under its sequence number.
const MAX_DATA: usize = 128 * 1024;

/// A queue.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    client: aws_sdk_sqs::Client,
    queue: String,
}

/// A record and why nobody can use it.
#[derive(Clone, Debug)]
pub struct DeadLetter<'a> {
    /// What is wrong with it.
    pub reason: String,
    /// Its shard.
    pub shard: String,
    /// Its sequence number.
    pub sequence: String,
    /// Its partition key.
    pub partition_key: String,
    /// What it holds.
    pub data: &'a [u8],
}

/// A message's body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    reason: &'a str,
    shard_id: &'a str,
    sequence_number: &'a str,
    partition_key: &'a str,
    /// Its length in all.
    bytes: usize,
    /// Its beginning, in base64.
    data: String,
}

impl DeadLetters {
    pub(super) const fn new(client: aws_sdk_sqs::Client, queue: String) -> Self {
        Self { client, queue }
    }

    /// Puts a record into the queue.
    ///
    /// # Errors
    /// What SQS refuses.
    pub async fn put(&self, letter: &DeadLetter<'_>) -> Result<()> {
        let call = Call { action: "sqs:SendMessage", kind: "queue", name: &self.queue };
        let message = self.client.send_message().queue_url(&self.queue).message_body(body(letter));
        message.send().await.map(drop).map_err(|error| call.fault(error))
    }
}

fn body(letter: &DeadLetter<'_>) -> String {
    let shown = letter.data.get(..MAX_DATA).unwrap_or(letter.data);
    let body = Body {
        reason: &letter.reason,
        shard_id: &letter.shard,
        sequence_number: &letter.sequence,
        partition_key: &letter.partition_key,
        bytes: letter.data.len(),
        data: base64::encode(shown),
    };
    serde_json::to_string(&body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest message (SQS, quotas of messages), in bytes.
    const MOST: usize = 256 * 1024;

    #[test]
    fn a_letter_holds_the_beginning_of_a_large_record_and_fits_into_a_message() {
        for bytes in [MAX_DATA, MAX_DATA + 1, 8 * MAX_DATA] {
            let text = || "\u{1}".repeat(256);
            let data = vec![b'x'; bytes];
            let letter = DeadLetter {
                reason: text(),
                shard: text(),
                sequence: text(),
                partition_key: text(),
                data: &data,
            };
            let body = body(&letter);
            assert!(body.len() <= MOST, "{}", body.len());
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["bytes"], bytes);
            let shown = base64::decode(body["data"].as_str().unwrap()).unwrap();
            assert_eq!(shown.len(), MAX_DATA);
        }
    }
}
