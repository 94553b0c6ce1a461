//! What a record's data may be: lines, KPL aggregates, gzip, zstd. Reads no stream.
//!
//! Whatever does not unpack is handed on as it came: the engine counts what is no line.

use std::io::{self, Read};

use bytes::Bytes;
use zstd::{bulk::Decompressor, zstd_safe};

use crate::{
    backend::{
        Incoming, SequenceNumber,
        aggregate::{self, UserRecord},
    },
    engine::time::Timestamp,
};

/// How far one record is unpacked, in bytes, all records of an aggregate together. A record of ours comes to 512 KiB; one of 10 MiB, the most that Kinesis
/// takes, to this where it is packed to a sixth as log lines are.
pub(super) const MOST_UNPACKED: usize = 64 * 1024 * 1024;
/// Unpacked bytes after which no further record joins a batch: what is counted at once stays near the processor, and is
/// soon free again.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// The line put in the place of what lies past [`MOST_UNPACKED`]: no format takes it, so that the engine counts it.
const CUT: &[u8] = b"logtally: the rest of this record was dropped, it unpacks to more than 64 MiB\n";
/// How gzip begins (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How zstd begins (RFC 8878).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A record as the stream gave it.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) sequence: SequenceNumber,
    /// Empty where the stream strips it.
    pub(super) key: String,
    pub(super) arrival: Timestamp,
    pub(super) data: Bytes,
}

impl Raw {
    /// As Kinesis wrote it.
    pub(super) fn sequence_number(&self) -> &str {
        self.sequence.0.split_once('@').map_or("", |(sequence, _)| sequence)
    }

    /// Whether it takes more than a look to hand it on.
    pub(super) fn is_packed(&self) -> bool {
        self.data.starts_with(&GZIP) || self.data.starts_with(&ZSTD) || aggregate::is(&self.data)
    }
}

/// What some records came to.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    pub(super) records: Vec<Incoming>,
    /// How many of the raw records this is.
    pub(super) taken: usize,
    /// User records of aggregates that are not this shard's: their producer sends them again.
    pub(super) foreign: usize,
    /// Records that went on past [`MOST_UNPACKED`].
    pub(super) cut: usize,
}

/// Unpacks some of `raw`, at least one. The shard has the hash keys `first` to `last`.
pub(super) fn unpack(raw: &[Raw], (first, last): (u128, u128)) -> Unpacked {
    let mut unpacked = Unpacked::default();
    let (mut bytes, mut zstd) = (0, Zstd::default());
    for record in raw {
        if bytes >= BATCH_BYTES {
            break;
        }
        unpacked.taken += 1;
        match aggregate::read(&record.data) {
            None => {
                let expanded = expand(&record.data, MOST_UNPACKED, &mut zstd);
                bytes += unpacked.push(record, record.key.clone(), expanded);
            }
            Some(users) if users.iter().any(|user| !(first..=last).contains(&user.hash)) => {
                // As the Kinesis Client Library does: after a reshard KPL sends to the right shard what came here.
                unpacked.foreign += users.len();
            }
            Some(users) => {
                let mut left = MOST_UNPACKED;
                for UserRecord { key, data, .. } in users {
                    let taken = unpacked.push(record, key, expand(&data, left, &mut zstd));
                    left = left.saturating_sub(taken);
                    bytes += taken;
                }
            }
        }
    }
    unpacked
}

impl Unpacked {
    /// Takes the lines of one record, and whether they were cut; returns how many bytes they are.
    fn push(&mut self, record: &Raw, partition_key: String, (data, cut): (Bytes, bool)) -> usize {
        self.cut += usize::from(cut);
        let bytes = data.len();
        self.records.push(Incoming {
            sequence: record.sequence.clone(),
            partition_key,
            arrival: record.arrival,
            data,
        });
        bytes
    }
}

