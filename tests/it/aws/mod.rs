//! The AWS backend against doubles of the services. What both backends must do is in `contract`.

mod agent;
pub(crate) mod double;
mod kinesis;
mod leases;
mod moto;
mod refusals;
mod stub;
