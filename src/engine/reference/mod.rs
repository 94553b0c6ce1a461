//! Which application owns a host: the reference CSV, joined by name, address or CIDR block. Opens no file.
