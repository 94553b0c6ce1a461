//! The tailer against real files: each named case of rotation, and random ones against a model.

mod bounds;
mod compressed;
mod copies;
mod discovery;
mod lives;
mod model;
mod rig;
mod rotation;
mod settling;
