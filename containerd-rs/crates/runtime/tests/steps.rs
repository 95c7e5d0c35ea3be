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
