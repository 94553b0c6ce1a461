//! TOML, then environment, then flags: one Config. The only reader of the environment.
