//! Checkpoint and restore. CRIU must fit the kernel: Debian 12's (3.17) does not fit those after 6.0 or so. Then these tests show that
//! the refusal is clear and that nothing is left; with one that fits (first in PATH) they show the whole way.

use std::path::{Path, PathBuf};

use protos::shim::options::{CheckpointOptions, Options};
use protos::shim::task_v3::CheckpointTaskRequest;
use protos::shim::types::Status;
use ttrpc::Code;

use crate::driver::*;
use crate::parts::*;

/// Counts in memory and shows it in a file: what goes on counting was restored, what begins anew was not.
const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i > /next; mv /next /count; sleep 0.05; done";

fn count(bundle: &Bundle) -> Option<u32> {
    std::fs::read_to_string(bundle.dir.join("rootfs/count")).ok()?.trim().parse().ok()
}

async fn checkpoint(
    task: &Task,
    id: &str,
    image: &Path,
    set: impl FnOnce(&mut CheckpointOptions),
) -> ttrpc::Result<()> {
    let mut options = CheckpointOptions::new();
    set(&mut options);
    let mut request = CheckpointTaskRequest::new();
    (request.id, request.path) = (id.to_owned(), text(image));
    request.options = Some(protos::shim::any::pack(&options).unwrap()).into();
    task.0.checkpoint(forever(), &request).await.map(drop)
}

/// What a refusal of CRIU must look like, and its reason.
fn is_clear(bundle: &Bundle, error: ttrpc::Error) -> String {
    let (code, message) = refusal::<()>(Err(error));
    let kept = bundle.dir.join("criu-dump.log");
    assert_eq!(code, Code::UNKNOWN);
    assert!(message.contains("checkpoint") || message.contains("criu"), "{message}");
    assert!(message.ends_with(&format!("path= {}", kept.display())), "{message}");
    let why = std::fs::read_to_string(&kept).unwrap_or_default();
    let line = why.lines().find(|l| l.contains("Error")).unwrap_or("(no log)");
    line.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_restored_or_refused_with_a_reason() {
    let place = Place::new().await;
    let bundle = place.bundle("clock", &["sh", "-c", COUNTER]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    begin(&task, &bundle).await;
    eventually("it counts", || count(&bundle).filter(|n| *n > 3)).await;
    let image = place.dir.path().join("image");
    // Left running.
    let work = place.dir.path().join("criu-work");
    if let Err(e) = checkpoint(&task, "clock", &image, |o| o.work_path = text(&work)).await {
        let why = is_clear(&bundle, e);
        println!("CRIU does not fit this kernel, only its refusal is shown: {why}");
        // It runs as if nothing had been.
        assert_eq!(task.state("clock", "").await.unwrap().status.unwrap(), Status::RUNNING);
        let before = count(&bundle).unwrap();
        eventually("it goes on", || count(&bundle).filter(|n| *n > before)).await;
        end(&task, "clock").await;
        nothing_is_left(&place, &bundle).await;
        assert!(!bundle.dir.join("work").join("criu-work").exists());
        leave(&shim, task, "clock").await;
        return;
    }
    assert!(
        image.join("inventory.img").exists() && work.join("dump.log").exists(),
        "files where they were asked for"
    );
    assert_eq!(task.state("clock", "").await.unwrap().status.unwrap(), Status::RUNNING);
    let before = count(&bundle).unwrap();
    eventually("it goes on", || count(&bundle).filter(|n| *n > before)).await;
    // Ends with its checkpoint.
    let image = place.dir.path().join("second");
    checkpoint(&task, "clock", &image, |o| o.exit = true).await.unwrap();
    task.wait("clock", "").await.unwrap();
    place.seen.exit_of("clock").await;
    task.delete("clock", "").await.unwrap();
    nothing_is_left(&place, &bundle).await;
    assert!(!bundle.dir.join("work").exists() || !bundle.dir.join("work/criu-work").exists());
    let last = count(&bundle).unwrap();

    restore(&place, &task, &bundle, &image, last).await;
    leave(&shim, task, "clock").await;
}

async fn restore(place: &Place, task: &Task, bundle: &Bundle, image: &Path, last: u32) {
    let mut request = bundle.create_request();
    request.checkpoint = text(image);
    let work: PathBuf = place.dir.path().join("restore-work");
    let mut options = Options::new();
    options.root = text(&place.dir.path().join("runc"));
    options.criu_work_path = text(&work);
    request.options = Some(protos::shim::any::pack(&options).unwrap()).into();
    assert_eq!(task.create(&request).await.unwrap().pid, 0);
    assert_eq!(task.state("clock", "").await.unwrap().status.unwrap(), Status::CREATED);
    assert_eq!(refusal(task.exec("clock", "e", &["true"], |_| {}).await).1, "cannot exec in a created state");
    let pid = task.start("clock", "").await.unwrap().pid;
    assert!(pid > 0 && is_alive(pid));
    assert!(work.join("restore.log").exists());
    let now = eventually("it counts on", || count(bundle).filter(|n| *n > last)).await;
    assert!(now < last + 400, "from where it was: {last} -> {now}");
    task.exec("clock", "e", &["sh", "-c", "exit 7"], |_| {}).await.unwrap();
    task.start("clock", "e").await.unwrap();
    assert_eq!(task.wait("clock", "e").await.unwrap().exit_status, 7);
    task.delete("clock", "e").await.unwrap();
    end(task, "clock").await;
    nothing_is_left(place, bundle).await;
}

/// An image that is none: the runtime's own words, and nothing left.
#[tokio::test]
async fn a_checkpoint_that_is_none_is_refused() {
    let place = Place::new().await;
    let bundle = place.bundle("fake", &["true"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let image = place.dir.path().join("image");
    std::fs::create_dir(&image).unwrap();
    std::fs::write(image.join("inventory.img"), b"not one").unwrap();
    let mut request = bundle.create_request();
    request.checkpoint = text(&image);
    task.create(&request).await.unwrap();
    let (code, message) = refusal(task.start("fake", "").await);
    assert_eq!(code, Code::UNKNOWN);
    assert!(message.starts_with("OCI runtime restore failed: "), "{message}");
    let (_, again) = refusal(task.start("fake", "").await);
    assert_eq!(again, "cannot restore a task twice");
    task.delete("fake", "").await.unwrap();
    nothing_is_left(&place, &bundle).await;
    leave(&shim, task, "fake").await;
}
