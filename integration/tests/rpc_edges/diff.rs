//! The diff service.

use integration::rpc::{Rpc, case, contract};
use protos::api::diff::*;
use protos::api::types::{Descriptor, Mount};
use tonic::Code;

use crate::making::{LAYER, descriptor, digest, long_label, store, unknown};

fn bind(source: &str) -> Vec<Mount> {
    let options = vec!["rbind".to_owned(), "rw".to_owned()];
    vec![Mount { r#type: "bind".into(), source: source.into(), target: String::new(), options }]
}

fn tar() -> anyhow::Result<Vec<u8>> {
    integration::image::Layer::default().dir("etc/", 0o755)?.file("etc/hostname", 0o644, b"edges\n")?.tar()
}

#[test]
fn diff() {
    contract("diff", async |rpc| {
        let home = rpc.within("edges");
        let layer = tar()?;
        let size = layer.len() as i64;
        let blob = store(&home, &layer).await?;
        let junk = store(&home, &[7_u8; 4096]).await?;
        let root = rpc.dir().join("rootfs");
        std::fs::create_dir(&root)?;
        let root = root.display().to_string();
        let here = root.clone();
        let apply = move |diff: Option<Descriptor>, mounts: Vec<Mount>| {
            let r = ApplyRequest { diff, mounts, ..Default::default() };
            move |rpc: Rpc| async move { rpc.within("edges").diff().apply(r).await }
        };
        let onto = |diff: Option<Descriptor>| apply(diff, bind(&here));
        let compare = |change: fn(&mut DiffRequest)| {
            let mut r = DiffRequest {
                left: vec![],
                right: bind(&root),
                r#ref: "diff-ref".into(),
                ..Default::default()
            };
            change(&mut r);
            move |rpc: Rpc| async move { rpc.within("edges").diff().diff(r).await }
        };
        Ok(vec![
            case("apply nothing", Code::InvalidArgument, "", onto(None)).only_ours("the original dies of it"),
            case(
                "apply an empty descriptor",
                Code::NotFound,
                "failed to get reader from content store: content digest : not found",
                onto(Some(Descriptor::default())),
            )
            .ours(
                Code::InvalidArgument,
                "invalid checksum digest format",
                "a digest that is none is told at once, and by its own name",
            ),
            case(
                "apply a malformed digest",
                Code::NotFound,
                "failed to get reader from content store: content digest nonsense: not found",
                onto(Some(descriptor(LAYER, "nonsense", 5))),
            )
            .ours(
                Code::InvalidArgument,
                "invalid checksum digest format",
                "a digest that is none is told at once, and by its own name",
            ),
            case(
                "apply a blob that is not there",
                Code::NotFound,
                "failed to get reader from content store: content digest sha256:*: not found",
                onto(Some(descriptor(LAYER, unknown(), 5))),
            )
            .older(),
            case(
                "apply a blob of another namespace",
                Code::NotFound,
                "failed to get reader from content store: content digest sha256:*: not found",
                {
                    let r = ApplyRequest {
                        diff: Some(descriptor(LAYER, digest(&layer), size)),
                        mounts: bind(&here),
                        ..Default::default()
                    };
                    move |rpc: Rpc| async move { rpc.within("other").diff().apply(r).await }
                },
            )
            .older(),
            case(
                "apply a media type that nobody knows",
                Code::Unknown,
                "failed to get stream processor for text/plain: no processor for media-type",
                onto(Some(descriptor("text/plain", blob.clone(), size))),
            )
            .ours(
                Code::Unimplemented,
                "no differ takes media type \"text/plain\"",
                "the original loses the kind of its own error",
            ),
            case(
                "apply without a media type",
                Code::Unknown,
                "failed to get stream processor for : no processor for media-type",
                onto(Some(descriptor("", blob.clone(), size))),
            )
            .ours(
                Code::Unimplemented,
                "no differ takes media type",
                "the original loses the kind of its own error",
            ),
            case(
                "apply what is no archive",
                Code::Unknown,
                "mount callback failed on *: archive/tar: invalid tar header",
                onto(Some(descriptor(LAYER, junk.clone(), 4096))),
            )
            .ours(
                Code::InvalidArgument,
                "invalid layer archive",
                "the original loses the kind of its own error",
            ),
            case(
                "apply what is not compressed as gzip",
                Code::Ok,
                "",
                onto(Some(descriptor(&format!("{LAYER}+gzip"), blob.clone(), size))),
            ),
            case(
                "apply onto mounts that cannot be",
                Code::Unknown,
                "/nonexistent/x*o such file or directory",
                apply(Some(descriptor(LAYER, blob.clone(), size)), bind("/nonexistent/x")),
            ),
            case(
                "apply onto a mount of a type that nobody knows",
                Code::Unknown,
                "nonsense*o such device",
                apply(
                    Some(descriptor(LAYER, blob.clone(), size)),
                    vec![Mount { r#type: "nonsense".into(), source: "x".into(), ..Default::default() }],
                ),
            ),
            case("apply with a wrong size", Code::Ok, "", onto(Some(descriptor(LAYER, blob.clone(), 3)))),
            case(
                "apply",
                Code::Ok,
                "application/vnd.oci.image.layer.v1.tar",
                onto(Some(descriptor(LAYER, blob.clone(), size))),
            )
            .older(),
            case(
                "diff of a media type that nobody knows",
                Code::Unimplemented,
                "media type*text/plain*not implemented",
                compare(|r| r.media_type = "text/plain".into()),
            ),
            case(
                "diff of mounts that cannot be",
                Code::Unknown,
                "/nonexistent/x*o such file or directory",
                compare(|r| r.right = bind("/nonexistent/x")),
            ),
            case(
                "diff with a label that is too long",
                Code::InvalidArgument,
                "failed to commit: info.Labels: label key and value*greater than maximum size (4096 bytes), key: key: invalid argument",
                compare(|r| r.labels = long_label()),
            ),
            case("diff without a reference", Code::Ok, "", compare(|r| r.r#ref.clear())),
            case("diff", Code::Ok, "application/vnd.oci.image.layer.v1.tar+gzip", compare(|_| {})),
            case("diff of nothing with nothing", Code::Ok, "", compare(|r| r.right.clear())),
        ])
    });
}