/// The data as it was before it was packed, and whether it was cut at `most` bytes.
fn expand(data: &Bytes, most: usize, zstd: &mut Zstd) -> (Bytes, bool) {
    let read = if data.starts_with(&GZIP) {
        read(flate2::bufread::MultiGzDecoder::new(&data[..]), most)
    } else if data.starts_with(&ZSTD) {
        if let Some(lines) = zstd.frame(data, most) {
            return (lines.into(), false);
        }
        zstd::Decoder::with_buffer(&data[..]).and_then(|decoder| read(decoder, most))
    } else {
        return (data.clone(), false);
    };
    let Ok(mut lines) = read else { return (data.clone(), false) };
    let cut = lines.len() > most;
    if cut {
        lines.truncate(most);
        match memchr::memrchr(b'\n', &lines) {
            Some(end) => lines.truncate(end + 1),
            None => lines.push(b'\n'),
        }
        lines.extend_from_slice(CUT);
    }
    (lines.into(), cut)
}

/// Unpacks zstd at once, with what it takes to do so kept from record to record.
#[derive(Default)]
struct Zstd(Option<Decompressor<'static>>);

impl Zstd {
    /// What `packed` unpacks to, if it is one frame that says how long that is, as ours are, and is right.
    fn frame(&mut self, packed: &[u8], most: usize) -> Option<Vec<u8>> {
        let length = zstd_safe::get_frame_content_size(packed).ok()??;
        let length = usize::try_from(length).ok().filter(|&length| length <= most)?;
        let decompressor = match &mut self.0 {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new().ok()?),
        };
        decompressor.decompress(packed, length).ok()
    }
}

