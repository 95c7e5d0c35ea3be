//! The record of one snapshot, as it is stored.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::Labels;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::info::{Info, Kind, Usage};

/// A record; its key is the key or name of the snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) kind: Kind,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) parent: String,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub(super) labels: Labels,
    /// Nanoseconds since 1970.
    pub(super) created: u64,
    pub(super) updated: u64,
    #[serde(default)]
    pub(super) size: i64,
    #[serde(default)]
    pub(super) inodes: i64,
}

impl Row {
    pub(super) fn decode(key: &str, bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|e| {
            Error::refused(base::ErrorKind::DataLoss, format!("record of snapshot {key} is damaged: {e}"))
        })
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|e| Error::refused(base::ErrorKind::Internal, format!("encode snapshot record: {e}")))
    }

    pub(super) fn info(self, key: &str) -> Info {
        Info {
            kind: self.kind,
            name: key.to_owned(),
            parent: self.parent,
            labels: self.labels,
            created_at: time(self.created),
            updated_at: time(self.updated),
        }
    }

    pub(super) fn usage(&self) -> Usage {
        Usage { size: self.size, inodes: self.inodes }
    }
}

/// Nanoseconds since 1970; earlier times are 1970.
pub(super) fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|d| u64::try_from(d.as_nanos()).ok()).unwrap_or(0)
}

fn time(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos)
}
