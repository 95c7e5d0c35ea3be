//! Names in an archive: made relative and free of dots, split, and told apart from whiteouts.

use super::{LayerError, OPAQUE_MARKER, WHITEOUT_PREFIX};

/// What the last component of a name means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    /// An object of the layer.
    Object,
    /// Hide everything that lower layers have in this directory.
    Opaque,
    /// Remove this name of the lower layers.
    Hide(&'a [u8]),
}

/// The name without leading slashes, empty components, `.` and `..`; `..` never leaves the root.
/// The root itself is the empty name.
pub(crate) fn clean(name: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(name.len());
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                let cut = out.iter().rposition(|b| *b == b'/').unwrap_or(0);
                out.truncate(cut);
            }
            part => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(part);
            }
        }
    }
    out
}

/// Directory and last component of a cleaned name.
pub(crate) fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|b| *b == b'/') {
        Some(i) => (&name[..i], &name[i + 1..]),
        None => (&[], name),
    }
}

/// Reads the whiteout convention out of a last component.
pub(crate) fn meaning(base: &[u8]) -> Result<Meaning<'_>, LayerError> {
    if base == OPAQUE_MARKER {
        return Ok(Meaning::Opaque);
    }
    let Some(hidden) = base.strip_prefix(WHITEOUT_PREFIX) else {
        return Ok(Meaning::Object);
    };
    match hidden {
        b"" | b"." | b".." => {
            Err(LayerError::malformed(format!("invalid whiteout name {:?}", String::from_utf8_lossy(base))))
        }
        hidden => Ok(Meaning::Hide(hidden)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn names_stay_below_the_root() {
        for (name, want) in [
            ("a/b", "a/b"),
            ("/a//b/", "a/b"),
            ("./a/./b", "a/b"),
            ("../../etc/passwd", "etc/passwd"),
            ("a/../../b", "b"),
            ("a/b/../c", "a/c"),
            (".", ""),
            ("..", ""),
            ("/", ""),
            ("", ""),
            ("a/..", ""),
            ("...", "..."),
        ] {
            assert_eq!(clean(name.as_bytes()), want.as_bytes(), "{name}");
        }
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"c"), (&b""[..], &b"c"[..]));
    }

    #[test]
    fn whiteouts() {
        assert_eq!(meaning(b"x").unwrap(), Meaning::Object);
        assert_eq!(meaning(b".wh").unwrap(), Meaning::Object);
        assert_eq!(meaning(b".wh.x").unwrap(), Meaning::Hide(b"x"));
        assert_eq!(meaning(b".wh..wh..opq").unwrap(), Meaning::Opaque);
        assert_eq!(meaning(b".wh..wh.plnk").unwrap(), Meaning::Hide(b".wh.plnk"));
        for bad in [&b".wh."[..], b".wh..", b".wh..."] {
            assert!(matches!(meaning(bad), Err(LayerError::Malformed(_))), "{bad:?}");
        }
    }
}
