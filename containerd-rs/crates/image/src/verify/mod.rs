//! Verifier programs: each executable of a directory judges an image before it is pulled, and every
//! one must allow it (`io.containerd.image-verifier.v1.bindir`).
//!
//! A program is called with `-name REFERENCE -digest DIGEST -stdin-media-type
//! application/vnd.oci.descriptor.v1+json` and the descriptor on its standard input. Its standard
//! output is the reason; exit 0 allows, any other exit code blocks, anything else is a failure.

mod program;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::{Descriptor, ErrorKind, Kinded};

/// What the media type of the standard input is.
const DESCRIPTOR: &str = "application/vnd.oci.descriptor.v1+json";

/// A directory of verifiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifiers {
    /// Where they are. A directory that is not there allows everything.
    pub bin_dir: PathBuf,
    /// At most so many are called, in the order of their names; negative: all.
    pub max_verifiers: i64,
    /// How long each may take.
    pub per_verifier_timeout: Duration,
}

/// What the verifiers say of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it may be pulled.
    pub allowed: bool,
    /// Why, in their words.
    pub reason: String,
}

/// Why there is no judgement, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The directory cannot be read.
    #[error("failed to list directory contents of {}", .dir.display())]
    Directory {
        /// Which.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A verifier cannot be run, did not end in time or was killed.
    #[error("failed to call verifier {} (runtime {after:?})", .program.display())]
    Call {
        /// Its file name.
        program: PathBuf,
        /// How long it ran.
        after: Duration,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The image may not be pulled.
    #[error("image verifier bindir blocked pull of {name} with digest {digest} for reason: {reason}")]
    Blocked {
        /// The reference.
        name: String,
        /// What it stands for.
        digest: base::Digest,
        /// The verifier's words.
        reason: String,
    },
}

impl Kinded for VerifyError {
    /// The original answers with untyped errors, so do we.
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unknown
    }
}

impl Verifiers {
    /// Calls one verifier after the other until one does not allow the image.
    ///
    /// Dropping the future kills the one that runs.
    ///
    /// # Errors
    /// A directory that cannot be read; a verifier that gives no judgement.
    pub async fn judge(&self, name: &str, descriptor: &Descriptor) -> Result<Judgement, VerifyError> {
        let allowed = |reason| Ok(Judgement { allowed: true, reason });
        let all = match programs(&self.bin_dir) {
            Ok(all) => all,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return allowed(format!(
                    "image verifier directory {} does not exist",
                    self.bin_dir.display()
                ));
            }
            Err(source) => return Err(VerifyError::Directory { dir: self.bin_dir.clone(), source }),
        };
        if all.is_empty() {
            return allowed(format!("no image verifier binaries found in {}", self.bin_dir.display()));
        }
        let limit = usize::try_from(self.max_verifiers).unwrap_or(usize::MAX);
        if all.len() > limit {
            tracing::warn!(
                dir = %self.bin_dir.display(),
                there = all.len(),
                limit,
                "image verifiers are being skipped: there are more than may be called"
            );
        }
        let mut reasons = Vec::new();
        for file in all.iter().take(limit) {
            let began = Instant::now();
            let verdict = self.call(file, name, descriptor).await.map_err(|source| VerifyError::Call {
                program: file.into(),
                after: began.elapsed(),
                source,
            })?;
            let file = Path::new(file).display();
            if verdict.code != 0 {
                let reason = format!(
                    "verifier {file} rejected image (exit code {}): {}",
                    verdict.code, verdict.reason
                );
                return Ok(Judgement { allowed: false, reason });
            }
            reasons.push(format!("{file} => {}", verdict.reason));
        }
        allowed(reasons.join(", "))
    }

    /// [`Verifiers::judge`]; a block is an error.
    pub async fn check(&self, name: &str, descriptor: &Descriptor) -> Result<(), VerifyError> {
        let judgement = self.judge(name, descriptor).await?;
        if judgement.allowed {
            tracing::debug!(name, digest = %descriptor.digest, reason = judgement.reason, "image verifiers allow the pull");
            return Ok(());
        }
        Err(VerifyError::Blocked {
            name: name.to_owned(),
            digest: descriptor.digest.clone(),
            reason: judgement.reason,
        })
    }

    async fn call(
        &self,
        file: &OsString,
        name: &str,
        descriptor: &Descriptor,
    ) -> io::Result<program::Verdict> {
        let args = ["-name", name, "-digest", descriptor.digest.as_str(), "-stdin-media-type", DESCRIPTOR];
        let mut input = serde_json::to_vec(descriptor)?;
        input.push(b'\n');
        program::run(&self.bin_dir.join(file), &args, input, self.per_verifier_timeout).await
    }
}

/// Names in the directory, sorted.
fn programs(dir: &Path) -> io::Result<Vec<OsString>> {
    let mut names: Vec<OsString> =
        std::fs::read_dir(dir)?.map(|entry| entry.map(|e| e.file_name())).collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}
