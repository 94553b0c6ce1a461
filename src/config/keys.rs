//! Which keys there are, which of them a text misspells, and on which line. Judges no values.

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

/// A key of the configuration.
pub(super) struct Key {
    /// The table it stands in; empty: above all tables.
    pub(super) section: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// How an environment variable writes it.
    pub(super) kind: Kind,
}

/// How a key's value is written in an environment variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As it is.
    Text,
    /// A path or place: relative ones in a file count from the file's directory.
    Place,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Flag,
    /// Separated by commas.
    List,
    /// As [`Kind::List`], of paths and patterns.
    Places,
    /// Not to be set by the environment.
    FileOnly,
}

const fn key(section: &'static str, name: &'static str, kind: Kind) -> Key {
    Key { section, name, kind }
}

/// Every key. A test holds this list to the fields of `Config`.
pub(super) const KEYS: [Key; 40] = [
    key("", "pipeline", Kind::Text),
    key("", "backend", Kind::Text),
    key("", "state_dir", Kind::Place),
    key("", "stages", Kind::List),
    key("aws", "input_stream", Kind::Text),
    key("aws", "output_stream", Kind::Text),
    key("aws", "table", Kind::Text),
    key("aws", "ledger", Kind::Text),
    key("aws", "bucket", Kind::Text),
    key("aws", "fan_out", Kind::Flag),
    key("aws", "lease", Kind::Text),
    key("produce", "files", Kind::Places),
    key("produce", "exclude", Kind::Places),
    key("produce", "start", Kind::Text),
    key("produce", "follow_links", Kind::Flag),
    key("produce", "record_bytes", Kind::Text),
    key("produce", "record_lines", Kind::Number),
    key("produce", "record_age", Kind::Text),
    key("produce", "compression", Kind::Text),
    key("produce", "refresh", Kind::Text),
    key("stream", "shards", Kind::Number),
    key("stream", "output_shards", Kind::Number),
    key("stream", "retention", Kind::Text),
    key("stream", "max_bytes", Kind::Text),
    key("analyze", "format", Kind::Text),
    key("analyze", "client", Kind::Text),
    key("analyze", "time", Kind::Text),
    key("analyze", "window", Kind::Text),
    key("analyze", "allowed_lateness", Kind::Text),
    key("analyze", "correction_interval", Kind::Text),
    key("analyze", "reference", Kind::Place),
    key("analyze", "reference_refresh", Kind::Text),
    key("analyze", "checkpoint_interval", Kind::Text),
    key("analyze", "from", Kind::Text),
    key("deliver", "namespace", Kind::Text),
    key("deliver", "in_doubt", Kind::Text),
    key("alarm", "name", Kind::FileOnly),
    key("alarm", "rule", Kind::FileOnly),
    key("alarm", "missing", Kind::FileOnly),
    key("alarm", "webhook", Kind::FileOnly),
];

/// The tables, in the order of the example.
pub(super) const SECTIONS: [&str; 6] = ["aws", "produce", "stream", "analyze", "deliver", "alarm"];

impl Key {
    /// `LOGTALLY_ANALYZE_WINDOW`; nothing if the environment cannot set it.
    pub(super) fn variable(&self) -> Option<String> {
        if self.kind == Kind::FileOnly {
            return None;
        }
        let gap = if self.section.is_empty() { "" } else { "_" };
        Some(format!("LOGTALLY_{}{gap}{}", self.section, self.name).to_ascii_uppercase())
    }
}

/// The first key or table that there is not: where it stands, and what to say about it.
pub(super) fn unknown(table: &DeTable<'_>) -> Option<(usize, String)> {
    let mut found = Vec::new();
    for (name, value) in table {
        let section = name.get_ref().as_ref();
        check(&mut found, "", name);
        if !SECTIONS.contains(&section) {
            continue;
        }
        let tables = match value.get_ref() {
            DeValue::Array(array) => array.iter().filter_map(|table| table.get_ref().as_table()).collect(),
            single => Vec::from_iter(single.as_table()),
        };
        for key in tables.into_iter().flat_map(DeTable::keys) {
            check(&mut found, section, key);
        }
    }
    found.into_iter().min_by_key(|(at, _)| *at)
}

