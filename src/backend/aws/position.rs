//! A place in a shard, and how far the shard was complete there. Reads no shard.
//!
//! In text `<sequence>@<ms>` behind a record, `TRIM_HORIZON@<ms>` in front of the oldest one,
//! `AT_TIMESTAMP:<ms>@<ms>` in front of the first that arrived at a time; what follows the `@` is the time up to which
//! nothing is missing, and so what tells later whether retention has taken something that was not read.

use std::{fmt, str::FromStr};

use crate::{
    backend::{BackendError, SequenceNumber},
    engine::time::Timestamp,
};

const HORIZON: &str = "TRIM_HORIZON";
const TIME: &str = "AT_TIMESTAMP:";

/// Where in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In front of the oldest record kept.
    Horizon,
    /// In front of the first record that arrived then or later.
    Time(Timestamp),
    /// Behind the record of this sequence number.
    Behind(String),
}

/// A place, and the time up to which the shard was complete there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) place: Place,
    pub(super) complete_to: Timestamp,
}

impl Position {
    /// Where everything that arrived at `time` or later lies behind, or `known` if the shard was complete beyond that.
    pub(super) fn later(known: Option<Self>, time: Timestamp) -> Self {
        let since = Self { place: Place::Time(time), complete_to: time };
        known.filter(|known| known.complete_to >= time).unwrap_or(since)
    }
}

impl From<&Position> for SequenceNumber {
    fn from(position: &Position) -> Self {
        Self(position.to_string())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Horizon => f.write_str(HORIZON)?,
            Place::Time(time) => write!(f, "{TIME}{}", time.as_millis())?,
            Place::Behind(sequence) => f.write_str(sequence)?,
        }
        write!(f, "@{}", self.complete_to.as_millis())
    }
}

impl FromStr for Position {
    type Err = BackendError;

    fn from_str(text: &str) -> Result<Self, BackendError> {
        parse(text).ok_or_else(|| BackendError::Refused {
            what: format!(
                "{text:?} is no position in a Kinesis stream: the checkpoint is another backend's; name another table \
                 in [aws], or start with --from TRIM_HORIZON"
            ),
            source: None,
        })
    }
}

fn parse(text: &str) -> Option<Position> {
    let time = |millis: &str| millis.parse().ok().map(Timestamp::from_millis);
    let (place, complete_to) = text.split_once('@')?;
    let place = match place.strip_prefix(TIME) {
        Some(millis) => Place::Time(time(millis)?),
        None if place == HORIZON => Place::Horizon,
        // `SequenceNumber` in the model of Kinesis.
        None if !place.is_empty() && place.bytes().all(|digit| digit.is_ascii_digit()) => {
            Place::Behind(place.to_owned())
        }
        None => return None,
    };
    Some(Position { place, complete_to: time(complete_to)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(place: Place, millis: i64) -> Position {
        Position { place, complete_to: Timestamp::from_millis(millis) }
    }

    #[test]
    fn a_position_comes_back_from_its_text() {
        let number = "49590338271490256608559692538361571095921575989136588898";
        let time = Timestamp::from_millis(-5);
        for (position, text) in [
            (at(Place::Behind(number.to_owned()), 1_800_000_000_000), format!("{number}@1800000000000")),
            (at(Place::Horizon, 7), "TRIM_HORIZON@7".to_owned()),
            (at(Place::Time(time), i64::MIN), format!("AT_TIMESTAMP:-5@{}", i64::MIN)),
        ] {
            assert_eq!(position.to_string(), text);
            assert_eq!(text.parse::<Position>().unwrap(), position);
        }
    }

    #[test]
    fn the_later_of_a_position_and_a_time_is_taken() {
        let time = Timestamp::from_millis(7);
        let since = at(Place::Time(time), 7);
        assert_eq!(Position::later(None, time), since);
        assert_eq!(Position::later(Some(at(Place::Behind("3".to_owned()), 6)), time), since);
        let known = at(Place::Behind("3".to_owned()), 7);
        assert_eq!(Position::later(Some(known.clone()), time), known);
    }

    #[test]
    fn what_another_backend_wrote_is_refused_with_the_remedy() {
        for text in ["", "17", "17@", "@17", "x@17", "17@x", "LATEST@17", "AT_TIMESTAMP:@17", "-3@17"] {
            assert!(matches!(text.parse::<Position>(), Err(BackendError::Refused { .. })), "{text}");
        }
        insta::assert_snapshot!("17".parse::<Position>().unwrap_err(), @r#""17" is no position in a Kinesis stream: the checkpoint is another backend's; name another table in [aws], or start with --from TRIM_HORIZON"#);
    }
}
