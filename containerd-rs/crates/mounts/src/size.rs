//! Sizes as people write them.

/// Bytes from `64MiB`, `64M`, `64 mb`, `1.5g` or a plain number; every unit is a power of 1024. None when it is none of that, negative,
/// or more than fits.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start_matches(' ').to_ascii_lowercase();
    let letter = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let shift = match letter {
        "" if unit != "ib" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).filter(|n| *n <= i64::MAX as u64);
    }
    let bytes = number.parse::<f64>().ok()? * (1u64 << shift) as f64;
    (bytes.is_finite() && bytes < i64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("64MiB", Some(64 << 20)),
            ("64m", Some(64 << 20)),
            ("10 G", Some(10 << 30)),
            ("1.5k", Some(1536)),
            ("2tb", Some(2 << 40)),
            ("8b", Some(8)),
            ("", None),
            ("g", None),
            ("-1", None),
            ("1x", None),
            ("1ib", None),
            ("1.2.3", None),
            ("99999999999999999999", None),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775807k", None),
        ] {
            assert_eq!(parse_size(text), wanted, "{text:?}");
        }
    }
}
