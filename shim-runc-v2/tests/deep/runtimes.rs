//! Other runtimes than runc, and what each option of the runtime becomes.

use std::os::unix::fs::MetadataExt;

use protos::shim::options::Options;
use ttrpc::Code;

use crate::driver::*;
use crate::parts::*;

/// The same life under whatever runtime `BinaryName` names.
async fn a_life(place: &Place, task: &Task, binary: &str) -> Result<(), String> {
    let bundle = place.bundle("life", &["sleep", "1000"]);
    let mut request = bundle.create_request();
    request.options = Some(bundle.options(binary)).into();
    request.stdout = text(&bundle.fifo("out"));
    if let Err(e) = task.create(&request).await {
        let (code, message) = refusal::<()>(Err(e));
        assert_eq!(code, Code::UNKNOWN);
        nothing_is_left(place, &bundle).await;
        return Err(message);
    }
    task.start("life", "").await.unwrap();
    task.exec("life", "e", &["sh", "-c", "exit 5"], |_| {}).await.unwrap();
    task.start("life", "e").await.unwrap();
    assert_eq!(task.wait("life", "e").await.unwrap().exit_status, 5);
    task.delete("life", "e").await.unwrap();
    task.exec("life", "long", &["sleep", "1000"], |_| {}).await.unwrap();
    task.start("life", "long").await.unwrap();
    let pids = task.pids("life").await.unwrap().processes;
    assert_eq!((pids.len(), pids.iter().filter(|p| p.info.is_some()).count()), (2, 1));
    let failed = refusal({
        task.exec("life", "none", &["/no/such"], |_| {}).await.unwrap();
        task.start("life", "none").await
    });
    assert!(failed.1.starts_with("OCI runtime exec failed: "), "{failed:?}");
    assert!(failed.1.to_lowercase().contains("no such file or directory"), "{failed:?}");
    task.delete("life", "none").await.unwrap();
    task.pause("life").await.unwrap();
    task.resume("life").await.unwrap();
    task.stats("life").await.unwrap();
    let mut update = protos::shim::task_v3::UpdateTaskRequest::new();
    update.id = "life".into();
    let mut any = protos::shim::Any::new();
    any.value = br#"{"pids":{"limit":77}}"#.to_vec();
    update.resources = Some(any).into();
    task.0.update(forever(), &update).await.unwrap();
    end(task, "life").await;
    nothing_is_left(place, &bundle).await;
    // Killed with all of it, without a PID namespace, and deleted before it was started.
    let bundle = place.bundle("host", &["sh", "-c", "sleep 1000 & sleep 1000"]);
    let mut spec = bundle.spec(&["sh", "-c", "sleep 1000 & sleep 1000"]);
    spec["linux"]["namespaces"] = serde_json::json!([{"type": "mount"}, {"type": "uts"}]);
    bundle.write_spec(&spec);
    let mut request = bundle.create_request();
    request.options = Some(bundle.options(binary)).into();
    task.create(&request).await.unwrap();
    task.start("host", "").await.unwrap();
    end(task, "host").await;
    nothing_is_left(place, &bundle).await;
    task.create(&request).await.unwrap();
    task.delete("host", "").await.unwrap();
    nothing_is_left(place, &bundle).await;
    Ok(())
}

/// Debian 12's crun (1.8.1) refuses a machine with cgroups of both versions: then its own words come back, and nothing is left.
/// Where it works (or another one is first in PATH), it lives a whole life. `RUNTIMES` names others to try.
#[tokio::test]
async fn crun_works_or_says_why() {
    let place = Place::new().await;
    let first = place.bundle("first", &["true"]);
    let shim = place.start(&first);
    let task = shim.client().await;
    let names = std::env::var("RUNTIMES").unwrap_or_else(|_| "runc crun".into());
    for name in names.split_whitespace() {
        match a_life(&place, &task, name).await {
            Ok(()) => println!("{name}: a whole life"),
            Err(words) => {
                assert_ne!(name, "runc", "{words}");
                assert!(words.starts_with("OCI runtime create failed: "), "{words}");
                assert!(
                    words.contains("cgroup") || words.contains("unknown version"),
                    "its own words: {words}"
                );
                println!("{name} does not run on this machine, only its refusal is shown: {words}");
            }
        }
        let _ = std::fs::remove_dir_all(place.dir.path().join("life"));
        let _ = std::fs::remove_dir_all(place.dir.path().join("host"));
    }
    leave(&shim, task, "first").await;
}

