//! Which bytes of which file a record holds, and which of them were seen before. Opens no file.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A producer's random id: 16 lower-case hexadecimal digits in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Node(pub u64);

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One life of one file on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceId {
    /// The producer.
    pub node: Node,
    /// The life of the file: unique on the node, assigned and stored before its first bytes are sent.
    pub generation: u64,
}

/// Which bytes of which file a record holds; in text `node.generation.start-end.acked`.
///
/// ```
/// use logtally::engine::provenance::Provenance;
/// let text = "00000000000000ff.7.1024-2048.512";
/// let provenance: Provenance = text.parse().unwrap();
/// assert_eq!(provenance.end, 2048);
/// assert_eq!(provenance.to_string(), text);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The file.
    pub source: SourceId,
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last byte; beyond `start` plus the payload's length only, and always, where the record holds
    /// one overlong line that was cut, or one record of an agent's flow that was.
    pub end: u64,
    /// The offset below which the producer will send nothing again.
    pub acked: u64,
}

/// The text is not one of [`Provenance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no provenance: expected node.generation.start-end.acked")]
pub struct NoProvenance;

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SourceId { node, generation } = self.source;
        write!(f, "{node}.{generation}.{}-{}.{}", self.start, self.end, self.acked)
    }
}

impl FromStr for Provenance {
    type Err = NoProvenance;

    fn from_str(text: &str) -> Result<Self, NoProvenance> {
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(NoProvenance);
        let node = next()?;
        if node.len() != 16 || node.bytes().any(|digit| digit.is_ascii_uppercase()) {
            return Err(NoProvenance);
        }
        let node = Node(u64::from_str_radix(node, 16).map_err(|_| NoProvenance)?);
        let generation = number(next()?)?;
        let (start, end) = next()?.split_once('-').ok_or(NoProvenance)?;
        let (start, end, acked) = (number(start)?, number(end)?, number(next()?)?);
        if parts.next().is_some() || start > end {
            return Err(NoProvenance);
        }
        Ok(Self { source: SourceId { node, generation }, start, end, acked })
    }
}

fn number(text: &str) -> Result<u64, NoProvenance> {
    if text.is_empty() || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(NoProvenance);
    }
    text.parse().map_err(|_| NoProvenance)
}
