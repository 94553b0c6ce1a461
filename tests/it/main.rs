//! Every integration test, in one binary, so that the suite links once.

#[cfg(test)]
mod tail;
mod tidy;
