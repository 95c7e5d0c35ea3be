//! The unpack worker: its jail, its end, and what the daemon makes of a bad one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod differ;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::oci::media_type;
use base::{Digest, ErrorKind, Kinded, Scope};
use snapshot::{ApplyOptions, Differ};
use store::{ContentStore, WriterOptions};

use differ::{Scene, eventually, gzip, noise, tar, worker};

#[tokio::test]
async fn a_worker_that_dies_hangs_or_talks_nonsense_is_one_error() {
    let mut s = Scene::new();
    let layer = s.put(media_type::OCI_LAYER, &tar(&[("a", b"b")])).await;
    s.options.program = "/bin/sh".into();
    for (script, wanted) in [
        ("kill -9 $$", "unpack worker was killed by signal 9"),
        ("echo no reason >&2; exit 3", "unpack worker ended without an answer (exit status: 3): no reason"),
        ("echo '{\"progress\":1}'; exec sleep 1000", "unpack worker made no progress for 0s"),
        ("echo hello; exec sleep 1000", "unpack worker answered garbage"),
        ("head -c 1000000 /dev/zero; exec sleep 1000", "unpack worker answered garbage"),
        ("echo '{\"done\":{\"diff_id\":\"x\",\"size\":1}}'", "unpack worker gave a malformed digest"),
        ("echo '{\"failed\":{\"code\":5,\"message\":\"not here\"}}'; exit 1", "not here"),
    ] {
        s.options.arguments = vec!["-c".into(), script.into()];
        // Only the one that hangs is to be given up for that, however long the others take to start.
        let hangs = wanted.contains("no progress");
        s.options.stall = if hangs { Duration::from_millis(300) } else { Duration::from_secs(60) };
        let e = s.apply(&layer, &s.bind("d")).await.unwrap_err();
        assert!(base::chain(&e).starts_with(wanted), "{script}: {}", base::chain(&e));
    }
    s.options.program = "/nonexistent/worker".into();
    let e = s.apply(&layer, &s.bind("d")).await.unwrap_err();
    assert!(base::chain(&e).starts_with("start unpack worker /nonexistent/worker"), "{}", base::chain(&e));
}

