//! The formats of cgroup files.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::read_text;

/// Larger than any cgroup file that is read here.
const MAX_FILE: u64 = 1 << 20;

/// Text of a file; `None` when the kernel does not offer it, or the group is gone.
pub(super) fn read(dir: &Path, file: &str) -> Result<Option<String>> {
    match read_text(&dir.join(file), MAX_FILE) {
        Ok(text) => Ok(Some(text)),
        Err(e) => match e.errno() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENOTSUP | libc::ENOTDIR) => Ok(None),
            _ => Err(e),
        },
    }
}

/// A number; negative ones count as 0. `None` when it is no number.
pub(super) fn number(text: &str) -> Option<u64> {
    match text.parse::<u64>() {
        Ok(n) => Some(n),
        Err(_) => text
            .strip_prefix('-')
            .filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            .map(|_| 0),
    }
}

/// A file with one number, 0 when it is missing; `max` is what the word "max" stands for.
pub(super) fn single(dir: &Path, file: &str, max: u64) -> Result<u64> {
    let Some(text) = read(dir, file)? else { return Ok(0) };
    match text.trim() {
        "max" => Ok(max),
        "" => Ok(0),
        word => number(word).ok_or_else(|| malformed(dir, file, word)),
    }
}

/// A file with one word, empty when it is missing.
pub(super) fn single_word(dir: &Path, file: &str) -> Result<String> {
    Ok(read(dir, file)?.unwrap_or_default().trim().to_owned())
}

/// A file of lines "key value"; `None` when it is missing.
pub(super) fn table(dir: &Path, file: &str) -> Result<Option<HashMap<String, u64>>> {
    let Some(text) = read(dir, file)? else { return Ok(None) };
    let mut values = HashMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (key, value) = (words.next(), words.next().and_then(number));
        match (key, value, words.next()) {
            (Some(key), Some(value), None) => values.insert(key.to_owned(), value),
            _ => return Err(malformed(dir, file, line)),
        };
    }
    Ok(Some(values))
}

pub(super) fn malformed(dir: &Path, file: &str, what: &str) -> Error {
    Error::Malformed {
        path: dir.join(file),
        what: format!("unexpected {:?}", what.chars().take(100).collect::<String>()),
    }
}

/// RDMA devices: "mlx4_0 hca_handle=2 hca_object=max".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RdmaEntry {
    /// Name of the device.
    pub device: String,
    /// Handles; `u32::MAX` for no limit.
    pub hca_handles: u32,
    /// Objects; `u32::MAX` for no limit.
    pub hca_objects: u32,
}

/// Use and limits of RDMA devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RdmaStat {
    /// In use.
    pub current: Vec<RdmaEntry>,
    /// Allowed.
    pub limit: Vec<RdmaEntry>,
}

/// Reads `rdma.current` and `rdma.max`; `None` when the controller is not there.
pub(super) fn rdma(dir: &Path) -> Result<Option<RdmaStat>> {
    let (Some(current), Some(limit)) = (read(dir, "rdma.current")?, read(dir, "rdma.max")?) else {
        return Ok(None);
    };
    Ok(Some(RdmaStat { current: rdma_entries(&current), limit: rdma_entries(&limit) }))
}

fn rdma_entries(text: &str) -> Vec<RdmaEntry> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let mut entry = RdmaEntry { device: words.next()?.to_owned(), ..RdmaEntry::default() };
        for word in words {
            let (key, value) = word.split_once('=')?;
            let value = if value == "max" { u32::MAX } else { value.parse().unwrap_or(0) };
            match key {
                "hca_handle" => entry.hca_handles = value,
                "hca_object" => entry.hca_objects = value,
                _ => {}
            }
        }
        Some(entry)
    };
    text.lines().filter_map(line).collect()
}

/// The sizes of huge pages on this machine as cgroup files spell them ("2MB", "1GB"), in order of size.
pub(super) fn huge_page_sizes(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
    let mut sizes: Vec<u64> =
        names.filter_map(|n| n.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()).collect();
    sizes.sort_unstable();
    sizes.into_iter().map(spell_size).collect()
}

fn spell_size(kib: u64) -> String {
    match kib {
        k if k >= 1 << 20 => format!("{}GB", k >> 20),
        k if k >= 1 << 10 => format!("{}MB", k >> 10),
        k => format!("{k}KB"),
    }
}

pub(super) const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn numbers_and_tables() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("n", "42\n");
        write("max", "max\n");
        write("negative", "-1\n");
        write("bad", "many\n");
        write("t", "a 1\nb -5\n");
        write("bad-t", "a 1 2\n");
        assert_eq!(single(dir.path(), "n", 0).unwrap(), 42);
        assert_eq!(single(dir.path(), "max", u64::MAX).unwrap(), u64::MAX);
        assert_eq!(single(dir.path(), "negative", 0).unwrap(), 0);
        assert_eq!(single(dir.path(), "missing", 7).unwrap(), 0);
        assert!(matches!(single(dir.path(), "bad", 0), Err(Error::Malformed { .. })));
        let t = table(dir.path(), "t").unwrap().unwrap();
        assert_eq!((t["a"], t["b"]), (1, 0));
        assert!(table(dir.path(), "bad-t").is_err());
        assert!(table(dir.path(), "missing").unwrap().is_none());
    }

    #[test]
    fn huge_pages_are_spelled_as_the_kernel_does() {
        assert_eq!(
            [64, 2048, 32768, 1_048_576, 16_777_216].map(spell_size),
            ["64KB", "2MB", "32MB", "1GB", "16GB"]
        );
    }

    #[test]
    fn rdma_devices_with_and_without_limits() {
        let entries =
            rdma_entries("mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=3 hca_object=max\n\n");
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0], RdmaEntry { device: "mlx4_0".into(), hca_handles: 2, hca_objects: 2000 });
        assert_eq!(entries[1].hca_objects, u32::MAX);
    }
}
