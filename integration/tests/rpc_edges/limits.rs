//! Sizes of messages, long lists, many calls at once, and calls that their client gives up.

use std::time::Duration;

use integration::rpc::{Rpc, case, contract, story};
use protos::api::containers::container::Runtime;
use protos::api::containers::*;
use protos::api::content::*;
use protos::api::images::*;
use protos::api::snapshots::{ListSnapshotsRequest, PrepareSnapshotRequest};
use tonic::{Code, Status};

use crate::making::{
    MANIFEST, all, any, commit, data, descriptor, digest, labels, rooted, stat, store, unknown, write,
};

/// The limit of one message, both ways.
const LIMIT: usize = 16 << 20;

fn container(id: &str, spec: usize) -> CreateContainerRequest {
    let container = Container {
        id: id.to_owned(),
        runtime: Some(Runtime { name: "io.containerd.runc.v2".into(), options: None }),
        spec: any("spec", &vec![b'x'; spec]),
        ..Default::default()
    };
    CreateContainerRequest { container: Some(container) }
}

#[test]
fn message_sizes() {
    contract("sizes", async |rpc| {
        let home = rpc.within("edges");
        for i in 0..3 {
            home.containers().create(container(&format!("big{i}"), 6 << 20)).await?;
        }
        let make = |size: usize| {
            move |rpc: Rpc| async move {
                rpc.within("small").containers().create(container("c", size)).await.map(drop)
            }
        };
        Ok(vec![
            case("a request just below 16 MiB", Code::Ok, "", make(LIMIT - 200)).older(),
            case(
                "a request above 16 MiB",
                Code::ResourceExhausted,
                "received message larger than max (*vs. 16777216)",
                make(LIMIT + 1),
            )
            .older(),
            case(
                "a write message above 16 MiB",
                Code::ResourceExhausted,
                "received message larger than max",
                |rpc| async move {
                    write(&rpc.within("edges"), vec![stat("big"), data("big", 0, &vec![0; LIMIT + 1])])
                        .await
                        .map(drop)
                },
            )
            .older(),
            case(
                "an answer above 16 MiB",
                Code::ResourceExhausted,
                "trying to send message larger than max (*vs. 16777216)",
                |rpc| async move {
                    rpc.within("edges")
                        .containers()
                        .list(ListContainersRequest::default())
                        .await
                        .map(|r| r.into_inner().containers.len())
                },
            )
            .older(),
            case("the same as a stream", Code::Ok, "3", |rpc| async move {
                all(rpc.within("edges").containers().list_stream(ListContainersRequest::default()).await)
                    .await
                    .map(|l| l.len())
            })
            .older(),
            case(
                "a label of 5 MB",
                Code::InvalidArgument,
                "label key and value*greater than maximum size (4096 bytes), key: key",
                |rpc| async move {
                    let mut request = container("label", 2);
                    request.container.as_mut().unwrap().labels = labels(&[("key", &"v".repeat(5_000_000))]);
                    rpc.within("edges").containers().create(request).await.map(drop)
                },
            )
            .older(),
            case(
                "a label key of 5 MB",
                Code::InvalidArgument,
                "key: kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk: ",
                |rpc| async move {
                    let mut request = container("label", 2);
                    request.container.as_mut().unwrap().labels = labels(&[(&"k".repeat(5_000_000), "v")]);
                    rpc.within("edges").containers().create(request).await.map(drop)
                },
            ),
            case("a filter of 1 MB", Code::Ok, "0", |rpc| async move {
                let filters = vec![format!("id=={}", "x".repeat(1 << 20))];
                rpc.within("edges")
                    .containers()
                    .list(ListContainersRequest { filters })
                    .await
                    .map(|r| r.into_inner().containers.len())
            }),
            case("a filter of 1000 alternatives", Code::Ok, "0", |rpc| async move {
                let filters = (0..1000).map(|i| format!("id==x{i}")).collect();
                rpc.within("edges")
                    .containers()
                    .list(ListContainersRequest { filters })
                    .await
                    .map(|r| r.into_inner().containers.len())
            }),
            case(
                "a regular expression that repeats a thousand times a thousand",
                Code::Ok,
                "0",
                |rpc| async move {
                    let filters = vec!["id~=\"((a{0,1000}){0,1000}){0,1000}b\"".to_owned()];
                    rpc.within("edges")
                        .containers()
                        .list(ListContainersRequest { filters })
                        .await
                        .map(|r| r.into_inner().containers.len())
                },
            ),
        ])
    });
}

