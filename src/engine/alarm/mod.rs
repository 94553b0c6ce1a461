//! Alarm rules over window sums, and their states. Sends nothing.
