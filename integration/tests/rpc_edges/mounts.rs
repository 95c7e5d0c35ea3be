//! The mounts service.

use integration::rpc::{Rpc, case, newer_contract};
use protos::api::mounts::*;
use protos::api::types::Mount;
use tonic::{Code, Status};

use crate::making::labels;

fn mount(fstype: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        r#type: fstype.into(),
        source: source.into(),
        target: String::new(),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
    }
}

fn activate(name: &str, mounts: Vec<Mount>) -> ActivateRequest {
    ActivateRequest {
        name: name.into(),
        mounts,
        labels: labels(&[("app", "web"), ("containerd.io/gc.root", "now")]),
        temporary: false,
    }
}

async fn names(rpc: Rpc, filters: &[&str]) -> Result<Vec<String>, Status> {
    let filters = filters.iter().map(|f| (*f).to_owned()).collect();
    let mut stream = rpc.mounts().list(ListRequest { filters }).await?.into_inner();
    let mut names = Vec::new();
    while let Some(message) = stream.message().await? {
        names.push(message.info.map(|i| i.name).unwrap_or_default());
    }
    Ok(names)
}

#[test]
fn mounts() {
    newer_contract("mnt", async |rpc| {
        let home = rpc.within("edges");
        let root = rpc.dir().join("d/root");
        let image = root.join("image.ext4").display().to_string();
        let made = move |name: &str| {
            let block = mount("mkfs/ext4", &image, &["X-containerd.mkfs.size=8M", "rw", "loop"]);
            let inner = "X-containerd.mkdir.path={{ mount 0 }}/upper:0755";
            activate(name, vec![block, mount("format/mkdir/bind", "{{ mount 0 }}/upper", &[inner, "rbind"])])
        };
        home.mounts().activate(made("one")).await?;
        let make = |request: ActivateRequest| {
            move |rpc: Rpc| async move { rpc.within("edges").mounts().activate(request).await }
        };
        let gone = |name: &'static str| {
            move |rpc: Rpc| async move {
                rpc.within("edges").mounts().deactivate(DeactivateRequest { name: name.into() }).await
            }
        };
        let info = |namespace: &'static str, name: &'static str| {
            move |rpc: Rpc| async move {
                rpc.within(namespace).mounts().info(InfoRequest { name: name.into() }).await
            }
        };
        let block = |options: &[&str]| {
            let source = root.join("other.ext4").display().to_string();
            vec![mount("mkfs/ext4", &source, options), mount("format/bind", "{{ mount 0 }}", &["rbind"])]
        };
        Ok(vec![
            case("activate what is active already", Code::AlreadyExists, "mount \"one\": already exists", {
                make(made("one"))
            }),
            case("activate nothing", Code::Unimplemented, "not implemented", make(activate("x", vec![]))),
            case("activate what needs no manager", Code::Unimplemented, "not implemented", {
                make(activate("x", vec![mount("bind", "/", &["ro"])]))
            }),
            case("activate an unknown transform", Code::Unimplemented, "not implemented", {
                make(activate("x", vec![mount("other/bind", "/", &["ro"])]))
            }),
            case("activate without a name", Code::Unknown, "", make(made(""))).ours(
                Code::InvalidArgument,
                "mount name must not be empty",
                "a name that is none is told as such",
            ),
            case("mkfs without a size", Code::InvalidArgument, "mkfs requires mkfs.size option", {
                make(activate("x", block(&["rw", "loop"])))
            }),
            case("mkfs with a size that is none", Code::Unknown, "bad option size", {
                make(activate("x", block(&["X-containerd.mkfs.size=huge"])))
            }),
            case(
                "mkfs of an unknown file system",
                Code::InvalidArgument,
                "unsupported filesystem \"ntfs\"",
                make(activate("x", block(&["X-containerd.mkfs.size=8M", "X-containerd.mkfs.fs=ntfs"]))),
            ),
            case("mkfs with an unknown option", Code::InvalidArgument, "unknown mount option more", {
                make(activate("x", block(&["X-containerd.mkfs.size=8M", "X-containerd.mkfs.more=1"])))
            }),
            case("mkfs outside the roots", Code::Unimplemented, "configured for mkfs", {
                let elsewhere = mount("mkfs/ext4", "/elsewhere/image", &["X-containerd.mkfs.size=8M"]);
                make(activate("x", vec![elsewhere, mount("format/bind", "{{ mount 0 }}", &[])]))
            }),
            case("mkdir outside the roots", Code::Unimplemented, "configured for mkdir", {
                make(activate("x", vec![mount("mkdir/bind", "/", &["X-containerd.mkdir.path=/elsewhere"])]))
            }),
            case("mkdir with an unknown option", Code::InvalidArgument, "invalid mkdir option", {
                make(activate("x", vec![mount("mkdir/bind", "/", &["X-containerd.mkdir.other=/x"])]))
            }),
            case("mkdir with a bad owner", Code::InvalidArgument, "invalid gid \"x\"", {
                make(activate("x", vec![mount("mkdir/bind", "/", &["X-containerd.mkdir.path=/a:755:0:x"])]))
            }),
            case("mkdir with a bad mode", Code::Unknown, "invalid mode", {
                make(activate("x", vec![mount("mkdir/bind", "/", &["X-containerd.mkdir.path=/a:999"])]))
            }),
            case(
                "format of a mount that is not there",
                Code::Unknown,
                "index out of bounds: 3, has 0 active mounts",
                make(activate("x", vec![mount("format/bind", "{{ mount 3 }}", &[])])),
            ),
            case(
                "format of a range that is not there",
                Code::Unknown,
                "invalid range: 0-2, has 0 active mounts",
                {
                    make(activate(
                        "x",
                        vec![mount("format/overlay", "overlay", &["lowerdir={{ overlay 0 2 }}"])],
                    ))
                },
            ),
            case("format of nonsense", Code::Unknown, "", {
                make(activate("x", vec![mount("format/bind", "{{ nonsense", &[])]))
            }),
            case("erofs of a file that is not there", Code::Unknown, "", {
                make(activate("x", vec![mount("erofs", "/no/such/image", &["ro"])]))
            }),
            case("loop of a file that is not there", Code::Unimplemented, "not implemented", {
                make(activate("x", vec![mount("loop", "/no/such/image", &[])]))
            })
            .ours(
                Code::Unknown,
                "/no/such/image",
                "a loop device alone is a mount that the manager makes",
            ),
            case("nothing of that stays", Code::Ok, "[\"one\"]", |rpc| async move {
                names(rpc.within("edges"), &[]).await
            }),
            case("list with a filter", Code::Ok, "[\"one\"]", |rpc| async move {
                names(rpc.within("edges"), &["name==other"]).await
            }),
            case("list in another namespace", Code::Ok, "[]", |rpc| async move {
                names(rpc.within("other"), &[]).await
            }),
            case(
                "list without a namespace",
                Code::FailedPrecondition,
                "namespace is required",
                |rpc| async move { names(rpc.nowhere(), &[]).await },
            ),
            case("info", Code::Ok, "name: \"one\"*app", info("edges", "one"))
                .only_ours("the original collects it at a moment of its own, root label or not"),
            case(
                "info of one that is not there",
                Code::NotFound,
                "mount \"nope\"*not found",
                info("edges", "nope"),
            ),
            case("info of one of another namespace", Code::NotFound, "not found", info("other", "one")),
            case("update", Code::Unimplemented, "not implemented", |rpc| async move {
                rpc.within("edges").mounts().update(UpdateRequest::default()).await
            }),
            case(
                "deactivate of one that is not there",
                Code::NotFound,
                "missing mount \"nope\" bucket: not found",
                gone("nope"),
            ),
            case("deactivate", Code::Ok, "", gone("one"))
                .only_ours("the original collects it at a moment of its own, root label or not"),
            case("deactivate again", Code::NotFound, "missing mount \"one\" bucket: not found", gone("one"))
                .only_ours("the original collects it at a moment of its own, root label or not"),
            case(
                "nothing is left",
                Code::Ok,
                "[]",
                |rpc| async move { names(rpc.within("edges"), &[]).await },
            ),
        ])
    });
}
