//! The three layers, each checked by itself and laid over the one below. Keeps nothing.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::{Table, Value, de::DeTable};

use crate::config::{
    Config, ConfigError, MAX_FILE,
    environment::{self, Environment},
    keys::{self, KEYS, Kind},
};

/// Where a configuration is looked for if nothing names one, in this order.
const USUAL_PLACES: [&str; 2] = ["logtally.toml", "/etc/logtally/logtally.toml"];

/// One key set by a variable or a flag.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The key's table; empty: above all tables.
    pub section: &'static str,
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
    /// The variable or flag, for messages.
    pub origin: String,
    /// Holds only where neither the file nor a variable says otherwise.
    pub weak: bool,
}

/// A configuration and what there is to say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// What is suspicious and was ignored.
    pub warnings: Vec<String>,
}

/// Reads the file (`file`, else `LOGTALLY_CONFIG`, else `./logtally.toml`, else `/etc/logtally/logtally.toml`, else
/// none), then the environment, then `flags`.
///
/// # Errors
/// If the file cannot be read, or something is no configuration.
pub fn load(
    file: Option<&Path>,
    environment: &Environment,
    flags: &[Override],
) -> Result<Loaded, ConfigError> {
    let named = file.map(PathBuf::from).or_else(|| environment.get(environment::CONFIG).map(PathBuf::from));
    let usual = || USUAL_PLACES.iter().map(PathBuf::from).find(|place| !is_missing(place));
    let file = named.or_else(usual);

    let mut table = Table::new();
    if let Some(state_dir) = environment.state_dir().and_then(|path| path.into_os_string().into_string().ok())
    {
        table.insert("state_dir".to_owned(), Value::String(state_dir));
    }
    for one in flags.iter().filter(|one| one.weak) {
        lay_over(&mut table, single(one)?);
    }
    if let Some(path) = &file {
        let layer = check(&read(path)?, &path.display().to_string())?;
        lay_over(&mut table, based_at(layer, path.parent().unwrap_or(Path::new(""))));
    }
    let (variables, warnings) = environment.overrides();
    for one in variables.iter().chain(flags.iter().filter(|one| !one.weak)) {
        lay_over(&mut table, single(one)?);
    }
    let config = Config::deserialize(table).map_err(|error| invalid("configuration", error.message()))?;
    Ok(Loaded { config, file, warnings })
}

/// Reads a configuration out of one text, without environment, flags or files.
///
/// # Errors
/// If the text is none; the message names the line.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    let table = check(text, "logtally.toml")?;
    Config::deserialize(table).map_err(|error| invalid("logtally.toml", error.message()))
}

/// Whether nothing is there; what is there but cannot be looked at is not missing, so that reading it complains.
fn is_missing(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE {
        return Err(failed(io::Error::other("it is over 1 MiB, which no configuration is")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = line_of(error.as_bytes(), at);
        invalid(format!("{} line {line}", path.display()), "a byte that is not UTF-8; save the file as UTF-8")
    })
}

/// A text as TOML, once it is known to be a configuration by itself.
fn check(text: &str, name: &str) -> Result<Table, ConfigError> {
    let at_line =
        |at: usize, problem: &str| invalid(format!("{name} line {}", line_of(text.as_bytes(), at)), problem);
    let located = |error: &toml::de::Error, key: Option<String>| match (error.span(), key) {
        (Some(span), Some(key)) => at_line(span.start, &format!("{key}: {}", one_line(error.message()))),
        (Some(span), None) => at_line(span.start, &one_line(error.message())),
        (None, _) => invalid(name, &one_line(error.message())),
    };
    let spanned = DeTable::parse(text).map_err(|error| located(&error, None))?;
    let spanned = spanned.get_ref();
    if let Some((at, problem)) = keys::unknown(spanned) {
        return Err(at_line(at, &problem));
    }
    if let Err(error) = toml::from_str::<Config>(text) {
        let key = error.span().and_then(|span| keys::name_at(spanned, span.start));
        return Err(located(&error, key));
    }
    text.parse().map_err(|error| located(&error, None))
}

fn single(one: &Override) -> Result<Table, ConfigError> {
    let mut table = Table::new();
    table.insert(one.key.to_owned(), one.value.clone());
    if !one.section.is_empty() {
        table = Table::from_iter([(one.section.to_owned(), Value::Table(table))]);
    }
    match Config::deserialize(table.clone()) {
        Ok(_) => Ok(table),
        Err(error) => Err(invalid(one.origin.as_str(), &one_line(error.message()))),
    }
}

fn lay_over(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

/// `layer` with its relative paths counted from `base`, the directory of its file.
fn based_at(mut layer: Table, base: &Path) -> Table {
    for key in &KEYS {
        let table = match key.section {
            "" => Some(&mut layer),
            section => layer.get_mut(section).and_then(Value::as_table_mut),
        };
        let Some(value) = table.and_then(|table| table.get_mut(key.name)) else {
            continue;
        };
        match (key.kind, value) {
            (Kind::Place, Value::String(path)) if !path.contains("://") => {
                *path = joined(base, path, Path::to_string_lossy);
            }
            (Kind::Places, Value::Array(patterns)) => {
                for pattern in patterns {
                    if let Value::String(text) = pattern {
                        *text = based_pattern(base, key.name, text);
                    }
                }
            }
            _ => {}
        }
    }
    layer
}

/// A pattern of files from `base`; one of `exclude` without a slash matches names anywhere and stays.
fn based_pattern(base: &Path, key: &str, pattern: &str) -> String {
    if key == "exclude" && !pattern.contains('/') {
        return pattern.to_owned();
    }
    joined(base, pattern, |base| globset::escape(&base.to_string_lossy()).into())
}

/// `path` from `base`, unless it is absolute, standard input (`-`) or an address (`s3://…`).
fn joined<'a>(base: &'a Path, path: &str, show: impl Fn(&'a Path) -> std::borrow::Cow<'a, str>) -> String {
    if base.as_os_str().is_empty() || path == "-" || path.contains("://") || Path::new(path).is_absolute() {
        return path.to_owned();
    }
    Path::new(&*show(base)).join(path).to_string_lossy().into_owned()
}

fn invalid(origin: impl Into<String>, problem: &str) -> ConfigError {
    ConfigError::Invalid { origin: origin.into(), problem: problem.to_owned() }
}

/// The line, from 1, that holds the byte `at`.
fn line_of(text: &[u8], at: usize) -> usize {
    text.iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// What TOML or serde say, on one line and in words that need no Rust.
fn one_line(message: &str) -> String {
    const WORDS: [(&str, &str); 6] = [
        ("\n", "; "),
        ("expected a sequence", "expected a list, [\"…\"]"),
        ("expected a string", "expected a text in quotes"),
        ("expected a boolean", "expected true or false"),
        ("expected i64", "expected a whole number"),
        ("expected a nonzero u32", "expected a whole number from 1 to 4294967295"),
    ];
    WORDS.iter().fold(without_addresses(message), |message, (theirs, ours)| message.replace(theirs, ours))
}

/// With `"…"` for each quoted address: what stands in the place of another key may be a webhook's, which is a secret.
fn without_addresses(message: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(message.len()), message);
    while let Some((before, quoted)) = rest.split_once('"') {
        let mut escaped = false;
        let end = quoted.find(|character| {
            let ends = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            ends
        });
        let (text, behind) = quoted.split_at(end.unwrap_or(quoted.len()));
        shown.extend([before, "\"", if text.contains("://") { "…" } else { text }]);
        rest = behind.strip_prefix('"').map_or("", |behind| {
            shown.push('"');
            behind
        });
    }
    shown + rest
}
