//! The command line, as clap types. Does nothing.
