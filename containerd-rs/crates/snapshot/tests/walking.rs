//! The walking differ over a real content store, real workers and real mounts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use base::labels::UNCOMPRESSED;
use base::oci::media_type;
use base::{Descriptor, Digest, ErrorKind, Kinded, Labels, Mount, Namespace, Scope};
use snapshot::overlay::{Overlay, OverlayOptions};
use snapshot::walking::Walking;
use snapshot::worker::WorkerOptions;
use snapshot::{ApplyOptions, CommitOptions, CompareOptions, Differ, Snapshotter};
use store::{ContentStore, LocalContent, Metadata, MetadataOptions, WriterOptions};
use sys::mount::{TempMount, mountinfo};

/// The worker of this build: examples are built next to tests.
fn worker() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.parent().unwrap().parent().unwrap().join("examples/unpack_worker")
}

struct Scene {
    root: tempfile::TempDir,
    content: Arc<dyn ContentStore>,
    scope: Scope,
    options: WorkerOptions,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let meta_dir = root.path().join("meta");
        std::fs::create_dir(&meta_dir).unwrap();
        let meta = Metadata::open(&meta_dir, MetadataOptions::default()).unwrap();
        let content = Arc::new(LocalContent::open(&root.path().join("content"), meta).unwrap());
        let options = WorkerOptions::new(worker(), root.path().join("tmp"));
        Scene { root, content, scope: Scope::new(Namespace::new("test").unwrap()), options }
    }

    fn differ(&self) -> Walking {
        Walking::new(Arc::clone(&self.content), self.options.clone())
    }

    async fn put(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let digest = Digest::sha256(bytes);
        let options = WriterOptions::new(digest.to_string());
        let mut writer = self.content.writer(&self.scope, options).await.unwrap();
        writer.write(bytes).await.unwrap();
        writer.commit(bytes.len() as u64, Some(&digest), Labels::new()).await.unwrap();
        Descriptor::new(media_type, digest, bytes.len() as i64)
    }

    fn dir(&self, name: &str) -> PathBuf {
        let dir = self.root.path().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn bind(&self, name: &str) -> Vec<Mount> {
        let source = self.dir(name).display().to_string();
        vec![Mount::new("bind", source, vec!["rw".into(), "rbind".into()])]
    }

    async fn apply(&self, layer: &Descriptor, mounts: &[Mount]) -> snapshot::Result<Descriptor> {
        self.differ().apply(&self.scope, layer, mounts, ApplyOptions::default()).await
    }

    fn leaves_nothing(&self) {
        for mount in mountinfo().unwrap() {
            assert!(!Path::new(&mount.mount_point).starts_with(self.root.path()), "{mount:?}");
        }
        if let Ok(left) = std::fs::read_dir(self.root.path().join("tmp")) {
            assert_eq!(left.count(), 0);
        }
    }
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, body) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(body.len() as u64);
        header.set_mtime(1_600_000_000);
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *body).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

#[tokio::test]
async fn applies_every_packing_and_gives_the_diff_id() {
    let s = Scene::new();
    let small = tar(&[("etc/hosts", b"127.0.0.1"), ("a", b"b")]);
    let big = tar(&[("big", &noise(6 << 20)), ("a", b"b")]);
    for (i, plain) in [&small, &big].into_iter().enumerate() {
        for (media_type, bytes) in [
            (media_type::OCI_LAYER, plain.clone()),
            (media_type::OCI_LAYER_GZIP, gzip(plain)),
            (media_type::OCI_LAYER_ZSTD, zstd::encode_all(&plain[..], 3).unwrap()),
            (media_type::DOCKER_LAYER_GZIP, gzip(plain)),
            (media_type::DOCKER_LAYER, gzip(plain)),
        ] {
            // Unlike media types share bytes here, so the blob may be there already.
            let digest = Digest::sha256(&bytes);
            let layer = match s.content.info(&s.scope, &digest).await {
                Ok(_) => Descriptor::new(media_type, digest, bytes.len() as i64),
                Err(_) => s.put(media_type, &bytes).await,
            };
            let name = format!("{i}-{}", media_type.replace('/', "-"));
            let done = s.apply(&layer, &s.bind(&name)).await.unwrap();
            let wanted = Descriptor::new(media_type::OCI_LAYER, Digest::sha256(plain), plain.len() as i64);
            assert_eq!(done, wanted, "{media_type}");
            assert_eq!(std::fs::read_to_string(s.dir(&name).join("a")).unwrap(), "b");
        }
    }
    assert_eq!(
        std::fs::metadata(s.dir("1-application-vnd.oci.image.layer.v1.tar").join("big")).unwrap().len(),
        6 << 20
    );
    s.leaves_nothing();
}

