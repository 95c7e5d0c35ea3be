//! Environment variables of a process.

use crate::error::{Error, Result};

/// Largest file of variables that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// What an image without variables gets.
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn name(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

/// Puts `changes` over `base`: `NAME=value` sets in place or adds, a bare `NAME` removes.
pub fn merge(base: &[String], changes: &[String]) -> Vec<String> {
    let mut merged: Vec<String> = base.to_vec();
    for change in changes {
        let at = merged.iter().rposition(|have| name(have) == name(change));
        match (change.contains('='), at) {
            (true, Some(at)) => merged[at].clone_from(change),
            (true, None) => merged.push(change.clone()),
            (false, Some(at)) => {
                merged.remove(at);
            }
            (false, None) => {}
        }
    }
    merged
}

/// Reads a file of `NAME=value` lines. A bare `NAME` takes its value from our own environment; blank lines and lines that begin
/// with `#` are skipped.
pub fn read_file(path: &str) -> Result<Vec<String>> {
    use std::io::Read;
    let what = || format!("cannot read {path}");
    let file = std::fs::File::open(path).map_err(Error::io(what()))?;
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(Error::io(what()))?;
    parse(&text, |name| std::env::var(name).ok()).map_err(|e| Error::invalid(format!("{path}: {e}")))
}

fn parse(text: &str, own: impl Fn(&str) -> Option<String>) -> std::result::Result<Vec<String>, String> {
    let mut variables = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = name(line);
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(format!("line {}: {key:?} cannot be the name of a variable", at + 1));
        }
        if line.contains('=') {
            variables.push(line.to_owned());
        } else if let Some(value) = own(line) {
            variables.push(format!("{line}={value}"));
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn list(text: &[&str]) -> Vec<String> {
        text.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn changes_replace_add_and_remove() {
        let base = list(&["A=1", "B=2", "C=3"]);
        assert_eq!(merge(&base, &list(&["B=x=y", "D=4", "C", "Z"])), list(&["A=1", "B=x=y", "D=4"]));
        assert_eq!(merge(&base, &list(&["D=4", "D=5"])), list(&["A=1", "B=2", "C=3", "D=5"]));
    }

    #[test]
    fn files_have_comments_and_own_variables() {
        let own = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        assert_eq!(parse("# x\n\nA=1 2\n  HOME\nGONE\n", own).unwrap(), list(&["A=1 2", "HOME=/root"]));
        assert!(parse("ok=1\nA B=1", own).unwrap_err().contains("line 2"));
        assert!(parse("=1", own).is_err());
    }
}
