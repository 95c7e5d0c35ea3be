//! The EROFS snapshotter with directories and with block images: the contract, the mounts that it gives, layers by the differ, and
//! commits that were cut short.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;
mod differ;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{Labels, Mount};
use contract::scene::Traits;
use snapshot::erofs::{Erofs, ErofsOptions};
use snapshot::{CommitOptions, Snapshotter};

const TRAITS: Traits = Traits { renames_directories: false, converts: true, ..Traits::DIRECTORIES };

async fn open(root: PathBuf) -> Arc<dyn Snapshotter> {
    Arc::new(Erofs::open(&root, ErofsOptions::default()).await.unwrap())
}

fn blocks() -> ErofsOptions {
    ErofsOptions { default_size: 16 << 20, ..Default::default() }
}

mod directories {
    use super::*;
    contract!(open, TRAITS);
}

mod block_images {
    use super::*;

    async fn open(root: PathBuf) -> Arc<dyn Snapshotter> {
        Arc::new(Erofs::open(&root, blocks()).await.unwrap())
    }
    // Its images are those of directories; a file system for each of so many layers takes minutes to make.
    contract!(open, Traits { counts_files: false, layers: 24, ..TRAITS });
}

fn shown(mounts: &[Mount]) -> Vec<(String, String, String)> {
    let one = |m: &Mount| (m.fstype.clone(), m.source.clone(), m.options.join(","));
    mounts.iter().map(one).collect()
}

fn three(fstype: &str, source: &str, options: &str) -> (String, String, String) {
    (fstype.to_owned(), source.to_owned(), options.to_owned())
}

#[tokio::test]
async fn mounts_are_as_clients_expect() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let options = ErofsOptions { ovl_mount_options: vec!["index=off".into()], ..Default::default() };
    let sn = Erofs::open(root, options).await.unwrap();
    let path = |name: &str| root.join("snapshots").join(name).display().to_string();
    let (labels, commit) = (Labels::new, CommitOptions::default);
    let m = sn.prepare("a", "", labels()).await.unwrap();
    assert_eq!(shown(&m), [three("bind", &path("1/fs"), "rw,rbind")]);
    assert!(Path::new(&path("1/.erofslayer")).exists());
    sn.commit("1", "a", commit()).await.unwrap();
    let m = sn.view("v", "1", labels()).await.unwrap();
    assert_eq!(shown(&m), [three("erofs", &path("1/layer.erofs"), "ro,loop")]);
    let m = sn.prepare("b", "1", labels()).await.unwrap();
    let upper = format!("workdir={},upperdir={}", path("3/work"), path("3/fs"));
    assert_eq!(
        shown(&m),
        [
            three("erofs", &path("1/layer.erofs"), "ro,loop"),
            three(
                "format/mkdir/overlay",
                "overlay",
                &format!("{upper},lowerdir={{{{ mount 0 }}}},index=off")
            ),
        ]
    );
    sn.commit("2", "b", commit()).await.unwrap();
    let m = sn.view("w", "2", labels()).await.unwrap();
    assert_eq!(
        shown(&m),
        [
            three("erofs", &path("3/layer.erofs"), "ro,loop"),
            three("erofs", &path("1/layer.erofs"), "ro,loop"),
            three("format/mkdir/overlay", "overlay", "lowerdir={{ overlay 0 1 }},index=off"),
        ]
    );
    assert_eq!(sn.mounts("w").await.unwrap(), m);
}

