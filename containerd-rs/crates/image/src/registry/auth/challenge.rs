//! `WWW-Authenticate` (RFC 9110, section 11.6.1).

use std::collections::BTreeMap;

/// A scheme that we can answer, or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    Basic,
    Bearer,
    Other,
}

/// One challenge.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Challenge {
    pub(crate) scheme: Scheme,
    /// Parameters, names in lower case.
    pub(crate) params: BTreeMap<String, String>,
}

impl Challenge {
    fn new(scheme: &str) -> Challenge {
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "basic" => Scheme::Basic,
            "bearer" => Scheme::Bearer,
            _ => Scheme::Other,
        };
        Challenge { scheme, params: BTreeMap::new() }
    }
}

/// Splits one header value into its challenges; what makes no sense is left out.
pub(crate) fn parse(value: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        if end == 0 {
            match rest.chars().next() {
                None => return found,
                Some(c) => rest = &rest[c.len_utf8()..],
            }
            continue;
        }
        let (word, tail) = rest.split_at(end);
        match (tail.trim_start().strip_prefix('='), found.last_mut()) {
            (Some(tail), Some(challenge)) => {
                let (text, tail) = parameter(tail.trim_start());
                challenge.params.insert(word.to_ascii_lowercase(), text);
                rest = tail;
            }
            (Some(tail), None) => rest = tail,
            (None, _) => {
                found.push(Challenge::new(word));
                rest = tail;
            }
        }
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c)
}

/// A token or quoted string, and what follows it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut out = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (out, &quoted[at + 1..]),
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            c => out.push(c),
        }
    }
    (out, "")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn table() {
        let all = parse(
            r#"Bearer realm="https://a.io/token?x=1,2",service=reg.io, scope="repository:a/b:pull,push""#,
        );
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].scheme, Scheme::Bearer);
        assert_eq!(all[0].params["realm"], "https://a.io/token?x=1,2");
        assert_eq!(all[0].params["service"], "reg.io");
        assert_eq!(all[0].params["scope"], "repository:a/b:pull,push");

        let all = parse(r#"Negotiate, BASIC realm="a \"b\"", bearer realm="c""#);
        assert_eq!(
            all.iter().map(|c| c.scheme).collect::<Vec<_>>(),
            [Scheme::Other, Scheme::Basic, Scheme::Bearer]
        );
        assert_eq!(all[1].params["realm"], "a \"b\"");
    }

    #[test]
    fn garbage_ends() {
        for text in
            ["", ",,,", "=", "Bearer", "Bearer realm=", "Bearer realm=\"x", "\u{1f980} é=\"", "a=b c=\"\\"]
        {
            parse(text);
        }
        proptest::proptest!(|(text in ".{0,200}")| { parse(&text); });
    }
}
