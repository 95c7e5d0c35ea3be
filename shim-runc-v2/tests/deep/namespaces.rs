//! PID namespaces that are shared, and processes that die before anyone asks for their pid.

use protos::shim::events::{TaskExecStarted, TaskExit};

use crate::driver::*;
use crate::parts::*;

/// A container in another one's PID namespace: the end of its init ends the rest of it, and nothing of the other.
#[tokio::test]
async fn a_shared_pid_namespace_keeps_the_others() {
    let place = Place::new().await;
    let owner = place.bundle("owner", &["sleep", "1000"]);
    let shim = place.start(&owner);
    let task = shim.client().await;
    let pid = begin(&task, &owner).await;
    let guest = place.bundle("guest", &["true"]);
    let mut spec = guest.spec(&["sh", "-c", "sleep 1000 & sleep 1000 & sleep 1000"]);
    spec["linux"]["namespaces"] = serde_json::json!([{"type": "pid", "path": format!("/proc/{pid}/ns/pid")}, {"type": "mount"}, {"type": "uts"}]);
    guest.write_spec(&spec);
    let init = begin(&task, &guest).await;
    let space = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    assert_eq!(space(init), space(pid));
    task.exec("guest", "also", &["sleep", "1000"], |_| {}).await.unwrap();
    task.start("guest", "also").await.unwrap();
    eventually("all four run", || (in_cgroup(&guest).len() == 4).then_some(())).await;
    end(&task, "guest").await;
    nothing_is_left(&place, &guest).await;
    let exits: Vec<String> = place.seen.all::<TaskExit>().into_iter().map(|e| e.id).collect();
    assert_eq!(exits, ["also", "guest"]);
    assert!(is_alive(pid), "the owner lives");
    // The owner's end takes a guest with it: the kernel kills the whole namespace.
    let init = begin(&task, &guest).await;
    task.kill("owner", "", 9).await.unwrap();
    assert_eq!(task.wait("guest", "").await.unwrap().exit_status, 137);
    eventually("the guest is dead", || (!is_alive(init)).then_some(())).await;
    task.wait("owner", "").await.unwrap();
    task.delete("guest", "").await.unwrap();
    task.delete("owner", "").await.unwrap();
    leave(&shim, task, "owner").await;
}

/// A process that is dead before the runtime has told its pid: its own code, its start before its exit.
#[tokio::test]
async fn a_process_that_dies_before_its_pid_is_known() {
    let place = Place::new().await;
    let bundle = place.bundle("swift", &["sleep", "1000"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    // The runtime goes only when what it started has come to its end, unless that is the init that waits to be started.
    let body = "runc \"$@\" || exit $?; case \"$*\" in *\" exec \"*) while [ \"$1\" != --pid-file ]; do shift; done\n\
        until grep -q '^State:.Z' /proc/$(cat $2)/status 2>/dev/null || [ ! -e /proc/$(cat $2) ]; do :; done;; esac";
    let mut request = bundle.create_request();
    request.options = Some(bundle.options(&script(&place, "slow-runc", body))).into();
    task.create(&request).await.unwrap();
    task.start("swift", "").await.unwrap();
    for code in [0, 3, 143] {
        let id = format!("e{code}");
        let body = if code == 143 { "kill -TERM $$".to_owned() } else { format!("exit {code}") };
        task.exec("swift", &id, &["sh", "-c", &body], |_| {}).await.unwrap();
        let pid = task.start("swift", &id).await.unwrap().pid;
        assert!(pid > 0 && !is_alive(pid));
        assert_eq!(task.wait("swift", &id).await.unwrap().exit_status, code);
        assert_eq!(place.seen.exit_of(&id).await.pid, pid);
        task.delete("swift", &id).await.unwrap();
    }
    end(&task, "swift").await;
    assert_eq!(place.seen.all::<TaskExecStarted>().len(), 3);
    let topics = place.seen.topics();
    for (n, topic) in topics.iter().enumerate().filter(|(_, t)| *t == "/tasks/exec-started") {
        assert_eq!(topics.get(n + 1).map(String::as_str), Some("/tasks/exit"), "after {topic}: {topics:?}");
    }
    leave(&shim, task, "swift").await;
}
