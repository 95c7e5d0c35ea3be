//! Keys made of parts. Each part but the last ends with a terminator that no part can contain, so
//! the keys of one prefix stand together in order and no two lists of parts give the same key.

/// Ends a part; a zero byte inside a part becomes `ESCAPED`.
const END: [u8; 2] = [0, 1];
const ESCAPED: [u8; 2] = [0, 0xff];

fn push(out: &mut Vec<u8>, part: &str) {
    for &b in part.as_bytes() {
        if b == 0 { out.extend_from_slice(&ESCAPED) } else { out.push(b) }
    }
}

/// The key of these parts.
pub(crate) fn key(parts: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|p| p.len() + 2).sum());
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(&END);
        }
        push(&mut out, part);
    }
    out
}

/// What every key that starts with these whole parts, and has more, starts with.
pub(crate) fn prefix(parts: &[&str]) -> Vec<u8> {
    let mut out = key(parts);
    if !parts.is_empty() {
        out.extend_from_slice(&END);
    }
    out
}

/// The parts of a key; none if it was not made by [`key`] with `N` parts.
pub(crate) fn split<const N: usize>(bytes: &[u8]) -> Option<[String; N]> {
    let mut parts: Vec<Vec<u8>> = vec![Vec::new()];
    let mut rest = bytes.iter();
    while let Some(&b) = rest.next() {
        if b != 0 {
            parts.last_mut()?.push(b);
            continue;
        }
        match rest.next()? {
            1 => parts.push(Vec::new()),
            0xff => parts.last_mut()?.push(0),
            _ => return None,
        }
    }
    let strings: Option<Vec<String>> = parts.into_iter().map(|p| String::from_utf8(p).ok()).collect();
    strings?.try_into().ok()
}

/// The first key after all keys with this prefix; none when there is no such key.
pub(crate) fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut out = prefix.to_vec();
    while let Some(last) = out.last_mut() {
        if *last < 0xff {
            *last += 1;
            return Some(out);
        }
        out.pop();
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn part() -> impl Strategy<Value = String> {
        prop_oneof![".*", "[\\x00\\x01a]{0,6}"]
    }

    proptest! {
        #[test]
        fn parts_come_back(a in part(), b in part(), c in part()) {
            let k = key(&[&a, &b, &c]);
            prop_assert_eq!(split::<3>(&k).unwrap(), [a.clone(), b.clone(), c.clone()]);
            prop_assert!(split::<2>(&k).is_none());
            prop_assert!(k.starts_with(&prefix(&[&a, &b])));
            prop_assert!(k.starts_with(&prefix(&[&a])));
        }

        #[test]
        fn prefixes_do_not_overlap(a in part(), b in part(), c in part()) {
            prop_assume!(a != b);
            prop_assert!(!key(&[&a, &c]).starts_with(&prefix(&[&b])));
        }

        #[test]
        fn after_bounds_the_prefix(p in proptest::collection::vec(any::<u8>(), 0..6), tail in proptest::collection::vec(any::<u8>(), 0..6)) {
            let mut k = p.clone();
            k.extend(&tail);
            match after(&p) {
                Some(end) => prop_assert!(k < end && p <= k),
                None => prop_assert!(p.iter().all(|b| *b == 0xff)),
            }
        }
    }
}
