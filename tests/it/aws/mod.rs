//! The AWS backend on doubles of the services.

mod leases;
mod moto;
