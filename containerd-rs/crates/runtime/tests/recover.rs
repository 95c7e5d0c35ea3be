//! Daemons that die and come back: dropping one is `kill -9`, no task of it does anything any more.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::fs;
use std::time::{Duration, Instant};

use base::{ErrorKind, Kinded};
use runtime::{Recovered, Status};
use rustix::process::Signal;
use world::*;

fn adopted(adopted: usize) -> Recovered {
    Recovered { adopted, ..Recovered::default() }
}

#[test]
fn running_and_stopped_tasks_are_as_they_were() {
    let world = World::new(GO_SHIM);
    let first = world.daemon();
    let pid = first.create(world.container("runs", "busybox sleep 100")).unwrap();
    first.start("runs");
    let script = "until [ -e /tmp/go ]; do busybox usleep 10000; done; exit 6";
    first.create(world.container("ends", script)).unwrap();
    first.start("ends");
    let ends = first.run(first.runtime.state(&first.namespace, "ends", "")).unwrap().pid;
    first.create(world.container("created", "true")).unwrap();
    drop(first);
    // It ends while there is no daemon.
    fs::write(world.path("rootfs/tmp/go"), "").unwrap();
    eventually("the process ends", || (!alive(ends)).then_some(()));
    let mut second = world.daemon();
    assert_eq!(second.recover(), adopted(3));
    let exits = exits(&second.events());
    assert_eq!(exits.len(), 1, "subscribers hear of it now");
    assert_eq!((exits[0].pid, exits[0].exit_status), (ends, 6));
    drop(second);
    let mut second = world.daemon();
    assert_eq!(second.recover(), adopted(3));
    assert_eq!(second.events(), [], "and once is enough");
    let listed = second.run(second.runtime.list(&second.namespace));
    let brief: Vec<_> = listed.iter().map(|s| (s.container_id.as_str(), s.status, s.exit_status)).collect();
    assert_eq!(
        brief,
        [("created", Status::Created, 0), ("ends", Status::Stopped, 6), ("runs", Status::Running, 0)]
    );
    assert_eq!(listed[2].pid, pid);
    assert_eq!(second.wait("ends").status, 6);
    assert_eq!(second.delete("ends").unwrap().status, 6);
    second.start("created");
    assert_eq!(second.wait("created").status, 0);
    second.delete("created").unwrap();
    assert_eq!(second.finish("runs").status, 137);
    world.assert_clean();
}

#[test]
fn a_shim_that_died_meanwhile_gives_its_exit_and_is_gone() {
    let world = World::new(GO_SHIM);
    let first = world.daemon();
    let pid = first.create(world.container("c1", "busybox sleep 100")).unwrap();
    first.start("c1");
    let shim = first.endpoint("c1").shim_pid;
    drop(first);
    signal(shim as i32, Signal::KILL);
    // A dead socket is known at once: nobody waits for an answer.
    let mut second = world.daemon_with(|options| options.timeouts.load = PATIENCE * 2);
    let begin = Instant::now();
    let (runtime, ns) = (second.runtime.clone(), second.namespace.clone());
    // A client that waits again from the first moment on.
    let (recovery, waited) = second.run(async {
        let recovery = runtime.recover().await.unwrap();
        let waited = runtime.wait(&ns, "c1", "").await;
        (recovery.await.unwrap(), waited)
    });
    assert_eq!(recovery, Recovered { dead: 1, ..Recovered::default() });
    if let Ok(exit) = waited {
        assert_eq!(exit.status, 137);
    }
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    let events = second.events_until("/tasks/delete");
    assert_eq!(exits(&events).len(), 1);
    assert_eq!((exits(&events)[0].pid, exits(&events)[0].exit_status), (pid, 137));
    assert!(!alive(pid));
    world.assert_clean();
}

