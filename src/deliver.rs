//! Rows to metrics and alarms. Reads no log.
