//! What survives a restart: one encoded state a source, and the ledger of generations. Stores nothing itself.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    engine::time::Timestamp,
    tail::{
        TailError,
        identity::{FileId, Hash, Ladder, Stamp},
        open::Packing,
    },
};

/// A generation and the encoded state of its file; an empty state says: forget it.
pub type State = (u64, Vec<u8>);

/// Under this generation the tailer stores its own ledger; no file has it.
pub const LEDGER: u64 = 0;

const VERSION: u8 = 2;
/// The version before; it knew no [`Stored::first`], which stands last.
const WITHOUT_FIRST: u8 = 1;

/// What is known of one life of one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// Where its bytes are, or were last; absent if something else is there now.
    pub(crate) id: Option<FileId>,
    path: Vec<u8>,
    /// The names it had: when one goes to another file, its writer moves on.
    names: Vec<Vec<u8>>,
    pub(crate) packing: Packing,
    /// Everything below was handed out.
    pub(crate) position: u64,
    /// The hash of the bytes before the position.
    pub(crate) mark: Hash,
    pub(crate) ladder: Ladder,
    /// It was read to its end, and nothing can have been written behind that.
    pub(crate) complete: bool,
    /// The stamp of a compressed file that was read to its end.
    pub(crate) finished_at: Option<Stamp>,
    /// Its name went to another file, so that its writer moved on.
    pub(crate) displaced: bool,
    /// Nobody looks for it: it went where no pattern matches and was quiet there, or its loss was told.
    pub(crate) let_go: bool,
    /// Since when it is not found.
    pub(crate) absent_since: Option<Timestamp>,
    /// Everything below was passed over: by where reading was to start, or as the header of the file.
    pub(crate) first: u64,
}

impl Stored {
    pub(crate) fn new(id: FileId, path: PathBuf, packing: Packing) -> Self {
        Self {
            id: Some(id),
            names: vec![path.as_os_str().as_bytes().to_vec()],
            path: path.into_os_string().into_vec(),
            packing,
            position: 0,
            mark: Hash::default(),
            ladder: Ladder::default(),
            complete: false,
            finished_at: None,
            displaced: false,
            let_go: false,
            absent_since: None,
            first: 0,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(self.path.clone()))
    }

    pub(crate) fn set_path(&mut self, path: &Path) {
        self.path = path.as_os_str().as_bytes().to_vec();
    }

    pub(crate) fn names(&self) -> Vec<PathBuf> {
        self.names.iter().map(|name| PathBuf::from(OsStr::from_bytes(name))).collect()
    }

    pub(crate) fn set_names(&mut self, names: &[PathBuf]) {
        self.names = names.iter().map(|name| name.as_os_str().as_bytes().to_vec()).collect();
    }
}

/// What the tailer remembers besides the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// The number of the next life of a file.
    pub(crate) next_generation: u64,
    /// When the tailer started for the first time.
    pub(crate) first_start: Timestamp,
}

impl Ledger {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { next_generation: LEDGER + 1, first_start: now }
    }

    pub(crate) fn assign(&mut self) -> u64 {
        let generation = self.next_generation;
        self.next_generation += 1;
        generation
    }
}

pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    // Nothing in a state can fail to encode; an empty encoding would be read as "forget", so it is never stored.
    postcard::to_extend(value, vec![VERSION]).unwrap_or_else(|_| vec![VERSION])
}

fn decode<T: DeserializeOwned>(generation: u64, state: &[u8]) -> Result<T, TailError> {
    let decoded = match state.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest),
        Some((&WITHOUT_FIRST, rest)) => postcard::from_bytes(&[rest, &[0]].concat()),
        Some((&version, _)) => return Err(TailError::NewerState { generation, version }),
        None => return Err(TailError::BrokenState { generation }),
    };
    decoded.map_err(|_| TailError::BrokenState { generation })
}

/// Everything that was stored, decoded; the ledger is absent on the first start.
type Restored = (Option<Ledger>, Vec<(u64, Stored)>);

