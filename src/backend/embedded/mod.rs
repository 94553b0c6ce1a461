//! The pipeline in one SQLite file. Talks to no network.

pub mod reference;
