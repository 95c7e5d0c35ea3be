//! A blob on its way into the store, which others may read behind the download.

use std::fs::File;
use std::time::Duration;

use async_trait::async_trait;
use base::ErrorKind;
use snapshot::Arriving;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Readers are woken when so many bytes more have come.
const STEP: u64 = 1 << 20;
/// How often the file is looked at while its last bytes are being written.
const LOOK: Duration = Duration::from_millis(2);
/// How long the last bytes may take into the file.
const LAST_BYTES: Duration = Duration::from_secs(120);

/// How far the download is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Bytes given to the store; the file has nearly as many.
    Given(u64),
    /// All bytes were given, and they are the right ones.
    All,
}

/// The reading end. Many may have it.
pub(crate) struct Flow {
    file: File,
    size: u64,
    mark: watch::Receiver<Mark>,
}

/// The end of the one who downloads. When it is dropped early, the flow has broken.
pub(crate) struct Spout {
    mark: watch::Sender<Mark>,
    told: u64,
}

/// Both ends, for a blob of `size` bytes that is being appended to `file`.
pub(crate) fn flow(file: File, size: u64) -> (Spout, Flow) {
    let (sender, mark) = watch::channel(Mark::Given(0));
    (Spout { mark: sender, told: 0 }, Flow { file, size, mark })
}

impl Spout {
    /// So many bytes were given to the store.
    pub(crate) fn given(&mut self, offset: u64) {
        if offset >= self.told + STEP {
            self.told = offset;
            self.mark.send_replace(Mark::Given(offset));
        }
    }

    /// All bytes were given to the store, and have the right digest.
    pub(crate) fn all(self) {
        self.mark.send_replace(Mark::All);
    }
}

impl Flow {
    /// Whether the download stopped before its end, or started again.
    pub(crate) fn is_broken(&self) -> bool {
        self.mark.has_changed().is_err() && *self.mark.borrow() != Mark::All
    }

    fn length(&self) -> snapshot::Result<u64> {
        let failed = |e: std::io::Error| broken(format!("look at a layer on its way: {e}"));
        Ok(self.file.metadata().map_err(failed)?.len().min(self.size))
    }

    /// All is given: waits until the file has it.
    async fn rest(&self, offset: u64) -> snapshot::Result<u64> {
        let until = Instant::now() + LAST_BYTES;
        loop {
            let length = self.length()?;
            if length > offset || length == self.size {
                return Ok(length);
            }
            if Instant::now() > until {
                return Err(broken("the last bytes of the layer did not reach the disk".to_owned()));
            }
            sleep(LOOK).await;
        }
    }
}

fn broken(text: String) -> snapshot::Error {
    snapshot::Error::refused(ErrorKind::Unavailable, text)
}

#[async_trait]
impl Arriving for Flow {
    fn file(&self) -> &File {
        &self.file
    }

    async fn beyond(&self, offset: u64) -> snapshot::Result<u64> {
        let mut mark = self.mark.clone();
        loop {
            let now = *mark.borrow_and_update();
            if now == Mark::All {
                return self.rest(offset).await;
            }
            // Looked at in this order: a download that starts again truncates the file only afterwards.
            let length = self.length()?;
            let gone = mark.has_changed().is_err();
            if gone && *mark.borrow() != Mark::All {
                return Err(broken("the download of the layer was broken off".to_owned()));
            }
            if length > offset {
                return Ok(length);
            }
            let _gone = mark.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn readers_see_what_the_file_has_and_the_end() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let mut out = named.reopen().unwrap();
        let size = 3 * STEP;
        let (mut spout, flow) = flow(named.reopen().unwrap(), size);
        let flow = std::sync::Arc::new(flow);
        let reader = {
            let flow = std::sync::Arc::clone(&flow);
            tokio::spawn(async move {
                let (mut at, mut steps) = (0, 0);
                loop {
                    match flow.beyond(at).await.unwrap() {
                        next if next == at => return (at, steps),
                        next => (at, steps) = (next, steps + 1),
                    }
                }
            })
        };
        for n in 1..=3u64 {
            out.write_all(&vec![7; STEP as usize]).unwrap();
            spout.given(n * STEP);
            tokio::task::yield_now().await;
        }
        assert!(!reader.is_finished(), "the end is not known yet");
        spout.all();
        let (at, steps) = reader.await.unwrap();
        assert_eq!(at, size);
        assert!(steps >= 1);
        assert!(!flow.is_broken());
    }

    #[tokio::test]
    async fn a_download_that_stops_breaks_the_flow() {
        let named = tempfile::NamedTempFile::new().unwrap();
        named.reopen().unwrap().write_all(b"some").unwrap();
        let (spout, flow) = flow(named.reopen().unwrap(), 10);
        assert_eq!(flow.beyond(0).await.unwrap(), 4);
        drop(spout);
        assert!(flow.is_broken());
        assert!(flow.beyond(0).await.is_err());
        assert!(flow.beyond(4).await.is_err());
    }
}