/// Decodes what was stored.
pub(crate) fn restore(known: &[State]) -> Result<Restored, TailError> {
    let mut ledger: Option<Ledger> = None;
    let mut sources = Vec::new();
    for (generation, state) in known.iter().filter(|(_, state)| !state.is_empty()) {
        if *generation == LEDGER {
            ledger = Some(decode(LEDGER, state)?);
        } else {
            sources.push((*generation, decode(*generation, state)?));
        }
    }
    sources.sort_by_key(|&(generation, _)| generation);
    let next = sources.last().map_or(LEDGER + 1, |&(generation, _)| generation.saturating_add(1));
    if !sources.is_empty() && ledger.is_none() {
        ledger = Some(Ledger::new(Timestamp::MIN));
    }
    if let Some(ledger) = &mut ledger {
        ledger.next_generation = ledger.next_generation.max(next);
    }
    Ok((ledger, sources))
}

/// What is stored of one file, for whoever wants to show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The life of the file.
    pub generation: u64,
    /// Its current or last name.
    pub path: PathBuf,
    /// Everything below was sent ...
    pub position: u64,
    /// ... but for what lies below this, which was passed over.
    pub first: u64,
    /// It was read to its end, and its writer moved on.
    pub complete: bool,
    /// Since when it is not found, though it was not read to its end.
    pub absent_since: Option<Timestamp>,
    /// Positions are those of its unpacked content.
    pub packed: bool,
}

/// The files among stored states, in the order of generations.
///
/// # Errors
/// If a state cannot be understood.
pub fn known(states: &[State]) -> Result<Vec<Known>, TailError> {
    let (_, sources) = restore(states)?;
    let known = |(generation, stored): (u64, Stored)| Known {
        generation,
        path: stored.path(),
        position: stored.position,
        first: stored.first,
        complete: stored.complete,
        absent_since: stored.absent_since.filter(|_| !stored.complete && !stored.let_go),
        packed: stored.packing != Packing::Plain,
    };
    Ok(sources.into_iter().map(known).collect())
}

/// Takes a generation for a source that is not a file, as standard input, and gives the state to store before its
/// first bytes are sent.
///
/// # Errors
/// If `known` cannot be understood.
pub fn claim_generation(known: &[State], now: Timestamp) -> Result<(u64, State), TailError> {
    let (ledger, _) = restore(known)?;
    let mut ledger = ledger.unwrap_or_else(|| Ledger::new(now));
    let generation = ledger.assign();
    Ok((generation, (LEDGER, encode(&ledger))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_ascend_also_when_their_files_are_forgotten() {
        let now = Timestamp::from_millis(5);
        let (first, state) = claim_generation(&[], now).unwrap();
        let (second, state) = claim_generation(&[state], now).unwrap();
        assert_eq!((first, second), (1, 2));
        let id = FileId::of(&std::fs::metadata("/").unwrap());
        let seventh = Stored::new(id, "/var/log/\u{fffd}".into(), Packing::Gzip);
        let known = [state, (7, encode(&seventh)), (4, Vec::new())];
        assert_eq!(claim_generation(&known, now).unwrap().0, 8);
        assert_eq!(restore(&known).unwrap().1, [(7, seventh)]);
    }

    #[test]
    fn a_state_of_the_version_before_passed_over_nothing() {
        let id = FileId::of(&std::fs::metadata("/").unwrap());
        let stored = Stored { position: 9, ..Stored::new(id, "/a.log".into(), Packing::Plain) };
        let mut state = encode(&stored);
        assert_eq!(state.pop(), Some(0), "the last field");
        state[0] = WITHOUT_FIRST;
        assert_eq!(restore(&[(7, state)]).unwrap().1, [(7, stored)]);
        let (_, state) = claim_generation(&[], Timestamp::MIN).unwrap();
        let ledger = (LEDGER, [&[WITHOUT_FIRST], &state.1[1..]].concat());
        assert_eq!(claim_generation(&[ledger], Timestamp::MIN).unwrap().0, 2);
    }

    #[test]
    fn states_of_another_version_or_broken_ones_are_refused() {
        let refused = |state: &[u8]| restore(&[(7, state.to_vec())]).unwrap_err().to_string();
        insta::assert_snapshot!(refused(&[3, 0]), @"the stored state of generation 7 has format 3 and this version knows 2: use the version that wrote it");
        insta::assert_snapshot!(refused(&[1, 1]), @"the stored state of generation 7 is broken: restore the state, or remove it to begin anew");
    }
}
