//! The runtime's own account of what went wrong: its JSON log.
//!
//! runc, crun and youki write one object per line, `{"level":"error","msg":"...","time":"..."}`. The last
//! error since the call began is what clients are told; kubelet matches words in it. This is the one
//! place that reads another program's text.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

/// Only the end of a log that is longer than this is read.
const MAX_READ: u64 = 64 * 1024;
/// A message longer than this is cut; it travels in a status and lands in events and logs.
const MAX_MESSAGE: usize = 8 * 1024;

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

/// Where a log ends now, so that what is written later can be told from what was there.
pub(crate) fn end_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

/// The last error message that was written after `offset`; `Ok(None)` when there is none.
///
/// # Errors
/// The log cannot be opened or read.
pub(crate) fn last_error(path: &Path, offset: u64) -> std::io::Result<Option<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = offset.min(length).max(length.saturating_sub(MAX_READ));
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.take(MAX_READ).read_to_end(&mut text)?;
    Ok(last_error_in(&text))
}

fn last_error_in(text: &[u8]) -> Option<String> {
    // From the end: a line that does not parse (garbage, or cut in the middle) is passed over.
    text.rsplit(|b| *b == b'\n')
        .filter_map(|line| serde_json::from_slice::<Line>(line).ok())
        .find(|line| line.level == "error" || line.level == "fatal")
        .map(|line| clipped(line.msg.trim()))
}

/// At most [`MAX_MESSAGE`] bytes of `text`, cut between characters.
pub(crate) fn clipped(text: &str) -> String {
    let mut end = text.len().min(MAX_MESSAGE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_last_error_counts() {
        for (text, want) in [
            ("", None),
            ("{\"level\":\"info\",\"msg\":\"a\"}\n", None),
            ("{\"level\":\"error\",\"msg\":\" a \"}\n{\"level\":\"warning\",\"msg\":\"b\"}\n", Some("a")),
            (
                "{\"level\":\"error\",\"msg\":\"a\"}\n{\"level\":\"error\",\"msg\":\"b\",\"time\":\"x\"}\n",
                Some("b"),
            ),
            ("{\"level\":\"error\",\"msg\":\"a\"}\ngarbage \u{1}\n{\"level\":\"err", Some("a")),
            ("{\"level\":\"error\"}", Some("")),
            ("[1,2]\n7\n", None),
        ] {
            assert_eq!(last_error_in(text.as_bytes()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn only_what_is_new_and_never_too_much() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.json");
        assert!(last_error(&path, 0).is_err());
        let old = "{\"level\":\"error\",\"msg\":\"old\"}\n";
        std::fs::write(&path, old).unwrap();
        let offset = end_of(&path);
        assert_eq!(last_error(&path, offset).unwrap(), None);
        std::fs::write(&path, format!("{old}{{\"level\":\"error\",\"msg\":\"new\"}}\n")).unwrap();
        assert_eq!(last_error(&path, offset).unwrap().unwrap(), "new");
        // A megabyte of garbage in front, a huge message behind.
        let huge = "x".repeat(20_000);
        std::fs::write(
            &path,
            format!("{}\n{{\"level\":\"error\",\"msg\":\"{huge}\"}}\n", "?".repeat(1 << 20)),
        )
        .unwrap();
        assert_eq!(last_error(&path, 0).unwrap().unwrap().len(), MAX_MESSAGE);
        // A log that was cut since.
        std::fs::write(&path, "").unwrap();
        assert_eq!(last_error(&path, offset).unwrap(), None);
    }
}
