//! Files to input stream. Parses no line.
