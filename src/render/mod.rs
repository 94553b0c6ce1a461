//! Results on stdout: one file a format. Computes nothing.
