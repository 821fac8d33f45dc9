//! The operational log: lines on standard error, JSON or text, without identifiers.
//!
//! Only our own events are written: those of HTTP, TLS and WebSocket libraries may carry request lines, and a request line
//! carries a token. Control characters are escaped in both forms, so that no value can forge a line or reach a terminal.

use serde::Deserialize;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

/// The least severe level written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something is lost.
    Error,
    /// Something will be lost unless somebody acts.
    Warn,
    /// Start, stop, and what an operator would ask about.
    #[default]
    Info,
    /// For a developer.
    Debug,
    /// For a developer with time.
    Trace,
}

impl LogLevel {
    /// The word in the configuration file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Words for eyes.
    Text,
}

impl LogFormat {
    /// The word in the configuration file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

/// Sends events to standard error and panics to one line of it. The first call in a process holds; later ones change nothing.
pub fn install(level: LogLevel, format: LogFormat) {
    let installed = tracing::subscriber::set_global_default(subscriber(level, format, io::stderr)).is_ok();
    if installed {
        std::panic::set_hook(Box::new(on_panic));
    }
}

/// Logs where a panic happened; its payload may hold anything, so it is left out.
fn on_panic(info: &PanicHookInfo<'_>) {
    let (file, line) = info.location().map_or(("unknown", 0), |location| (location.file(), location.line()));
    let thread = std::thread::current();
    tracing::error!(file, line, thread = thread.name().unwrap_or("unnamed"), "panic");
}

fn subscriber<W>(level: LogLevel, format: LogFormat, out: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let ours = Targets::new().with_target("colloque", level.filter());
    let layer = tracing_subscriber::fmt::layer().with_writer(Escaping(out)).with_ansi(false);
    match format {
        LogFormat::Json => Box::new(tracing_subscriber::registry().with(ours).with(layer.json().flatten_event(true))),
        LogFormat::Text => Box::new(tracing_subscriber::registry().with(ours).with(layer.with_target(false))),
    }
}

/// Wraps a writer so that a line stays a line.
struct Escaping<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Escaping<W> {
    type Writer = EscapingWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        EscapingWriter(self.0.make_writer())
    }
}

/// Escapes control characters but the last line end; the formatter hands over one whole event per call.
struct EscapingWriter<W>(W);

impl<W: Write> Write for EscapingWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut escaped = String::with_capacity(line.len() + 1);
        for character in line.chars() {
            if character.is_control() {
                escaped.extend(character.escape_unicode());
            } else {
                escaped.push(character);
            }
        }
        escaped.push('\n');
        self.0.write_all(escaped.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex, PoisonError};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LogLevel, format: LogFormat, events: impl FnOnce()) -> String {
        let memory = Memory::default();
        let out = memory.clone();
        tracing::subscriber::with_default(subscriber(level, format, move || out.clone()), events);
        String::from_utf8(memory.0.lock().expect("no panic under the lock").clone()).expect("text")
    }

    #[test]
    fn a_value_with_line_ends_and_escape_codes_stays_in_its_line() {
        for format in [LogFormat::Json, LogFormat::Text] {
            let text = logged(LogLevel::Info, format, || {
                tracing::info!(value = "a\nERROR forged\r\u{1b}[31m\u{9b}31m", "tick\ntock");
            });
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.contains("tick"), "positive control");
            assert!(text.trim_end_matches('\n').chars().all(|character| !character.is_control()), "{text:?}");
        }
    }

    #[test]
    fn json_lines_are_json() {
        let text = logged(LogLevel::Info, LogFormat::Json, || tracing::info!(workers = 2, "started"));
        let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((line["message"].as_str(), line["workers"].as_u64()), (Some("started"), Some(2)));
    }

    #[test]
    fn the_level_and_the_target_choose_what_is_written() {
        let text = logged(LogLevel::Warn, LogFormat::Text, || {
            tracing::info!("quiet");
            tracing::warn!("loud");
            tracing::error!(target: "hyper::proto", "GET /rtc?access_token=eyJ");
        });
        assert!(text.contains("loud") && !text.contains("quiet") && !text.contains("access_token"), "{text}");
    }

    #[test]
    fn a_panic_leaves_its_place_and_not_its_payload() {
        let text = logged(LogLevel::Info, LogFormat::Json, || {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(on_panic));
            let caught = std::panic::catch_unwind(|| panic!("seat of Mme Durand"));
            std::panic::set_hook(before);
            assert!(caught.is_err());
        });
        assert!(text.contains("logs.rs") && !text.contains("Durand"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
