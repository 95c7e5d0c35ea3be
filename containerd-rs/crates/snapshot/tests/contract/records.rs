//! What is said about snapshots.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::scene::{Scene, commit_options, labels};
use base::filter::FilterSet;
use base::{ErrorKind, Kinded, Labels};
use snapshot::{CommitOptions, Kind};

pub async fn stat_active(s: &Scene) {
    let mounts = s.prepare("preparing", "").await;
    drop(s.mount(&mounts));
    let info = s.snapshotter.stat("preparing").await.unwrap();
    assert_eq!((info.name.as_str(), info.kind, info.parent.as_str()), ("preparing", Kind::Active, ""));
}

pub async fn stat_committed(s: &Scene) {
    s.prepare("preparing", "").await;
    s.commit("committed", "preparing").await;
    let info = s.snapshotter.stat("committed").await.unwrap();
    assert_eq!((info.name.as_str(), info.kind, info.parent.as_str()), ("committed", Kind::Committed, ""));
}

pub async fn transitivity(s: &Scene) {
    s.layer("a", "", &[super::files::file("/foo", "foo\n", 0o777)]).await;
    s.layer("b", "a", &[super::files::file("/foo", "foo bar\n", 0o777)]).await;
    assert_eq!(s.snapshotter.stat("a").await.unwrap().parent, "");
    let b = s.snapshotter.stat("b").await.unwrap();
    assert_eq!(b.parent, "a");
    assert_eq!(s.snapshotter.stat(&b.parent).await.unwrap().parent, "");
}

pub async fn prepare_view_failing(s: &Scene) {
    s.layer("a", "", &[]).await;
    for (key, first_is_view, second_is_view) in
        [("pv", false, true), ("pp", false, false), ("vv", true, true)]
    {
        for (round, view) in [first_is_view, second_is_view].into_iter().enumerate() {
            let made = if view {
                s.snapshotter.view(key, "a", labels()).await
            } else {
                s.snapshotter.prepare(key, "a", labels()).await
            };
            match round {
                0 => drop(made.unwrap()),
                _ => assert_eq!(made.unwrap_err().kind(), ErrorKind::AlreadyExists, "{key}"),
            }
        }
    }
}

async fn base_snapshots(s: &Scene) {
    s.prepare("c1-a", "").await;
    s.commit("c1", "c1-a").await;
    s.prepare("c2-a", "c1").await;
    s.commit("c2", "c2-a").await;
    s.prepare("a1", "c2").await;
    s.prepare("a2", "").await;
    s.view("v1", "c2").await;
    s.view("v2", "").await;
}

pub async fn update(s: &Scene) {
    let before = SystemTime::now();
    base_snapshots(s).await;
    let after = SystemTime::now();
    for (name, kind, parent) in [
        ("c1", Kind::Committed, ""),
        ("c2", Kind::Committed, "c1"),
        ("a1", Kind::Active, "c2"),
        ("a2", Kind::Active, ""),
        ("v1", Kind::View, "c2"),
        ("v2", Kind::View, ""),
    ] {
        let first = s.snapshotter.stat(name).await.unwrap();
        assert!(first.created_at >= before && first.created_at <= after, "{name}");
        assert_eq!(first.created_at, first.updated_at, "{name}");
        assert_eq!((first.kind, first.parent.as_str(), first.name.as_str()), (kind, parent, name));

        let mut all: Labels =
            [("l1", "v1"), ("l2", "v2"), ("l3", "v3")].map(|(k, v)| (k.into(), v.into())).into();
        all.extend(labels());
        let mut wanted = first.clone();
        wanted.parent = "doesnotexist".into();
        wanted.labels = all.clone();
        let u1 = SystemTime::now();
        let info = s.snapshotter.update(wanted, &[]).await.unwrap();
        assert_eq!(info.created_at, first.created_at);
        assert!(info.updated_at >= u1 && info.updated_at <= SystemTime::now());
        assert_eq!(
            (info.kind, info.parent.as_str(), info.name.as_str(), &info.labels),
            (kind, parent, name, &all)
        );

        let mut wanted = info.clone();
        wanted.labels = [("l1", "updated"), ("l4", "v4")].map(|(k, v)| (k.into(), v.into())).into();
        let info = s.snapshotter.update(wanted, &["labels.l1".into(), "labels.l2".into()]).await.unwrap();
        all.insert("l1".into(), "updated".into());
        all.remove("l2");
        assert_eq!(info.labels, all);

        let mut wanted = info.clone();
        wanted.labels = labels();
        wanted.labels.insert("l4".into(), "v4".into());
        let info = s.snapshotter.update(wanted.clone(), &["labels".into()]).await.unwrap();
        assert_eq!(info.labels, wanted.labels);
        assert_eq!(s.snapshotter.stat(name).await.unwrap(), info);

        let refused = s.snapshotter.update(wanted, &["parent".into()]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    }
}

pub async fn remove(s: &Scene) {
    s.prepare("committed-a", "").await;
    s.commit("committed-1", "committed-a").await;
    s.prepare("reuse-1", "committed-1").await;
    s.snapshotter.remove("reuse-1").await.unwrap();
    s.view("reuse-1", "committed-1").await;
    s.snapshotter.remove("reuse-1").await.unwrap();
    s.prepare("reuse-1", "").await;
    s.snapshotter.remove("committed-1").await.unwrap();
    s.commit("committed-1", "reuse-1").await;
}

pub async fn remove_intermediate(s: &Scene) {
    s.layer("base", "", &[]).await;
    s.layer("inter", "base", &[]).await;
    s.prepare("top", "inter").await;
    let refused = s.snapshotter.remove("inter").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::FailedPrecondition);
    assert!(base::chain(&refused).contains("remove"));
    for key in ["top", "inter", "base"] {
        s.snapshotter.remove(key).await.unwrap();
    }
}

