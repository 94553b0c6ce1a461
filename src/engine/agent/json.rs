//! JSON objects as the agent's library writes them, compact or over several lines. Reads none.

use std::io::{self, Write};

use serde::{Serialize, Serializer};
use serde_json::{Value, ser::Formatter};

/// `jsonFormat`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonFormat {
    /// On one line.
    #[default]
    Compact,
    /// Over several lines, as Jackson's default printer has it.
    PrettyPrint,
}

struct Entries<'e>(&'e [(&'e str, Value)]);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl JsonFormat {
    /// An object with these entries, and a newline.
    pub(super) fn line(self, entries: &[(&str, Value)]) -> Vec<u8> {
        let mut line = Vec::with_capacity(256);
        let written = match self {
            Self::Compact => serde_json::to_writer(&mut line, &Entries(entries)),
            Self::PrettyPrint => {
                let mut printer = serde_json::Serializer::with_formatter(&mut line, Pretty::default());
                Entries(entries).serialize(&mut printer)
            }
        };
        // Texts and values of JSON can be written, and a vector takes them.
        debug_assert!(written.is_ok(), "{written:?}");
        line.push(b'\n');
        line
    }
}

/// Two spaces a level, ` : ` behind keys, lists on one line.
#[derive(Default)]
struct Pretty {
    depth: usize,
    has_entries: bool,
}

impl Pretty {
    fn new_line<W: ?Sized + Write>(&self, to: &mut W) -> io::Result<()> {
        to.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| to.write_all(b"  "))
    }
}

impl Formatter for Pretty {
    fn begin_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.has_entries = false;
        to.write_all(b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        if self.has_entries {
            self.new_line(to)?;
        } else {
            to.write_all(b" ")?;
        }
        to.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if !first {
            to.write_all(b",")?;
        }
        self.new_line(to)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b" : ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_entries = true;
        Ok(())
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        to.write_all(if first { b" " } else { b", " })
    }

    fn end_array<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b" ]")
    }
}
