//! The real binary as a process: killed, stopped, started twice, reloaded. Looks inside only where it says so.

mod agent;
mod alarm;
#[cfg(feature = "aws")]
mod fleet;
mod home;
mod kill;
mod load;
mod modes;
mod oracle;
mod reload;
mod secrets;
mod sharing;
mod signals;