/// The key whose value holds the byte `at`, as a message names it: `[analyze] window`.
pub(super) fn name_at(table: &DeTable<'_>, at: usize) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        let name = name.get_ref();
        match value.get_ref() {
            DeValue::Table(inner) => name_at(inner, at).map(|key| format!("[{name}] {key}")),
            DeValue::Array(array) if array.iter().any(|element| element.get_ref().is_table()) => {
                let mut tables = array.iter().filter_map(|table| table.get_ref().as_table());
                tables.find_map(|inner| name_at(inner, at)).map(|key| format!("[[{name}]] {key}"))
            }
            _ => value.span().contains(&at).then(|| name.to_string()),
        }
    })
}

/// What a misspelt `name` was probably meant to be.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this likeness a suggestion confuses more than it helps.
    const ALIKE: f64 = 0.75;
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

fn check(found: &mut Vec<(usize, String)>, section: &str, key: &Spanned<DeString<'_>>) {
    let name = key.get_ref().as_ref();
    let is_key = KEYS.iter().any(|key| key.section == section && key.name == name);
    let is_section = section.is_empty() && SECTIONS.contains(&name);
    if !is_key && !is_section {
        found.push((key.span().start, complain(section, name)));
    }
}

fn complain(section: &str, name: &str) -> String {
    let place = match section {
        "" => String::new(),
        "alarm" => " in [[alarm]]".to_owned(),
        _ => format!(" in [{section}]"),
    };
    let shown: String = name.chars().take(40).flat_map(char::escape_debug).collect();
    let unknown = format!("unknown key \"{shown}\"{place}");
    if let Some(elsewhere) = KEYS.iter().find(|key| key.name == name) {
        return match elsewhere.section {
            "" => format!("{unknown}; it belongs above the first table"),
            home => format!("{unknown}; it belongs in [{home}]"),
        };
    }
    let here = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    let tables = SECTIONS.into_iter().filter(|_| section.is_empty());
    match nearest(name, here.chain(tables)) {
        Some(meant) => format!("{unknown}; did you mean \"{meant}\"?"),
        None => format!("{unknown}; logtally.example.toml lists all keys"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Alarm, Config};

    /// The names that serde expects in `[section]`, out of its own message.
    fn expected(section: &str) -> Vec<String> {
        let message = match section {
            "" => toml::from_str::<Config>("zzz = 1").unwrap_err(),
            "alarm" => toml::from_str::<Alarm>("zzz = 1").unwrap_err(),
            _ => toml::from_str::<Config>(&format!("[{section}]\nzzz = 1")).unwrap_err(),
        };
        let names = message.message().split('`').skip(3).step_by(2);
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        if !["expected one of", "` or `"].iter().any(|several| message.message().contains(several)) {
            names.truncate(1);
        }
        names
    }

    #[test]
    fn the_list_of_keys_is_the_fields_of_the_configuration() {
        for section in [""].into_iter().chain(SECTIONS) {
            let mut keys: Vec<&str> =
                KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
            if section.is_empty() {
                keys.extend(SECTIONS);
            }
            assert_eq!(keys, expected(section), "[{section}]");
        }
    }

    #[test]
    fn a_variable_names_one_key() {
        let mut variables: Vec<String> = KEYS.iter().filter_map(Key::variable).collect();
        assert!(variables.contains(&"LOGTALLY_ANALYZE_WINDOW".to_owned()));
        assert!(variables.contains(&"LOGTALLY_STATE_DIR".to_owned()));
        assert!(!variables.iter().any(|variable| variable.contains("ALARM")));
        let count = variables.len();
        variables.sort_unstable();
        variables.dedup();
        assert_eq!(variables.len(), count);
    }

    #[test]
    fn suggestions_are_near_or_none() {
        let keys = || KEYS.iter().map(|key| key.name);
        assert_eq!(nearest("windw", keys()), Some("window"));
        assert_eq!(nearest("allowed-lateness", keys()), Some("allowed_lateness"));
        assert_eq!(nearest("zzz", keys()), None);
    }
}
