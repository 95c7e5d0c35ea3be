//! Errors in the words of the original, which clients match on.

const MARK: &str = " (os error ";

/// "No such file or directory (os error 2)" becomes "no such file or directory", wherever it stands.
pub(crate) fn as_go(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        let (before, after) = (&rest[..at], &rest[at + MARK.len()..]);
        let number = after.split_once(')').and_then(|(n, tail)| Some((n.parse::<i32>().ok()?, tail)));
        let Some((number, tail)) = number else {
            out.push_str(&rest[..at + MARK.len()]);
            rest = after;
            continue;
        };
        let whole = std::io::Error::from_raw_os_error(number).to_string();
        let words = whole.split(MARK).next().unwrap_or_default();
        match before.strip_suffix(words) {
            Some(head) => {
                out.push_str(head);
                out.push_str(&words[..1].to_ascii_lowercase());
                out.push_str(&words[1..]);
            }
            None => out.push_str(&rest[..rest.len() - tail.len()]),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn words_of_the_kernel() {
        for (text, want) in [
            ("open /x: No such file or directory (os error 2)", "open /x: no such file or directory"),
            ("a: No such file or directory (os error 2): b", "a: no such file or directory: b"),
            ("File exists (os error 17), Permission denied (os error 13)", "file exists, permission denied"),
            ("its own words (os error 2)", "its own words (os error 2)"),
            (" (os error x)", " (os error x)"),
            ("half (os error 2", "half (os error 2"),
            ("nothing", "nothing"),
            ("", ""),
        ] {
            assert_eq!(as_go(text), want);
        }
    }
}
