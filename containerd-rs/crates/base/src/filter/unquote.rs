//! Takes the quotes off a text: Go's escapes, with `"`, `/` or `|` as the quote.

/// The bytes that a quoted text stands for. `None`: an escape that means nothing, or the quote
/// inside. The result need not be UTF-8 (`\xff`).
pub(super) fn unquote(quoted: &str) -> Option<Vec<u8>> {
    let quote = *quoted.as_bytes().first()?;
    let mut rest = quoted.as_bytes().get(1..quoted.len().checked_sub(1)?)?;
    if quoted.len() < 2 || quoted.as_bytes().last() != Some(&quote) || rest.contains(&b'\n') {
        return None;
    }
    let mut out = Vec::with_capacity(rest.len());
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match byte {
            b'\\' => escape(tail, quote, &mut out)?,
            b if b == quote => return None,
            b => {
                out.push(b);
                tail
            }
        };
    }
    Some(out)
}

/// Writes what the escape after a backslash stands for; gives what follows it.
fn escape<'a>(after: &'a [u8], quote: u8, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&kind, rest) = after.split_first()?;
    let plain = match kind {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' => b'\\',
        c if c == quote => c,
        b'x' => number(rest.get(..2)?, 16)?.try_into().ok()?,
        b'0'..=b'7' => number(after.get(..3)?, 8)?.try_into().ok()?,
        b'u' | b'U' => return unicode(rest, if kind == b'u' { 4 } else { 8 }, out),
        _ => return None,
    };
    out.push(plain);
    let taken = match kind {
        b'x' | b'0'..=b'7' => 2,
        _ => 0,
    };
    rest.get(taken..)
}

/// A character by its number; halves of surrogate pairs become U+FFFD as in Go.
fn unicode<'a>(rest: &'a [u8], digits: usize, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let code = number(rest.get(..digits)?, 16)?;
    if code > u32::from(char::MAX) {
        return None;
    }
    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    rest.get(digits..)
}

fn number(digits: &[u8], base: u32) -> Option<u32> {
    digits.iter().try_fold(0u32, |n, &d| n.checked_mul(base)?.checked_add(char::from(d).to_digit(base)?))
}
