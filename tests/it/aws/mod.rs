//! The AWS backend against doubles of the services. What both backends must do is in `contract`.

mod bridge;
mod calls;
mod cuts;
pub(crate) mod double;
mod fanout;
mod kinesis;
mod lambda;
mod leases;
mod line;
mod metrics;
mod moto;
mod reference;
mod refusals;
mod stub;
mod workers;
