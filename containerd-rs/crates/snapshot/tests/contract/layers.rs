//! What the trees of snapshots show.

use super::files::*;
use super::scene::{Scene, labels};
use snapshot::Kind;

pub async fn basic(s: &Scene) {
    let first = [file("/foo", "foo\n", 0o777), dir("/a", 0o755), dir("/a/b", 0o755), dir("/a/b/c", 0o755)];
    let second = [file("/bar", "bar\n", 0o777), file("/foo", "bar\n", 0o777), remove_all("/a/b")];
    let preparing = s.prepare("preparing", "").await;
    assert!(!preparing.is_empty());
    apply(s.mount(&preparing).path(), &first);
    s.commit("committed", "preparing").await;

    let info = s.snapshotter.stat("committed").await.unwrap();
    assert_eq!((info.parent.as_str(), info.kind), ("", Kind::Committed));
    assert!(s.snapshotter.stat("preparing").await.is_err());

    let next = s.prepare("next", "committed").await;
    let flat = s.work.join("flat");
    std::fs::create_dir(&flat).unwrap();
    apply(&flat, &first);
    {
        let mounted = s.mount(&next);
        assert_same(&flat, mounted.path());
        apply(mounted.path(), &second);
    }
    let info = s.snapshotter.stat("next").await.unwrap();
    assert_eq!((info.parent.as_str(), info.kind), ("committed", Kind::Active));
    s.commit("committed-next", "next").await;
    let info = s.snapshotter.stat("committed-next").await.unwrap();
    assert_eq!((info.parent.as_str(), info.kind), ("committed", Kind::Committed));
    assert!(s.snapshotter.stat("next").await.is_err());

    let walked = s.snapshotter.walk(&base::filter::FilterSet::all()).await.unwrap();
    assert_eq!(walked.len(), 2);
    for name in ["committed", "committed-next"] {
        assert!(walked.contains(&s.snapshotter.stat(name).await.unwrap()));
    }

    apply(&flat, &second);
    let view = s.view("view", "committed-next").await;
    assert_same(&flat, s.mount(&view).path());
    s.snapshotter.remove("view").await.unwrap();
    assert!(s.snapshotter.remove("committed").await.is_err());
    s.snapshotter.remove("committed-next").await.unwrap();
    s.snapshotter.remove("committed").await.unwrap();
}

pub async fn layer_file_update(s: &Scene) {
    for _ in 0..5 {
        s.check_layers(&[
            &[
                dir("/etc", 0o700),
                file("/etc/hosts", "mydomain 10.0.0.1", 0o644),
                file("/etc/profile", "PATH=/usr/bin", 0o644),
            ],
            &[
                file("/etc/hosts", "mydomain 10.0.0.2", 0o644),
                file("/etc/profile", "PATH=/usr/bin", 0o666),
                dir("/root", 0o700),
                file("/root/.bashrc", "PATH=/usr/sbin:/usr/bin", 0o644),
            ],
        ])
        .await;
    }
}

pub async fn remove_directory_in_lower_layer(s: &Scene) {
    s.check_layers(&[
        &[dir("/lib", 0o700), file("/lib/hidden", "", 0o644)],
        &[remove_all("/lib"), dir("/lib", 0o700), file("/lib/not-hidden", "", 0o644)],
        &[file("/lib/newfile", "", 0o644)],
    ])
    .await;
}

pub async fn chown(s: &Scene) {
    use super::files::chown;
    s.check_layers(&[
        &[
            dir("/opt", 0o700),
            dir("/opt/a", 0o700),
            dir("/opt/a/b", 0o700),
            file("/opt/a/b/file.txt", "hello", 0o644),
        ],
        &[
            chown("/opt", 1, 1),
            chown("/opt/a", 1, 1),
            chown("/opt/a/b", 1, 1),
            chown("/opt/a/b/file.txt", 1, 1),
        ],
    ])
    .await;
}

pub async fn directory_permission_on_commit(s: &Scene) {
    use super::files::chown;
    s.check_layers(&[
        &[
            dir("/dir1", 0o700),
            dir("/dir2", 0o700),
            dir("/dir3", 0o700),
            dir("/dir4", 0o700),
            file("/dir4/f1", "...", 0o644),
            dir("/dir5", 0o700),
            file("/dir5/f1", "...", 0o644),
            chown("/dir1", 1, 1),
            chown("/dir2", 1, 1),
            chown("/dir3", 1, 1),
            chown("/dir5", 1, 1),
            chown("/dir5/f1", 1, 1),
        ],
        &[chown("/dir2", 0, 0), remove_all("/dir3"), chown("/dir4", 1, 1), chown("/dir4/f1", 1, 1)],
        &[
            dir("/dir3", 0o700),
            chown("/dir3", 1, 1),
            remove_all("/dir5"),
            dir("/dir5", 0o700),
            chown("/dir5", 1, 1),
        ],
    ])
    .await;
}

