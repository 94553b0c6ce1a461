//! Diagnostics on standard error. Names nothing of ours, and reads no environment.
//!
//! What is logged often came out of a log: control and invisible characters of every value are written as escapes, so
//! that a line of diagnostics is one line and acts on no terminal. What libraries say below `info` is left out whatever
//! the filter says: they show requests with their headers there, and those hold credentials.

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal},
};

use tracing::{Level, Metadata, Subscriber, field::Field};
use tracing_subscriber::{
    EnvFilter, Layer,
    field::MakeExt,
    filter::filter_fn,
    fmt::{MakeWriter, format},
    layer::SubscriberExt,
};

/// What is shown, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which diagnostics, in the language of tracing's `EnvFilter`: `logtally=debug`.
    pub filter: String,
    /// For people or for machines.
    pub format: Format,
    /// Whether colours are allowed; they are used on a terminal only.
    pub color: bool,
}

/// The form of the diagnostics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why diagnostics cannot be shown as asked.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none.
    #[error(
        "\"{filter}\" is no filter for diagnostics; write for example \"logtally=debug\" in LOGTALLY_LOG"
    )]
    Filter {
        /// As given.
        filter: String,
        /// The cause below.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The form is none.
    #[error("LOGTALLY_LOG_FORMAT is \"{0}\"; write \"text\" or \"json\"")]
    Format(String),
    /// Something else was there first.
    #[error("diagnostics are set up already")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

impl std::str::FromStr for Format {
    type Err = TelemetryError;

    fn from_str(name: &str) -> Result<Self, TelemetryError> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(TelemetryError::Format(name.to_owned())),
        }
    }
}

/// Shows diagnostics on standard error from now on.
///
/// # Errors
/// If the filter is none, or diagnostics are set up already.
pub fn install(settings: &Settings) -> Result<(), TelemetryError> {
    let color = settings.color && io::stderr().is_terminal();
    let subscriber = subscriber(&Settings { color, ..settings.clone() }, io::stderr)?;
    Ok(tracing::subscriber::set_global_default(subscriber)?)
}

fn subscriber<W>(
    settings: &Settings,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + use<W>, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(&settings.filter)
        .map_err(|source| TelemetryError::Filter { filter: settings.filter.clone(), source })?;
    let layer = match settings.format {
        Format::Text => tracing_subscriber::fmt::layer()
            .with_writer(writer)
            .with_ansi(settings.color)
            .fmt_fields(format::debug_fn(show).delimited(" "))
            .boxed(),
        Format::Json => tracing_subscriber::fmt::layer().json().with_writer(JsonWriter(writer)).boxed(),
    };
    Ok(tracing_subscriber::registry().with(filter).with(filter_fn(holds_no_secret)).with(layer))
}

/// Here the SDK warns of endpoints that it cannot use, and repeats them: they may hold a password.
const ENDPOINTS: [&str; 2] = ["aws_smithy_runtime_api::http", "aws_config::default_provider::endpoint_url"];

/// Whether it is ours, where no secret is logged, or no more than a library says to everybody.
fn holds_no_secret(about: &Metadata<'_>) -> bool {
    let target = about.target();
    let ours = ["logtally", "logtally_lambda"].contains(&target) || target.starts_with("logtally::");
    let shows_endpoint = ENDPOINTS.iter().any(|theirs| target.starts_with(theirs));
    ours || (*about.level() <= Level::INFO && !shows_endpoint)
}

fn show(out: &mut format::Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(out, "{}=", field.name())?;
    }
    write!(Escaping(out), "{value:?}")
}

/// Passes text on with everything unsafe to show written as an escape.
struct Escaping<'a, W>(&'a mut W);

impl<W: fmt::Write> fmt::Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if is_unsafe(character) {
                write!(self.0, "{}", character.escape_default())?;
            } else {
                self.0.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// Controls, and what the standard library does not count as printable: bidirectional marks, invisible characters.
fn is_unsafe(character: char) -> bool {
    !matches!(character, '"' | '\'' | '\\') && character.escape_debug().len() > 1
}

/// Writes what JSON leaves raw as `\u` escapes: unsafe characters stand in strings only.
#[derive(Clone)]
struct JsonWriter<W>(W);

struct JsonEscaping<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for JsonWriter<W> {
    type Writer = JsonEscaping<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        JsonEscaping(self.0.make_writer())
    }
}

