//! Where a shim that already runs listens.

use std::path::Path;

use anyhow::{Context, bail};

use super::{Answer, Dialect};

/// Reads a bundle's `bootstrap.json` (daemons from 1.7 on write it), else its `address`.
///
/// # Errors
/// The bundle has neither, or what it has cannot be read.
pub fn of_bundle(bundle: &Path) -> anyhow::Result<Answer> {
    let file = bundle.join("bootstrap.json");
    match std::fs::read(&file) {
        Ok(bytes) => {
            return Answer::from_json(&bytes).with_context(|| format!("{} is no answer", file.display()));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("read {}", file.display())),
    }
    let file = bundle.join("address");
    let bytes = std::fs::read(&file)
        .with_context(|| format!("{} has neither bootstrap.json nor address", bundle.display()))?;
    Answer::read(&bytes).with_context(|| format!("read {}", file.display()))
}

/// An address as an operator gives it: a URI, the path of a socket, or a bundle's directory.
///
/// # Errors
/// It is none of these.
pub fn named(text: &str) -> anyhow::Result<Answer> {
    if text.contains("://") {
        return Answer::read(text.as_bytes());
    }
    let path = Path::new(text);
    if path.is_dir() {
        return of_bundle(path);
    }
    if !path.exists() {
        bail!("{text}: no such socket or bundle");
    }
    let address = format!("unix://{}", path.display());
    Ok(Answer { dialect: Dialect::Address, version: 2, address, protocol: "ttrpc".to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn what_an_operator_may_point_at() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().to_string_lossy().into_owned();
        assert!(named(&text).is_err() && named("/no/such/socket").is_err());
        std::fs::write(dir.path().join("address"), "unix:///old").unwrap();
        assert_eq!(named(&text).unwrap().address, "unix:///old");
        let json = r#"{"version":3,"address":"unix:///new","protocol":"ttrpc"}"#;
        std::fs::write(dir.path().join("bootstrap.json"), json).unwrap();
        assert_eq!(
            (named(&text).unwrap().address.as_str(), named(&text).unwrap().version),
            ("unix:///new", 3)
        );
        assert_eq!(named("unix:///x").unwrap().address, "unix:///x");
        let file = dir.path().join("address").to_string_lossy().into_owned();
        assert_eq!(named(&file).unwrap().address, format!("unix://{file}"));
    }
}