#[tokio::test]
async fn dropping_the_apply_kills_the_worker() {
    let mut s = Scene::new();
    let layer = s.put(media_type::OCI_LAYER, &tar(&[("a", b"b")])).await;
    let pid_file = s.root.path().join("pid");
    s.options.program = "/bin/sh".into();
    s.options.arguments = vec!["-c".into(), format!("echo $$ > {}; exec sleep 1000", pid_file.display())];
    let (differ, scope, mounts) = (s.differ(), s.scope.clone(), s.bind("d"));
    let applying =
        tokio::spawn(async move { differ.apply(&scope, &layer, &mounts, ApplyOptions::default()).await });
    let pid = eventually(|| std::fs::read_to_string(&pid_file).ok()?.trim().parse::<u32>().ok()).await;
    applying.abort();
    eventually(|| (!Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(())).await;
}

/// A blob that never ends and never comes.
struct Silent;

#[async_trait::async_trait]
impl store::content::RemoteBlob for Silent {
    fn size(&self) -> u64 {
        1 << 30
    }
    async fn read_at(&self, _: u64, _: &mut [u8]) -> store::Result<usize> {
        std::future::pending().await
    }
}

/// A worker at the moment when it waits for the first byte.
fn waiting_worker(root: &Path) -> std::process::Child {
    let job = format!(
        r#"{{"root":"{}","lowers":[],"rules":{{"whiteouts":"remove","skip_devices":false,"limits":{{"entries":null,"bytes":null}}}},"packing":"detect","size":0,"sync_fs":false,"memory":1073741824}}"#,
        root.display()
    );
    std::process::Command::new(worker())
        .args([snapshot::worker::SUBCOMMAND, &job])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn the_worker_is_in_jail_before_the_first_byte() {
    let root = tempfile::tempdir().unwrap();
    let mut child = waiting_worker(root.path());
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    let status = eventually(|| {
        let status = std::fs::read_to_string(proc.join("status")).ok()?;
        status.contains("Seccomp:\t2").then_some(status)
    })
    .await;
    // A private mount has no path; its root is known by its inode.
    let inode = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).unwrap();
    assert_eq!(inode(&proc.join("root")), inode(root.path()));
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let kept = status.lines().find_map(|l| l.strip_prefix("CapBnd:\t")).unwrap();
    // chown, dac_override, fowner, fsetid, sys_admin, mknod, setfcap
    let wanted: u64 = [0, 1, 3, 4, 21, 27, 31].iter().map(|bit| 1 << bit).sum();
    assert_eq!(u64::from_str_radix(kept, 16).unwrap() & !wanted, 0, "{status}");
    let limits = std::fs::read_to_string(proc.join("limits")).unwrap();
    assert!(
        limits.lines().any(|l| l.starts_with("Max address space") && l.contains("1073741824")),
        "{limits}"
    );
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn a_worker_goes_with_its_daemon() {
    let root = tempfile::tempdir().unwrap();
    let mut child = waiting_worker(root.path());
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    eventually(|| (std::fs::read_dir(proc.join("task")).ok()?.count() > 1).then_some(())).await;
    // The daemon's end of stdout goes; stdin stays, so only that can end the worker.
    drop(child.stdout.take());
    assert!(!eventually(|| child.try_wait().unwrap()).await.success());
}

#[tokio::test]
async fn remote_blobs_are_fed_and_may_be_slow() {
    struct Bytes(Vec<u8>);
    #[async_trait::async_trait]
    impl store::content::RemoteBlob for Bytes {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }
        async fn read_at(&self, offset: u64, buf: &mut [u8]) -> store::Result<usize> {
            let rest = &self.0[(offset as usize).min(self.0.len())..];
            let n = rest.len().min(buf.len()).min(70_000);
            buf[..n].copy_from_slice(&rest[..n]);
            Ok(n)
        }
    }
    let mut s = Scene::new();
    let plain = tar(&[("big", &noise(5 << 20))]);
    let layer = s.put(media_type::OCI_LAYER_GZIP, &gzip(&plain)).await;
    s.content =
        Arc::new(Elsewhere(store::Blob::remote(Arc::new(Bytes(gzip(&plain)))), Arc::clone(&s.content)));
    let done = s.apply(&layer, &s.bind("d")).await.unwrap();
    assert_eq!(done.digest, Digest::sha256(&plain));
    s.content = Arc::new(Elsewhere(store::Blob::remote(Arc::new(Silent)), Arc::clone(&s.content)));
    s.options.stall = Duration::from_millis(200);
    let e = s.apply(&layer, &s.bind("e")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::DeadlineExceeded);
}

/// A content store whose blobs are all the same remote one.
struct Elsewhere(store::Blob, Arc<dyn ContentStore>);

#[async_trait::async_trait]
impl ContentStore for Elsewhere {
    async fn open(&self, _: &Scope, _: &Digest) -> store::Result<store::Blob> {
        Ok(self.0.clone())
    }
    async fn info(&self, scope: &Scope, digest: &Digest) -> store::Result<store::ContentInfo> {
        self.1.info(scope, digest).await
    }
    async fn update(
        &self,
        scope: &Scope,
        info: store::ContentInfo,
        mask: &[String],
    ) -> store::Result<store::ContentInfo> {
        self.1.update(scope, info, mask).await
    }
    async fn list(
        &self,
        scope: &Scope,
        filters: &base::filter::FilterSet,
    ) -> store::Result<Vec<store::ContentInfo>> {
        self.1.list(scope, filters).await
    }
    async fn delete(&self, scope: &Scope, digest: &Digest) -> store::Result<()> {
        self.1.delete(scope, digest).await
    }
    async fn status(&self, scope: &Scope, reference: &str) -> store::Result<store::IngestStatus> {
        self.1.status(scope, reference).await
    }
    async fn statuses(
        &self,
        scope: &Scope,
        filters: &base::filter::FilterSet,
    ) -> store::Result<Vec<store::IngestStatus>> {
        self.1.statuses(scope, filters).await
    }
    async fn abort(&self, scope: &Scope, reference: &str) -> store::Result<()> {
        self.1.abort(scope, reference).await
    }
    async fn writer(
        &self,
        scope: &Scope,
        options: WriterOptions,
    ) -> store::Result<Box<dyn store::ContentWriter>> {
        self.1.writer(scope, options).await
    }
}
