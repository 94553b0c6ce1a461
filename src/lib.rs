//! Who is calling my applications? Access logs in, counts per application and five minutes out, exactly.
//!
//! ```text
//!  access logs ─► produce ─► input stream ─► analyze ─► output stream ─► deliver ─► metrics ─► alarms
//! ```

pub mod backend;
pub mod clock;
pub mod engine;
