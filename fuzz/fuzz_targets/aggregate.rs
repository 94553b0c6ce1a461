//! Any bytes as an aggregate of the Kinesis Producer Library: read or left alone, never a panic; and one that was
//! written by a second, plain encoder is read as it was written.

#![no_main]

use std::hint::black_box;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use logtally::backend::aggregate::{self, MAGIC, MOST_KEY_BYTES};
use md5::{Digest, Md5};

#[derive(Arbitrary, Debug)]
enum Input {
    /// As it comes.
    Raw(Vec<u8>),
    /// Between magic and digest.
    Message(Vec<u8>),
    /// Keys, and records that name one of them.
    Records(Vec<String>, Vec<(u8, Option<u128>, Vec<u8>)>),
}

fuzz_target!(|input: Input| {
    match input {
        Input::Raw(data) => {
            black_box(aggregate::read(&data.into()));
        }
        Input::Message(message) => {
            let users = aggregate::read(&wrapped(&message).into()).unwrap_or_default();
            let keys: usize = users.iter().map(|user| user.key.len()).sum();
            let data: usize = users.iter().map(|user| user.data.len()).sum();
            assert!(keys <= MOST_KEY_BYTES && data <= message.len());
        }
        Input::Records(keys, records) => written_and_read(&keys, &records),
    }
});

fn written_and_read(keys: &[String], records: &[(u8, Option<u128>, Vec<u8>)]) {
    let mut message = Vec::new();
    keys.iter().for_each(|key| field(&mut message, 1, key.as_bytes()));
    let mut hashes = 0;
    let mut entries = Vec::new();
    for (key, hash, data) in records {
        let mut entry = Vec::new();
        number(&mut entry, 1, u64::from(*key));
        if let Some(hash) = hash {
            field(&mut message, 2, hash.to_string().as_bytes());
            number(&mut entry, 2, hashes);
            hashes += 1;
        }
        field(&mut entry, 3, data);
        field(&mut entries, 3, &entry);
    }
    message.extend(entries);
    let read = aggregate::read(&wrapped(&message).into());
    let named = records.iter().all(|(key, ..)| usize::from(*key) < keys.len());
    let Some(users) = read else {
        assert!(!named || records.is_empty());
        return;
    };
    assert_eq!(users.len(), records.len());
    for (user, (key, hash, data)) in users.iter().zip(records) {
        assert!(user.key == keys[usize::from(*key)] && user.data == data);
        assert!(hash.is_none_or(|hash| user.hash == hash));
    }
}

fn wrapped(message: &[u8]) -> Vec<u8> {
    [&MAGIC, message, &Md5::digest(message)[..]].concat()
}

/// A field of protobuf that has a length.
fn field(out: &mut Vec<u8>, tag: u8, data: &[u8]) {
    out.push(tag << 3 | 2);
    varint(out, data.len() as u64);
    out.extend_from_slice(data);
}

fn number(out: &mut Vec<u8>, tag: u8, value: u64) {
    out.push(tag << 3);
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