#[tokio::test]
async fn block_mounts_are_as_clients_expect() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let sn = Erofs::open(root, blocks()).await.unwrap();
    let path = |name: &str| root.join("snapshots").join(name).display().to_string();
    let image = "X-containerd.mkfs.fs=ext4,X-containerd.mkfs.size=16777216,rw,loop";
    let m = sn.prepare("a", "", Labels::new()).await.unwrap();
    assert_eq!(
        shown(&m),
        [
            three("mkfs/ext4", &path("1/rwlayer.img"), image),
            three(
                "format/mkdir/bind",
                "{{ mount 0 }}/upper",
                "X-containerd.mkdir.path={{ mount 0 }}/upper:0755,rw,rbind"
            ),
        ]
    );
    sn.commit("1", "a", CommitOptions::default()).await.unwrap();
    let m = sn.prepare("b", "1", Labels::new()).await.unwrap();
    let overlay = "X-containerd.mkdir.path={{ mount 0 }}/upper:0755,X-containerd.mkdir.path={{ mount 0 }}/work:0755,\
                   workdir={{ mount 0 }}/work,upperdir={{ mount 0 }}/upper,lowerdir={{ mount 1 }}";
    assert_eq!(
        shown(&m),
        [
            three("mkfs/ext4", &path("2/rwlayer.img"), image),
            three("erofs", &path("1/layer.erofs"), "ro,loop"),
            three("format/mkdir/overlay", "overlay", overlay),
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_cut_short_is_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let sn = Arc::new(Erofs::open(&root, ErofsOptions::default()).await.unwrap());
    sn.prepare("a", "", Labels::new()).await.unwrap();
    let directory = root.join("snapshots/1");
    // As after a crash between the image and the record; the container went on writing.
    std::fs::write(directory.join(".converted"), "").unwrap();
    std::fs::write(directory.join("layer.erofs"), "an image of before").unwrap();
    std::fs::write(directory.join("fs/late"), "written since").unwrap();
    sn.commit("c", "a", CommitOptions::default()).await.unwrap();
    let left: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|n| n == ".converted" || n == "layer.new"), "{left:?}");
    assert_eq!(std::fs::read_dir(directory.join("fs")).unwrap().count(), 0);
    let scene = contract::scene::Scene::new(sn.clone(), dir.path(), TRAITS);
    let mounts = scene.view("v", "c").await;
    let mounted = scene.mount(&mounts);
    assert_eq!(std::fs::read(mounted.path().join("late")).unwrap(), b"written since");
}

#[tokio::test]
async fn immutable_images_go_with_their_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let options = ErofsOptions { set_immutable: true, ..Default::default() };
    let sn = Erofs::open(dir.path(), options).await.unwrap();
    for name in ["one", "two"] {
        sn.prepare("a", "", Labels::new()).await.unwrap();
        sn.commit(name, "a", CommitOptions::default()).await.unwrap();
    }
    sn.remove("one").await.unwrap();
    assert!(!dir.path().join("snapshots/1").exists());
    let image = dir.path().join("snapshots/2/layer.erofs");
    if std::fs::write(&image, "x").is_err() {
        // What a crash left, with its image.
        std::fs::create_dir(dir.path().join("snapshots/7")).unwrap();
        let left = dir.path().join("snapshots/7/layer.erofs");
        std::fs::write(&left, "").unwrap();
        sys::fs::set_immutable(&left, true).unwrap();
    }
    sn.cleanup().await.unwrap();
    assert!(!dir.path().join("snapshots/7").exists() && image.exists());
    sn.remove("two").await.unwrap();
}

#[tokio::test]
async fn what_the_kernel_lacks_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let supported = sys::verity::is_supported(dir.path()).unwrap();
    let options = ErofsOptions { enable_fsverity: true, ..Default::default() };
    match Erofs::open(dir.path(), options).await {
        Ok(_) => assert!(supported),
        Err(e) => assert!(!supported && base::chain(&e).starts_with("fsverity is not supported on"), "{e}"),
    }
}

mod layers {
    use base::oci::media_type;
    use base::{Descriptor, Digest, ErrorKind, Kinded};
    use snapshot::erofs::differ::{ErofsDiffer, ErofsDifferOptions, supported};
    use snapshot::{ApplyOptions, CompareOptions, Differ};

    use super::*;
    use crate::differ::{gzip, noise, tar};

    const LOWER: &[(&str, &[u8])] = &[("dir/gone", b"1"), ("dir/kept", b"2"), ("over", b"3")];
    const UPPER: &[(&str, &[u8])] = &[("dir/.wh.gone", b""), ("over", b"4"), ("new", b"5")];

    /// Older erofs-utils (before 1.7) cannot read tars: the daemon skips the differ then, and so do these tests.
    fn reads_tars() -> bool {
        supported().is_ok()
    }

    struct Stage {
        store: crate::differ::Scene,
        scene: contract::scene::Scene,
        _work: tempfile::TempDir,
    }

    async fn stage(options: ErofsOptions) -> Stage {
        let store = crate::differ::Scene::new();
        let work = tempfile::tempdir().unwrap();
        let sn = Arc::new(Erofs::open(&store.root.path().join("erofs"), options).await.unwrap());
        let scene = contract::scene::Scene::new(sn, work.path(), TRAITS);
        Stage { store, scene, _work: work }
    }

