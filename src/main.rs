//! arguments → config → telemetry → app → exit code. Decides nothing itself.

fn main() {}