pub async fn walk(s: &Scene) {
    let with = |value: &str| {
        let mut labels = labels();
        labels.insert("l".into(), value.into());
        labels
    };
    s.prepare("a-np", "").await;
    s.prepare("p-tmp", "").await;
    s.commit("p", "p-tmp").await;
    s.prepare("a", "p").await;
    s.view("v", "p").await;
    s.prepare("p-wl-tmp", "").await;
    let options = CommitOptions { labels: with("1"), parent: String::new() };
    s.snapshotter.commit("p-wl", "p-wl-tmp", options).await.unwrap();
    s.snapshotter.prepare("a-wl", "p-wl", with("2")).await.unwrap();
    s.snapshotter.view("v-wl", "p-wl", with("3")).await.unwrap();
    s.snapshotter.prepare("a-np-wl", "", with("2")).await.unwrap();
    let root = r#"labels."containerd.io/gc.root"==test"#;
    for (filters, wanted) in [
        (vec![root.to_owned()], "a-np p a v p-wl a-wl v-wl a-np-wl"),
        (vec![format!("kind==active,{root}")], "a-np a a-wl a-np-wl"),
        (vec![format!("kind==view,{root}")], "v v-wl"),
        (vec![format!("kind==committed,{root}")], "p p-wl"),
        (vec!["name==p".into(), "name==a-np-wl".into()], "p a-np-wl"),
        (vec!["name==a-wl,labels.l".into()], "a-wl"),
        (vec!["parent==p".into()], "a v"),
        (vec![format!(r#"parent!="",{root}"#)], "a v a-wl v-wl"),
        (vec!["labels.l".into()], "p-wl a-wl v-wl a-np-wl"),
        (vec!["labels.l==2".into()], "a-wl a-np-wl"),
        (vec![], "a-np p a v p-wl a-wl v-wl a-np-wl"),
    ] {
        let found = s.snapshotter.walk(&FilterSet::parse(&filters).unwrap()).await.unwrap();
        let found: BTreeSet<String> = found.into_iter().map(|i| i.name).collect();
        assert_eq!(found, wanted.split(' ').map(str::to_owned).collect(), "{filters:?}");
    }
}

pub async fn stat_in_walk(s: &Scene) {
    base_snapshots(s).await;
    let walked = s.snapshotter.walk(&FilterSet::all()).await.unwrap();
    assert_eq!(walked.len(), 6);
    for info in walked {
        assert_eq!(s.snapshotter.stat(&info.name).await.unwrap(), info);
    }
}

pub async fn close_twice(s: &Scene) {
    s.prepare("p", "").await;
    s.snapshotter.commit("c", "p", commit_options()).await.unwrap();
    s.snapshotter.remove("c").await.unwrap();
    s.snapshotter.close().await.unwrap();
    s.snapshotter.close().await.unwrap();
}
