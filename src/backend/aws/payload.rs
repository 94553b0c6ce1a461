//! What a record's data may be: lines, KPL aggregates, gzip, zstd. Reads no stream.
