//! How long each step of `run` takes here. Prints; asserts nothing about the machine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::time::{Duration, Instant};

use world::*;

#[test]
#[ignore = "a measurement, not a check"]
fn steps_of_a_run() {
    let world = World::new(GO_SHIM);
    let daemon = world.daemon();
    let rounds = 30;
    let mut sums = [Duration::ZERO; 5];
    for round in 0..=rounds {
        let task = world.container(&format!("c{round}"), "true");
        let id = task.container_id.clone();
        let mut marks = vec![Instant::now()];
        daemon.create(task).unwrap();
        marks.push(Instant::now());
        daemon.start(&id);
        marks.push(Instant::now());
        daemon.wait(&id);
        marks.push(Instant::now());
        daemon.delete(&id).unwrap();
        marks.push(Instant::now());
        daemon.run(daemon.runtime.drain(Duration::from_secs(5)));
        marks.push(Instant::now());
        // The first one asks the shim for its version.
        if round > 0 {
            for (sum, pair) in sums.iter_mut().zip(marks.windows(2)) {
                *sum += pair[1] - pair[0];
            }
        }
    }
    for (name, sum) in ["create", "start", "wait", "delete", "after"].iter().zip(sums) {
        println!("{name:8} {:6.2} ms", sum.as_secs_f64() * 1000.0 / f64::from(rounds));
    }
    world.assert_clean();
}

#[test]
#[ignore = "a measurement, not a check"]
fn restart_over_fifty() {
    let world = World::new(GO_SHIM);
    let first = world.daemon();
    let begin = Instant::now();
    let creates: Vec<_> = (0..50)
        .map(|n| {
            let (runtime, ns) = (first.runtime.clone(), first.namespace.clone());
            let task = world.container(&format!("c{n}"), "busybox sleep 1000");
            first.spawn(async move {
                let id = task.container_id.clone();
                runtime.create(&ns, task).await.unwrap();
                runtime.start(&ns, &id, "").await.unwrap();
            })
        })
        .collect();
    for create in creates {
        first.run(create).unwrap();
    }
    println!("50 parallel creates and starts {:?}", begin.elapsed());
    drop(first);
    let second = world.daemon();
    let begin = Instant::now();
    let recovery = second.run(second.runtime.recover()).unwrap();
    println!("recover returned {:?}", begin.elapsed());
    let listed = second.run(second.runtime.list(&second.namespace));
    assert!(listed.len() == 50 && listed.iter().all(|s| s.status == runtime::Status::Running));
    println!("all listed {:?}", begin.elapsed());
    assert_eq!(second.run(recovery).unwrap().adopted, 50);
    for n in 0..50 {
        second.finish(&format!("c{n}"));
    }
    world.assert_clean();
}
