//! The `lowerdir=` option of an overlay: layers, topmost first.

/// One layer, in the option's escaped spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lower {
    /// Path as it stands in the option (`\:` for a colon).
    pub escaped: String,
    /// Whether only file contents are taken from it (after `::`).
    pub data_only: bool,
}

impl Lower {
    /// The real path.
    pub fn path(&self) -> String {
        unescape(&self.escaped)
    }
}

/// Takes the backslashes out.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

/// Puts backslashes before what would end a path.
pub(super) fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '\\' | ':' | ',') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Splits at separators that have no backslash before them and are not in double quotes.
pub(super) fn split_unescaped(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut escaped, mut quoted) = (false, false);
    for c in text.chars() {
        if c == separator && !escaped && !quoted {
            parts.push(String::new());
            continue;
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

/// Layers of the value of `lowerdir=`.
pub(super) fn parse(value: &str) -> Vec<Lower> {
    let mut data_only = false;
    let mut lowers = Vec::new();
    for part in split_unescaped(value, ':') {
        if part.is_empty() {
            data_only = !lowers.is_empty();
        } else {
            lowers.push(Lower { escaped: part, data_only });
        }
    }
    lowers
}

/// The value of `lowerdir=` for these layers.
pub(super) fn join(lowers: &[Lower]) -> String {
    let mut value = String::new();
    for (i, lower) in lowers.iter().enumerate() {
        if i > 0 {
            value.push_str(if lower.data_only { "::" } else { ":" });
        }
        value.push_str(&lower.escaped);
    }
    value
}

/// The longest directory that is above all of them (not the root), with relative paths below it; `None` when there is none.
pub(super) fn below_common_directory(lowers: &[Lower]) -> Option<(String, Vec<Lower>)> {
    let first = &lowers.first()?.escaped;
    let same =
        |end: usize| lowers.iter().all(|l| l.escaped.as_bytes().get(..end) == first.as_bytes().get(..end));
    let cut = first.match_indices('/').map(|(i, _)| i + 1).take_while(|end| same(*end)).last()?;
    if cut <= 1 || !first.starts_with('/') || lowers.iter().any(|l| l.escaped.len() <= cut) {
        return None;
    }
    let relative =
        lowers.iter().map(|l| Lower { escaped: l.escaped[cut..].to_owned(), data_only: l.data_only });
    Some((unescape(&first[..cut]), relative.collect()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn escapes_survive_a_round_trip() {
        let value = r"/a/b\:c:/a/d\\e::/a/data";
        let lowers = parse(value);
        let paths: Vec<String> = lowers.iter().map(Lower::path).collect();
        assert_eq!(paths, ["/a/b:c", r"/a/d\e", "/a/data"]);
        assert_eq!(lowers.iter().map(|l| l.data_only).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(join(&lowers), value);
        assert_eq!(escape("/a/b:c"), r"/a/b\:c");
        assert_eq!(split_unescaped(r#"a,context="x,y",b\,c"#, ','), ["a", r#"context="x,y""#, r"b\,c"]);
    }

    #[test]
    fn the_common_directory_ends_at_a_slash() {
        for (value, expected) in [
            ("/r/snapshots/12/fs:/r/snapshots/13/fs", Some(("/r/snapshots/", "12/fs:13/fs"))),
            ("/r/s/1:/r/s/1", Some(("/r/s/", "1:1"))),
            ("/r/s:/r/s/1", Some(("/r/", "s:s/1"))),
            ("/a/x:/b/x", None),
            ("a/x:a/y", None),
            ("/a", None),
            ("", None),
            (r"/r\:x/1:/r\:x/2", Some(("/r:x/", "1:2"))),
        ] {
            let got = below_common_directory(&parse(value)).map(|(dir, l)| (dir, join(&l)));
            assert_eq!(got, expected.map(|(d, l)| (d.to_owned(), l.to_owned())), "{value}");
        }
    }
}
