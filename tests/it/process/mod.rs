//! The real binary as a process: killed, stopped, started twice, reloaded. Looks inside only where it says so.

mod agent;
mod alarm;
mod faults;
#[cfg(feature = "aws")]
mod fleet;
mod home;
mod kill;
mod limits;
mod load;
mod memory;
mod modes;
mod oracle;
#[cfg(feature = "aws")]
mod outage;
mod reload;
mod secrets;
mod sharing;
mod signals;
