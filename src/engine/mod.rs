//! The pure core: bytes in, rows out.
//!
//! Nothing under `engine/` is `async`, opens a file, reads a clock, looks at the environment or draws a random
//! number; `tests/it/tidy.rs` holds it to that. Time is an argument, and the engine calls nobody.

pub mod counters;
pub mod provenance;
pub mod reason;
pub mod record;
pub mod row;
pub mod time;
