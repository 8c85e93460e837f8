//! Logging to standard error, as JSON lines or as text.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};

use tracing::{Dispatch, Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::failure::is_disruptive;

/// Filter of the level `debug`: all lines of this crate, and what needs attention of others.
const OURS: &str = "info,supercargo=debug";

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Human-readable text.
    Text,
}

/// Verbosity of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// Only errors that end the program.
    Error,
    /// Also problems that need attention.
    Warn,
    /// Also publications.
    Info,
    /// Also every reconcile, and every request to a registry.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Returns the level after `-v` was given this number of times, or `-q`, which leaves out what needs no attention.
    #[must_use]
    pub fn adjusted(self, verbose: u8, is_quiet: bool) -> Self {
        match (self, verbose) {
            (Self::Info | Self::Debug | Self::Trace, 0) if is_quiet => Self::Warn,
            (level, 0) => level,
            (Self::Error | Self::Warn | Self::Info, 1) => Self::Debug,
            (Self::Error | Self::Warn | Self::Info | Self::Debug | Self::Trace, _) => Self::Trace,
        }
    }
}

/// Sets up logging for the process. `RUST_LOG` takes precedence over `level`.
pub fn init(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let filter = filter(level, std::env::var(EnvFilter::DEFAULT_ENV).ok().as_deref());
    // Fails only if a subscriber is set already, which then receives the events.
    let colours = has_colours(std::io::stderr().is_terminal(), |name| std::env::var_os(name));
    let _ = dispatch(format, filter, colours, std::io::stderr).try_init();
}

/// Returns the filter of a level. Below the level of everything, the lines of other crates would hide our own: their
/// connections and pools are not decisions.
fn filter(level: LevelFilter, variable: Option<&str>) -> EnvFilter {
    match variable.filter(|text| !text.is_empty()) {
        Some(text) => EnvFilter::builder().with_default_directive(level.into()).parse_lossy(text),
        None if level == LevelFilter::DEBUG => EnvFilter::new(OURS),
        None => EnvFilter::default().add_directive(level.into()),
    }
}

/// Returns true if a stream has colours: the conventions of no-color.org and of `CLICOLOR_FORCE`, as for the help.
fn has_colours(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let is_forced = is_set("CLICOLOR_FORCE") && variable("CLICOLOR_FORCE").is_none_or(|value| value != "0");
    !is_set("NO_COLOR") && (is_forced || (is_terminal && !is_dumb(variable("TERM"))))
}

/// Returns true if the terminal can neither show colours nor move its cursor.
pub(crate) fn terminal_is_dumb() -> bool {
    is_dumb(std::env::var_os("TERM"))
}

fn is_dumb(term: Option<OsString>) -> bool {
    term.is_some_and(|term| term == "dumb")
}

fn dispatch<W: Write>(
    format: LogFormat,
    filter: EnvFilter,
    colours: bool,
    sink: impl Fn() -> W + Send + Sync + 'static,
) -> Dispatch {
    let is_coloured = colours && format == LogFormat::Text;
    let writer = move || Lines { sink: sink(), format, is_coloured };
    // If standard error cannot be written, the exit code is the only report.
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
    match format {
        // Each event names its object. The spans would name it twice more, in another form.
        LogFormat::Json => subscriber
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .finish()
            .with(filter_fn(quotes_nothing))
            .into(),
        LogFormat::Text => {
            subscriber.with_target(false).with_ansi(colours).finish().with(filter_fn(quotes_nothing)).into()
        }
    }
}

/// False for the one log event that quotes unparsable responses of the API server, which may contain Secrets.
fn quotes_nothing(metadata: &Metadata<'_>) -> bool {
    metadata.target() != "kube_client::client" || *metadata.level() != Level::WARN
}

/// Writes each event as one line. Media types, titles and names come from registries and tenants, so characters that
/// could forge another line or hide text are escaped.
struct Lines<W> {
    sink: W,
    format: LogFormat,
    /// True if the formatter's colour escapes are kept.
    is_coloured: bool,
}

/// True if a text begins with one of the formatter's colour escapes. Forged ones can only change a colour.
fn is_colour(text: &str) -> bool {
    let parameter = text.strip_prefix("\u{1b}[").and_then(|rest| rest.split_once('m'));
    parameter
        .is_some_and(|(parameter, _)| matches!(parameter, "0" | "1" | "2" | "3" | "31" | "32" | "33" | "34" | "35"))
}

