//! The values of CloudWatch's calls: CBOR as today's clients have them, JSON as the older ones do. Knows no call.

#![cfg(test)]

use ciborium::Value as Cbor;
use serde_json::{Value as Json, json};

pub(super) fn to_json(value: Cbor) -> Json {
    match value {
        Cbor::Null => Json::Null,
        Cbor::Bool(value) => value.into(),
        Cbor::Integer(value) => i64::try_from(value).unwrap().into(),
        Cbor::Float(value) => value.into(),
        Cbor::Text(value) => value.into(),
        Cbor::Array(values) => values.into_iter().map(to_json).collect(),
        Cbor::Map(fields) => {
            let field = |(name, value): (Cbor, Cbor)| (name.into_text().unwrap(), to_json(value));
            Json::Object(fields.into_iter().map(field).collect())
        }
        // Epoch seconds, in both.
        Cbor::Tag(1, value) => to_json(*value),
        other => panic!("no call to CloudWatch holds {other:?}"),
    }
}

/// `name` is the field's: only names tell times from other numbers in AWS JSON.
pub(super) fn to_cbor(name: &str, value: &Json) -> Cbor {
    match value {
        Json::Null => Cbor::Null,
        Json::Bool(value) => Cbor::Bool(*value),
        Json::Number(number) if name.contains("Timestamp") => {
            Cbor::Tag(1, Box::new(Cbor::Float(number.as_f64().unwrap())))
        }
        Json::Number(number) => match number.as_i64().filter(|_| name != "Values") {
            Some(whole) => Cbor::Integer(whole.into()),
            None => Cbor::Float(number.as_f64().unwrap()),
        },
        Json::String(text) => Cbor::Text(text.clone()),
        Json::Array(values) => Cbor::Array(values.iter().map(|value| to_cbor(name, value)).collect()),
        Json::Object(fields) => {
            let field = |(name, value): (&String, &Json)| (Cbor::Text(name.clone()), to_cbor(name, value));
            Cbor::Map(fields.iter().map(field).collect())
        }
    }
}

#[test]
fn times_are_told_from_numbers_by_name() {
    let json = json!({ "Timestamps": [1.5], "Values": [3], "Id": "m0", "n": 3, "Messages": [] });
    let cbor = to_cbor("", &json);
    assert_eq!(
        to_json(cbor.clone()),
        json!({ "Timestamps": [1.5], "Values": [3.0], "Id": "m0", "n": 3, "Messages": [] })
    );
    let fields = cbor.into_map().unwrap();
    let of = |name: &str| fields.iter().find(|(found, _)| found.as_text() == Some(name)).unwrap().1.clone();
    assert_eq!(of("Timestamps"), Cbor::Array(vec![Cbor::Tag(1, Box::new(Cbor::Float(1.5)))]));
}
