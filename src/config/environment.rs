//! The environment, read once. Nothing else in the crate looks at it.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
};

use crate::config::{
    ConfigError,
    keys::{self, KEYS, Key, Kind},
    load::Override,
};

/// What the names of our variables begin with.
const PREFIX: &str = "LOGTALLY_";
/// Where the configuration file is, instead of the usual places.
pub(super) const CONFIG: &str = "LOGTALLY_CONFIG";
/// The filter of the diagnostics.
const LOG: &str = "LOGTALLY_LOG";
/// The form of the diagnostics.
const LOG_FORMAT: &str = "LOGTALLY_LOG_FORMAT";

/// What the Lambda function does.
const ROLE: &str = "LOGTALLY_ROLE";
/// Where the Lambda function puts records that nobody can use.
const DEAD_LETTER_QUEUE: &str = "LOGTALLY_DEAD_LETTER_QUEUE";
/// Every variable that is no key of the configuration.
const OTHERS: [&str; 5] = [CONFIG, LOG, LOG_FORMAT, ROLE, DEAD_LETTER_QUEUE];

/// A copy of the environment's variables. A variable that is set to nothing counts as not set.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

/// Without values: many a secret is handed over in the environment.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What the environment says about diagnostics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    /// `LOGTALLY_LOG`: a filter in tracing's language.
    pub filter: Option<String>,
    /// `LOGTALLY_LOG_FORMAT`: `text` or `json`.
    pub format: Option<String>,
    /// `NO_COLOR`.
    pub no_color: bool,
}

/// What the environment tells the Lambda function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// `LOGTALLY_ROLE`: `deliver` or `analyze`.
    pub role: Role,
    /// `LOGTALLY_DEAD_LETTER_QUEUE`: an SQS queue's URL.
    pub dead_letters: Option<String>,
}