    impl Stage {
        fn differ(&self, options: ErofsDifferOptions) -> ErofsDiffer {
            ErofsDiffer::new(Arc::clone(&self.store.content), options)
        }

        async fn apply(&self, differ: &dyn Differ, layer: &Descriptor, mounts: &[Mount]) -> Descriptor {
            differ.apply(&self.store.scope, layer, mounts, ApplyOptions::default()).await.unwrap()
        }

        /// Both layers, one on the other; with `parallel` the upper one gets its parent at the commit.
        async fn unpack(&self, differ: &dyn Differ, parallel: bool) {
            let sn = &self.scene.snapshotter;
            let lower = self.store.put(media_type::OCI_LAYER_GZIP, &gzip(&tar(LOWER))).await;
            let upper = self.store.put(media_type::OCI_LAYER, &tar(UPPER)).await;
            let mounts = self.scene.prepare("a", "").await;
            let applied = self.apply(differ, &lower, &mounts).await;
            assert_eq!(applied.digest, Digest::sha256(tar(LOWER)));
            assert_eq!(
                (applied.size, applied.media_type.as_str()),
                (tar(LOWER).len() as i64, media_type::OCI_LAYER)
            );
            self.scene.commit("lower", "a").await;
            let mounts = self.scene.prepare("b", if parallel { "" } else { "lower" }).await;
            self.apply(differ, &upper, &mounts).await;
            let options = CommitOptions { parent: "lower".into(), ..CommitOptions::default() };
            sn.commit("upper", "b", options).await.unwrap();
            let mounts = self.scene.view("v", "upper").await;
            let mounted = self.scene.mount(&mounts);
            let shown: Vec<_> = contract::files::listing(mounted.path()).into_iter().collect();
            let names: Vec<&str> = shown.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["dir", "dir/kept", "new", "over"]);
            assert!(shown[3].1.ends_with(" 4"), "{shown:?}");
        }

