//! Parcels packed into calls of `PutMetricData`. Claims and sends nothing.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    backend::{BackendError, Datum, Parcel, Result, Series, aws::names},
    engine::{metric::LAG_SECONDS, time::Timestamp},
};

/// Datums a call may hold (`PutMetricData`). Parts of parcels are cut by it: part of the ledger's format.
const MAX_DATUMS: usize = 1_000;
/// Parcels a call may hold: a transaction takes 100 items (`TransactWriteItems`), one of them is the call's.
const MAX_PARCELS: usize = 99;
/// Bytes a call may have. `PutMetricData` would take 1 MB, but the ledger keeps the datums of a call in one item, and
/// an item takes 400 KB with everything that it says beside them. Part of the ledger's format, as [`MAX_DATUMS`] is.
const MAX_BYTES: usize = 360 * 1_024;
/// Bytes of a call beside its datums: the namespace, and the names of its fields.
const CALL_BYTES: usize = 320;
/// CloudWatch takes timestamps from two weeks ago to two hours ahead (`MetricDatum`) ...
const OLDEST_MS: i64 = 14 * 24 * 3_600_000;
const NEWEST_MS: i64 = 2 * 3_600_000;
/// ... by its own clock, and when the call arrives there: one datum out of range refuses the whole call.
const MARGIN_MS: i64 = 60_000;
/// The largest magnitude of a value (`MetricDatum`): 2^360.
const MOST: f64 = f64::from_bits((1_023 + 360) << 52);
/// The longest payload of a stored call, unpacked: far above what [`MAX_BYTES`] allows.
const STORED_BYTES: usize = 4 * 1_024 * 1_024;
/// The shortest period, in seconds, that sums are asked for by: `StorageResolution`.
pub(super) const RESOLUTION: u32 = 60;
/// The format of stored calls.
const FORMAT: u8 = 1;

/// What is claimed as one: a parcel, or a part of one that holds more datums than a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unit {
    /// The parcel's id, with `#` and the part's number if it is one of several.
    pub(super) id: String,
    pub(super) datums: Vec<Datum>,
}

/// The units of a parcel: the same ones whenever it is read.
pub(super) fn units(parcel: &Parcel) -> Result<Vec<Unit>> {
    if parcel.datums.is_empty() {
        return Ok(Vec::new());
    }
    if parcel.id.is_empty() {
        return Err(refused(
            "rows came without partition key, by which they are known: let the output stream keep its partition keys \
             (UpdateStreamRecordDistributionStrategy USER_PARTITION_KEY)"
                .to_owned(),
        ));
    }
    let mut parts = vec![Vec::new()];
    let mut bytes = CALL_BYTES;
    for datum in &parcel.datums {
        check(datum)?;
        let size = wire_bytes(datum);
        match parts.last_mut() {
            Some(part) if part.len() < MAX_DATUMS && bytes + size <= MAX_BYTES => {
                bytes += size;
                part.push(datum.clone());
            }
            _ => {
                bytes = CALL_BYTES + size;
                parts.push(vec![datum.clone()]);
            }
        }
    }
    if parts.len() == 1 {
        return Ok(parts.into_iter().map(|datums| Unit { id: parcel.id.clone(), datums }).collect());
    }
    let part = |(part, datums)| Unit { id: format!("{}#{part}", parcel.id), datums };
    Ok(parts.into_iter().enumerate().map(part).collect())
}

fn check(datum: &Datum) -> Result<()> {
    if datum.value.abs() <= MOST {
        return Ok(());
    }
    Err(refused(format!(
        "a value of {} is {}: CloudWatch takes finite numbers up to 2^360",
        datum.series.name, datum.value
    )))
}

fn refused(what: String) -> BackendError {
    BackendError::Failed { what, source: None }
}

/// The datums of one call, with the names that the pipeline knows: [`names::valid`] makes them CloudWatch's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Call {
    pub(super) namespace: String,
    /// One a series and timestamp.
    pub(super) datums: Vec<Datum>,
    /// What CloudWatch would refuse for its age, or for being too far ahead: never sent.
    pub(super) out_of_range: Vec<Datum>,
}

impl Call {
    /// Takes units from the front of `waiting` as long as they fit; returns their ids as well.
    pub(super) fn pack(
        namespace: &str,
        waiting: &mut VecDeque<Unit>,
        now: Timestamp,
    ) -> (Self, VecDeque<Unit>) {
        let mut sums: BTreeMap<(Series, Timestamp), f64> = BTreeMap::new();
        let (mut taken, mut bytes) = (VecDeque::new(), CALL_BYTES);
        while let Some(unit) = waiting.pop_front() {
            let key = |datum: &Datum| (datum.series.clone(), datum.timestamp);
            let new = unit.datums.iter().filter(|datum| !sums.contains_key(&key(datum)));
            let (count, size) =
                new.fold((0, 0), |(count, size), datum| (count + 1, size + wire_bytes(datum)));
            let fits = sums.len() + count <= MAX_DATUMS && bytes + size <= MAX_BYTES;
            if !taken.is_empty() && (!fits || taken.len() == MAX_PARCELS) {
                waiting.push_front(unit);
                break;
            }
            bytes += size;
            for datum in &unit.datums {
                *sums.entry(key(datum)).or_insert(0.0) += datum.value;
            }
            taken.push_back(unit);
        }
        let datums = sums.into_iter().map(|((series, timestamp), value)| Datum { series, timestamp, value });
        let (datums, out_of_range) = datums.partition(|datum| is_in_range(datum.timestamp, now));
        (Self { namespace: namespace.to_owned(), datums, out_of_range }, taken)
    }