/// What the Lambda function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Rows to metrics.
    Deliver,
    /// Lines to rows.
    Analyze,
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one home of the environment")]
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// What it says about diagnostics.
    #[must_use]
    pub fn diagnostics(&self) -> Diagnostics {
        let text = |name| self.get(name).map(|value| value.to_string_lossy().into_owned());
        Diagnostics { filter: text(LOG), format: text(LOG_FORMAT), no_color: self.get("NO_COLOR").is_some() }
    }

    /// What it tells the Lambda function.
    ///
    /// # Errors
    /// If it names no role.
    pub fn function(&self) -> Result<Function, ConfigError> {
        let text = |name| self.get(name).map(|value| value.to_string_lossy().into_owned());
        let role = match text(ROLE).as_deref() {
            Some("deliver") => Role::Deliver,
            Some("analyze") => Role::Analyze,
            _ => {
                let problem = "set it to \"deliver\" or \"analyze\"".to_owned();
                return Err(ConfigError::Invalid { origin: ROLE.to_owned(), problem });
            }
        };
        Ok(Function { role, dead_letters: text(DEAD_LETTER_QUEUE) })
    }

    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        let value = self.0.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value)
    }

    /// The state directory where nothing names one: systemd's, else the user's.
    pub(super) fn state_dir(&self) -> Option<PathBuf> {
        if let Some(given) = self.get("STATE_DIRECTORY").and_then(|given| std::env::split_paths(given).next())
        {
            return Some(given);
        }
        let absolute = |name| self.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        Some(home?.join("logtally"))
    }

    /// Every key that a variable sets, and a warning for each `LOGTALLY_*` that sets none.
    pub(super) fn overrides(&self) -> (Vec<Override>, Vec<String>) {
        let (mut overrides, mut warnings) = (Vec::new(), Vec::new());
        let ours = self
            .0
            .iter()
            .filter(|(name, value)| name.to_string_lossy().starts_with(PREFIX) && !value.is_empty());
        for (name, value) in ours {
            let name = name.to_string_lossy();
            if OTHERS.contains(&&*name) {
                continue;
            }
            match KEYS.iter().find(|key| key.variable().is_some_and(|variable| *variable == *name)) {
                Some(key) => overrides.push(Override {
                    section: key.section,
                    key: key.name,
                    value: read(key, value),
                    origin: name.into_owned(),
                    weak: false,
                }),
                None => warnings.push(warning(&name)),
            }
        }
        (overrides, warnings)
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Environment {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(variables: I) -> Self {
        variables.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    }
}

/// The value as TOML would have it; what does not read as the key's kind stays a text, which is then refused with the
/// variable's name.
fn read(key: &Key, value: &OsStr) -> toml::Value {
    let text = value.to_string_lossy().into_owned();
    match key.kind {
        Kind::Number => text.trim().parse().map_or(toml::Value::String(text), toml::Value::Integer),
        Kind::Flag => text.trim().parse().map_or(toml::Value::String(text), toml::Value::Boolean),
        Kind::List | Kind::Places => {
            let items = text.split(',').map(|item| item.trim().to_owned());
            toml::Value::Array(items.map(toml::Value::String).collect())
        }
        Kind::Text | Kind::Place | Kind::FileOnly => toml::Value::String(text),
    }
}

fn warning(name: &str) -> String {
    let variables: Vec<String> = KEYS.iter().filter_map(Key::variable).collect();
    let all = variables.iter().map(String::as_str).chain(OTHERS);
    let ends = all.filter_map(|variable| variable.strip_prefix(PREFIX));
    match keys::nearest(name.strip_prefix(PREFIX).unwrap_or(name), ends) {
        Some(meant) => {
            format!("the environment sets {name}, which nothing reads; did you mean {PREFIX}{meant}?")
        }
        None => format!("the environment sets {name}, which nothing reads"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_dir(variables: &[(&str, &str)]) -> Option<String> {
        let environment: Environment = variables.iter().copied().collect();
        environment.state_dir().map(|path| path.display().to_string())
    }

    #[test]
    fn the_state_directory_is_systemds_else_the_users() {
        let all = [("STATE_DIRECTORY", "/var/lib/logtally:/x"), ("XDG_STATE_HOME", "/s"), ("HOME", "/h")];
        assert_eq!(state_dir(&all).as_deref(), Some("/var/lib/logtally"));
        assert_eq!(state_dir(&all[1..]).as_deref(), Some("/s/logtally"));
        assert_eq!(state_dir(&all[2..]).as_deref(), Some("/h/.local/state/logtally"));
        assert_eq!(
            state_dir(&[("XDG_STATE_HOME", "relative"), ("HOME", "/h")]).as_deref(),
            Some("/h/.local/state/logtally")
        );
        assert_eq!(state_dir(&[("HOME", "")]), None);
    }

    #[test]
    fn a_variable_that_nothing_reads_is_warned_of_without_its_value() {
        let environment: Environment = [
            ("LOGTALLY_ANALYSE_WINDOW", "s3cret"),
            ("LOGTALLY_QQQ", "s3cret"),
            ("LOGTALLY_LOG", "debug"),
            ("LOGTALLY_EMPTY", ""),
            ("PATH", "/bin"),
        ]
        .into_iter()
        .collect();
        let (overrides, warnings) = environment.overrides();
        assert!(overrides.is_empty());
        assert!(!format!("{environment:?}").contains("s3cret"));
        insta::assert_snapshot!(warnings.join("\n"), @"
        the environment sets LOGTALLY_ANALYSE_WINDOW, which nothing reads; did you mean LOGTALLY_ANALYZE_WINDOW?
        the environment sets LOGTALLY_QQQ, which nothing reads
        ");
    }

    #[test]
    fn diagnostics_are_handed_on() {
        let environment: Environment = [("LOGTALLY_LOG", "debug"), ("NO_COLOR", "1")].into_iter().collect();
        let expected = Diagnostics { filter: Some("debug".to_owned()), format: None, no_color: true };
        assert_eq!(environment.diagnostics(), expected);
    }
}