/// One byte more than `most`, if there is one.
fn read(packed: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    packed.take(u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut lines)?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;
    use crate::backend::aggregate::tests::aggregate;

    const ALL: (u128, u128) = (0, u128::MAX);

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(data, 1).unwrap()
    }

    fn raw(data: impl Into<Bytes>) -> Raw {
        Raw {
            sequence: SequenceNumber("1@1".to_owned()),
            key: "outer".to_owned(),
            arrival: Timestamp::from_millis(5),
            data: data.into(),
        }
    }

    fn texts(unpacked: &Unpacked) -> Vec<(String, String)> {
        let text = |record: &Incoming| {
            (record.partition_key.clone(), String::from_utf8_lossy(&record.data).into_owned())
        };
        unpacked.records.iter().map(text).collect()
    }

    #[test]
    fn lines_gzip_zstd_and_aggregates_of_them_are_read() {
        let inner = aggregate(&[("one", b"a\n"), ("two", &gzip(b"b\n")), ("two", &zstd(b"c\n"))]);
        let members = [gzip(b"d\n"), gzip(b"e\n")].concat();
        let frames = [zstd(b"f\n"), zstd(b"g\n")].concat();
        let raws = [raw("plain\n"), raw(inner), raw(members), raw(frames), raw("")];
        assert!(raws.iter().map(Raw::is_packed).eq([false, true, true, true, false]));
        let unpacked = unpack(&raws, ALL);
        let outer = |text: &str| ("outer".to_owned(), text.to_owned());
        let sub = |key: &str, text: &str| (key.to_owned(), text.to_owned());
        assert_eq!(
            texts(&unpacked),
            [
                outer("plain\n"),
                sub("one", "a\n"),
                sub("two", "b\n"),
                sub("two", "c\n"),
                outer("d\ne\n"),
                outer("f\ng\n"),
                outer("")
            ]
        );
        assert!(unpacked.records.iter().all(|record| record.sequence.0 == "1@1"));
        assert_eq!((unpacked.taken, unpacked.foreign, unpacked.cut), (5, 0, 0));
    }

    #[test]
    fn a_plain_record_is_not_copied() {
        let record = raw(vec![b'x'; 100]);
        assert_eq!(unpack(std::slice::from_ref(&record), ALL).records[0].data.as_ptr(), record.data.as_ptr());
    }

    #[test]
    fn what_does_not_unpack_is_handed_on_as_it_came() {
        for whole in [gzip(&b"line\n".repeat(1_000)), zstd(&b"line\n".repeat(1_000))] {
            let short = whole[..whole.len() - 3].to_vec();
            let trailed = [&whole[..], b"rubbish"].concat();
            let mut flipped = whole.clone();
            let middle = whole.len() / 2;
            flipped[middle] ^= 0x55;
            for bad in [short, trailed, flipped, whole[..6].to_vec()] {
                let unpacked = unpack(&[raw(bad.clone())], ALL);
                let data = &unpacked.records[0].data;
                // zstd without a checksum cannot see every flip; then it gives other lines, and never fewer bytes.
                assert!(*data == bad || data.len() == 5_000, "{} bytes of {}", data.len(), bad.len());
            }
        }
    }

    #[test]
    fn a_frame_may_say_how_long_it_is_or_not() {
        let lines = b"a line\n".repeat(1_000);
        let silent = zstd::stream::encode_all(&lines[..], 1).unwrap();
        assert!(matches!(zstd_safe::get_frame_content_size(&silent), Ok(None)));
        let mut unpacker = Zstd::default();
        for (packed, at_once) in [(silent, false), (zstd(&lines), true), (zstd(&lines).repeat(2), false)] {
            assert_eq!(unpacker.frame(&packed, lines.len()).is_some(), at_once);
            let (data, cut) = expand(&packed.into(), 2 * lines.len(), &mut unpacker);
            assert!(!cut && data.starts_with(&lines) && data.len() % lines.len() == 0);
        }
        assert!(unpacker.frame(&zstd(&lines), lines.len() - 1).is_none());
    }

    #[test]
    fn past_the_bound_whole_lines_are_kept_and_the_rest_is_marked() {
        let lines = b"a line\n".repeat(100);
        for packed in [gzip(&lines), zstd(&lines)] {
            let (data, cut) = expand(&packed.clone().into(), 20, &mut Zstd::default());
            assert!(cut);
            assert_eq!(data, [b"a line\na line\n", CUT].concat());
            let (data, cut) = expand(&packed.into(), 700, &mut Zstd::default());
            assert!(!cut && data == lines);
        }
        let (data, cut) = expand(&gzip(&[b'x'; 100]).into(), 9, &mut Zstd::default());
        assert!(cut && data == [b"xxxxxxxxx\n", CUT].concat());
    }

    #[test]
    fn a_batch_of_bombs_is_unpacked_in_parts() {
        let bomb = raw(zstd(&vec![b'\n'; BATCH_BYTES - 1]));
        let raws = vec![bomb; 5];
        assert_eq!(unpack(&raws, ALL).taken, 2);
        assert_eq!(unpack(&raws[4..], ALL).taken, 1);
    }

    #[test]
    fn an_aggregate_of_bombs_is_unpacked_no_further_than_one() {
        let bomb = zstd(&b"a line\n".repeat(MOST_UNPACKED / 14));
        let inner = aggregate(&[("one", &bomb), ("two", &bomb), ("three", &bomb), ("four", b"plain\n")]);
        let unpacked = unpack(&[raw(inner)], ALL);
        let bytes: usize = unpacked.records.iter().map(|record| record.data.len()).sum();
        assert!(bytes <= MOST_UNPACKED + 4 * CUT.len(), "{bytes}");
        assert_eq!((unpacked.records.len(), unpacked.cut), (4, 1));
        assert!(unpacked.records[2].data.ends_with(CUT) && unpacked.records[3].data == "plain\n");
    }

    #[test]
    fn an_aggregate_that_is_not_all_of_this_shard_is_left_to_its_producer() {
        let mine = crate::backend::record::hash("mine");
        let unpacked = unpack(
            &[raw(aggregate(&[("mine", b"a"), ("other", b"b")])), raw(aggregate(&[("mine", b"c")]))],
            (mine, mine),
        );
        assert_eq!(texts(&unpacked), [("mine".to_owned(), "c".to_owned())]);
        assert_eq!((unpacked.taken, unpacked.foreign), (2, 2));
    }

    proptest! {
        #[test]
        fn anything_is_taken(data in prop::collection::vec(any::<u8>(), 0..200), magic in 0_usize..4) {
            let magics: [&[u8]; 4] = [b"", &GZIP, &ZSTD, &aggregate::MAGIC];
            let bytes = [magics[magic], &data].concat();
            let unpacked = unpack(&[raw(bytes)], ALL);
            prop_assert_eq!(unpacked.taken, 1);
            prop_assert!(!unpacked.records.is_empty());
        }
    }
}
