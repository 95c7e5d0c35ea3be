//! Shims that die, in whatever order: one exit, one deletion, nothing left.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::fs;
use std::task::Poll;
use std::time::Duration;

use base::{ErrorKind, Kinded};
use runtime::Status;
use rustix::process::Signal;
use world::*;

#[test]
fn a_killed_shim_gives_one_exit_and_a_clean_machine() {
    let world = World::new(GO_SHIM);
    let mut daemon = world.daemon();
    let pid = daemon.create(world.container("c1", "busybox sleep 100 & busybox sleep 100")).unwrap();
    daemon.start("c1");
    let shim = daemon.endpoint("c1").shim_pid;
    daemon.events_until("/tasks/start");
    let (runtime, ns) = (daemon.runtime.clone(), daemon.namespace.clone());
    let waited = daemon.run(async {
        let mut waiting = std::pin::pin!(runtime.wait(&ns, "c1", ""));
        let begun = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending()));
        assert!(begun.await);
        signal(shim as i32, Signal::KILL);
        waiting.await.unwrap()
    });
    assert_eq!((waited.pid, waited.status), (pid, 137));
    let events = daemon.events_until("/tasks/delete");
    assert_eq!(topics(&events), ["/tasks/exit", "/tasks/delete"]);
    let (exit, delete) = (&exits(&events)[0], &deletes(&events)[0]);
    assert_eq!((exit.container_id.as_str(), exit.id.as_str()), ("c1", "c1"));
    assert_eq!((exit.pid, exit.exit_status), (pid, 137));
    assert_eq!((delete.pid, delete.exit_status), (pid, 137));
    assert_eq!(exit.exited_at, delete.exited_at);
    assert_eq!(daemon.status("c1").unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!alive(pid));
    world.assert_clean();
}

#[test]
fn the_process_and_its_shim_killed_in_any_order_give_one_exit() {
    let world = World::new(GO_SHIM);
    let mut daemon = world.daemon();
    for (round, order) in [(0, [true, false]), (1, [false, true])] {
        for pause in [0u64, 1, 4] {
            let pid = daemon.create(world.container("c1", "busybox sleep 100")).unwrap();
            daemon.start("c1");
            let shim = daemon.endpoint("c1").shim_pid;
            daemon.events_until("/tasks/start");
            for process_first in order {
                signal(if process_first { pid } else { shim } as i32, Signal::KILL);
                // The point of the test is to hit different moments.
                std::thread::sleep(Duration::from_millis(pause));
            }
            let events = daemon.events_until("/tasks/delete");
            assert_eq!(exits(&events).len(), 1, "round {round}, pause {pause}: {:?}", topics(&events));
            assert_eq!(exits(&events)[0].exit_status, 137);
            assert_eq!(deletes(&events).len(), 1);
            eventually("the task is gone", || daemon.status("c1").is_err().then_some(()));
        }
    }
    world.assert_clean();
}

#[test]
fn an_exit_that_the_shim_told_already_is_not_told_again() {
    let world = World::new(GO_SHIM);
    let mut daemon = world.daemon();
    daemon.create(world.container("c1", "exit 9")).unwrap();
    let shim = daemon.endpoint("c1").shim_pid;
    daemon.start("c1");
    let before = daemon.events_until("/tasks/exit");
    assert_eq!(exits(&before)[0].exit_status, 9);
    signal(shim as i32, Signal::KILL);
    let after = daemon.events_until("/tasks/delete");
    assert_eq!(topics(&after), ["/tasks/delete"]);
    assert_eq!(deletes(&after)[0].exit_status, 9, "the exit that everyone knows");
    // A shim that sends it once more (its acknowledgement was lost) is not heard.
    let again = before.iter().find(|e| e.topic == "/tasks/exit").unwrap();
    daemon.exchange.forward((**again).clone()).unwrap();
    assert_eq!(daemon.events().len(), 0);
    world.assert_clean();
}

#[test]
fn a_shim_that_only_hung_up_is_called_again() {
    let world = World::new(GO_SHIM);
    let mut daemon = world.daemon();
    daemon.create(world.container("c1", "busybox sleep 100")).unwrap();
    daemon.start("c1");
    daemon.endpoint("c1");
    let (runtime, ns) = (daemon.runtime.clone(), daemon.namespace.clone());
    let waiting = daemon.spawn(async move { runtime.wait(&ns, "c1", "").await });
    daemon.events_until("/tasks/start");
    // A frame that breaks the protocol makes our side hang up; the shim does not notice more than a closed socket.
    daemon.runtime.break_connection(&daemon.namespace, "c1");
    eventually("connected again", || (daemon.status("c1").ok()? == Status::Running).then_some(()));
    assert_eq!(topics(&daemon.events()), Vec::<&str>::new());
    daemon.kill("c1").unwrap();
    assert_eq!(daemon.run(waiting).unwrap().unwrap().status, 137, "the waiter outlived the connection");
    daemon.delete("c1").unwrap();
    world.assert_clean();
}

#[test]
fn a_container_without_a_shim_program_is_still_cleaned_up() {
    let world = World::new(GO_SHIM);
    let copy = world.path("containerd-shim-copy-v2");
    fs::copy(GO_SHIM, &copy).unwrap();
    let mut daemon = world.daemon();
    let mut create = world.container("c1", "busybox sleep 100");
    create.runtime_path = copy.display().to_string();
    let pid = daemon.create(create).unwrap();
    daemon.start("c1");
    let shim = daemon.endpoint("c1").shim_pid;
    daemon.events_until("/tasks/start");
    fs::remove_file(&copy).unwrap();
    signal(shim as i32, Signal::KILL);
    let events = daemon.events_until("/tasks/delete");
    assert_eq!(exits(&events).len(), 1);
    assert_eq!(exits(&events)[0].exit_status, 255, "nobody could tell");
    assert!(!alive(pid), "its processes are killed all the same");
    // Only runc's own record is left, which needs runc to be removed: not this test's matter.
    let runc = format!("/run/containerd/runc/{}", world.namespace);
    fs::remove_dir_all(runc).unwrap();
    world.assert_clean();
}

#[test]
fn a_shim_whose_events_go_nowhere_leaves_no_one_in_the_dark() {
    let world = World::new(GO_SHIM);
    // Events are sent to where nobody listens.
    let mut daemon =
        world.daemon_with(|options| options.ttrpc_address = world.path("deaf").display().to_string());
    let (runtime, ns) = (daemon.runtime.clone(), daemon.namespace.clone());
    daemon.run(runtime.create(&ns, world.container("c1", "exit 5"))).unwrap();
    daemon.start("c1");
    daemon.wait("c1");
    daemon.delete("c1").unwrap();
    let events = daemon.events_until("/tasks/delete");
    assert_eq!(topics(&events), ["/tasks/exit", "/tasks/delete"]);
    assert_eq!((exits(&events)[0].exit_status, deletes(&events)[0].exit_status), (5, 5));
    world.assert_clean();
}
