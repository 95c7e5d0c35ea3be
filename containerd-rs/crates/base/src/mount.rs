//! A mount as containerd's API describes it; `sys` carries it out.

use serde::{Deserialize, Serialize};

/// One mount: what, of which kind, where (below the root it is applied to), and how.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Mount {
    /// Filesystem type, or a name that a mount handler knows (`bind`, `overlay`, `format/overlay`).
    #[serde(rename = "type", default)]
    pub fstype: String,
    /// Device, directory or file to mount; empty when the type needs none.
    #[serde(default)]
    pub source: String,
    /// Path below the root of the mount; empty: the root itself.
    #[serde(default)]
    pub target: String,
    /// Options in fstab style.
    #[serde(default)]
    pub options: Vec<String>,
}

impl Mount {
    /// A mount onto the root itself.
    pub fn new(fstype: impl Into<String>, source: impl Into<String>, options: Vec<String>) -> Self {
        Mount { fstype: fstype.into(), source: source.into(), target: String::new(), options }
    }

    /// Whether the options ask for a read-only mount; the last word counts.
    pub fn is_read_only(&self) -> bool {
        self.options.iter().rev().find_map(|o| match o.as_str() {
            "ro" => Some(true),
            "rw" => Some(false),
            _ => None,
        }) == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_of_ro_and_rw_counts() {
        for (options, want) in [
            (vec![], false),
            (vec!["ro"], true),
            (vec!["ro", "rbind", "rw"], false),
            (vec!["rw", "ro"], true),
        ] {
            let m = Mount::new("bind", "/a", options.iter().map(|o| (*o).to_owned()).collect());
            assert_eq!(m.is_read_only(), want, "{options:?}");
        }
    }
}
