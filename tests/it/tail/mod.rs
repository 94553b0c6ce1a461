//! The tailer against real files: each named case of rotation, and random ones against a model.

mod bounds;
mod compressed;
mod discovery;
mod model;
mod rig;
mod rotation;
