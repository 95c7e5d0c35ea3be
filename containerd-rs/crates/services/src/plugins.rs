//! What the introspection service and `ctr plugins ls` tell of the daemon's plugins.

use std::collections::BTreeMap;

use base::platform::Platform;

/// How loading a plugin ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Ok,
    /// It asked not to be loaded here; the reason.
    Skip(String),
    /// It failed; the message.
    Error(String),
}

/// One plugin: its identity is `<kind>.<id>`, for instance `io.containerd.snapshotter.v1.overlayfs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginRecord {
    /// `io.containerd.snapshotter.v1`
    pub kind: String,
    /// `overlayfs`
    pub id: String,
    /// Types that it needs.
    pub requires: Vec<String>,
    pub platforms: Vec<Platform>,
    pub exports: BTreeMap<String, String>,
    pub capabilities: Vec<String>,
    pub status: Status,
}

impl PluginRecord {
    /// `<kind>.<id>`
    pub fn uri(&self) -> String {
        format!("{}.{}", self.kind, self.id)
    }
}

/// All plugins in the order in which they were loaded.
#[derive(Debug, Clone, Default)]
pub struct PluginTable(Vec<PluginRecord>);

impl PluginTable {
    pub fn new(records: Vec<PluginRecord>) -> Self {
        Self(records)
    }

    /// The plugins in load order.
    pub fn iter(&self) -> impl Iterator<Item = &PluginRecord> {
        self.0.iter()
    }

    /// Is the plugin `<kind>.<id>` loaded?
    pub fn is_ok(&self, kind: &str, id: &str) -> bool {
        self.get(kind, id).is_some_and(|p| p.status == Status::Ok)
    }

    /// The plugin `<kind>.<id>`.
    pub fn get(&self, kind: &str, id: &str) -> Option<&PluginRecord> {
        self.0.iter().find(|p| p.kind == kind && p.id == id)
    }
}
