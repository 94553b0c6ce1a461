//! Every integration test, in one binary, so that the suite links once.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise, its helpers too"
)]

#[cfg(feature = "aws")]
mod aws;
mod cli;
mod contract;
mod engine;
mod infra;
mod leases;
mod peers;
mod process;
mod scale;
mod simulation;
mod sql;
mod tail;
mod tidy;
mod venv;
