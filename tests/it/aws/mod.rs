//! The AWS backend against doubles of the services. What both backends must do is in `contract`.

mod agent;
mod audit;
pub(crate) mod bridge;
mod calls;
mod cbor;
mod commands;
mod cuts;
pub(crate) mod double;
mod fanout;
mod kinesis;
mod lambda;
mod leases;
mod line;
mod lives;
mod looks;
mod metrics;
pub(crate) mod moto;
mod put;
mod reference;
mod refusals;
mod retention;
mod secrets;
mod stub;
mod workers;