#[tokio::test]
async fn progress_ends_at_the_size_of_the_layer() {
    let s = Scene::new();
    let layer = s.put(media_type::OCI_LAYER, &tar(&[("big", &noise(5 << 20))])).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let options = ApplyOptions {
        sync_fs: true,
        progress: Some(Arc::new({
            let seen = Arc::clone(&seen);
            move |n| seen.lock().unwrap().push(n)
        })),
        payloads: BTreeMap::new(),
    };
    s.differ().apply(&s.scope, &layer, &s.bind("d"), options).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!((seen.first(), seen.last()), (Some(&0), Some(&(layer.size as u64))));
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn overlay_upper_directory_is_written_directly() {
    let s = Scene::new();
    let sn = Overlay::open(&s.root.path().join("overlayfs"), OverlayOptions::default()).await.unwrap();
    let base_layer =
        s.put(media_type::OCI_LAYER, &tar(&[("d/x", b"x"), ("d/y", b"y"), ("gone", b"g")])).await;
    let mounts = sn.prepare("a", "", Labels::new()).await.unwrap();
    s.apply(&base_layer, &mounts).await.unwrap();
    sn.commit("1", "a", CommitOptions::default()).await.unwrap();
    let mounts = sn.prepare("b", "1", Labels::new()).await.unwrap();
    let bytes = tar(&[(".wh.gone", b""), ("d/.wh..wh..opq", b""), ("d/z", b"z")]);
    let layer = s.put(media_type::OCI_LAYER_GZIP, &gzip(&bytes)).await;
    s.apply(&layer, &mounts).await.unwrap();
    let upper = s.root.path().join("overlayfs/snapshots/2/fs");
    let gone = std::fs::symlink_metadata(upper.join("gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    sn.commit("2", "b", CommitOptions::default()).await.unwrap();
    let view = sn.view("v", "2", Labels::new()).await.unwrap();
    let mount = TempMount::new(&view, &s.dir("tmp")).unwrap();
    let shown: Vec<_> =
        std::fs::read_dir(mount.path().join("d")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(shown, ["z"]);
    assert!(!mount.path().join("gone").exists());
    mount.close().unwrap();
    s.leaves_nothing();
}

#[tokio::test]
async fn anything_else_is_mounted_for_a_while() {
    let s = Scene::new();
    let (lower, upper, work) = (s.dir("lower"), s.dir("upper"), s.dir("work"));
    std::fs::write(lower.join("old"), "o").unwrap();
    let overlay = Mount::new(
        "overlay",
        "overlay",
        vec![
            format!("lowerdir={}", lower.display()),
            format!("upperdir={}", upper.display()),
            format!("workdir={}", work.display()),
        ],
    );
    // Two mounts: the second is the overlay bound again, so nothing can be written directly.
    let beside = Mount::new("tmpfs", "tmpfs", vec!["size=1m".into()]);
    let layer = s.put(media_type::OCI_LAYER, &tar(&[(".wh.old", b""), ("new", b"n")])).await;
    s.apply(&layer, &[beside, overlay]).await.unwrap();
    assert!(std::fs::symlink_metadata(upper.join("old")).unwrap().file_type().is_char_device());
    assert_eq!(std::fs::read_to_string(upper.join("new")).unwrap(), "n");
    s.leaves_nothing();
}

#[tokio::test]
async fn bad_layers_are_one_clear_error() {
    let s = Scene::new();
    let good = tar(&[("a", b"b")]);
    let packed = gzip(&good);
    for (what, media_type, bytes, kind) in [
        ("cut", media_type::OCI_LAYER_GZIP, packed[..packed.len() - 9].to_vec(), ErrorKind::Unknown),
        ("noise", media_type::OCI_LAYER_GZIP, noise(4096), ErrorKind::InvalidArgument),
        ("cut tar", media_type::OCI_LAYER, good[..700].to_vec(), ErrorKind::InvalidArgument),
        ("whiteout", media_type::OCI_LAYER, tar(&[("x/.wh..", b"")]), ErrorKind::InvalidArgument),
    ] {
        let layer = s.put(media_type, &bytes).await;
        let e = s.apply(&layer, &s.bind(what)).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{what}: {}", base::chain(&e));
    }
    let odd =
        Descriptor { media_type: "application/x-odd".into(), ..s.put(media_type::OCI_LAYER, &good).await };
    assert_eq!(s.apply(&odd, &s.bind("d")).await.unwrap_err().kind(), ErrorKind::Unimplemented);
    let absent = Descriptor::new(media_type::OCI_LAYER, Digest::sha256(b"absent"), 1);
    assert_eq!(s.apply(&absent, &s.bind("d")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn limits_hold() {
    let mut s = Scene::new();
    let layer =
        s.put(media_type::OCI_LAYER_GZIP, &gzip(&tar(&[("zeros", &vec![0; 8 << 20]), ("b", b"")]))).await;
    s.options.limits.bytes = Some(1 << 20);
    let e = s.apply(&layer, &s.bind("d")).await.unwrap_err();
    assert_eq!(
        (e.kind(), base::chain(&e)),
        (ErrorKind::ResourceExhausted, "layer has more than 1048576 bytes".into())
    );
    s.options.limits.bytes = None;
    s.options.limits.entries = Some(1);
    let e = s.apply(&layer, &s.bind("d")).await.unwrap_err();
    assert_eq!(base::chain(&e), "layer has more than 1 entries");
    // No worker can even start in so little.
    s.options.limits.entries = None;
    s.options.memory = 1 << 20;
    let e = s.apply(&layer, &s.bind("d")).await.unwrap_err();
    assert!(!base::chain(&e).is_empty());
}

#[tokio::test]
async fn a_worker_that_dies_hangs_or_talks_nonsense_is_one_error() {
    let mut s = Scene::new();
    let layer = s.put(media_type::OCI_LAYER, &tar(&[("a", b"b")])).await;
    s.options.program = "/bin/sh".into();
    s.options.stall = Duration::from_millis(300);
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

async fn eventually<T>(mut check: impl FnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(std::time::Instant::now() < end, "never came true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A change to a committed tree, as a container would make it.
async fn changed(s: &Scene) -> (Overlay, Vec<Mount>, Vec<Mount>) {
    let sn = Overlay::open(&s.root.path().join("overlayfs"), OverlayOptions::default()).await.unwrap();
    let layer =
        s.put(media_type::OCI_LAYER, &tar(&[("d/x", b"x"), ("d/y", b"y"), ("e/z", b"z"), ("f", b"f")])).await;
    let mounts = sn.prepare("a", "", Labels::new()).await.unwrap();
    s.apply(&layer, &mounts).await.unwrap();
    sn.commit("1", "a", CommitOptions::default()).await.unwrap();
    let lower = sn.view("lower", "1", Labels::new()).await.unwrap();
    let upper = sn.prepare("upper", "1", Labels::new()).await.unwrap();
    let mount = TempMount::new(&upper, &s.dir("tmp")).unwrap();
    let at = |p: &str| mount.path().join(p);
    std::fs::write(at("d/x"), "changed").unwrap();
    std::fs::remove_dir_all(at("e")).unwrap();
    std::fs::create_dir(at("e")).unwrap();
    std::fs::write(at("e/new"), "n").unwrap();
    std::fs::set_permissions(at("f"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    mount.close().unwrap();
    (sn, lower, upper)
}

#[tokio::test]
async fn a_difference_applied_gives_the_same_tree() {
    let s = Scene::new();
    let (sn, lower, upper) = changed(&s).await;
    let differ = s.differ();
    for media_type in ["", media_type::OCI_LAYER, media_type::OCI_LAYER_ZSTD] {
        let options = CompareOptions { media_type: media_type.into(), ..CompareOptions::default() };
        let made = differ.compare(&s.scope, &lower, &upper, options).await.unwrap();
        let info = s.content.info(&s.scope, &made.digest).await.unwrap();
        assert_eq!(info.size as i64, made.size);
        let wanted = if media_type.is_empty() { media_type::OCI_LAYER_GZIP } else { media_type };
        assert_eq!(made.media_type, wanted);
        let key = format!("again{media_type}");
        let mounts = sn.prepare(&key, "1", Labels::new()).await.unwrap();
        let applied = s.apply(&made, &mounts).await.unwrap();
        match info.labels.get(UNCOMPRESSED) {
            Some(diff_id) => assert_eq!(diff_id, applied.digest.as_str()),
            None => assert_eq!((media_type, &made.digest), (media_type::OCI_LAYER, &applied.digest)),
        }
        let mount = TempMount::new(&mounts, &s.dir("tmp")).unwrap();
        let read = |p: &str| std::fs::read_to_string(mount.path().join(p));
        assert_eq!((read("d/x").unwrap(), read("d/y").unwrap()), ("changed".into(), "y".into()));
        assert!(read("e/z").is_err());
        assert_eq!(read("e/new").unwrap(), "n");
        assert_eq!(std::fs::metadata(mount.path().join("f")).unwrap().mode() & 0o7777, 0o4755);
        mount.close().unwrap();
    }
    assert!(s.content.statuses(&s.scope, &base::filter::FilterSet::all()).await.unwrap().is_empty());
    s.leaves_nothing();
}

#[tokio::test]
async fn the_short_way_over_the_upper_directory_tells_the_same() {
    let s = Scene::new();
    let (_sn, lower, upper) = changed(&s).await;
    let plain = || CompareOptions { media_type: media_type::OCI_LAYER.into(), ..CompareOptions::default() };
    let short = s.differ().compare(&s.scope, &lower, &upper, plain()).await.unwrap();
    // The same lower tree in other words: both trees are walked whole.
    let mut other = lower.clone();
    other[0].options.push("bind".into());
    other[0].source.push('/');
    let long = s.differ().compare(&s.scope, &other, &upper, plain()).await.unwrap();
    assert_eq!(short, long);
}

#[tokio::test]
async fn differences_keep_to_the_epoch_and_their_reference() {
    let s = Scene::new();
    let (_sn, lower, upper) = changed(&s).await;
    let count = AtomicU64::new(0);
    let options = || CompareOptions {
        media_type: media_type::OCI_LAYER.into(),
        reference: format!("ref-{}", count.fetch_add(1, Ordering::Relaxed)),
        labels: Labels::from([("mine".into(), "1".into())]),
        source_date_epoch: Some(UNIX_EPOCH + Duration::from_secs(1_000_000_000)),
    };
    let first = s.differ().compare(&s.scope, &lower, &upper, options()).await.unwrap();
    let second = s.differ().compare(&s.scope, &lower, &upper, options()).await.unwrap();
    assert_eq!(first, second);
    let info = s.content.info(&s.scope, &first.digest).await.unwrap();
    assert_eq!(info.labels["mine"], "1");
    let bytes = s.content.open(&s.scope, &first.digest).await.unwrap().read_all(1 << 20).await.unwrap();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        assert!(entry.unwrap().header().mtime().unwrap() <= 1_000_000_000);
    }
    let odd = CompareOptions { media_type: "application/x-odd".into(), ..CompareOptions::default() };
    let e = s.differ().compare(&s.scope, &lower, &upper, odd).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unimplemented);
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
    assert_eq!(std::fs::read_link(proc.join("root")).unwrap(), root.path());
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
