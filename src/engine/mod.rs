//! The pure core: bytes in, rows out.
//!
//! Nothing under `engine/` is `async`, opens a file, reads a clock, looks at the environment or draws a random
//! number; `tests/it/tidy.rs` holds it to that. Time is an argument, and the engine calls nobody.

pub mod agent;
pub mod alarm;
pub mod applications;
pub mod backoff;
mod cell_cache;
pub mod count;
pub mod counters;
pub mod cut;
#[expect(clippy::module_inception, reason = "the engine is what the core is for")]
pub mod engine;
pub mod format;
pub mod gather;
mod host_cache;
pub mod journal;
mod marks;
pub mod metric;
mod object_ends;
pub mod parcel;
pub mod producers;
pub mod provenance;
mod publish;
pub mod reason;
pub mod record;
pub mod reference;
pub mod row;
pub mod samples;
pub mod seen;
pub mod settings;
pub mod state;
pub mod tally;
pub mod time;
pub mod top_hosts;
