//! Log lines on standard error, in the two formats that containerd's users parse: logfmt-like text and JSON.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("unsupported log level {0:?}: use trace, debug, info, warn, error, fatal or panic")]
    Level(String),
    #[error("unsupported log format {0:?}: use text or json")]
    Format(String),
    #[error("cannot install the logger")]
    Install(#[from] tracing_subscriber::util::TryInitError),
}

/// Log to standard error from now on. Empty `level` is `info`, empty `format` is `text`.
pub(crate) fn init(level: &str, format: &str) -> Result<(), Error> {
    let json = match format {
        "" | "text" => false,
        "json" => true,
        other => return Err(Error::Format(other.to_owned())),
    };
    let layer = tracing_subscriber::fmt::layer().event_format(Lines { json }).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(parse_level(level)?).with(Quiet).with(layer).try_init()?;
    Ok(())
}

/// The filter of a level's name.
pub(crate) fn parse_level(level: &str) -> Result<LevelFilter, Error> {
    Ok(match level.to_ascii_lowercase().as_str() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "" | "info" => LevelFilter::INFO,
        "warn" | "warning" => LevelFilter::WARN,
        "error" | "fatal" | "panic" => LevelFilter::ERROR,
        _ => return Err(Error::Level(level.to_owned())),
    })
}

/// Drops what the libraries below say at debug and trace: only our own crates are of interest there.
struct Quiet;

impl<S: Subscriber> tracing_subscriber::Layer<S> for Quiet {
    fn enabled(&self, meta: &tracing::Metadata<'_>, _: tracing_subscriber::layer::Context<'_, S>) -> bool {
        let foreign = ["h2", "hyper", "tonic", "tower", "rustls", "tokio", "mio", "want"];
        *meta.level() <= Level::INFO || !foreign.iter().any(|f| meta.target().starts_with(f))
    }
}

struct Lines {
    json: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let time = base::timestamp::to_rfc3339_nano(std::time::SystemTime::now());
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        if self.json {
            let mut map = serde_json::Map::new();
            map.extend(fields.rest.into_iter().map(|(k, v)| (k, v.into())));
            map.insert("level".into(), level.into());
            map.insert("msg".into(), fields.message.into());
            map.insert("time".into(), time.into());
            return writeln!(out, "{}", serde_json::Value::Object(map));
        }
        let mut line = format!("time=\"{time}\" level={level} msg={}", quoted_always(&fields.message));
        for (key, value) in &fields.rest {
            let _ = write!(line, " {key}={}", quoted(value));
        }
        writeln!(out, "{line}")
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(String, String)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value
        } else {
            self.rest.push((field.name().to_owned(), value))
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, base::chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

fn quoted_always(text: &str) -> String {
    format!("{text:?}")
}

fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/@^+:,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) { text.to_owned() } else { quoted_always(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_formats() {
        assert_eq!(parse_level("").unwrap(), LevelFilter::INFO);
        assert_eq!(parse_level("Warning").unwrap(), LevelFilter::WARN);
        assert_eq!(
            parse_level("loud").unwrap_err().to_string(),
            "unsupported log level \"loud\": use trace, debug, info, warn, error, fatal or panic"
        );
        assert!(matches!(init("info", "xml"), Err(Error::Format(_))));
    }

    #[test]
    fn values_are_quoted_when_they_need_it() {
        assert_eq!(quoted("a/b:1"), "a/b:1");
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted(""), "\"\"");
    }
}
