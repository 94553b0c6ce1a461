//! Who is calling my applications? Access logs in, counts per application and five minutes out, exactly.
//!
//! ```text
//!  access logs ─► produce ─► input stream ─► analyze ─► output stream ─► deliver ─► metrics ─► alarms
//! ```

pub mod alarms;
pub mod analyze;
pub mod app;
pub mod audit;
pub mod backend;
pub mod cli;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod engine;
pub mod parse;
pub mod produce;
pub mod reference;
pub mod render;
pub mod replay;
pub mod report;
pub mod stop;
pub mod tail;
pub mod telemetry;
pub mod webhook;
