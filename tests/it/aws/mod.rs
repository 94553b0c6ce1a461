//! The AWS backend against doubles of the services. What both backends must do is in `contract`.

mod bridge;
mod calls;
pub(crate) mod double;
mod fanout;
mod kinesis;
mod leases;
mod metrics;
mod moto;
mod refusals;
mod stub;
