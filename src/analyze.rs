//! Input stream to rows, one task a shard. Publishes no metric.
