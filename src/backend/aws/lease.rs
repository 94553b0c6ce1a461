//! Which worker reads which shard, after the rules of the Kinesis Client Library 2. Saves no cut.
