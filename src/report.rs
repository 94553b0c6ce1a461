//! Counts per application from the metrics. Counts nothing itself.
