//! Durations as Go writes them: `300ms`, `1.5h`, `2m30s`.

use std::time::Duration;

/// Parses a non-negative duration. `None`: not a duration.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += value * unit(&rest[..end])?;
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(total).ok()
}

fn unit(name: &str) -> Option<f64> {
    Some(match name {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn table() {
        for (text, want) in [
            ("3s", Some(Duration::from_secs(3))),
            ("300ms", Some(Duration::from_millis(300))),
            ("2m30s", Some(Duration::from_secs(150))),
            ("1.5h", Some(Duration::from_secs(5400))),
            ("0", Some(Duration::ZERO)),
            ("", None),
            ("5", None),
            ("-3s", None),
            ("3 s", None),
            ("s", None),
            ("1e9s", None),
            ("1..2s", None),
            ("99999999999999999999999h", None),
        ] {
            assert_eq!(parse(text), want, "{text:?}");
        }
    }
}
