//! Log files as they grow: discovery, identity, rotation, compressed siblings, resume. Sends nothing.

pub mod open;
