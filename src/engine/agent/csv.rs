//! CSVTOJSON: the columns of a line by their names. Knows no quotes, as the agent does not.

use serde_json::Value;

use super::{json::JsonFormat, pattern::Delimiter, without_newline};

/// How a line's columns become an object.
#[derive(Clone, Debug)]
pub struct CsvToJson {
    /// The names of the columns: columns that a line lacks are `null`, further ones are left out.
    pub names: Vec<String>,
    /// What stands between columns.
    pub delimiter: Delimiter,
    /// How the object is written.
    pub format: JsonFormat,
}

impl CsvToJson {
    pub(super) fn convert(&self, record: &[u8]) -> Vec<u8> {
        let line = String::from_utf8_lossy(without_newline(record));
        let mut columns = self.delimiter.split(&line).into_iter();
        let value =
            |column: Option<&str>| column.map_or(Value::Null, |column| Value::String(column.to_owned()));
        let entries: Vec<(&str, Value)> =
            self.names.iter().map(|name| (name.as_str(), value(columns.next()))).collect();
        self.format.line(&entries)
    }
}