#[test]
fn lists_come_in_batches() {
    story("batches", async |rpc| {
        let rpc = rpc.within("edges");
        for i in 0..250 {
            store(&rpc, format!("blob {i}").as_bytes()).await?;
            let request = PrepareSnapshotRequest {
                snapshotter: "overlayfs".into(),
                key: format!("k{i:03}"),
                labels: rooted(),
                ..Default::default()
            };
            rpc.snapshots().prepare(request).await?;
        }
        let content = all(rpc.content().list(ListContentRequest::default()).await).await?;
        assert_eq!(content.iter().map(|b| b.info.len()).collect::<Vec<_>>(), [100, 100, 50]);
        let request = ListSnapshotsRequest { snapshotter: "overlayfs".into(), filters: vec![] };
        let snapshots = all(rpc.snapshots().list(request).await).await?;
        assert_eq!(snapshots.iter().map(|b| b.info.len()).collect::<Vec<_>>(), [100, 100, 50]);
        let names: Vec<_> = snapshots.iter().flat_map(|b| &b.info).map(|i| i.name.as_str()).collect();
        assert!(names.is_sorted());
        Ok(())
    });
}

#[test]
fn a_blob_is_read_in_pieces() {
    story("pieces", async |rpc| {
        let rpc = rpc.within("edges");
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|i| (i * 31 % 251) as u8).collect();
        let blob = store(&rpc, &bytes).await?;
        let pieces =
            all(rpc.content().read(ReadContentRequest { digest: blob, offset: 0, size: 0 }).await).await?;
        assert!(pieces.len() > 1 && pieces.iter().all(|p| p.data.len() <= 4 << 20), "{}", pieces.len());
        let mut at = 0;
        for piece in &pieces {
            assert_eq!(piece.offset, at);
            at += piece.data.len() as i64;
        }
        assert!(pieces.iter().flat_map(|p| p.data.iter()).eq(bytes.iter()));
        Ok(())
    });
}

#[test]
fn many_calls_at_once() {
    story("many", async |rpc| {
        let mut calls = tokio::task::JoinSet::new();
        for i in 0..400_usize {
            let rpc = rpc.within(&format!("ns{}", i % 7));
            calls.spawn(async move {
                // Every name is asked for twice: one of the two is the second.
                rpc.containers().create(container(&format!("c{}", i % 200), 100)).await.map(drop)
            });
        }
        let mut taken = 0;
        while let Some(done) = calls.join_next().await {
            match done? {
                Ok(()) => {}
                Err(status) if status.code() == Code::AlreadyExists => taken += 1,
                Err(status) => anyhow::bail!("{status:?}"),
            }
        }
        let mut found = 0;
        for i in 0..7 {
            let list =
                rpc.within(&format!("ns{i}")).containers().list(ListContainersRequest::default()).await?;
            found += list.into_inner().containers.len();
        }
        assert_eq!(found + taken, 400);
        let blobs = (0..64_usize).map(|i| {
            let rpc = rpc.within("blobs");
            async move { store(&rpc, &vec![(i % 8) as u8; 100_000]).await.map(drop).or_else(busy) }
        });
        for done in futures_util::future::join_all(blobs).await {
            done?;
        }
        let listed = all(rpc.within("blobs").content().list(ListContentRequest::default()).await).await?;
        assert_eq!(listed.iter().map(|b| b.info.len()).sum::<usize>(), 8);
        Ok(())
    });
}

/// Two writers of one blob: the second may find it busy.
fn busy(error: anyhow::Error) -> anyhow::Result<()> {
    match error.downcast_ref::<Status>().map(Status::code) {
        Some(Code::Unavailable) => Ok(()),
        _ => Err(error),
    }
}

