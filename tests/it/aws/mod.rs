//! The AWS backend on doubles of the services.

mod bridge;
mod calls;
mod leases;
mod lives;
mod metrics;
mod moto;
