//! `{{ source N }}`, `{{ target N }}`, `{{ mount N }}` and `{{ overlay A B }}` in the strings of a mount.

use base::ErrorKind;

use crate::activation::Active;
use crate::error::{Error, Result};

/// Fills in where earlier mounts are.
pub(crate) fn fill(text: &str, before: &[Active]) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, action)) = rest.split_once("{{") {
        let (action, after) =
            action.split_once("}}").ok_or_else(|| bad(format!("unclosed action in {text:?}")))?;
        out.push_str(plain);
        out.push_str(&value(action, before)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn value(action: &str, before: &[Active]) -> Result<String> {
    let words: Vec<&str> = action.split_whitespace().collect();
    match words.as_slice() {
        ["source", index] => Ok(one(index, before)?.mount.source.clone()),
        ["target", index] => Ok(one(index, before)?.mount.target.clone()),
        ["mount", index] => Ok(one(index, before)?.mount_point.clone()),
        ["overlay", start, end] => overlay(number(start)?, number(end)?, before),
        _ => Err(bad(format!("cannot understand {action:?}"))),
    }
}

fn one<'a>(index: &str, before: &'a [Active]) -> Result<&'a Active> {
    let index = number(index)?;
    let found = usize::try_from(index).ok().and_then(|i| before.get(i));
    found.ok_or_else(|| bad(format!("index out of bounds: {index}, has {} active mounts", before.len())))
}

/// Mount points from `start` to `end`, both included, in either direction.
fn overlay(start: i64, end: i64, before: &[Active]) -> Result<String> {
    let (low, high) = (start.min(end), start.max(end));
    let range = match (usize::try_from(low), usize::try_from(high)) {
        (Ok(low), Ok(high)) => before.get(low..=high),
        _ => None,
    };
    let Some(range) = range else {
        return Err(bad(format!("invalid range: {start}-{end}, has {} active mounts", before.len())));
    };
    let mut points: Vec<&str> = range.iter().map(|a| a.mount_point.as_str()).collect();
    if start > end {
        points.reverse();
    }
    Ok(points.join(":"))
}

fn number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| bad(format!("not a number: {text:?}")))
}

fn bad(message: String) -> Error {
    Error::refused(ErrorKind::Unknown, format!("mount template: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Mount;

    use crate::activation::Time;

    fn active(n: usize) -> Vec<Active> {
        let one = |i: usize| Active {
            mount: Mount {
                fstype: "erofs".into(),
                source: format!("/s{i}"),
                target: format!("t{i}"),
                options: Vec::new(),
            },
            mounted_at: Time::now(),
            mount_point: format!("/m/{i}"),
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn filled_in() {
        let before = active(3);
        for (text, wanted) in [
            ("plain", "plain"),
            ("{{ mount 0 }}/upper", "/m/0/upper"),
            ("{{mount 2}}{{ source 1 }}", "/m/2/s1"),
            ("x={{ target 1 }}", "x=t1"),
            ("lowerdir={{ overlay 0 2 }}", "lowerdir=/m/0:/m/1:/m/2"),
            ("lowerdir={{ overlay 2 1 }}", "lowerdir=/m/2:/m/1"),
            ("{{ overlay 1 1 }}", "/m/1"),
            ("a }} b", "a }} b"),
        ] {
            assert_eq!(fill(text, &before).unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn refused() {
        let before = active(2);
        for text in [
            "{{ mount 2 }}",
            "{{ mount -1 }}",
            "{{ overlay 0 2 }}",
            "{{ overlay 2 0 }}",
            "{{ overlay -1 0 }}",
            "{{ overlay 0 9223372036854775807 }}",
            "{{ mount }}",
            "{{ mount x }}",
            "{{ exec 1 }}",
            "{{ mount 0",
            "{{}}",
        ] {
            assert!(fill(text, &before).is_err(), "{text}");
        }
    }
}
