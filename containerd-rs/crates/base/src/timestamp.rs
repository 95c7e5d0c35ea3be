//! Times as containerd stores and sends them: RFC 3339 with nanoseconds, and seconds plus nanos.
//!
//! All of it is UTC. Go's zero time (the year 1) is an ordinary value here: see [`is_zero`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{ErrorKind, Kinded};

/// Seconds of Go's zero time, 0001-01-01T00:00:00Z.
pub const ZERO_SECONDS: i64 = -62_135_596_800;
/// Seconds of 9999-12-31T23:59:59Z, the last that RFC 3339 can write.
const LAST_SECONDS: i64 = 253_402_300_799;
const DAY: i64 = 86_400;

/// A time that cannot be read or held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not RFC 3339.
    #[error("{0:?} is not an RFC 3339 time")]
    Format(String),
    /// Before the year 1, after the year 9999, or nanos outside 0..1e9.
    #[error("time of {secs} seconds and {nanos} nanoseconds is out of range")]
    Range {
        /// Seconds since 1970.
        secs: i64,
        /// Nanoseconds in the second.
        nanos: i32,
    },
}

impl Kinded for TimeError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Go's zero time.
pub fn zero() -> SystemTime {
    UNIX_EPOCH - Duration::from_secs(ZERO_SECONDS.unsigned_abs())
}

/// Whether this is Go's zero time.
pub fn is_zero(t: SystemTime) -> bool {
    to_parts(t) == (ZERO_SECONDS, 0)
}

/// Seconds since 1970 (negative before) and nanoseconds 0..1e9 in that second, as protobuf's Timestamp has them.
pub fn to_parts(t: SystemTime) -> (i64, i32) {
    match t.duration_since(UNIX_EPOCH) {
        Ok(d) => (i64::try_from(d.as_secs()).unwrap_or(i64::MAX), d.subsec_nanos() as i32),
        Err(before) => {
            let d = before.duration();
            let secs = i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
            match d.subsec_nanos() {
                0 => (-secs, 0),
                nanos => (-secs - 1, 1_000_000_000 - nanos as i32),
            }
        }
    }
}

/// The time of protobuf's seconds and nanos; refuses what protobuf's Timestamp does not allow.
pub fn from_parts(secs: i64, nanos: i32) -> Result<SystemTime, TimeError> {
    let range = || TimeError::Range { secs, nanos };
    let sub = u32::try_from(nanos).ok().filter(|n| *n < 1_000_000_000).ok_or_else(range)?;
    if !(ZERO_SECONDS..=LAST_SECONDS).contains(&secs) {
        return Err(range());
    }
    let whole = Duration::from_secs(secs.unsigned_abs());
    let base = if secs < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    base.and_then(|b| b.checked_add(Duration::new(0, sub))).ok_or_else(range)
}

/// Nanoseconds since 1970, clamped to what an i64 holds.
pub fn to_unix_nanos(t: SystemTime) -> i64 {
    let (secs, nanos) = to_parts(t);
    secs.saturating_mul(1_000_000_000).saturating_add(i64::from(nanos))
}

/// The time of nanoseconds since 1970.
pub fn from_unix_nanos(nanos: i64) -> SystemTime {
    let d = Duration::from_nanos(nanos.unsigned_abs());
    if nanos < 0 { UNIX_EPOCH - d } else { UNIX_EPOCH + d }
}