    /// Whether CloudWatch would still take every datum.
    pub(super) fn is_sendable(&self, now: Timestamp) -> bool {
        self.datums.iter().all(|datum| is_in_range(datum.timestamp, now))
    }

    /// The first and last timestamp of everything in it.
    pub(super) fn span(&self) -> (Timestamp, Timestamp) {
        let times = || self.datums.iter().chain(&self.out_of_range).map(|datum| datum.timestamp);
        (times().min().unwrap_or_default(), times().max().unwrap_or_default())
    }

    /// The most bytes that the request has before it is compressed.
    pub(super) fn bytes(&self) -> usize {
        CALL_BYTES + self.datums.iter().map(wire_bytes).sum::<usize>()
    }

    /// As the ledger keeps it: a byte for the format, then a zstd frame of postcard.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let stored = StoredCall {
            namespace: self.namespace.clone(),
            datums: self.datums.iter().map(stored).collect(),
            out_of_range: self.out_of_range.iter().map(stored).collect(),
        };
        let failed = |what: &str| format!("a call of {} datums cannot be {what}", self.datums.len());
        let plain =
            postcard::to_stdvec(&stored).map_err(|why| BackendError::failed(failed("encoded"), why))?;
        let packed =
            zstd::bulk::compress(&plain, 3).map_err(|why| BackendError::failed(failed("packed"), why))?;
        Ok([&[FORMAT][..], &packed].concat())
    }

    /// What [`encode`](Self::encode) wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let Some((&FORMAT, packed)) = bytes.split_first() else {
            return Err(refused("another version of logtally wrote it".to_owned()));
        };
        let plain = zstd::bulk::decompress(packed, STORED_BYTES)
            .map_err(|why| BackendError::failed(format!("it is damaged: {why}"), why))?;
        let stored: StoredCall = postcard::from_bytes(&plain)
            .map_err(|why| BackendError::failed(format!("it is damaged: {why}"), why))?;
        Ok(Self {
            namespace: stored.namespace,
            datums: stored.datums.into_iter().map(datum).collect(),
            out_of_range: stored.out_of_range.into_iter().map(datum).collect(),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct StoredCall {
    namespace: String,
    datums: Vec<(Series, Timestamp, f64)>,
    out_of_range: Vec<(Series, Timestamp, f64)>,
}

fn stored(datum: &Datum) -> (Series, Timestamp, f64) {
    (datum.series.clone(), datum.timestamp, datum.value)
}

fn datum((series, timestamp, value): (Series, Timestamp, f64)) -> Datum {
    Datum { series, timestamp, value }
}

fn is_in_range(timestamp: Timestamp, now: Timestamp) -> bool {
    let age = now.millis_since(timestamp);
    (MARGIN_MS - NEWEST_MS..=OLDEST_MS - MARGIN_MS).contains(&age)
}

/// The unit of a metric of this name.
pub(super) fn unit(name: &str) -> &'static str {
    if name == LAG_SECONDS { "Seconds" } else { "Count" }
}

/// The most bytes that a datum has in the request (CBOR), which is more than it has in the ledger.
fn wire_bytes(datum: &Datum) -> usize {
    // Names of fields, marks of their lengths, timestamp, value, unit and resolution.
    const DATUM: usize = 100;
    const DIMENSION: usize = 20;
    let series = names::valid(&datum.series);
    let dimensions = series.dimensions.iter().map(|(name, value)| DIMENSION + name.len() + value.len());
    DATUM + series.name.len() + dimensions.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2027-01-15T08:00:00Z
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn datum(application: String, minutes_ago: i64, value: f64) -> Datum {
        let dimensions = vec![("ApplicationName".to_owned(), application)];
        let series = Series { name: "RequestCount".to_owned(), dimensions };
        Datum { series, timestamp: NOW.plus_millis(-minutes_ago * 60_000), value }
    }

    fn parcel(id: &str, datums: Vec<Datum>) -> Parcel {
        Parcel { id: id.to_owned(), datums, rows: Vec::new() }
    }

    fn pack(units: Vec<Unit>) -> Vec<(Call, VecDeque<Unit>)> {
        let mut waiting: VecDeque<Unit> = units.into();
        let mut calls = Vec::new();
        while !waiting.is_empty() {
            calls.push(Call::pack("Logtally", &mut waiting, NOW));
        }
        calls
    }

    #[test]
    fn calls_end_at_each_bound() {
        let small: Vec<Unit> = (0..199)
            .flat_map(|n| units(&parcel(&n.to_string(), vec![datum("A".to_owned(), 5, 1.0)])).unwrap())
            .collect();
        let calls = pack(small);
        assert_eq!(calls.iter().map(|(_, units)| units.len()).collect::<Vec<_>>(), [99, 99, 1]);
        assert!(calls.iter().all(|(call, _)| call.datums.len() == 1));

        let many =
            units(&parcel("many", (0..1_001).map(|n| datum(n.to_string(), 5, 1.0)).collect())).unwrap();
        assert_eq!(many.iter().map(|unit| unit.id.as_str()).collect::<Vec<_>>(), ["many#0", "many#1"]);
        assert_eq!(pack(many).len(), 2);

        let long = |n: u32| datum(format!("{n:04}").repeat(500), 5, 1.0);
        let long = units(&parcel("long", (0..1_000).map(long).collect())).unwrap();
        assert_eq!(long.len(), 4, "of at most 1,024 bytes each");
        for (call, _) in pack(long) {
            assert!(call.bytes() <= MAX_BYTES && call.encode().unwrap().len() < 400_000);
        }
    }

    #[test]
    fn what_cannot_be_published_is_said() {
        let refusal = |parcel: Parcel| units(&parcel).unwrap_err().to_string();
        let infinite = parcel("a", vec![datum("A".to_owned(), 5, f64::INFINITY)]);
        insta::assert_snapshot!(refusal(infinite), @"a value of RequestCount is inf: CloudWatch takes finite numbers up to 2^360");
        let nan = parcel("a", vec![datum("A".to_owned(), 5, f64::NAN)]);
        insta::assert_snapshot!(refusal(nan), @"a value of RequestCount is NaN: CloudWatch takes finite numbers up to 2^360");
        insta::assert_snapshot!(refusal(parcel("", vec![datum("A".to_owned(), 5, 1.0)])), @"rows came without partition key, by which they are known: let the output stream keep its partition keys (UpdateStreamRecordDistributionStrategy USER_PARTITION_KEY)");
        assert!(units(&parcel("", Vec::new())).unwrap().is_empty());
        assert!(units(&parcel("a", vec![datum("A".to_owned(), 5, 2_f64.powi(360))])).is_ok());
    }

    #[test]
    fn what_another_version_wrote_is_said() {
        assert_eq!(Call::decode(b"").unwrap_err().to_string(), "another version of logtally wrote it");
        assert_eq!(Call::decode(&[2, 0]).unwrap_err().to_string(), "another version of logtally wrote it");
        assert!(Call::decode(&[FORMAT, 0]).unwrap_err().to_string().starts_with("it is damaged: "));
    }

    fn datums() -> impl Strategy<Value = Vec<Datum>> {
        let datum = ("[a-c%é]{0,2}", -200_i64..30_000, 0_u32..9)
            .prop_map(|(application, age, value)| datum(application, age, f64::from(value)));
        prop::collection::vec(datum, 0..40)
    }

    proptest! {
        #[test]
        fn calls_hold_every_unit_once_and_their_sums(parcels in prop::collection::vec(datums(), 0..30)) {
            let mut wanted: BTreeMap<(Series, Timestamp), f64> = BTreeMap::new();
            let mut all = Vec::new();
            for (number, datums) in parcels.into_iter().enumerate() {
                for datum in &datums {
                    *wanted.entry((datum.series.clone(), datum.timestamp)).or_default() += datum.value;
                }
                all.extend(units(&parcel(&number.to_string(), datums)).unwrap());
            }
            let mut found: BTreeMap<(Series, Timestamp), f64> = BTreeMap::new();
            let mut taken = Vec::new();
            for (call, units) in pack(all.clone()) {
                prop_assert!(call.datums.len() + call.out_of_range.len() <= MAX_DATUMS);
                prop_assert!(call.is_sendable(NOW));
                prop_assert!(call.out_of_range.iter().all(|datum| !is_in_range(datum.timestamp, NOW)));
                prop_assert_eq!(&Call::decode(&call.encode().unwrap()).unwrap(), &call);
                let keys = |datums: &[Datum]| datums.iter().map(|datum| (datum.series.clone(), datum.timestamp)).collect::<Vec<_>>();
                let mut distinct = keys(&call.datums);
                distinct.dedup();
                prop_assert_eq!(distinct.len(), call.datums.len());
                for datum in call.datums.into_iter().chain(call.out_of_range) {
                    *found.entry((datum.series, datum.timestamp)).or_default() += datum.value;
                }
                taken.extend(units);
            }
            prop_assert_eq!(taken, all);
            prop_assert_eq!(found, wanted);
        }
    }
}
