//! What an activation is.

use std::time::SystemTime;

use base::{Labels, Mount};
use serde::{Deserialize, Serialize};

/// How to activate.
#[derive(Debug, Clone, Default)]
pub struct ActivateOptions {
    /// Labels of the activation; those of garbage collection decide how long it lives.
    pub labels: Labels,
    /// Mount everything, and answer one bind mount of the result.
    pub temporary: bool,
    /// Types that the caller takes as they are: `erofs`, or `format/*` for every type with that prefix.
    pub allow: Vec<String>,
}

/// A mount that the manager has made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// What was mounted, as it was when it was mounted.
    pub mount: Mount,
    /// When.
    pub mounted_at: Time,
    /// Where: a directory, or a link to a device.
    pub mount_point: String,
}

/// A set of mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// Unique in its namespace.
    pub name: String,
    /// What the manager has mounted, in order.
    pub active: Vec<Active>,
    /// What is left to the caller.
    pub system: Vec<Mount>,
    /// Labels.
    pub labels: Labels,
}

/// A time in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time(u64);

impl Time {
    /// Now.
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// As the standard library has it.
    pub fn system(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(self.0)
    }
}