        fn end(self) {
            self.scene.leave_nothing(&[self.store.root.path(), &self.scene.work]);
            self.store.leaves_nothing();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tars_become_images() {
        if !reads_tars() {
            return;
        }
        for parallel in [false, true] {
            let s = stage(ErofsOptions::default()).await;
            s.unpack(&s.differ(ErofsDifferOptions::default()), parallel).await;
            let image = s.scene.snapshotter.root().join("snapshots/1/layer.erofs");
            use std::os::unix::fs::MetadataExt;
            let meta = std::fs::metadata(&image).unwrap();
            assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (0, 0, 0o600));
            s.end();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tars_become_images_below_block_images() {
        if !reads_tars() {
            return;
        }
        let s = stage(blocks()).await;
        s.unpack(&s.differ(ErofsDifferOptions::default()), false).await;
        s.end();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tars_can_be_indexed() {
        if !reads_tars() {
            return;
        }
        let s = stage(ErofsOptions::default()).await;
        let options = ErofsDifferOptions { enable_tar_index: true, ..Default::default() };
        s.unpack(&s.differ(options), false).await;
        s.end();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_walking_differ_does_as_well() {
        for (options, parallel) in [(ErofsOptions::default(), true), (blocks(), true), (blocks(), false)] {
            let s = stage(options).await;
            let walking = s.store.differ().with_mounts(Some(s.scene.manager.clone()));
            s.unpack(&walking, parallel).await;
            // And what an active snapshot has over its parent.
            let upper = s.scene.prepare("c", "upper").await;
            std::fs::write(s.scene.mount(&upper).path().join("made"), "here").unwrap();
            let lower = s.scene.view("w", "upper").await;
            let options = CompareOptions { media_type: media_type::OCI_LAYER.into(), ..Default::default() };
            let layer = walking.compare(&s.store.scope, &lower, &upper, options).await.unwrap();
            let blob = s.store.content.open(&s.store.scope, &layer.digest).await.unwrap();
            let bytes = blob.read_all(1 << 20).await.unwrap();
            let mut archive = tar::Archive::new(&bytes[..]);
            let names: Vec<_> = archive
                .entries()
                .unwrap()
                .map(|e| e.unwrap().path().unwrap().display().to_string())
                .collect();
            assert_eq!(names, ["made"]);
            s.end();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn images_are_layers_too() {
        let s = stage(ErofsOptions::default()).await;
        let differ = s.differ(ErofsDifferOptions::default());
        let (tree, image) = (s.store.dir("tree"), s.store.root.path().join("image"));
        std::fs::write(tree.join("file"), "body").unwrap();
        let arguments = ["--quiet".to_owned(), image.display().to_string(), tree.display().to_string()];
        sys::program::run("mkfs.erofs", &arguments, std::time::Duration::from_secs(60)).unwrap();
        let image = std::fs::read(&image).unwrap();
        let packed = zstd::encode_all(&image[..], 3).unwrap();
        for (name, media_type, bytes) in [
            ("plain", "application/vnd.erofs.layer.v1", &image),
            ("packed", "application/vnd.erofs.layer.v1+zstd", &packed),
        ] {
            let layer = s.store.put(media_type, bytes).await;
            let mounts = s.scene.prepare("a", "").await;
            let applied = s.apply(&differ, &layer, &mounts).await;
            assert_eq!(applied.digest, Digest::sha256(&image));
            assert_eq!(applied.media_type, "application/vnd.erofs.layer.v1");
            s.scene.commit(name, "a").await;
            let mounts = s.scene.view(&format!("v-{name}"), name).await;
            assert_eq!(std::fs::read(s.scene.mount(&mounts).path().join("file")).unwrap(), b"body");
        }
        s.end();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn bad_layers_leave_no_image() {
        let s = stage(ErofsOptions::default()).await;
        let differ = s.differ(ErofsDifferOptions::default());
        let mounts = s.scene.prepare("a", "").await;
        let whole = gzip(&tar(&[("big", &noise(4 << 20))]));
        let mut damaged = tar(LOWER);
        damaged[148..156].fill(b'7');
        for (media_type, bytes) in [
            (media_type::OCI_LAYER_GZIP, &whole[..whole.len() / 2]),
            (media_type::OCI_LAYER, &damaged[..]),
            (media_type::OCI_LAYER, &noise(1 << 20)[..]),
        ] {
            let layer = s.store.put(media_type, bytes).await;
            let failed = differ.apply(&s.store.scope, &layer, &mounts, ApplyOptions::default()).await;
            assert!(failed.is_err(), "{media_type}");
            let left = std::fs::read_dir(s.scene.snapshotter.root().join("snapshots/1")).unwrap();
            assert!(
                left.map(|e| e.unwrap().file_name()).all(|n| !n.display().to_string().starts_with("layer"))
            );
        }
        // Not what it is for: the next differ is asked.
        let layer = s.store.put(media_type::OCI_LAYER, &tar(LOWER)).await;
        let other =
            differ.apply(&s.store.scope, &layer, &s.store.bind("other"), ApplyOptions::default()).await;
        assert_eq!(other.unwrap_err().kind(), ErrorKind::Unimplemented);
        s.end();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_are_mapped_in_the_layers_below() {
    use std::os::unix::fs::MetadataExt;

    use base::labels::snapshot as label;
    let dir = tempfile::tempdir().unwrap();
    let sn = Arc::new(Erofs::open(&dir.path().join("root"), ErofsOptions::default()).await.unwrap());
    if !sn.capabilities().contains(&snapshot::REMAP_IDS) {
        return;
    }
    let scene = contract::scene::Scene::new(sn.clone(), dir.path(), TRAITS);
    scene.layer("one", "", &[contract::files::file("/a", "a", 0o644)]).await;
    scene.layer("two", "one", &[contract::files::file("/b", "b", 0o644)]).await;
    let labels = Labels::from([
        (label::UID_MAPPING.into(), "0:100000:65536".into()),
        (label::GID_MAPPING.into(), "0:200000:65536".into()),
    ]);
    let mounts = sn.prepare("mapped", "two", labels).await.unwrap();
    assert!(mounts[2].options.contains(&"uidmap=0:100000:65536".to_owned()), "{mounts:?}");
    {
        let mounted = scene.mount(&mounts);
        for name in ["", "a", "b"] {
            let meta = std::fs::metadata(mounted.path().join(name)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (100_000, 200_000), "{name:?}");
        }
    }
    scene.leave_nothing(&[dir.path()]);
}