#[test]
fn a_frozen_shim_delays_nobody_and_is_taken_back_when_it_thaws() {
    let world = World::new(GO_SHIM);
    let first = world.daemon();
    let mut shims = Vec::new();
    for id in ["frozen", "fine"] {
        first.create(world.container(id, "busybox sleep 100")).unwrap();
        first.start(id);
        shims.push(first.endpoint(id).shim_pid as i32);
    }
    freeze(shims[0]);
    drop(first);
    // All that comes before the last word on the frozen one comes before its time is up.
    let load = Duration::from_secs(8);
    let second = world.daemon_with(|options| options.timeouts.load = load);
    let begin = Instant::now();
    let recovery = second.run(second.runtime.recover()).unwrap();
    assert_eq!(second.status("fine").unwrap(), Status::Running);
    assert!(!recovery.is_finished() && begin.elapsed() < load, "{:?}", begin.elapsed());
    let listed = second.run(second.runtime.list(&second.namespace));
    assert_eq!((listed[0].status, listed[1].status), (Status::Running, Status::Unknown));
    assert!(listed[1].trouble.is_some());
    let recovered = second.run(recovery).unwrap();
    assert_eq!(recovered, Recovered { adopted: 1, aside: 1, ..Recovered::default() });
    let error = second.status("frozen").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(second.runtime.census(), (2, 1));
    let taken = second.create(world.container("frozen", "true")).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    signal(shims[0], Signal::CONT);
    eventually("it is taken back", || (second.status("frozen").ok()? == Status::Running).then_some(()));
    second.finish("frozen");
    second.finish("fine");
    world.assert_clean();
}

#[test]
fn a_frozen_shim_that_is_then_killed_is_buried() {
    let world = World::new(GO_SHIM);
    let first = world.daemon();
    first.create(world.container("c1", "busybox sleep 100")).unwrap();
    first.start("c1");
    let shim = first.endpoint("c1").shim_pid as i32;
    freeze(shim);
    drop(first);
    let mut second = world.daemon_with(|options| options.timeouts.load = Duration::from_millis(300));
    assert_eq!(second.recover(), Recovered { aside: 1, ..Recovered::default() });
    signal(shim, Signal::KILL);
    let events = second.events_until("/tasks/delete");
    assert_eq!((exits(&events).len(), deletes(&events).len()), (1, 1));
    world.assert_clean();
}

