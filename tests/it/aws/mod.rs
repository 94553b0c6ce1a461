//! The AWS backend on doubles of the services.

mod cuts;
mod leases;
mod line;
mod moto;
mod reference;
mod workers;
