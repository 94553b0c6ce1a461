//! What `analyze` stores of one shard: a consistent cut, encoded with a format version. Stores nothing itself.

use serde::{Deserialize, Serialize};

use crate::engine::{journal::Journal, parcel::Parcel, state::State};

/// The version of the encoding: its first byte.
pub const FORMAT: u8 = 3;
/// The same without a journal of windows, which is begun when it is read.
const WITHOUT_JOURNAL: u8 = 2;

/// State and outbox of one shard as of one position.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cut {
    /// Part of the row ids; renewed by every start that is not `LAST_STOPPED_POINT`.
    pub epoch: u64,
    /// The shard was read to its end.
    pub ended: bool,
    /// The engine.
    pub state: State,
    /// Rows published by this cut: sent after it is saved, cleared by the next.
    pub outbox: Vec<Parcel>,
}

/// Bytes that are no cut.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// Written by another version.
    #[error("the checkpoint has format {found}, this logtally knows {FORMAT}: use the version that wrote it")]
    Version {
        /// The version found.
        found: u8,
    },
    /// Not decodable.
    #[error("the checkpoint is damaged: start with --from TRIM_HORIZON --recount, or restore the state")]
    Damaged(#[source] postcard::Error),
}

/// Borrows what [`Cut`] owns, so that saving copies no state.
#[derive(Debug, Serialize)]
pub struct CutRef<'a> {
    /// As in [`Cut`].
    pub epoch: u64,
    /// As in [`Cut`].
    pub ended: bool,
    /// As in [`Cut`].
    pub state: &'a State,
    /// As in [`Cut`].
    pub outbox: &'a [Parcel],
}

impl CutRef<'_> {
    /// Encodes it.
    ///
    /// # Errors
    /// What `postcard` refuses; it refuses nothing that a cut holds.
    pub fn encode(&self) -> Result<Vec<u8>, CutError> {
        let bytes = postcard::to_extend(self, vec![FORMAT]).map_err(CutError::Damaged)?;
        postcard::to_extend(&self.state.journal, bytes).map_err(CutError::Damaged)
    }
}

impl Cut {
    /// Decodes what [`CutRef::encode`] wrote, here or in the version before.
    ///
    /// # Errors
    /// If another version wrote the bytes, or they are damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, CutError> {
        let Some((&format, rest)) = bytes.split_first() else {
            return Err(CutError::Damaged(postcard::Error::DeserializeUnexpectedEnd));
        };
        if ![FORMAT, WITHOUT_JOURNAL].contains(&format) {
            return Err(CutError::Version { found: format });
        }
        let (mut cut, rest) = postcard::take_from_bytes::<Self>(rest).map_err(CutError::Damaged)?;
        cut.state.journal = match format {
            WITHOUT_JOURNAL => Journal::before(&cut.state),
            _ => postcard::from_bytes(rest).map_err(CutError::Damaged)?,
        };
        Ok(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{journal::Posted, time::WindowSize};

    #[test]
    fn what_cannot_be_read_says_why() {
        let state = State::new(WindowSize::FIVE_MINUTES);
        let mut bytes = CutRef { epoch: 3, ended: false, state: &state, outbox: &[] }.encode().unwrap();
        assert_eq!(Cut::decode(&bytes).unwrap().epoch, 3);
        let damaged = Cut::decode(&bytes[..bytes.len() / 2]).unwrap_err().to_string();
        insta::assert_snapshot!(damaged, @"the checkpoint is damaged: start with --from TRIM_HORIZON --recount, or restore the state");
        bytes[0] = 9;
        let newer = Cut::decode(&bytes).unwrap_err().to_string();
        insta::assert_snapshot!(newer, @"the checkpoint has format 9, this logtally knows 3: use the version that wrote it");
    }

    #[test]
    fn a_cut_of_the_version_before_is_read_and_its_journal_begun() {
        // A pipeline that published four requests, and holds two in a window that is open.
        let bytes = include_bytes!("../../fixtures/cut/format-2.bin");
        let cut = Cut::decode(bytes).unwrap();
        let journal = cut.state.journal.clone();
        assert!(cut.state.balances());
        assert_eq!(journal.joined(), Posted { counted: 4, published: 4 });
        let apart: Vec<Posted> = journal.pages().map(|(_, page)| page.posted).collect();
        assert_eq!(apart, [Posted { counted: 2, published: 0 }]);
        let Cut { epoch, ended, state, outbox } = &cut;
        let bytes = CutRef { epoch: *epoch, ended: *ended, state, outbox }.encode().unwrap();
        assert_eq!(bytes[0], FORMAT);
        assert_eq!(Cut::decode(&bytes).unwrap().state.journal, journal);
    }
}
