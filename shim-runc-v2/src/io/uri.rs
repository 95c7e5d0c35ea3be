//! What a client writes where a stream's name goes.

use std::path::PathBuf;

use base::Error;

/// The streams of a process, as the client named them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stdio {
    /// Fifo to read, or empty.
    pub(crate) stdin: String,
    /// Fifo, file or URI, or empty.
    pub(crate) stdout: String,
    /// Fifo or file, or empty.
    pub(crate) stderr: String,
    /// Whether the process gets a terminal instead of three streams.
    pub(crate) terminal: bool,
}

/// Where output goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// No stream was named.
    Null,
    /// Fifos or files, by their plain names.
    Paths,
    /// Both streams are appended to one file.
    File(PathBuf),
    /// A logger process.
    Logger(Logger),
}

/// How a logger is started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Logger {
    /// The program.
    pub(crate) path: PathBuf,
    /// Its words: keys and values of the query, in order.
    pub(crate) args: Vec<String>,
    /// Whether it must write a byte before it closes the ready pipe (`binary-v2`).
    pub(crate) must_say_ready: bool,
}

/// Reads the target out of the name of standard output, which decides for both streams.
///
/// # Errors
/// A scheme that no one knows ("unknown STDIO scheme"), or a broken escape.
pub(crate) fn target(stdio: &Stdio) -> Result<Target, Error> {
    if stdio.stdin.is_empty() && stdio.stdout.is_empty() && stdio.stderr.is_empty() {
        return Ok(Target::Null);
    }
    let Some((scheme, rest)) = stdio.stdout.split_once("://") else {
        return Ok(Target::Paths);
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = PathBuf::from(unescape(path, false)?);
    match scheme {
        "fifo" => Ok(Target::Paths),
        "file" => Ok(Target::File(path)),
        "binary" | "binary-v2" => Ok(Target::Logger(Logger {
            path,
            args: query_words(query)?,
            must_say_ready: scheme == "binary-v2",
        })),
        other => Err(Error::unknown(format!("unknown STDIO scheme {other}"))),
    }
}

/// The plain path of a stream that may be written `fifo:///path`.
pub(crate) fn plain(name: &str) -> &str {
    name.strip_prefix("fifo://").unwrap_or(name)
}

/// `k=v&l` as `k v l ""`; of a key that comes twice the first value, as in the original.
fn query_words(query: &str) -> Result<Vec<String>, Error> {
    let mut words: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = unescape(key, true)?;
        if !words.iter().any(|(k, _)| *k == key) {
            words.push((key, unescape(value, true)?));
        }
    }
    Ok(words.into_iter().flat_map(|(k, v)| [k, v]).collect())
}

fn unescape(text: &str, plus_is_space: bool) -> Result<String, Error> {
    let bad = || Error::invalid(format!("unable to parse stdout uri: invalid URL escape in {text:?}"));
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next().ok_or_else(bad)?, bytes.next().ok_or_else(bad)?];
                let digits = std::str::from_utf8(&digits).map_err(|_| bad())?;
                u8::from_str_radix(digits, 16).map_err(|_| bad())?
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(out).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn of(stdout: &str) -> Result<Target, Error> {
        target(&Stdio { stdout: stdout.into(), stdin: "/in".into(), ..Stdio::default() })
    }

    #[test]
    fn each_form() {
        assert_eq!(target(&Stdio::default()).unwrap(), Target::Null);
        assert_eq!(of("").unwrap(), Target::Paths);
        assert_eq!(of("/run/containerd/fifo/1/x-stdout").unwrap(), Target::Paths);
        assert_eq!(of("fifo:///a").unwrap(), Target::Paths);
        assert_eq!(plain("fifo:///a"), "/a");
        assert_eq!(of("file:///var/log/a%20b.log").unwrap(), Target::File("/var/log/a b.log".into()));
        let logger = |args: &[&str], strict| {
            Target::Logger(Logger {
                path: "/bin/log".into(),
                args: args.iter().map(|a| (*a).to_owned()).collect(),
                must_say_ready: strict,
            })
        };
        assert_eq!(of("binary:///bin/log").unwrap(), logger(&[], false));
        assert_eq!(
            of("binary-v2:///bin/log?a=b&c&a=d&e=f+g%3D").unwrap(),
            logger(&["a", "b", "c", "", "e", "f g="], true)
        );
        assert_eq!(of("http://x").unwrap_err().to_string(), "unknown STDIO scheme http");
        for bad in ["file:///a%", "file:///a%zz", "binary:///a?b=%ff"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
