//! The restart monitor over real records and real containers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use base::{Labels, Mount, Namespace};
use runtime::Status;
use runtime::restart::{COUNT_LABEL, LOG_URI_LABEL, Monitor, POLICY_LABEL, RootFs, STATUS_LABEL};
use store::{Container, Metadata, MetadataOptions, RuntimeInfo};
use world::*;

struct Fixed(Vec<Mount>);

#[async_trait::async_trait]
impl RootFs for Fixed {
    async fn mounts(&self, _: &Namespace, _: &Container) -> Result<Vec<Mount>, base::Error> {
        Ok(self.0.clone())
    }
}

struct Kept {
    world: World,
    meta: Metadata,
    daemon: Daemon,
    monitor: Option<Monitor>,
}

impl Kept {
    fn new() -> Self {
        let world = World::new(GO_SHIM);
        fs::create_dir_all(world.path("meta")).unwrap();
        let meta = Metadata::open(&world.path("meta"), MetadataOptions::default()).unwrap();
        let daemon = world.daemon_of(meta.clone(), |_| {});
        let rootfs = world.container("any", "true").rootfs;
        let monitor = daemon.run(async {
            Monitor::start(
                daemon.runtime.clone(),
                meta.clone(),
                Duration::from_millis(50),
                Arc::new(Fixed(rootfs)),
            )
        });
        Self { world, meta, daemon, monitor: Some(monitor) }
    }

    fn record(&self, id: &str, script: &str, labels: &[(&str, &str)]) {
        let runtime = RuntimeInfo { name: GO_SHIM.to_owned(), options: None };
        let mut container = Container::new(id, runtime, self.world.container(id, script).spec.unwrap());
        container.labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Labels>();
        self.daemon.run(self.meta.containers().create(&self.world.namespace, container)).unwrap();
    }

    fn label(&self, id: &str, name: &str, value: &str) {
        let mut container = self.meta.containers().get(&self.world.namespace, id).unwrap();
        container.labels.insert(name.to_owned(), value.to_owned());
        let mask = [format!("labels.{name}")];
        self.daemon.run(self.meta.containers().update(&self.world.namespace, container, &mask)).unwrap();
    }

    fn count(&self, id: &str) -> u32 {
        let container = self.meta.containers().get(&self.world.namespace, id).unwrap();
        container.labels.get(COUNT_LABEL).map_or(0, |count| count.parse().unwrap())
    }

    fn until(&self, id: &str, what: Status) {
        eventually(&format!("{id} is {what:?}"), || (self.daemon.status(id).ok()? == what).then_some(()));
    }

    fn end(mut self, ids: &[&str]) {
        self.monitor = None;
        for id in ids {
            eventually("the last change is over", || {
                let _ = self.daemon.kill(id);
                let ended = self.daemon.status(id).map_or(true, |s| s == Status::Stopped);
                ended.then_some(())
            });
            let _ = self.daemon.delete(id);
        }
        self.daemon.run(self.daemon.runtime.drain(Duration::from_secs(10)));
        self.world.assert_clean();
    }
}

#[test]
fn running_is_kept_running_and_stopped_is_stopped() {
    let kept = Kept::new();
    let log = kept.world.path("out.log");
    let uri = format!("file://{}", log.display());
    kept.record("c1", "echo hello; busybox sleep 100", &[(STATUS_LABEL, "running"), (LOG_URI_LABEL, &uri)]);
    kept.until("c1", Status::Running);
    eventually("its output", || fs::read_to_string(&log).ok()?.contains("hello").then_some(()));
    assert_eq!(kept.count("c1"), 1);
    kept.daemon.kill("c1").unwrap();
    eventually("it was started again", || (kept.count("c1") == 2).then_some(()));
    kept.until("c1", Status::Running);
    kept.label("c1", STATUS_LABEL, "stopped");
    eventually("it is stopped and deleted", || kept.daemon.status("c1").is_err().then_some(()));
    kept.end(&["c1"]);
}

#[test]
fn failures_are_counted_and_others_are_left_alone() {
    let kept = Kept::new();
    let failing = [(STATUS_LABEL, "running"), (POLICY_LABEL, "on-failure:2")];
    kept.record("fails", "exit 1", &failing);
    kept.record("none", "true", &[]);
    let mut task = kept.world.container("fails", "exit 1");
    task.runtime_name = GO_SHIM.to_owned();
    kept.daemon.create(task).unwrap();
    kept.daemon.start("fails");
    eventually("it was started twice more", || (kept.count("fails") == 2).then_some(()));
    kept.until("fails", Status::Stopped);
    // Many turns later it is still at two.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(kept.count("fails"), 2);
    assert!(kept.daemon.status("none").is_err());
    kept.end(&["fails"]);
}
