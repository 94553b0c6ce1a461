//! Records in, rows out: the state machine of one shard. Never fails on a line.
