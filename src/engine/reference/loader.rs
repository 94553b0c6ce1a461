//! Reference data from a file that comes in blocks. Opens no file.

use crate::engine::reference::{MAX_BYTES, Parsed, ReferenceError, build::Builder, csv::Rows};

/// Takes the file block by block, however it is cut, and gives what [`Reference::parse`](super::Reference::parse) gives
/// of the whole of it.
///
/// ```
/// use logtally::engine::reference::Loader;
/// let mut loader = Loader::default();
/// loader.push(b"Host,ApplicationName,Contact\nweb1,Bill");
/// loader.push(b"ing,billing@example.com\n");
/// assert_eq!(loader.finish()?.reference.owners()[0].application, "Billing");
/// # Ok::<(), logtally::engine::reference::ReferenceError>(())
/// ```
#[derive(Debug, Default)]
pub struct Loader {
    rows: Rows,
    builder: Builder,
    bytes: usize,
    fault: Option<ReferenceError>,
}

impl Loader {
    /// Takes the next bytes of the file. Behind a fault they are only counted: [`Self::finish`] tells it.
    pub fn push(&mut self, block: &[u8]) {
        self.bytes += block.len();
        if self.bytes > MAX_BYTES || self.fault.is_some() {
            return;
        }
        let builder = &mut self.builder;
        self.fault = self.rows.push(block, &mut |row| builder.add(row)).err();
        if self.fault.is_some() {
            self.builder = Builder::default();
        }
    }

    /// Bytes that the rows so far take, and will take while they are settled.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.builder.held()
    }

    /// What the file says.
    ///
    /// # Errors
    /// The first fault of the file, with its row.
    pub fn finish(self) -> Result<Parsed, ReferenceError> {
        let Self { rows, mut builder, bytes, fault } = self;
        if bytes > MAX_BYTES {
            return Err(ReferenceError::TooLarge(bytes));
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        rows.finish(&mut |row| builder.add(row))?;
        builder.finish()
    }
}