impl<W: Write> Write for Lines<W> {
    /// Writes one event; the formatter passes an event as a whole.
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = String::with_capacity(text.len() + 1);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        for (at, c) in text.char_indices() {
            let is_colour = || self.is_coloured && is_colour(text.get(at..).unwrap_or_default());
            match self.format {
                _ if !is_disruptive(c) || is_colour() => line.push(c),
                LogFormat::Text => line.extend(c.escape_default()),
                LogFormat::Json => {
                    line.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
                }
            }
        }
        line.push('\n');
        self.sink.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, colours: bool, log: impl FnOnce()) -> String {
        filtered(format, EnvFilter::new("trace"), colours, log)
    }

    fn filtered(format: LogFormat, filter: EnvFilter, colours: bool, log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let to = sink.clone();
        let dispatch = dispatch(format, filter, colours, move || to.clone());
        tracing::dispatcher::with_default(&dispatch, log);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn colours_follow_the_terminal_unless_a_variable_decides() {
        let rows = [
            (true, "", "", true),
            (false, "", "", false),
            (true, "NO_COLOR", "1", false),
            (true, "NO_COLOR", "", true),
            (true, "TERM", "dumb", false),
            (true, "TERM", "xterm", true),
            (false, "CLICOLOR_FORCE", "1", true),
            (false, "CLICOLOR_FORCE", "0", false),
        ];
        for (is_terminal, known, value, want) in rows {
            let variable = |name: &str| (name == known).then(|| value.into());
            assert_eq!(has_colours(is_terminal, variable), want, "{is_terminal} {known}={value}");
        }
        assert!(!has_colours(true, |name| (name != "TERM").then(|| "1".into())), "NO_COLOR is stronger");
    }

    #[test]
    fn verbose_raises_the_level_and_quiet_lowers_it() {
        let rows = [
            (LogLevel::Info, 0, false, LogLevel::Info),
            (LogLevel::Info, 1, false, LogLevel::Debug),
            (LogLevel::Info, 2, false, LogLevel::Trace),
            (LogLevel::Error, 1, false, LogLevel::Debug),
            (LogLevel::Debug, 1, false, LogLevel::Trace),
            (LogLevel::Trace, 9, false, LogLevel::Trace),
            (LogLevel::Info, 0, true, LogLevel::Warn),
            (LogLevel::Debug, 0, true, LogLevel::Warn),
            (LogLevel::Error, 0, true, LogLevel::Error),
        ];
        for (level, verbose, is_quiet, want) in rows {
            assert_eq!(level.adjusted(verbose, is_quiet), want, "{level:?} {verbose} {is_quiet}");
        }
    }

    #[test]
    fn lines_of_other_crates_need_the_highest_level_or_a_filter() {
        let log = || {
            tracing::debug!("ours");
            tracing::debug!(target: "hyper_util::client::legacy::pool", "theirs");
            tracing::warn!(target: "kube_runtime", "attention");
        };
        let rows = [
            (LevelFilter::INFO, None, [false, false, true]),
            (LevelFilter::DEBUG, None, [true, false, true]),
            (LevelFilter::DEBUG, Some(""), [true, false, true]),
            (LevelFilter::TRACE, None, [true, true, true]),
            (LevelFilter::DEBUG, Some("hyper_util=debug"), [false, true, false]),
            (LevelFilter::INFO, Some("supercargo=debug,warn"), [true, false, true]),
        ];
        for (level, variable, want) in rows {
            let text = filtered(LogFormat::Text, filter(level, variable), false, log);
            assert_eq!(["ours", "theirs", "attention"].map(|word| text.contains(word)), want, "{level} {variable:?}");
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_it_contains() {
        let hostile =
            "application/x\r\n2026-11-28T00:00:00Z  INFO forged\u{2028}\u{202e}\u{61c}\u{feff}\u{e0041}\u{1b}[2Jend";
        for (format, colours) in [(LogFormat::Text, false), (LogFormat::Text, true), (LogFormat::Json, false)] {
            let text = logged(format, colours, || tracing::info!(media_type = %hostile, "skipped {hostile}"));
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.ends_with('\n') && text.contains("forged"), "{text}");
            let is_ours = |c: char| c == '\n' || (colours && c == '\u{1b}');
            assert!(text.chars().all(|c| is_ours(c) || !is_disruptive(c)), "{text:?}");
            assert!(!text.contains("\u{1b}[2J"), "{text:?}");
            if format == LogFormat::Json {
                let value: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(value["media_type"], hostile);
            }
        }
    }

    #[test]
    fn json_lines_name_the_object_once_and_in_fields() {
        let text = logged(LogFormat::Json, false, || {
            let span =
                tracing::info_span!("reconciling object", object.ref = "OCIArtifact.v1alpha1.supercargo.dev/app.team");
            span.in_scope(|| tracing::info!(namespace = "team", name = "app", digest = "sha256:0", "published"));
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["namespace"], &line["name"], &line["digest"]),
            (&"team".into(), &"app".into(), &"sha256:0".into())
        );
        assert_eq!(text.matches("app").count(), 1, "{text}");
    }

    #[test]
    fn an_unparsable_response_of_the_api_server_is_not_logged() {
        let text = logged(LogFormat::Text, false, || {
            tracing::warn!(target: "kube_client::client", "{}", r#"{"kind":"Secret","data":{"password":"aHVudGVyMg=="}}"#);
            tracing::warn!(target: "kube_client::client::builder", "something else");
        });
        assert!(!text.contains("aHVudGVyMg") && text.contains("something else"), "{text}");
    }
}