/// Calls dropped at any moment leave each thing either there and whole or not there.
#[test]
fn a_client_that_goes_leaves_nothing_half_done() {
    story("cancel", async |rpc| {
        let rpc = rpc.within("edges");
        for i in 0..60_u64 {
            let name = format!("i{i}");
            let image = Image {
                name: name.clone(),
                target: Some(descriptor(MANIFEST, unknown(), 1)),
                ..Default::default()
            };
            let mut images = rpc.images();
            let create = images.create(CreateImageRequest { image: Some(image), source_date_epoch: None });
            let _ = tokio::time::timeout(Duration::from_micros(i * 60), create).await;
            let mut snapshots = rpc.snapshots();
            let prepare = snapshots.prepare(PrepareSnapshotRequest {
                snapshotter: "overlayfs".into(),
                key: name.clone(),
                labels: rooted(),
                ..Default::default()
            });
            let _ = tokio::time::timeout(Duration::from_micros(i * 60), prepare).await;
        }
        // What is listed can be used and removed; what is not can be made.
        for i in 0..60 {
            let name = format!("i{i}");
            settled(&rpc, &name).await?;
        }
        let left = all(rpc
            .snapshots()
            .list(ListSnapshotsRequest { snapshotter: "overlayfs".into(), filters: vec![] })
            .await)
        .await?;
        assert!(left.is_empty() || left[0].info.is_empty(), "{left:?}");
        Ok(())
    });
}

async fn settled(rpc: &Rpc, name: &str) -> anyhow::Result<()> {
    use protos::api::snapshots::{MountsRequest, RemoveSnapshotRequest};
    let snapshotter = "overlayfs".to_owned();
    let prepare = PrepareSnapshotRequest {
        snapshotter: snapshotter.clone(),
        key: name.into(),
        labels: rooted(),
        ..Default::default()
    };
    match rpc.snapshots().prepare(prepare).await {
        Err(status) if status.code() == Code::AlreadyExists => {}
        other => drop(other?),
    }
    let mounts =
        rpc.snapshots().mounts(MountsRequest { snapshotter: snapshotter.clone(), key: name.into() }).await?;
    let mount = mounts.into_inner().mounts.remove(0);
    anyhow::ensure!(std::path::Path::new(&mount.source).is_dir(), "{mount:?}");
    rpc.snapshots().remove(RemoveSnapshotRequest { snapshotter, key: name.into() }).await?;
    match rpc.images().delete(DeleteImageRequest { name: name.into(), sync: false, target: None }).await {
        Err(status) if status.code() == Code::NotFound => {}
        other => drop(other?),
    }
    Ok(())
}

/// A write stream that breaks off keeps what was acknowledged, and can be taken up at once.
#[test]
fn a_broken_write_stream_is_resumed() {
    story("resume", async |rpc| {
        let rpc = rpc.within("edges");
        let bytes = vec![7_u8; 300_000];
        let (requests, stream) = tokio::sync::mpsc::channel(4);
        let mut answers = {
            requests.send(data("r", 0, &bytes[..100_000])).await?;
            rpc.content().write(tokio_stream::wrappers::ReceiverStream::new(stream)).await?.into_inner()
        };
        anyhow::ensure!(answers.message().await?.is_some_and(|a| a.offset == 100_000), "first answer");
        drop(answers);
        drop(requests);
        let mut offset = 0;
        for _ in 0..500 {
            match write(&rpc, vec![stat("r")]).await {
                Ok(told) => {
                    offset = told[0].offset;
                    break;
                }
                // The daemon may not have seen yet that the client is gone.
                Err(status) if status.code() == Code::Unavailable => {
                    tokio::time::sleep(Duration::from_millis(10)).await
                }
                Err(status) => return Err(status.into()),
            }
        }
        assert_eq!(offset, 100_000);
        let sum = digest(&bytes);
        let last =
            write(&rpc, vec![data("r", 100_000, &bytes[100_000..]), commit("r", 300_000, 300_000, &sum)])
                .await?;
        assert_eq!(last.last().map(|a| a.digest.as_str()), Some(sum.as_str()));
        Ok(())
    });
}
