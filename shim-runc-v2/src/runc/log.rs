//! The runtime's own account of what went wrong: its JSON log.
//!
//! runc and youki write one object per line, `{"level":"error","msg":"...","time":"..."}`, crun one over several. The last
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

/// A line; `message` and `error` are youki's.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default, alias = "message")]
    msg: String,
    #[serde(default)]
    error: String,
}

/// So much of a log's beginning tells whether it was written over.
const HEAD: u64 = 128;

/// What a log is now, so that what is written later can be told from what was there.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    end: u64,
    head: Vec<u8>,
}

/// Marks the log `path`, which may not be there yet.
pub(crate) fn mark(path: &Path) -> Mark {
    let Ok(file) = File::open(path) else { return Mark::default() };
    let end = file.metadata().map_or(0, |m| m.len());
    let mut head = Vec::new();
    let _ = file.take(HEAD).read_to_end(&mut head);
    Mark { end, head }
}

/// The last error message that was written since `mark`; `Ok(None)` when there is none.
///
/// # Errors
/// The log cannot be opened or read.
pub(crate) fn last_error(path: &Path, mark: &Mark) -> std::io::Result<Option<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut head = Vec::new();
    file.by_ref().take(mark.head.len() as u64).read_to_end(&mut head)?;
    // youki does not append, it writes from the start over what was there.
    let over = length >= mark.end && head != mark.head;
    let from = if over { 0 } else { mark.end.min(length).max(length.saturating_sub(MAX_READ)) };
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.take(MAX_READ).read_to_end(&mut text)?;
    Ok(if over { error_among(&text, objects(&text)) } else { last_error_in(&text) })
}

fn last_error_in(text: &[u8]) -> Option<String> {
    let objects: Vec<usize> = objects(text).collect();
    error_among(text, objects.into_iter().rev())
}

/// Where objects may begin: each at the start of a line. (crun spreads one over several lines.)
fn objects(text: &[u8]) -> impl Iterator<Item = usize> {
    let lines = text.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(lines).filter(|at| text.get(*at) == Some(&b'{'))
}

/// The first error among the objects that begin at `starts`. What does not parse (garbage, or cut in the middle) is passed over.
fn error_among(text: &[u8], mut starts: impl Iterator<Item = usize>) -> Option<String> {
    let error = starts.find_map(|at| {
        let mut values = serde_json::Deserializer::from_slice(&text[at..]).into_iter::<Line>();
        let line = values.next()?.ok()?;
        ["error", "fatal"].iter().any(|l| line.level.eq_ignore_ascii_case(l)).then_some(line)
    })?;
    let (message, why) = (error.msg.trim(), error.error.trim());
    Some(match (message.is_empty(), why.is_empty()) {
        (_, true) => clipped(message),
        (true, false) => clipped(why),
        (false, false) => clipped(&format!("{message}: {why}")),
    })
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
            (
                "{\"timestamp\":\"t\",\"level\":\"ERROR\",\"message\":\"a\",\"error\":\"b\",\"target\":\"youki\"}\n",
                Some("a: b"),
            ),
            (
                "{\n  \"msg\": \"a\",\n  \"level\": \"error\"\n}\n{\n  \"msg\": \"b\",\n  \"level\": \"error\"\n}\n",
                Some("b"),
            ),
            ("[1,2]\n7\n", None),
        ] {
            assert_eq!(last_error_in(text.as_bytes()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn only_what_is_new_and_never_too_much() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.json");
        assert!(last_error(&path, &Mark::default()).is_err());
        let old = "{\"level\":\"error\",\"msg\":\"old\"}\n";
        std::fs::write(&path, old).unwrap();
        let offset = mark(&path);
        assert_eq!(last_error(&path, &offset).unwrap(), None);
        std::fs::write(&path, format!("{old}{{\"level\":\"error\",\"msg\":\"new\"}}\n")).unwrap();
        assert_eq!(last_error(&path, &offset).unwrap().unwrap(), "new");
        // A megabyte of garbage in front, a huge message behind.
        let huge = "x".repeat(20_000);
        std::fs::write(
            &path,
            format!("{}\n{{\"level\":\"error\",\"msg\":\"{huge}\"}}\n", "?".repeat(1 << 20)),
        )
        .unwrap();
        assert_eq!(last_error(&path, &Mark::default()).unwrap().unwrap().len(), MAX_MESSAGE);
        // A log whose beginning was written over, with the rest of what was there behind it.
        let (first, second) = ("first of them, the longer one", "second");
        let line =
            |e: &str| format!("{{\"level\":\"ERROR\",\"timestamp\":{},\"message\":\"{e}\"}}\n", e.len());
        std::fs::write(&path, line(first)).unwrap();
        let before = mark(&path);
        let mut over = line(second).into_bytes();
        over.extend_from_slice(&line(first).as_bytes()[over.len()..]);
        std::fs::write(&path, &over).unwrap();
        assert_eq!(last_error(&path, &before).unwrap().unwrap(), second);
        assert_eq!(last_error(&path, &mark(&path)).unwrap(), None, "what was there is not new");
        // A log that was cut since.
        std::fs::write(&path, "").unwrap();
        assert_eq!(last_error(&path, &offset).unwrap(), None);
    }
}
