//! What a shim program wants on its standard input for `start`.
//!
//! Since 2.3 the daemon sends `BootstrapParams`. Shims of containerd 1.4 to 1.6 read the runtime options there and
//! fail on anything else, so a program that says (`-v`) it was built from containerd before 2.3 gets the options.
//! Programs that say nothing of the kind get `BootstrapParams`; when that fails once, the options are tried.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::invoke::Invocation;

/// How long a program may take to print its version.
const VERSION_LIMIT: Duration = Duration::from_secs(3);

/// How `start` is told its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `containerd.runtime.bootstrap.v1.BootstrapParams`, known to work or by design.
    Bootstrap,
    /// The same, but the program said nothing about itself: on failure the options may be tried.
    Guess,
    /// The runtime options as `google.protobuf.Any`; all else in flags and environment.
    Options,
}

/// Identifies the content of a program without reading it.
type Stamp = (u64, u64, u64, i64, i64);

/// Remembers each program's dialect until the program is replaced.
#[derive(Default)]
pub(crate) struct Dialects {
    known: Mutex<HashMap<PathBuf, (Stamp, Dialect)>>,
}

impl Dialects {
    /// The dialect of `program`, asking it for its version the first time.
    pub(crate) async fn of(&self, program: &Path) -> Dialect {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        if name.contains("shim-runc-v1") || name.contains("shim-runhcs-v1") {
            return Dialect::Options;
        }
        let Ok(meta) = program.metadata() else {
            return Dialect::Bootstrap;
        };
        let stamp = stamp(&meta);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(program).copied();
        if let Some((seen, dialect)) = known
            && seen == stamp
        {
            return dialect;
        }
        let dialect = ask(program).await;
        self.set(program, stamp, dialect);
        dialect
    }

    /// Records what turned out to work.
    pub(crate) fn learn(&self, program: &Path, dialect: Dialect) {
        if let Ok(meta) = program.metadata() {
            self.set(program, stamp(&meta), dialect);
        }
    }

    fn set(&self, program: &Path, stamp: Stamp, dialect: Dialect) {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(program.to_owned(), (stamp, dialect));
    }
}

fn stamp(meta: &Metadata) -> Stamp {
    (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec())
}

async fn ask(program: &Path) -> Dialect {
    let asked = Invocation {
        program,
        action: "-v",
        args: vec!["-v".into()],
        cwd: None,
        env: &[],
        stdin: Vec::new(),
        merged: false,
        limit: VERSION_LIMIT,
    };
    match asked.run().await {
        Ok(output) => judge(&String::from_utf8_lossy(&output.stdout)),
        Err(error) => {
            tracing::debug!(program = %program.display(), %error, "shim does not tell its version");
            Dialect::Guess
        }
    }
}

/// containerd's own framework prints `  Version:  1.6.20`, `  Revision: ...`, `  Go version: ...`.
fn judge(text: &str) -> Dialect {
    let field = |name: &str| text.lines().find_map(|l| l.trim().strip_prefix(name)).map(str::trim);
    let (Some(version), Some(_)) = (field("Version:"), field("Revision:")) else {
        return Dialect::Guess;
    };
    let mut parts = version.trim_start_matches('v').split(['.', '-', '+', '~']);
    let mut number = || parts.next().and_then(|p| p.parse::<u32>().ok());
    match (number(), number()) {
        _ if field("Go version:").is_none() => Dialect::Guess,
        (Some(major), Some(minor)) if (major, minor) < (2, 3) && major > 0 => Dialect::Options,
        (Some(_), Some(_)) => Dialect::Bootstrap,
        _ => Dialect::Guess,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_say_about_themselves() {
        let go = |v: &str| {
            format!("containerd-shim-runc-v2:\n  Version:  {v}\n  Revision: abc\n  Go version: go1.26\n\n")
        };
        for (text, dialect) in [
            (go("1.6.20~ds1"), Dialect::Options),
            (go("v1.7.27"), Dialect::Options),
            (go("v2.2.1"), Dialect::Options),
            (go("v2.3.4"), Dialect::Bootstrap),
            (go("v2.4.0-beta.0+unknown"), Dialect::Bootstrap),
            (go("v3.0.0"), Dialect::Bootstrap),
            (go(""), Dialect::Guess),
            ("containerd-shim-kata-v2 3.4.0".to_owned(), Dialect::Guess),
            (String::new(), Dialect::Guess),
        ] {
            assert_eq!(judge(&text), dialect, "{text}");
        }
    }
}
