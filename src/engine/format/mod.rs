//! Apache LogFormat strings, compiled once into a parser of lines. Opens no file.
