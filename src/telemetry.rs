//! Diagnostics on stderr. Names nothing of ours.