pub async fn deleted_files_in_child(s: &Scene) {
    s.check_layers(&[
        &[file("/foo", "foo\n", 0o777), file("/foobar", "foobar\n", 0o777)],
        &[remove_all("/foobar")],
        &[],
    ])
    .await;
}

pub async fn move_file_from_lower(s: &Scene) {
    s.check_layers(&[
        &[
            dir("/dir1", 0o700),
            file("/dir1/f1", "Hello", 0o644),
            dir("/dir2", 0o700),
            file("/dir2/f2", "...", 0o644),
        ],
        &[
            dir("/dir3", 0o700),
            file("/dir3/f1", "Hello", 0o644),
            remove_all("/dir1"),
            link("/dir2/f2", "/dir3/f2"),
            remove_all("/dir2/f2"),
        ],
    ])
    .await;
}

pub async fn rename(s: &Scene) {
    use super::files::rename;
    let mut second = Vec::new();
    if s.traits.renames_directories {
        second.push(rename("/dir1", "/dir2"));
    }
    second.extend([
        file("/somefiles/f1-overwrite", "new content 1", 0o644),
        rename("/somefiles/f1-overwrite", "/somefiles/f1"),
        rename("/somefiles/f2", "/somefiles/f3"),
    ]);
    let first = [
        dir("/dir1", 0o700),
        dir("/somefiles", 0o700),
        file("/somefiles/f1", "was here first!", 0o644),
        file("/somefiles/f2", "nothing interesting", 0o644),
    ];
    s.check_layers(&[&first, &second]).await;
}

pub async fn view_readonly(s: &Scene) {
    s.prepare("preparing", "").await;
    s.commit("committed", "preparing").await;
    for parent in ["committed", ""] {
        let mounts = s.snapshotter.view("view", parent, labels()).await.unwrap();
        {
            let mounted = s.mount(&mounts);
            let written = std::fs::write(mounted.path().join("testfile"), "testcontent");
            assert_eq!(written.unwrap_err().raw_os_error(), Some(30), "parent {parent:?}");
        }
        s.snapshotter.remove("view").await.unwrap();
    }
    s.snapshotter.remove("committed").await.unwrap();
}

pub async fn root_permission(s: &Scene) {
    use std::os::unix::fs::MetadataExt;
    let mounts = s.prepare("preparing", "").await;
    let mounted = s.mount(&mounts);
    assert_eq!(std::fs::metadata(mounted.path()).unwrap().mode() & 0o777, 0o755);
}

pub async fn layers_128_mount(s: &Scene) {
    let flat = s.work.join("flat");
    std::fs::create_dir(&flat).unwrap();
    let mut parent = String::new();
    for i in 0..s.traits.layers {
        let changes = if i == 0 {
            vec![
                file("/bottom", "way at the bottom\n", 0o777),
                file("/overwriteme", "FIRST!\n", 0o777),
                dir("/addhere", 0o755),
                dir("/onlyme", 0o755),
                file("/onlyme/bottom", "bye!\n", 0o777),
            ]
        } else {
            vec![
                file("/overwriteme", &format!("{i} WAS HERE!\n"), 0o777),
                file(&format!("/addhere/file-{i}"), "same\n", 0o755),
                remove_all("/onlyme"),
                dir("/onlyme", 0o755),
                file(&format!("/onlyme/file-{i}"), "only me!\n", 0o777),
            ]
        };
        let key = format!("prepare-{i}");
        let mounts = s.prepare(&key, &parent).await;
        {
            let mounted = s.mount(&mounts);
            assert_same(&flat, mounted.path());
            apply(&flat, &changes);
            apply(mounted.path(), &changes);
            assert_same(&flat, mounted.path());
        }
        parent = format!("committed-{i}");
        s.commit(&parent, &key).await;
    }
    let mounts = s.view("fullview", &parent).await;
    assert_same(&flat, s.mount(&mounts).path());
}
