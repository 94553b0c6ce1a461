//! The pure core: bytes in, rows out.
//!
//! Nothing under `engine/` is `async`, opens a file, reads a clock, looks at the environment or draws a random
//! number; `tests/it/tidy.rs` holds it to that. Time is an argument, and the engine calls nobody.

pub mod alarm;
pub mod backoff;
pub mod counters;
#[expect(clippy::module_inception, reason = "the engine is what the core is for")]
pub mod engine;
pub mod format;
pub mod provenance;
pub mod reason;
pub mod record;
pub mod reference;
pub mod row;
pub mod time;
