//! Arguments that several commands share, and how values are read and shown.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base::Platform;
use base::platform::Matcher;
use prost_types::Timestamp;
use protos::api::namespaces::GetNamespaceRequest;

use crate::client::Client;
use crate::error::{Answered, Error, Result};

/// Which snapshotter.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SnapshotterFlag {
    /// Name of the snapshotter; the namespace's or overlayfs when left out
    #[arg(long, env = "CONTAINERD_SNAPSHOTTER", default_value = "", hide_default_value = true)]
    pub snapshotter: String,
}

impl SnapshotterFlag {
    /// The flag's value, or the namespace's own default, or overlayfs.
    pub async fn resolve(&self, client: &Client) -> Result<String> {
        let chosen = self.chosen(client).await?;
        Ok(if chosen.is_empty() { base::defaults::SNAPSHOTTER.to_owned() } else { chosen })
    }

    /// The flag's value, or the namespace's own default; empty when the daemon may choose.
    pub async fn chosen(&self, client: &Client) -> Result<String> {
        if !self.snapshotter.is_empty() {
            return Ok(self.snapshotter.clone());
        }
        let request = GetNamespaceRequest { name: client.namespace().to_string() };
        match client.namespaces().get(request).await.or_say("cannot get the namespace") {
            Ok(answer) => {
                let mut labels = answer.namespace.unwrap_or_default().labels;
                Ok(labels.remove(base::labels::defaults::SNAPSHOTTER).unwrap_or_default())
            }
            Err(e) if e.is_not_found() => Ok(String::new()),
            Err(e) => Err(e),
        }
    }
}

/// Labels as `key=value`; a bare key has the value `true`.
pub fn labels(args: &[String]) -> BTreeMap<String, String> {
    args.iter()
        .map(|arg| arg.split_once('=').unwrap_or((arg, "true")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Annotations as `key=value`; both must be there.
pub fn annotations(args: &[String]) -> Result<BTreeMap<String, String>> {
    args.iter()
        .map(|arg| match arg.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(Error::invalid(format!("annotation {arg:?} is not key=value"))),
        })
        .collect()
}

/// A platform like `linux/arm64`.
pub fn platform(text: &str) -> Result<Platform> {
    Platform::parse(text).map_err(|e| Error::refused(format!("platform {text:?} cannot be used"), e))
}

/// What to look for in an image: the flag's platform, or this machine's.
pub fn matcher(flag: Option<&String>) -> Result<Matcher> {
    match flag {
        Some(text) => Ok(Matcher::only(&platform(text)?)),
        None => Ok(Matcher::host_default()),
    }
}

/// A platform for the wire.
pub fn wire_platform(platform: &Platform) -> protos::api::types::Platform {
    protos::api::types::Platform {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone(),
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
    }
}

/// A time from the wire; the epoch for one that cannot be held.
pub fn time(wire: &Timestamp) -> SystemTime {
    base::timestamp::from_parts(wire.seconds, wire.nanos).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A time as RFC 3339 in UTC.
pub fn rfc3339(wire: &Timestamp) -> String {
    base::timestamp::to_rfc3339_nano(time(wire))
}

/// How long ago a time was, in the largest unit that is not zero: `3 hours`.
pub fn age(wire: Option<&Timestamp>) -> String {
    const UNITS: [(u64, &str); 6] = [
        (31_536_000, "year"),
        (604_800, "week"),
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let Some(wire) = wire else { return "-".into() };
    let seconds = SystemTime::now().duration_since(time(wire)).map(|d| d.as_secs()).unwrap_or(0);
    match UNITS.iter().find(|(length, _)| seconds >= *length) {
        None => "less than a second".into(),
        Some((length, unit)) => {
            let count = seconds / length;
            format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
        }
    }
}

/// The end of a command on many things, whose failures have been told one by one.
pub fn all_done(failed: usize, of: usize) -> Result<()> {
    match failed {
        0 => Ok(()),
        _ => Err(Error::invalid(format!("{failed} of {of} failed"))),
    }
}

/// A JSON document out of an `Any`, if it is one.
pub fn json_any(any: &protos::api::Any) -> Option<serde_json::Value> {
    serde_json::from_slice(&any.value).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn labels_and_annotations() {
        let labels = labels(&["a=b=c".into(), "flag".into(), "empty=".into()]);
        assert_eq!(
            (labels["a"].as_str(), labels["flag"].as_str(), labels["empty"].as_str()),
            ("b=c", "true", "")
        );
        assert!(annotations(&["bare".into()]).is_err());
    }

    #[test]
    fn ages() {
        let ago = |seconds: u64| {
            let (seconds, nanos) =
                base::timestamp::to_parts(SystemTime::now() - std::time::Duration::from_secs(seconds));
            age(Some(&Timestamp { seconds, nanos }))
        };
        assert_eq!(ago(0), "less than a second");
        assert_eq!(ago(61), "1 minute");
        assert_eq!(ago(3 * 3600), "3 hours");
        assert_eq!(age(None), "-");
    }
}
