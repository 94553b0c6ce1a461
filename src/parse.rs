//! The command parse: each line as one JSON object. Counts nothing.