impl<W: io::Write> io::Write for JsonEscaping<W> {
    /// Takes whole events, as the layer writes them.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut escaped = String::with_capacity(event.len());
        for character in String::from_utf8_lossy(event).chars() {
            if is_unsafe(character) && character != '\n' {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // A String takes everything.
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            } else {
                escaped.push(character);
            }
        }
        self.0.write_all(escaped.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const HOSTILE: &str = "/\u{1b}[2J\n\u{9b}\u{202e}caf\u{e9} \"q\"\u{7f}\u{e0041}";

    /// What is shown of a few hostile events, without their times.
    fn shown(format: Format, color: bool) -> String {
        let memory = Memory::default();
        let settings = Settings { filter: "logtally=info".to_owned(), format, color };
        let writer = memory.clone();
        let subscriber = subscriber(&settings, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("shard", id = %HOSTILE);
            let _inside = span.enter();
            tracing::warn!(path = HOSTILE, %HOSTILE, lines = 3, "cannot parse {HOSTILE}");
            tracing::debug!("filtered");
        });
        let bytes = memory.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        let time = regex::Regex::new(r"\d{4}-\d\d-\d\dT[\d:.]+Z").unwrap();
        time.replace_all(&text, "TIME").into_owned()
    }

    #[test]
    fn values_are_one_line_of_text_without_escapes_for_a_terminal() {
        insta::assert_snapshot!(shown(Format::Text, false), @r#"TIME  WARN shard{id=/\u{1b}[2J\n\u{9b}\u{202e}café "q"\u{7f}\u{e0041}}: logtally::telemetry::tests: cannot parse /\u{1b}[2J\n\u{9b}\u{202e}café "q"\u{7f}\u{e0041} path="/\u{1b}[2J\n\u{9b}\u{202e}café \"q\"\u{7f}\u{e0041}" HOSTILE=/\u{1b}[2J\n\u{9b}\u{202e}café "q"\u{7f}\u{e0041} lines=3"#);
    }

    #[test]
    fn what_libraries_say_below_info_is_left_out() {
        let memory = Memory::default();
        let settings = Settings { filter: "trace".to_owned(), format: Format::Text, color: false };
        let writer = memory.clone();
        let subscriber = subscriber(&settings, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!("ours");
            tracing::debug!(target: "aws_sigv4::http_request", "s3cret");
            tracing::debug!(target: "logtallying", "s3cret");
            tracing::warn!(target: "aws_smithy_runtime_api::http::request", "s3cret");
            let span = tracing::debug_span!(target: "hyper::proto", "s3cret");
            let _inside = span.enter();
            tracing::info!(target: "aws_config", "theirs");
        });
        let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("ours") && text.contains("theirs") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn values_are_one_line_of_json_that_reads_back() {
        let text = shown(Format::Json, false);
        assert_eq!(text.matches('\n').count(), 1);
        assert!(!text.trim_end().chars().any(is_unsafe), "{text:?}");
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["fields"]["path"], HOSTILE);
        assert_eq!(event["span"]["id"], HOSTILE);
    }

    #[test]
    fn colors_are_ours_alone() {
        let text = shown(Format::Text, true);
        assert!(text.contains('\u{1b}'), "{text:?}");
        let ours = regex::Regex::new("\u{1b}\\[[0-9;]*m").unwrap();
        let rest = ours.replace_all(&text, "").into_owned();
        assert!(!rest.trim_end().chars().any(is_unsafe), "{rest:?}");
    }

    #[test]
    fn what_is_no_filter_or_form_is_refused() {
        let settings = Settings { filter: "logtally=loud".to_owned(), format: Format::Text, color: false };
        let message = subscriber(&settings, io::sink).map(drop).unwrap_err().to_string();
        insta::assert_snapshot!(message, @r#""logtally=loud" is no filter for diagnostics; write for example "logtally=debug" in LOGTALLY_LOG"#);
        let message = "xml".parse::<Format>().unwrap_err().to_string();
        insta::assert_snapshot!(message, @r#"LOGTALLY_LOG_FORMAT is "xml"; write "text" or "json""#);
    }
}