#[test]
fn a_shim_frozen_under_a_running_daemon_delays_only_its_own_task() {
    let world = World::new(GO_SHIM);
    let state = Duration::from_secs(6);
    let daemon = world.daemon_with(|options| options.timeouts.state = state);
    for id in ["frozen", "fine"] {
        daemon.create(world.container(id, "busybox sleep 100")).unwrap();
        daemon.start(id);
    }
    let shim = daemon.endpoint("frozen").shim_pid as i32;
    freeze(shim);
    let begin = Instant::now();
    let (runtime, ns) = (daemon.runtime.clone(), daemon.namespace.clone());
    let asked = daemon.spawn(async move { runtime.state(&ns, "frozen", "").await });
    assert_eq!(daemon.status("fine").unwrap(), Status::Running);
    daemon.create(world.container("new", "true")).unwrap();
    assert!(!asked.is_finished() && begin.elapsed() < state, "{:?}", begin.elapsed());
    assert_eq!(daemon.run(asked).unwrap().unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    let listed = daemon.run(daemon.runtime.list(&daemon.namespace));
    let brief: Vec<_> = listed.iter().map(|s| (s.container_id.as_str(), s.status)).collect();
    assert_eq!(brief, [("fine", Status::Running), ("frozen", Status::Unknown), ("new", Status::Created)]);
    signal(shim, Signal::CONT);
    for id in ["frozen", "fine", "new"] {
        daemon.finish(id);
    }
    world.assert_clean();
}

#[test]
fn what_no_record_names_is_removed() {
    let world = World::new(GO_SHIM);
    let first = world.daemon();
    let leaked = first.create(world.container("leaked", "busybox sleep 100")).unwrap();
    first.start("leaked");
    first.create(world.container("kept", "busybox sleep 100")).unwrap();
    first.start("kept");
    drop(first);
    world.forget("leaked");
    let ns = world.namespace.as_str();
    for litter in [
        format!("state/{ns}/empty"),
        format!("state/{ns}/.half"),
        format!("root/{ns}/orphan/x"),
        format!("root/{ns}/.half"),
    ] {
        fs::create_dir_all(world.path(&litter)).unwrap();
    }
    let mut second = world.daemon();
    assert_eq!(second.recover(), Recovered { adopted: 1, removed: 2, ..Recovered::default() });
    assert!(!alive(leaked));
    assert!(exits(&second.events()).iter().all(|e| e.container_id != "kept"));
    for id in ["leaked", "empty"] {
        assert!(!world.bundle(id).exists());
        // The id is free again.
        second.create(world.container(id, "true")).unwrap();
        second.finish(id);
    }
    second.finish("kept");
    world.assert_clean();
}

#[test]
fn a_create_cut_short_at_any_moment_is_undone() {
    let world = World::new(GO_SHIM);
    for after in [0u64, 2, 5, 10, 15, 20, 30, 40, 50, 60] {
        let daemon = world.daemon();
        daemon.serve();
        let (runtime, ns) = (daemon.runtime.clone(), daemon.namespace.clone());
        let create = world.container("c1", "busybox sleep 100");
        let creating = daemon.spawn(async move { runtime.create(&ns, create).await });
        std::thread::sleep(Duration::from_millis(after));
        let done = creating.is_finished();
        drop(daemon);
        let next = world.daemon();
        let recovered = next.recover();
        assert!(recovered.dead == 0 && recovered.aside == 0, "after {after} ms: {recovered:?}");
        if recovered.adopted == 1 {
            assert_eq!(next.status("c1").unwrap(), Status::Created);
            next.finish("c1");
        } else {
            assert!(!done, "a create that was answered is lost after {after} ms");
        }
        next.run(next.runtime.drain(Duration::from_secs(10)));
        world.assert_clean();
    }
}

#[test]
fn bundles_of_the_original_are_taken_over() {
    let world = World::new(GO_SHIM);
    let first = world.daemon();
    for id in ["v16", "broken"] {
        first.create(world.container(id, "busybox sleep 100")).unwrap();
        first.start(id);
    }
    let first_version = first.endpoint("v16").version;
    drop(first);
    // As containerd 1.6 leaves it: the address alone.
    let bundle = world.bundle("v16");
    let answer = fs::read_to_string(bundle.join("bootstrap.json")).unwrap();
    let address = answer.split('"').find(|part| part.starts_with("unix://")).unwrap();
    fs::write(bundle.join("address"), address).unwrap();
    let speaks_v2 = first_version == 2 || !world.is_original();
    fs::remove_file(bundle.join("bootstrap.json")).unwrap();
    fs::remove_file(bundle.join("shim-binary-path")).unwrap();
    // One bad record hides nobody else's.
    fs::write(world.bundle("broken").join("bootstrap.json"), [0xff, 0x00, 0x7f]).unwrap();
    let second = world.daemon();
    let recovered = second.recover();
    if speaks_v2 {
        assert_eq!((recovered.adopted, recovered.dead), (1, 1));
        assert_eq!(second.status("v16").unwrap(), Status::Running);
        second.finish("v16");
    } else {
        // Shims of the original that speak version 3 speak nothing else, and never leave an address alone.
        assert_eq!((recovered.adopted, recovered.dead), (0, 2));
    }
    world.assert_clean();
}

#[test]
fn a_daemon_killed_at_any_moment_of_a_run_loses_nothing() {
    let world = World::new(GO_SHIM);
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed_u64);
    let mut random = seed;
    for round in 0..16 {
        // xorshift: any spread of moments will do, as long as a failure can be repeated.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let after = Duration::from_micros(random % 180_000);
        let first = world.daemon();
        first.serve();
        let (runtime, ns) = (first.runtime.clone(), first.namespace.clone());
        let task = world.container("c1", "exit 21");
        first.spawn(async move {
            runtime.create(&ns, task).await?;
            runtime.start(&ns, "c1", "").await?;
            runtime.wait(&ns, "c1", "").await?;
            runtime.delete(&ns, "c1").await
        });
        std::thread::sleep(after);
        drop(first);
        let told = || format!("seed {seed:#x}, round {round}, after {after:?}");
        let second = world.daemon();
        let recovered = second.recover();
        assert_eq!(recovered.aside, 0, "{}", told());
        match second.status("c1") {
            Ok(status) => {
                if status == Status::Created {
                    // The start that the first daemon asked for may be under way.
                    let _ = second.run(second.runtime.start(&second.namespace, "c1", ""));
                }
                assert_eq!(second.wait("c1").status, 21, "{}", told());
                assert_eq!(second.delete("c1").unwrap().status, 21, "{}", told());
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{}: {error}", told()),
        }
        assert!(second.run(second.runtime.drain(Duration::from_secs(10))));
        world.assert_clean();
    }
}