/// youki writes its log from the start of the file, in another form.
#[tokio::test]
async fn a_log_in_youkis_manner() {
    let place = Place::new().await;
    let bundle = place.bundle("other", &["true"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let says = place.dir.path().join("says");
    let body = format!(
        "while [ $# -gt 0 ]; do [ \"$1\" = --log ] && log=$2; shift; done\n\
         dd if={} of=$log conv=notrunc 2>/dev/null; exit 255",
        says.display()
    );
    let mut request = bundle.create_request();
    request.options = Some(bundle.options(&script(&place, "youki", &body))).into();
    for (n, words) in ["failed to create: a longer reason than the next", "no such device"].iter().enumerate()
    {
        let line = serde_json::json!({"timestamp": format!("2026-01-01T00:00:0{n}Z"), "level": "ERROR",
            "message": "error in executing command", "error": words, "target": "youki"});
        std::fs::write(&says, format!("{line}\n")).unwrap();
        let (_, message) = refusal(task.create(&request).await);
        assert_eq!(message, format!("OCI runtime create failed: error in executing command: {words}"));
    }
    leave(&shim, task, "other").await;
}

/// Every option of the runtime, as the words that it is run with.
#[tokio::test]
async fn each_option_reaches_the_runtime() {
    let place = Place::new().await;
    let bundle = place.bundle("words", &["true"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let said = place.dir.path().join("said");
    let binary = script(&place, "recorder", &format!("echo \" $* \" >> {}; exit 1", said.display()));
    let mut options = Options::new();
    (options.binary_name, options.root) = (binary, "/some/root".into());
    (options.systemd_cgroup, options.no_pivot_root, options.no_new_keyring) = (true, true, true);
    options.criu_work_path = "/some/work".into();
    let mut request = bundle.create_request();
    request.options = Some(protos::shim::any::pack(&options).unwrap()).into();
    assert!(task.create(&request).await.is_err());
    request.checkpoint = "/some/image".into();
    task.create(&request).await.unwrap();
    assert!(task.start("words", "").await.is_err());
    let said = std::fs::read_to_string(said).unwrap();
    let line =
        |verb: &str| said.lines().find(|l| l.contains(verb)).unwrap_or_else(|| panic!("{verb}: {said}"));
    let (create, restore) = (line(" create "), line(" restore "));
    for words in [" --root /some/root/shimtest ", " --log-format json ", " --systemd-cgroup ", " --no-pivot "]
    {
        assert!(create.contains(words) && restore.contains(words), "{words}: {said}");
    }
    assert!(create.contains(" --no-new-keyring "));
    for words in [" --image-path /some/image ", " --work-path /some/work ", " --detach ", " --no-subreaper "]
    {
        assert!(restore.contains(words), "{words}: {restore}");
    }
    // What the shim wrote down for whoever cleans up after it.
    let kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bundle.dir.join("options.json")).unwrap()).unwrap();
    assert_eq!((&kept["root"], &kept["systemd_cgroup"]), (&"/some/root".into(), &true.into()));
    // The recorder refuses to delete it, so only the shim's end ends it.
    let (_, message) = refusal(task.delete("words", "").await);
    assert!(message.starts_with("failed to delete task: "), "{message}");
    let pid = task.shim_pid("words").await;
    signal(pid, 15);
    shim.gone().await;
}

/// `io_uid` and `io_gid`: whoever is root inside owns its streams. Real runs of no_new_keyring and no_pivot_root with it.
#[tokio::test]
async fn streams_belong_to_the_root_of_the_user_namespace() {
    let place = Place::new().await;
    let bundle = place.bundle("mapped", &["sleep", "1000"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let mut request = bundle.create_request();
    let mut options = Options::new();
    options.root = text(&place.dir.path().join("runc"));
    (options.io_uid, options.io_gid) = (100_000, 200_000);
    (options.no_new_keyring, options.no_pivot_root) = (true, true);
    request.options = Some(protos::shim::any::pack(&options).unwrap()).into();
    for (stream, name) in
        [(&mut request.stdin, "in"), (&mut request.stdout, "out"), (&mut request.stderr, "err")]
    {
        *stream = text(&bundle.fifo(name));
    }
    // A user namespace of its own, whose root is those ids; its files are theirs.
    let mut spec = bundle.spec(&["sleep", "1000"]);
    spec["linux"]["namespaces"].as_array_mut().unwrap().push(serde_json::json!({"type": "user"}));
    for (key, host) in [("uidMappings", 100_000), ("gidMappings", 200_000)] {
        spec["linux"][key] = serde_json::json!([{"containerID": 0, "hostID": host, "size": 65_536}]);
    }
    spec["linux"]["resources"] = serde_json::json!({});
    bundle.write_spec(&spec);
    run("chown", &["-R", "-h", "100000:200000", &text(&bundle.dir.join("rootfs"))]);
    // Whoever is root inside must get through to its rootfs.
    for dir in [place.dir.path(), &bundle.dir] {
        run("chmod", &["711", &text(dir)]);
    }
    task.create(&request).await.unwrap();
    let pid = task.start("mapped", "").await.unwrap().pid;
    let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    for fd in 0..3 {
        let pipe = std::fs::metadata(format!("/proc/{pid}/fd/{fd}")).unwrap();
        assert_eq!((pipe.uid(), pipe.gid()), (100_000, 200_000), "descriptor {fd}");
    }
    let fifo = bundle.fifo("exec-out");
    let read = collect(&fifo);
    // It can open its streams again, by their names, as many programs do.
    let body = "echo again > /proc/self/fd/1";
    task.exec("mapped", "e", &["sh", "-c", body], |r| r.stdout = text(&fifo)).await.unwrap();
    task.start("mapped", "e").await.unwrap();
    assert_eq!(task.wait("mapped", "e").await.unwrap().exit_status, 0);
    task.delete("mapped", "e").await.unwrap();
    assert_eq!(read.join().unwrap(), b"again\n");
    end(&task, "mapped").await;
    nothing_is_left(&place, &bundle).await;
    leave(&shim, task, "mapped").await;
}
