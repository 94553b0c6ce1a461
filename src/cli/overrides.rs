//! Which flags stand for which keys of the configuration. Checks nothing: the configuration does.

use toml::Value;

use crate::{
    cli::{Cli, Command, commands::ReferenceArgs},
    config::{Override, StartMode},
};

impl Cli {
    /// The keys of the configuration that flags set.
    #[must_use]
    pub fn overrides(&self) -> Vec<Override> {
        let mut set = Set(Vec::new());
        set.text("", "state_dir", self.global.state_dir.as_ref(), "--state-dir");
        match &self.command {
            Command::Run(args) => set.from(args.from),
            Command::Analyze(args) => set.from(args.from),
            Command::Produce(args) => {
                set.list("produce", "files", &args.files, "FILES");
                if args.agent_config.is_some() {
                    set.text("", "backend", Some(&"aws".to_owned()), "--agent-config");
                    // Its flows name streams of Kinesis, unless somebody asks for another place.
                    set.0.last_mut().into_iter().for_each(|backend| backend.weak = true);
                }
            }
            Command::Replay(args) => {
                set.text("analyze", "format", args.log_format.as_ref(), "--log-format");
                set.text("analyze", "client", args.client.as_ref(), "--client");
                set.text("analyze", "reference", args.reference.as_ref(), "--reference");
                let window = args.window.map(|window| format!("{}ms", window.as_millis()));
                set.text("analyze", "window", window.as_ref(), "--window");
            }
            Command::Parse(args) => set.text("analyze", "format", args.log_format.as_ref(), "--log-format"),
            Command::Reference(ReferenceArgs { reference, .. }) => {
                set.text("analyze", "reference", reference.as_ref(), "--reference");
            }
            Command::Deliver(_)
            | Command::Report(_)
            | Command::Check(_)
            | Command::Convert(_)
            | Command::Status(_)
            | Command::Audit(_)
            | Command::Completions(_)
            | Command::Man(_) => {}
        }
        set.0
    }
}

struct Set(Vec<Override>);

impl Set {
    fn text(&mut self, section: &'static str, key: &'static str, value: Option<&String>, flag: &str) {
        if let Some(text) = value {
            self.add(section, key, Value::String(text.clone()), flag);
        }
    }

    fn list(&mut self, section: &'static str, key: &'static str, values: &[String], flag: &str) {
        if !values.is_empty() {
            let values = values.iter().cloned().map(Value::String).collect();
            self.add(section, key, Value::Array(values), flag);
        }
    }

    fn from(&mut self, from: Option<StartMode>) {
        if let Some(from) = from {
            self.add("analyze", "from", Value::String(from.as_str().to_owned()), "--from");
        }
    }

    fn add(&mut self, section: &'static str, key: &'static str, value: Value, flag: &str) {
        self.0.push(Override { section, key, value, origin: flag.to_owned(), weak: false });
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::{BackendKind, Config, environment::Environment, load};

    fn config(line: &str) -> Config {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let empty = tempfile::NamedTempFile::new().unwrap();
        load(Some(empty.path()), &Environment::default(), &cli.overrides()).unwrap().config
    }

    #[test]
    fn flags_become_the_configuration() {
        let replay =
            config("logtally replay a.log --window 1h --reference h.csv --client %a --log-format common");
        assert_eq!(replay.analyze.window.as_millis(), 3_600_000);
        assert_eq!(replay.analyze.reference.as_deref(), Some("h.csv"));
        assert_eq!(replay.analyze.client, "%a");
        assert_eq!(replay.analyze.format, "common");
        assert_eq!(config("logtally run --from NOW").analyze.from, StartMode::Now);
        assert_eq!(config("logtally analyze --from trim_horizon").analyze.from, StartMode::TrimHorizon);
        assert_eq!(config("logtally produce a.log - *.gz").produce.files, ["a.log", "-", "*.gz"]);
        assert_eq!(config("logtally parse --log-format %h").analyze.format, "%h");
        assert_eq!(config("logtally reference list --reference r").analyze.reference.as_deref(), Some("r"));
        assert_eq!(config("logtally status --state-dir /s").state_dir().unwrap().to_str(), Some("/s"));
        assert_eq!(config("logtally status"), Config::default());
        assert_eq!(config("logtally produce --agent-config a.json").backend, BackendKind::Aws);
    }
}
