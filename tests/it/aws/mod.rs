//! The AWS backend against doubles of the services. What both backends must do is in `contract`.

pub(crate) mod double;
mod fanout;
mod kinesis;
mod refusals;
mod retention;
mod stub;
