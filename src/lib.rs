//! Who is calling my applications? Access logs in, counts per application and five minutes out, exactly.
//!
//! ```text
//!  access logs ─► produce ─► input stream ─► analyze ─► output stream ─► deliver ─► metrics ─► alarms
//!  (files, gz,    tail,       shards          parse, join,  parcels        once,       sums per
//!   stdin)        batch                       count         of rows        by id       series
//!                                               ▲
//!                                         reference CSV
//!
//!  logs at rest ─────────────► replay: the same engine, in parallel, no stream, no state
//! ```
//!
//! # Reading order
//!
//! 1. [`app`]: what each command does, and how it ends.
//! 2. [`engine`]: the pure core. [`engine::engine`] takes records and gives rows; below it are [`engine::count`] (the hot
//!    path), [`engine::format`] (a line to an event), [`engine::reference`] (a host to its owner).
//! 3. [`backend`]: the ports between the stages; [`backend::embedded`] keeps them in one SQLite file.
//! 4. [`produce`] (over [`tail`]), [`analyze`], [`deliver`]: the stages, one loop each. [`replay`]: the loop without
//!    streams.
//! 5. [`config`] and [`cli`]: what users say. [`render`]: what they see. [`report`] and [`audit`]: what they ask.
//!
//! # What always holds
//!
//! - The books balance: lines read = counted + malformed (by reason) + duplicate, and what was counted is published, in
//!   an open window, or on its way. [`audit::equations`] has them all, down to the bytes of each file.
//! - Only a reader says how far a stream is complete ([`backend::Batch::complete_to`]). No timer and no stamp closes a
//!   window.
//! - Late is not lost: rows are additive, and a line behind its window's end becomes a correction.
//! - A checkpoint is one consistent cut: position, windows, provenance and rows not yet sent ([`engine::cut`]).
//! - Rows have stable ids, so that a row sent twice is the same row.
//! - The engine is pure, every bound has a name, and logs are hostile text that is escaped at each exit ([`render::text`]).
//!
//! `ARCHITECTURE.md` says what each module is and is not, and how to add a query, a backend, a flag or a log format.

pub mod alarms;
pub mod analyze;
pub mod app;
pub mod audit;
pub mod backend;
mod blocking;
pub mod cli;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod engine;
pub mod parse;
pub mod produce;
pub mod random;
pub mod reference;
pub mod render;
pub mod replay;
pub mod report;
pub mod stop;
pub mod tail;
pub mod telemetry;
pub mod webhook;
