//! The command line, in the dialect of Go's `flag` package, in which every daemon calls a shim.
//!
//! `-name value`, `-name=value`, the same with two dashes; booleans take a value only after `=`;
//! the first word that is no flag ends them and is the verb.

use base::Error;

/// What the shim was asked to do.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Flags {
    /// Log at debug level.
    pub(crate) debug: bool,
    /// Print the version and leave.
    pub(crate) version: bool,
    /// Print `RuntimeInfo` and leave.
    pub(crate) info: bool,
    /// Print the usage and leave.
    pub(crate) help: bool,
    /// Container (or sandbox) id.
    pub(crate) id: String,
    /// Namespace that owns the shim.
    pub(crate) namespace: String,
    /// Path of a socket to bind instead of the inherited one.
    pub(crate) socket: String,
    /// Bundle directory; only given to `delete`.
    pub(crate) bundle: String,
    /// The daemon's gRPC socket; part of the name of ours.
    pub(crate) address: String,
    /// The daemon's binary, for publishing events the old way.
    pub(crate) publish_binary: String,
    /// Socket for the Go shim's profiler; read so that it is no error, and not used.
    pub(crate) debug_socket: String,
    /// `start`, `delete`, or empty to serve.
    pub(crate) verb: String,
}

/// Reads the words after the program's name.
///
/// # Errors
/// `InvalidArgument` with Go's own wording for an unknown flag, a missing value or a bad boolean.
pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Flags, Error> {
    let mut flags = Flags::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let Some(body) = dashed(&word) else {
            flags.verb = word;
            break;
        };
        if body.is_empty() {
            flags.verb = words.next().unwrap_or_default();
            break;
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        if name.is_empty() || name.starts_with('-') {
            return Err(Error::invalid(format!("bad flag syntax: {word}")));
        }
        if let Some(switch) = flags.switch(name) {
            *switch = match value {
                Some(text) => boolean(name, &text)?,
                None => true,
            };
            continue;
        }
        let Some(text) = flags.text(name) else {
            return Err(Error::invalid(format!("flag provided but not defined: -{name}")));
        };
        *text = match value.or_else(|| words.next()) {
            Some(value) => value,
            None => return Err(Error::invalid(format!("flag needs an argument: -{name}"))),
        };
    }
    Ok(flags)
}

/// The word without its one or two dashes; `None` when it is no flag. "--" alone gives "".
fn dashed(word: &str) -> Option<&str> {
    match word.strip_prefix('-')? {
        "" => None,
        rest => Some(rest.strip_prefix('-').unwrap_or(rest)),
    }
}

fn boolean(name: &str, text: &str) -> Result<bool, Error> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!("invalid boolean value {text:?} for -{name}: parse error"))),
    }
}

impl Flags {
    fn switch(&mut self, name: &str) -> Option<&mut bool> {
        Some(match name {
            "debug" => &mut self.debug,
            "v" | "version" => &mut self.version,
            "info" => &mut self.info,
            "h" | "help" => &mut self.help,
            _ => return None,
        })
    }

    fn text(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "id" => &mut self.id,
            "namespace" => &mut self.namespace,
            "socket" => &mut self.socket,
            "bundle" => &mut self.bundle,
            "address" => &mut self.address,
            "publish-binary" => &mut self.publish_binary,
            "debug-socket" => &mut self.debug_socket,
            _ => return None,
        })
    }
}

/// What `-h` prints. `program` is how it was called.
pub(crate) fn usage(program: &str) -> String {
    format!("Usage of {program}:\n{FLAGS}")
}

const FLAGS: &str = "  -address string
    \tgrpc address back to main containerd
  -bundle string
    \tpath to the bundle if not workdir
  -debug
    \tenable debug output in logs
  -debug-socket string
    \taccepted for compatibility, not used
  -id string
    \tid of the task
  -info
    \tread runtime options from stdin, print the shim's information, and exit
  -namespace string
    \tnamespace that owns the shim
  -publish-binary string
    \tpath to publish binary (used for publishing events)
  -socket string
    \tsocket path to serve
  -v\tshow the shim version and exit
  -version
    \tshow the shim version and exit
";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn of(line: &str) -> Result<Flags, Error> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn as_the_daemons_call_it() {
        let f = of("-namespace k8s.io -address /run/containerd/containerd.sock -publish-binary /usr/bin/containerd -id abc -debug start").unwrap();
        assert_eq!(
            (f.namespace.as_str(), f.id.as_str(), f.verb.as_str(), f.debug),
            ("k8s.io", "abc", "start", true)
        );
        assert_eq!(f.publish_binary, "/usr/bin/containerd");
        let f = of("-namespace default -id a -bundle /b delete").unwrap();
        assert_eq!((f.bundle.as_str(), f.verb.as_str(), f.debug), ("/b", "delete", false));
    }

    #[test]
    fn every_spelling_of_a_flag() {
        for line in ["-id x", "--id x", "-id=x", "--id=x"] {
            assert_eq!(of(line).unwrap().id, "x", "{line}");
        }
        for (line, want) in [("-debug", true), ("--debug=true", true), ("-debug=0", false), ("-v", false)] {
            assert_eq!(of(line).unwrap().debug, want, "{line}");
        }
        assert!(of("-v").unwrap().version && of("--version").unwrap().version && of("-info").unwrap().info);
        // A flag after the verb is not read, as in Go.
        let f = of("start -id late").unwrap();
        assert_eq!((f.verb.as_str(), f.id.as_str()), ("start", ""));
        assert_eq!(of("-- start").unwrap().verb, "start");
        assert_eq!(of("-id -x start").unwrap().id, "-x");
        assert_eq!(of("-").unwrap().verb, "-");
    }

    #[test]
    fn what_go_refuses() {
        for (line, want) in [
            ("-nope", "flag provided but not defined: -nope"),
            ("-id", "flag needs an argument: -id"),
            ("-debug=maybe", "invalid boolean value \"maybe\" for -debug: parse error"),
            ("---id x", "bad flag syntax: ---id"),
            ("-=x", "bad flag syntax: -=x"),
        ] {
            assert_eq!(of(line).unwrap_err().to_string(), want, "{line}");
        }
    }
}
