//! The write stream of the content service: every order of stats, writes and commits.

use integration::rpc::{Rpc, case, contract};
use protos::api::content::*;
use tonic::{Code, Status};

use crate::making::{commit, data, digest, labels, long_label, stat, store, unknown, write};

/// Offsets and digests that came back, one each.
async fn told(rpc: Rpc, requests: Vec<WriteContentRequest>) -> Result<String, Status> {
    let answers = write(&rpc.within("edges"), requests).await?;
    let told = answers.iter().map(|a| format!("{:?} {} {} {}", a.action(), a.offset, a.total, a.digest));
    Ok(told.collect::<Vec<_>>().join(", "))
}

fn with(
    mut request: WriteContentRequest,
    change: impl FnOnce(&mut WriteContentRequest),
) -> WriteContentRequest {
    change(&mut request);
    request
}

#[test]
fn write_streams() {
    contract("write", async |rpc| {
        let home = rpc.within("edges");
        store(&home, b"there").await?;
        store(&rpc.within("other"), b"elsewhere").await?;
        let send = |requests: Vec<WriteContentRequest>| move |rpc: Rpc| told(rpc, requests);
        let abc = digest(b"abc");
        let first = |name: &str, change: fn(&mut WriteContentRequest)| vec![with(stat(name), change)];
        Ok(vec![
            case("nothing at all", Code::Unknown, "EOF", send(vec![])).ours(Code::InvalidArgument, "first message must have a reference", "the original loses the kind of its own error"),
            case("no reference", Code::InvalidArgument, "first message must have a reference", send(first("", |_| {}))).older(),
            case("a reference of 5000 bytes", Code::Ok, "", send(vec![stat(&"r".repeat(5000))])),
            case("a reference with a path in it", Code::Ok, "Stat 0 0 ", send(first("../../../etc/passwd", |_| {}))).older(),
            case("a stat of something new", Code::Ok, "Stat 0 0 ", send(first("new", |_| {}))).older(),
            case("a stat with a total", Code::Ok, "Stat 0 9 ", send(first("total", |r| r.total = 9))).older(),
            case("a stat with a negative total", Code::Ok, "", send(first("negative", |r| r.total = -9))),
            case("a malformed expected digest", Code::Ok, "", send(first("bad-digest", |r| r.expected = "nonsense".into()))).ours(Code::InvalidArgument, "invalid checksum digest format", "a digest that is none is told at once, and by its own name"),
            case("an expected digest that is there already", Code::AlreadyExists, "content sha256:*: already exists", send(first("have", |r| r.expected = digest(b"there")))).older(),
            case("an expected digest that another namespace has", Code::Ok, "Stat 9 0", send(first("cross", |r| r.expected = digest(b"elsewhere")))),
            case("write, write, commit", Code::Ok, "Write 2 0 sha256:*Write 3 0 sha256:*Commit 3 *sha256:ba7816bf", send(vec![
                data("w1", 0, b"ab"), data("w1", 2, b"c"), commit("w1", 3, 0, ""),
            ])).older(),
            case("commit of what is there already", Code::AlreadyExists, "blob with expected digest sha256:* exists", send(vec![data("w2", 0, b"abc"), commit("w2", 3, 3, &abc)])).older(),
            case("that ingest is gone", Code::NotFound, "reference w2: not found", |rpc| async move {
                rpc.within("edges").content().status(StatusRequest { r#ref: "w2".into() }).await
            }).older(),
            case("a write of data with the commit", Code::Ok, "Commit 4 ", send(vec![
                with(commit("w3", 0, 4, &digest(b"four")), |r| r.data = b"four".to_vec().into()),
            ])).older(),
            case("a commit of nothing", Code::Ok, "Commit 0 0 sha256:e3b0c442", send(vec![commit("empty", 0, 0, "")])),
            case("a gap", Code::OutOfRange, "write @5 must occur at current offset 0", send(vec![data("gap", 5, b"x")])).older(),
            case("a negative offset", Code::Ok, "", send(vec![data("below", -1, b"x")])).ours(Code::InvalidArgument, "negative offset", "the original writes it somewhere else than asked"),
            case("an offset before the end", Code::OutOfRange, "write @2 must occur at current offset 4", send(vec![data("back", 0, b"abcd"), data("back", 2, b"x")])).older(),
            case("an offset after the end", Code::OutOfRange, "write @5 must occur at current offset 4", send(vec![data("ahead", 0, b"abcd"), data("ahead", 5, b"x")])).older(),
            case("back to the start", Code::Ok, "Write 4 0 *Write 2 0 *Commit 2 ", send(vec![
                data("again", 0, b"abcd"), data("again", 0, b"xy"), commit("again", 2, 0, ""),
            ])).older(),
            case("resumed after an error", Code::Ok, "Write 6 0 ", send(vec![data("back", 4, b"ef")])).older(),
            case("a stat of what was resumed", Code::Ok, "Stat 6 0 ", send(vec![stat("back")])).older(),
            case("a write without data", Code::Ok, "Write 6 0", send(vec![data("back", 6, b"")])),
            case("a wrong size at commit", Code::FailedPrecondition, "\"size\" failed size validation: 4 != 5: failed precondition", send(vec![data("size", 0, b"abcd"), commit("size", 4, 5, "")])).older(),
            case("the ingest is still there", Code::Ok, "offset: 4", |rpc| async move {
                rpc.within("edges").content().status(StatusRequest { r#ref: "size".into() }).await
            }).older(),
            case("a smaller size at commit", Code::FailedPrecondition, "\"size2\" failed size validation: 4 != 3: failed precondition", send(vec![data("size2", 0, b"abcd"), commit("size2", 4, 3, "")])).older(),
            case("a negative size at commit", Code::Ok, "", send(vec![data("size3", 0, b"size3"), commit("size3", 5, -3, "")])),
            case("a wrong digest at commit", Code::FailedPrecondition, "unexpected commit digest sha256:*, expected sha256:*: failed precondition", send(vec![data("sum", 0, b"sums"), commit("sum", 4, 4, &unknown())])).older(),
            case("the same again with the right one", Code::Ok, "Commit 4 ", send(vec![commit("sum", 4, 4, &digest(b"sums"))])),
            case("a malformed digest at commit", Code::FailedPrecondition, "unexpected commit digest sha256:*, expected sha256:xyz: failed precondition", send(vec![data("sum2", 0, b"abce"), commit("sum2", 4, 4, "sha256:xyz")])).ours(Code::InvalidArgument, "invalid checksum digest length", "a digest that is none is told at once, and by its own name"),
            case("a wrong offset at commit", Code::OutOfRange, "write @3 must occur at current offset 5", send(vec![data("pos", 0, b"abcde"), commit("pos", 3, 5, "")])).older(),
            case("a commit at offset 0", Code::AlreadyExists, "content sha256:*: already exists", send(vec![data("pos2", 0, b"abcdef"), commit("pos2", 0, 0, "")])),
            case("more data than the total", Code::Ok, "", send(vec![with(data("over", 0, b"abcdefg"), |r| r.total = 3)])),
            case("another total later on", Code::Ok, "", send(vec![
                with(data("totals", 0, b"ab"), |r| r.total = 4), with(data("totals", 2, b"cd"), |r| r.total = 5),
            ])),
            case("another digest later on", Code::Ok, "", send(vec![
                with(data("sums", 0, b"ab"), |r| r.expected = digest(b"a")), with(data("sums", 2, b"cd"), |r| r.expected = digest(b"b")),
            ])),
            case("another reference later on", Code::Ok, "", send(vec![data("one", 0, b"ab"), data("two", 2, b"cd")])),
            case("an expected digest later on that is there", Code::AlreadyExists, "blob with expected digest sha256:* exists", send(vec![
                data("late", 0, b"ab"), with(data("late", 2, b"cd"), |r| r.expected = digest(b"there")),
            ])),
            case("an action that nobody knows", Code::Ok, "", send(vec![with(data("action", 0, b"ab"), |r| r.action = 7)])),
            case("a label that is too long", Code::InvalidArgument, "info.Labels: label key and value*greater than maximum size (4096 bytes), key: key: invalid argument", send(vec![
                data("label", 0, b"labelled"), with(commit("label", 8, 0, ""), |r| r.labels = long_label()),
            ])).older(),
            case("labels", Code::Ok, "Commit 10 ", send(vec![
                data("label2", 0, b"labelled 2"), with(commit("label2", 10, 0, ""), |r| r.labels = labels(&[("a", "b")])),
            ])).older(),
            case("labels are there", Code::Ok, "labels: {\"a\": \"b\"}", |rpc| async move {
                rpc.within("edges").content().info(InfoRequest { digest: digest(b"labelled 2") }).await
            }).older(),
            case("a message after the commit", Code::Ok, "Commit 5 ", send(vec![
                data("after", 0, b"after"), commit("after", 5, 0, ""), data("after", 5, b"x"),
            ])),
            case("a reference that is being written", Code::Unavailable, "locked for ", |rpc| async move {
                let rpc = rpc.within("edges");
                let (requests, stream) = tokio::sync::mpsc::channel(4);
                requests.send(data("busy", 0, b"ab")).await.unwrap();
                let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
                let mut answers = rpc.content().write(stream).await?.into_inner();
                answers.message().await?;
                let second = write(&rpc, vec![stat("busy")]).await;
                drop(requests);
                while answers.message().await?.is_some() {}
                second
            }).older(),
            case("and is free again", Code::Ok, "offset: 2", |rpc| async move { write(&rpc.within("edges"), vec![stat("busy")]).await }).older(),
        ])
    });
}
