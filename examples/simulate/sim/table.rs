//! The items of leases, and what is done to one in one write. Asks for no condition: `leases` does.

use logtally::backend::{Checkpoint, Outbox, SequenceNumber};

/// The item of a lease.
#[derive(Clone, Debug, Default)]
pub(crate) struct Item {
    pub(crate) owner: Option<String>,
    pub(crate) counter: u64,
    pub(crate) ended: bool,
    pub(crate) pending: bool,
    saves: u64,
    pub(crate) position: Option<SequenceNumber>,
    cut: Vec<u8>,
}

impl Item {
    pub(crate) fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    pub(crate) fn checkpoint(&self) -> Option<(Checkpoint, Outbox)> {
        let outbox = if self.pending { Outbox::Pending } else { Outbox::Sent };
        let checkpoint =
            Checkpoint { position: self.position.clone(), state: self.cut.clone(), ended: self.ended };
        (self.saves > 0).then_some((checkpoint, outbox))
    }
}

/// What to change of an item.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Nothing but the counter.
    Renew,
    Take(String),
    Release,
    Save(Checkpoint, bool),
}

impl Change {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Renew => "renew a lease",
            Self::Take(_) => "take a lease",
            Self::Release => "release a lease",
            Self::Save(..) => "save",
        }
    }

    pub(crate) fn make(&self, item: &mut Item) {
        match self.clone() {
            Self::Renew => {}
            Self::Take(owner) => item.owner = Some(owner),
            Self::Release => item.owner = None,
            Self::Save(checkpoint, pending) => {
                let Checkpoint { position, state, ended } = checkpoint;
                (item.position, item.cut, item.ended, item.pending) = (position, state, ended, pending);
                item.saves += 1;
            }
        }
    }
}
