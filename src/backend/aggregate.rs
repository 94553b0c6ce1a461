//! Aggregates of the Kinesis Producer Library: many user records in one. Unpacks no user record, and knows no service.
//!
//! Magic, a protobuf message, its MD5 (amazon-kinesis-producer, aggregation-format.md). Whatever is not exactly that
//! is an ordinary record.

use bytes::Bytes;
use md5::{Digest, Md5};
use prost::Message;

use crate::backend::record;

/// How an aggregate begins.
pub const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
const MD5_BYTES: usize = 16;
/// How many bytes the partition keys of one aggregate's records may come to. Records name their key by its number, so
/// that a few bytes each could repeat one of half a megabyte; a key of Kinesis has 256 characters at most.
pub const MOST_KEY_BYTES: usize = 16 * 1024 * 1024;

#[derive(Clone, PartialEq, Message)]
struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    partition_keys: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_keys: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<Entry>,
}

/// A user record with indices into the tables of keys. Its tags are left unread.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(uint64, optional, tag = "1")]
    partition_key: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    data: Option<Bytes>,
}

/// One user record.
#[derive(Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// Its partition key.
    pub key: String,
    /// Which shard it belongs to.
    pub hash: u128,
    /// What it carries.
    pub data: Bytes,
}

/// Whether it begins like an aggregate.
#[must_use]
pub fn is(data: &[u8]) -> bool {
    data.starts_with(&MAGIC)
}

/// The user records in order; `None` if this is no aggregate, or one whose keys come to over [`MOST_KEY_BYTES`].
#[must_use]
pub fn read(data: &Bytes) -> Option<Vec<UserRecord>> {
    if !is(data) {
        return None;
    }
    let end = data.len().checked_sub(MD5_BYTES).filter(|&end| end >= MAGIC.len())?;
    let message = data.slice(MAGIC.len()..end);
    if data.get(end..)? != Md5::digest(&message).as_slice() {
        return None;
    }
    let AggregatedRecord { partition_keys, explicit_hash_keys, records } =
        AggregatedRecord::decode(message).ok()?;
    let mut key_bytes = 0;
    let user = |entry: Entry| {
        let key = of(&partition_keys, entry.partition_key?)?;
        key_bytes += key.len();
        if key_bytes > MOST_KEY_BYTES {
            return None;
        }
        let hash = match entry.explicit_hash_key {
            Some(index) => of(&explicit_hash_keys, index)?.parse().ok()?,
            None => record::hash(key),
        };
        Some(UserRecord { key: key.to_owned(), hash, data: entry.data? })
    };
    // One of no records would vanish: it is handed on, for whoever wonders.
    records.into_iter().map(user).collect::<Option<Vec<_>>>().filter(|users| !users.is_empty())
}

fn of(table: &[String], index: u64) -> Option<&str> {
    table.get(usize::try_from(index).ok()?).map(String::as_str)
}

#[cfg(test)]
pub(in crate::backend) mod tests {
    use super::*;

    fn wrap(message: &[u8]) -> Vec<u8> {
        [&MAGIC, message, &Md5::digest(message)[..]].concat()
    }

    /// An aggregate of user records, by partition key.
    pub(in crate::backend) fn aggregate(users: &[(&str, &[u8])]) -> Vec<u8> {
        let entry = |(index, (_, data)): (usize, &(&str, &[u8]))| Entry {
            partition_key: u64::try_from(index).ok(),
            explicit_hash_key: None,
            data: Some(Bytes::copy_from_slice(data)),
        };
        let message = AggregatedRecord {
            partition_keys: users.iter().map(|(key, _)| (*key).to_owned()).collect(),
            explicit_hash_keys: Vec::new(),
            records: users.iter().enumerate().map(entry).collect(),
        };
        wrap(&message.encode_to_vec())
    }

    /// Written by hand from the format's description: one key of each table, one record with both and a tag.
    const MESSAGE: &[u8] =
        b"\x0a\x02pk\x12\x0242\x1a\x14\x08\x00\x10\x00\x1a\x05hello\x22\x07\x0a\x01t\x12\x02tv";

    #[test]
    fn the_wire_format_is_kpls() {
        let read = read(&wrap(MESSAGE).into()).unwrap();
        let expected = UserRecord { key: "pk".to_owned(), hash: 42, data: Bytes::from_static(b"hello") };
        assert_eq!(read, [expected]);
    }

    #[test]
    fn records_come_in_order_with_their_keys() {
        let users = read(&aggregate(&[("a", b"1"), ("b", b"2"), ("a", b"3")]).into()).unwrap();
        let seen: Vec<_> = users.iter().map(|user| (user.key.as_str(), &user.data[..])).collect();
        assert_eq!(seen, [("a", &b"1"[..]), ("b", b"2"), ("a", b"3")]);
        assert_eq!(users[0].hash, record::hash("a"));
    }

    #[test]
    fn a_long_key_is_not_repeated_without_end() {
        let key = "k".repeat(1024);
        let named = |times: usize| {
            let entry =
                || Entry { partition_key: Some(0), explicit_hash_key: None, data: Some(Bytes::new()) };
            let message = AggregatedRecord {
                partition_keys: vec![key.clone()],
                explicit_hash_keys: Vec::new(),
                records: (0..times).map(|_| entry()).collect(),
            };
            read(&wrap(&message.encode_to_vec()).into()).map(|users| users.len())
        };
        let most = MOST_KEY_BYTES / key.len();
        assert_eq!((named(most), named(most + 1)), (Some(most), None));
    }

    #[test]
    fn anything_else_is_an_ordinary_record() {
        let good = wrap(MESSAGE);
        let mut magic = good.clone();
        magic[0] ^= 1;
        let mut digest = good.clone();
        *digest.last_mut().unwrap() ^= 1;
        let no_key = b"\x1a\x07\x1a\x05hello";
        let no_such_key = b"\x1a\x09\x08\x07\x1a\x05hello";
        let no_data = b"\x0a\x02pk\x1a\x02\x08\x00";
        let bad_hash = b"\x0a\x02pk\x12\x02xx\x1a\x0b\x08\x00\x10\x00\x1a\x05hello";
        for (what, data) in [
            ("magic", magic),
            ("digest", digest),
            ("cut", good[..good.len() - 1].to_vec()),
            ("short", MAGIC.to_vec()),
            ("protobuf", wrap(b"\xff\xff\xff")),
            ("empty", wrap(b"")),
            ("no key", wrap(no_key)),
            ("no such key", wrap(no_such_key)),
            ("no data", wrap(no_data)),
            ("hash key", wrap(bad_hash)),
        ] {
            assert_eq!(read(&data.into()), None, "{what}");
        }
    }
}
