//! `config.toml`: versions 1 to 4 read, merged over the defaults, checked, and printed in version 4.
//!
//! * [`load`] reads the root file and its `imports`, migrates each file and merges them in order.
//! * [`migrate`] turns the shapes of older versions into version 4.
//! * [`schema`] knows every key with its default; what it does not know is a [`Problem`].
//! * [`mod@print`] writes the merged result the way operators know it.
//!
//! Format: containerd's `config.toml`, see `docs/configuration.md`.

pub(crate) mod load;
pub(crate) mod migrate;
pub(crate) mod print;
pub(crate) mod schema;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The newest version that is understood, and the one that is printed.
pub(crate) const VERSION: i64 = 4;
/// Read when no `--config` is given; may be missing.
pub(crate) const DEFAULT_PATH: &str = "/etc/containerd/config.toml";

/// A key or section that was read but means nothing to this daemon: a warning, as in containerd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    pub(crate) key: String,
    pub(crate) kind: Trouble,
}

/// What is wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody knows it; the known key that is spelled most alike.
    Unknown { nearest: Option<String> },
    /// It is containerd's, and changes nothing in this build.
    Inert,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, line, key, kind } = self;
        let file = file.display();
        match kind {
            Trouble::Inert => write!(f, "{file}:{line}: key `{key}` has no effect in this build"),
            Trouble::Unknown { nearest: None } => write!(f, "{file}:{line}: unknown key `{key}` is ignored"),
            Trouble::Unknown { nearest: Some(near) } => {
                write!(f, "{file}:{line}: unknown key `{key}` is ignored; did you mean `{near}`?")
            }
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read {path}", path = .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}:{column}: {message}", path = .path.display())]
    Syntax { path: PathBuf, line: usize, column: usize, message: String },
    #[error("{path}: key `{key}`: {message}", path = .path.display())]
    Value { path: PathBuf, key: String, message: String },
    #[error("{path}: expected containerd config version equal to or less than `{VERSION}`, got `{found}`", path = .path.display())]
    Version { path: PathBuf, found: i64 },
    #[error("invalid {list} plugin URI {uri:?}, expected io.containerd.x.vx")]
    PluginUri { list: &'static str, uri: String },
    #[error("plugin {plugin}: {message}")]
    Plugin { plugin: String, message: String },
}

/// The merged configuration. Field names and meaning are those of version 4.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Config {
    pub(crate) root: String,
    pub(crate) state: String,
    pub(crate) temp: String,
    pub(crate) disabled_plugins: Vec<String>,
    pub(crate) required_plugins: Vec<String>,
    pub(crate) oom_score: i32,
    pub(crate) debug: Debug,
    pub(crate) plugins: BTreeMap<String, toml::Table>,
    pub(crate) cgroup: Cgroup,
    pub(crate) timeouts: BTreeMap<String, String>,
    pub(crate) proxy_plugins: BTreeMap<String, ProxyPlugin>,
    pub(crate) stream_processors: BTreeMap<String, StreamProcessor>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Debug {
    pub(crate) level: String,
    pub(crate) format: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Cgroup {
    pub(crate) path: String,
}

/// `[proxy_plugins.NAME]`: a snapshotter, content store, differ or sandbox controller in another process.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ProxyPlugin {
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) address: String,
    #[serde(default)]
    pub(crate) platform: String,
    #[serde(default)]
    pub(crate) exports: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) capabilities: Vec<String>,
}

/// `[stream_processors.NAME]`: a program that makes layers out of other media types.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StreamProcessor {
    #[serde(default)]
    pub(crate) accepts: Vec<String>,
    #[serde(default)]
    pub(crate) returns: String,
    #[serde(default)]
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) args: Vec<String>,
    #[serde(default)]
    pub(crate) env: Vec<String>,
}

impl Config {
    /// The table of `plugin` (a full URI) as its own settings type; the defaults are already merged in.
    pub(crate) fn plugin<T: DeserializeOwned>(&self, plugin: &str) -> Result<T, Error> {
        let table = self.plugins.get(plugin).cloned().unwrap_or_default();
        table.try_into().map_err(|e: toml::de::Error| Error::Plugin {
            plugin: plugin.to_owned(),
            message: e.message().to_owned(),
        })
    }

    /// Timeouts whose text is not a duration.
    pub(crate) fn bad_timeouts(&self) -> impl Iterator<Item = (&String, &String)> {
        self.timeouts.iter().filter(|(_, text)| parse_duration(text).is_none())
    }

    /// A named timeout (without the `io.containerd.timeout.` prefix); `None` when it is zero, missing or unreadable.
    pub(crate) fn timeout(&self, name: &str) -> Option<std::time::Duration> {
        let text = self.timeouts.get(&format!("io.containerd.timeout.{name}"))?;
        parse_duration(text).filter(|d| !d.is_zero())
    }
}

/// A duration in Go's notation: `1h2m3.5s`, `300ms`, `0`, `5us`, `10ns`. `None` when it is not one.
pub(crate) fn parse_duration(text: &str) -> Option<std::time::Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(std::time::Duration::ZERO);
    }
    let mut total = 0.0_f64;
    let mut any = false;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let factor = match &rest[..unit_len] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += value * factor;
        any = true;
        rest = &rest[unit_len..];
    }
    (any && total.is_finite() && total < 1e12).then(|| std::time::Duration::from_secs_f64(total))
}

#[cfg(test)]
mod tests;
