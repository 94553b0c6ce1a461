//! The calls that would be made for parcels. Claims nothing and sends nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;

use crate::{
    backend::{
        Datum, Parcel, Result,
        aws::{
            Aws, Shared,
            call::{self, Call, Unit},
            entries::State,
            ledger::Ledger,
            names,
        },
    },
    engine::time::Timestamp,
};

/// What publishing would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The calls, in order.
    pub calls: Vec<PlannedCall>,
    /// How many custom metrics these calls hold: series, which is what CloudWatch bills.
    pub series: usize,
    /// Parcels (or parts of large ones) that were published before.
    pub duplicates: usize,
    /// Parcels (or parts of large ones) in doubt, which would not be sent again.
    pub in_doubt: usize,
    /// Datums that CloudWatch would not take for their age, or for being too far ahead.
    pub out_of_range: Vec<PlannedDatum>,
}

/// A call of `PutMetricData`, with the names of its own fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PlannedCall {
    /// The metrics' namespace.
    pub namespace: String,
    /// One a series and timestamp.
    pub metric_data: Vec<PlannedDatum>,
    /// The parcels in it, parts of large ones with `#` and their number.
    pub parcels: Vec<String>,
    /// The most bytes that the request has before it is compressed.
    pub bytes: usize,
}

/// A datum, with the names of CloudWatch's fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PlannedDatum {
    /// As CloudWatch takes it.
    pub metric_name: String,
    /// As CloudWatch takes them.
    pub dimensions: Vec<PlannedDimension>,
    /// The window's start.
    pub timestamp: Timestamp,
    /// Added to the sum.
    pub value: f64,
    /// `Count` or `Seconds`.
    pub unit: &'static str,
    /// In seconds.
    pub storage_resolution: u32,
}

/// A dimension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PlannedDimension {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Aws {
    /// The calls that publishing `parcels` now would make. Looks into the ledger, for parcels that were published.
    ///
    /// # Errors
    /// What the ledger fails with, and what no call can hold.
    pub async fn plan(&self, parcels: Vec<Parcel>) -> Result<Plan> {
        let mut units: BTreeMap<String, (usize, Unit)> = BTreeMap::new();
        let mut plan = Plan::default();
        for parcel in parcels {
            for unit in call::units(&parcel)? {
                let place = units.len();
                if units.contains_key(&unit.id) {
                    plan.duplicates += 1;
                } else {
                    units.insert(unit.id.clone(), (place, unit));
                }
            }
        }
        known(&self.shared, &mut units, &mut plan).await?;
        let mut waiting: Vec<(usize, Unit)> = units.into_values().collect();
        waiting.sort_by_key(|(place, _)| *place);
        plan.pack(&self.shared, waiting.into_iter().map(|(_, unit)| unit).collect());
        Ok(plan)
    }
}

impl Aws {
    /// Whether a parcel is one of this pipeline's.
    #[must_use]
    pub fn is_ours(&self, parcel: &str) -> bool {
        parcel.split_once('/').is_some_and(|(pipeline, _)| pipeline == self.shared.settings.pipeline)
    }

    /// What of these parcels the ledger does not know: the units that nobody has claimed, by their ids.
    ///
    /// # Errors
    /// What the ledger fails with, and what no call can hold.
    pub async fn unclaimed(&self, parcels: Vec<Parcel>) -> Result<Vec<(String, Vec<Datum>)>> {
        let units = parcels.into_iter().map(|parcel| call::units(&parcel));
        let units = units.collect::<Result<Vec<_>>>()?.into_iter().flatten();
        let mut units: BTreeMap<String, Vec<Datum>> = units.map(|unit| (unit.id, unit.datums)).collect();
        let ids: Vec<String> = units.keys().cloned().collect();
        for unit in Ledger::new(&self.shared).calls_of(&ids).await?.keys() {
            units.remove(unit);
        }
        Ok(units.into_iter().collect())
    }
}

/// Takes out what the ledger knows.
async fn known(shared: &Shared, units: &mut BTreeMap<String, (usize, Unit)>, plan: &mut Plan) -> Result<()> {
    let ledger = Ledger::new(shared);
    let calls = ledger.calls_of(&units.keys().cloned().collect::<Vec<_>>()).await?;
    let heads = ledger.heads(&calls.values().cloned().collect()).await?;
    for (unit, call) in &calls {
        units.remove(unit);
        match heads.get(call).map(|head| head.state) {
            Some(State::Claimed | State::Doubt) => plan.in_doubt += 1,
            Some(State::Done | State::Refused) | None => plan.duplicates += 1,
        }
    }
    Ok(())
}

impl Plan {
    fn pack(&mut self, shared: &Shared, mut waiting: VecDeque<Unit>) {
        let now = shared.settings.clock.now();
        while !waiting.is_empty() {
            let (call, taken) = Call::pack(&shared.settings.namespace, &mut waiting, now);
            self.out_of_range.extend(call.out_of_range.iter().map(planned));
            if !call.datums.is_empty() {
                self.calls.push(PlannedCall {
                    bytes: call.bytes(),
                    metric_data: call.datums.iter().map(planned).collect(),
                    namespace: call.namespace,
                    parcels: taken.into_iter().map(|unit| unit.id).collect(),
                });
            }
        }
        let datums = self.calls.iter().flat_map(|call| &call.metric_data);
        let dimensions = |datum: &PlannedDatum| {
            datum.dimensions.iter().map(|found| (found.name.clone(), found.value.clone())).collect::<Vec<_>>()
        };
        let series: BTreeSet<_> =
            datums.map(|datum| (datum.metric_name.clone(), dimensions(datum))).collect();
        self.series = series.len();
    }
}

fn planned(datum: &Datum) -> PlannedDatum {
    let series = names::valid(&datum.series);
    let dimensions = series.dimensions.into_iter().map(|(name, value)| PlannedDimension { name, value });
    PlannedDatum {
        metric_name: series.name,
        dimensions: dimensions.collect(),
        timestamp: datum.timestamp,
        value: datum.value,
        unit: call::unit(&datum.series.name),
        storage_resolution: call::RESOLUTION,
    }
}