/// Go's RFC3339Nano in UTC: the fraction without trailing zeros, none when it is zero.
/// Times past the year 9999 or before the year 1 are written as the nearest that can be.
pub fn to_rfc3339_nano(t: SystemTime) -> String {
    let (secs, nanos) = to_parts(t);
    let clamped = secs.clamp(ZERO_SECONDS, LAST_SECONDS);
    let (year, month, day) = civil(clamped.div_euclid(DAY));
    let s = clamped.rem_euclid(DAY);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
    if nanos != 0 && clamped == secs {
        let fraction = format!("{nanos:09}");
        text.push('.');
        text.push_str(fraction.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// Reads RFC 3339 with any fraction (cut to nanoseconds) and any offset.
pub fn parse_rfc3339(s: &str) -> Result<SystemTime, TimeError> {
    parse_opt(s)
        .ok_or_else(|| TimeError::Format(s.chars().take(64).collect()))
        .and_then(|(secs, nanos)| from_parts(secs, nanos))
}

fn parse_opt(s: &str) -> Option<(i64, i32)> {
    let b = s.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if b.len() < 20 || separators.iter().any(|&(i, c)| b[i].to_ascii_uppercase() != c) {
        return None;
    }
    let (year, month, day) = (number(&b[0..4])?, number(&b[5..7])?, number(&b[8..10])?);
    let (hour, minute, second) = (number(&b[11..13])?, number(&b[14..16])?, number(&b[17..19])?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let (nanos, zone) = fraction(&b[19..])?;
    let secs = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset(zone)?;
    Some((secs, nanos))
}

/// The fraction in nanoseconds, and what comes after it.
fn fraction(rest: &[u8]) -> Option<(i32, &[u8])> {
    let Some(rest) = rest.strip_prefix(b".").or_else(|| rest.strip_prefix(b",")) else {
        return Some((0, rest));
    };
    let end = rest.iter().position(|c| !c.is_ascii_digit()).unwrap_or(rest.len());
    if end == 0 {
        return None;
    }
    let nanos = (0..9).fold(0, |n, i| n * 10 + rest[..end].get(i).map_or(0, |c| i32::from(c - b'0')));
    Some((nanos, &rest[end..]))
}

/// Seconds east of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    match zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (h, m) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            let secs = h * 3600 + m * 60;
            (h < 24 && m < 60).then_some(if *sign == b'-' { -secs } else { secs })
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar; years run from March here.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (y.div_euclid(400), y.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a number of days since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * of_year + 2) / 153;
    let month = if m < 10 { m + 3 } else { m - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, of_year - (153 * m + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    #[test]
    fn written_as_go_does() {
        for (secs, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (1_700_000_000, 120_000_000, "2023-11-14T22:13:20.12Z"),
            (1_700_000_000, 1, "2023-11-14T22:13:20.000000001Z"),
            (ZERO_SECONDS, 0, "0001-01-01T00:00:00Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
            (LAST_SECONDS, 0, "9999-12-31T23:59:59Z"),
        ] {
            let t = from_parts(secs, nanos).unwrap();
            assert_eq!(to_rfc3339_nano(t), text);
            assert_eq!(parse_rfc3339(text).unwrap(), t);
            assert_eq!(to_parts(t), (secs, nanos));
        }
        assert!(is_zero(zero()));
        assert!(!is_zero(UNIX_EPOCH));
    }

    #[test]
    fn reads_offsets_and_refuses_nonsense() {
        assert_eq!(
            parse_rfc3339("2023-11-15T00:13:20.5+02:00").unwrap(),
            from_parts(1_700_000_000, 500_000_000).unwrap()
        );
        assert_eq!(
            parse_rfc3339("2023-11-14t22:13:20.1234567899z").unwrap(),
            from_parts(1_700_000_000, 123_456_789).unwrap()
        );
        for bad in [
            "",
            "2023",
            "2023-11-14",
            "2023-13-14T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2023-11-14T24:00:00Z",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20+25:00",
            "2023-11-14T22:13:20+0200",
            "2023-11-14 22:13:20Z",
            "-023-11-14T22:13:20Z",
            "2023-11-14T22:13:60Z",
            "0000-01-01T00:00:00Z",
            "９０23-11-14T22:13:20Z",
        ] {
            assert!(parse_rfc3339(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_out_of_range() {
        for (secs, nanos) in [
            (0, -1),
            (0, 1_000_000_000),
            (LAST_SECONDS + 1, 0),
            (ZERO_SECONDS - 1, 0),
            (i64::MIN, 0),
            (i64::MAX, 0),
        ] {
            assert!(from_parts(secs, nanos).is_err(), "{secs} {nanos}");
        }
        assert_eq!(from_unix_nanos(-1), from_parts(-1, 999_999_999).unwrap());
        assert_eq!(to_unix_nanos(zero()), i64::MIN);
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn same_as_the_time_crate(secs in ZERO_SECONDS..=LAST_SECONDS, nanos in 0i32..1_000_000_000) {
            let t = from_parts(secs, nanos).unwrap();
            let theirs = OffsetDateTime::from_unix_timestamp(secs).unwrap().replace_nanosecond(nanos as u32).unwrap();
            let text = to_rfc3339_nano(t);
            prop_assert_eq!(&text, &theirs.format(&Rfc3339).unwrap());
            prop_assert_eq!(parse_rfc3339(&text).unwrap(), t);
        }

        #[test]
        fn nanos_turn_back(n in any::<i64>()) {
            prop_assert_eq!(to_unix_nanos(from_unix_nanos(n)), n);
        }

        #[test]
        fn never_panics(s in "\\PC{0,40}", t in "[0-9TZ:+.,-]{18,36}") {
            let _ = parse_rfc3339(&s);
            let _ = parse_rfc3339(&t);
        }
    }
}
