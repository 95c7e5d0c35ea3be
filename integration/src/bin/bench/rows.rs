//! What is measured, one function a row.

use std::process::{Command, Stdio};

use integration::{Daemon, eventually, program};

use crate::Lab;
use crate::measure::{Peak, cpu, median, memory, millis, resident};
use crate::report::Table;

type Row = fn(&Lab, &mut Table) -> anyhow::Result<()>;

/// In the order of the report.
pub const ALL: &[(&str, Row)] = &[
    ("floor", floor),
    ("run", run),
    ("idle", idle),
    ("parallel", parallel),
    ("restart", restart),
    ("pull", pull),
];

/// What the OCI runtime takes by itself, on a bundle like those of the daemons.
fn floor(lab: &Lab, table: &mut Table) -> anyhow::Result<()> {
    let bundle = lab.scratch.join("bundle");
    let rootfs = bundle.join("rootfs");
    std::fs::create_dir_all(rootfs.join("bin"))?;
    std::fs::copy(program::installed("busybox"), rootfs.join("bin/busybox"))?;
    std::os::unix::fs::symlink("busybox", rootfs.join("bin/true"))?;
    let runc = |args: &[&str]| -> anyhow::Result<()> {
        let mut command = Command::new(program::installed("runc"));
        program::run(command.arg("--root").arg(lab.scratch.join("runc")).args(args))?.ok()?;
        Ok(())
    };
    program::run(Command::new(program::installed("runc")).arg("spec").current_dir(&bundle))?.ok()?;
    let path = bundle.join("config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    spec["process"]["args"] = serde_json::json!(["/bin/true"]);
    spec["process"]["terminal"] = false.into();
    std::fs::write(&path, serde_json::to_vec(&spec)?)?;
    let dir = bundle.to_string_lossy().into_owned();
    let (mut whole, mut create, mut start, mut delete) = (vec![], vec![], vec![], vec![]);
    for round in 0..lab.rounds {
        let id = format!("floor{round}");
        whole.push(millis(|| runc(&["run", "--bundle", &dir, &id]))?);
        // `create` leaves a process that keeps its output open: that must not be a pipe of ours.
        create.push(millis(|| {
            let mut command = Command::new(program::installed("runc"));
            command.arg("--root").arg(lab.scratch.join("runc")).args(["create", "--bundle", &dir, &id]);
            let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            anyhow::ensure!(status.success(), "runc create: {status}");
            Ok(())
        })?);
        start.push(millis(|| runc(&["start", &id]))?);
        eventually("the process to end", || {
            let state = Command::new(program::installed("runc"))
                .arg("--root")
                .arg(lab.scratch.join("runc"))
                .args(["state", &id])
                .output()
                .ok()?;
            String::from_utf8_lossy(&state.stdout).contains("\"stopped\"").then_some(())
        });
        delete.push(millis(|| runc(&["delete", &id]))?);
    }
    table.alone("bare `runc run true`", median(whole), "ms", "");
    let (create, start, delete) = (median(create), median(start), median(delete));
    table.alone(
        &format!("floor: runc create {create:.1} + start {start:.1} + delete {delete:.1}"),
        create + start + delete,
        "ms",
        "",
    );
    Ok(())
}

fn run(lab: &Lab, table: &mut Table) -> anyhow::Result<()> {
    let (mut ours, mut peer, mut own) = (vec![], vec![], vec![]);
    for round in 0..lab.rounds * 2 {
        let id = format!("run{round}");
        let args = ["run", "--rm", &lab.small, &id, "true"];
        peer.push(millis(|| lab.peer.ctr(&args)?.ok().map(drop))?);
        ours.push(millis(|| lab.ours.ctr(&args)?.ok().map(drop))?);
        own.push(millis(|| lab.ours.ctr_rs(&args)?.ok().map(drop))?);
    }
    let peer = median(peer);
    table.compare("`run --rm true`, Debian's `ctr` on both", median(ours), peer, "ms", "0.55");
    table.compare(
        "`run --rm true`, `ctr-rs` on ours, Debian's `ctr` on the peer",
        median(own),
        peer,
        "ms",
        "0.45",
    );
    Ok(())
}

const IDLE: usize = 50;

fn start_many(daemon: &Daemon, image: &str, prefix: &str, count: usize) -> anyhow::Result<()> {
    for i in 0..count {
        daemon.ctr(&["run", "-d", image, &format!("{prefix}{i}"), "sleep", "100000"])?.ok()?;
    }
    Ok(())
}

fn remove_many(daemon: &Daemon, prefix: &str, count: usize) -> anyhow::Result<()> {
    for i in 0..count {
        let id = format!("{prefix}{i}");
        daemon.ctr(&["tasks", "rm", "-f", &id])?;
        daemon.ctr(&["containers", "rm", &id])?.ok()?;
    }
    eventually("the shims to leave", || daemon.shims().is_empty().then_some(()));
    Ok(())
}

fn idle(lab: &Lab, table: &mut Table) -> anyhow::Result<()> {
    let mut fresh = Vec::new();
    for kind in [integration::Kind::Ours, integration::Kind::Peer] {
        let mut daemon = Daemon::new(kind, lab.scratch.join(format!("f{kind:?}")));
        daemon.start()?;
        std::thread::sleep(std::time::Duration::from_secs(2));
        fresh.push(daemon.pid().and_then(resident).unwrap_or(f64::NAN) / 1024.0);
    }
    table.compare("RSS of the daemon, just started", fresh[0], fresh[1], "MiB", "15 MB");
    let mut figures = Vec::new();
    for daemon in [&lab.ours, &lab.peer] {
        start_many(daemon, &lab.small, "idle", IDLE)?;
        std::thread::sleep(std::time::Duration::from_secs(2));
        let shims: Vec<(f64, f64)> = daemon.shims().into_iter().filter_map(memory).collect();
        anyhow::ensure!(shims.len() >= IDLE, "{} shims of {IDLE}", shims.len());
        let rss = daemon.pid().and_then(resident).unwrap_or(f64::NAN);
        figures.push((
            median(shims.iter().map(|s| s.0).collect()),
            median(shims.iter().map(|s| s.1).collect()),
            rss,
        ));
        remove_many(daemon, "idle", IDLE)?;
    }
    let [(pss, dirty, rss), (peer_pss, peer_dirty, peer_rss)] = figures[..] else {
        anyhow::bail!("two daemons")
    };
    table.compare("PSS of a shim, 50 idle", pss / 1024.0, peer_pss / 1024.0, "MiB", "0.6 MB");
    table.compare("private dirty of a shim, 50 idle", dirty / 1024.0, peer_dirty / 1024.0, "MiB", "");
    table.compare("RSS of the daemon over 50 idle containers", rss / 1024.0, peer_rss / 1024.0, "MiB", "");
    Ok(())
}

const PARALLEL: usize = 32;

fn parallel(lab: &Lab, table: &mut Table) -> anyhow::Result<()> {
    let (mut ours, mut peer) = (vec![], vec![]);
    for round in 0..3 {
        let prefix = format!("par{round}-");
        for (daemon, out) in [(&lab.peer, &mut peer), (&lab.ours, &mut ours)] {
            out.push(millis(|| {
                let start = |i| {
                    let id = format!("{prefix}{i}");
                    daemon
                        .ctr_command(&["run", "-d", &lab.small, &id, "sleep", "100000"])
                        .stdout(Stdio::null())
                        .spawn()
                };
                let children = (0..PARALLEL).map(start).collect::<Result<Vec<_>, _>>()?;
                for mut child in children {
                    anyhow::ensure!(child.wait()?.success(), "a start failed");
                }
                Ok(())
            })?);
            remove_many(daemon, &prefix, PARALLEL)?;
        }
    }
    table.compare("32 parallel starts, Debian's `ctr` on both", median(ours), median(peer), "ms", "0.6");
    Ok(())
}

fn restart(lab: &Lab, table: &mut Table) -> anyhow::Result<()> {
    let mut medians = Vec::new();
    for kind in [integration::Kind::Peer, integration::Kind::Ours] {
        let mut daemon = Daemon::new(kind, lab.scratch.join(format!("r{kind:?}")));
        daemon.start()?;
        daemon.ctr(&["images", "pull", "--plain-http", &lab.small])?.ok()?;
        start_many(&daemon, &lab.small, "r", IDLE)?;
        let mut times = vec![];
        for _ in 0..5 {
            daemon.kill9()?;
            times.push(millis(|| {
                daemon.spawn()?;
                eventually("all tasks to be listed as running", || {
                    std::os::unix::net::UnixStream::connect(daemon.address()).ok()?;
                    let listed = daemon.ctr(&["tasks", "ls"]).ok()?.ok().ok()?;
                    (listed.matches("RUNNING").count() == IDLE).then_some(())
                });
                Ok(())
            })?);
        }
        medians.push(median(times));
        remove_many(&daemon, "r", IDLE)?;
    }
    table.compare(
        "restart over 50 live containers, until all are listed",
        medians[1],
        medians[0],
        "ms",
        "0.3",
    );
    Ok(())
}

struct Pulled {
    wall: f64,
    cpu: f64,
    peak: f64,
}

fn pull_once(lab: &Lab, daemon: &Daemon, client: &mut Command) -> anyhow::Result<Pulled> {
    let pid = daemon.pid().unwrap_or_default();
    let before = cpu(pid).unwrap_or_default();
    let peak = Peak::watch(pid);
    let mut client_cpu = 0.0;
    let wall = millis(|| {
        let own = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN)?;
        program::run_within(std::time::Duration::from_secs(300), client)?.ok()?;
        let after = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN)?;
        let seconds = |u: nix::sys::resource::Usage| {
            let time = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
            time(u.user_time()) + time(u.system_time())
        };
        client_cpu = seconds(after) - seconds(own);
        Ok(())
    })?;
    let peak = peak.end();
    let spent = cpu(pid).unwrap_or(f64::NAN) - before + client_cpu;
    daemon.ctr(&["images", "rm", "--sync", &lab.large])?.ok()?;
    Ok(Pulled { wall, cpu: spent, peak })
}

fn pull(lab: &Lab, table: &mut Table) -> anyhow::Result<()> {
    let (mut ours, mut same, mut peer) = (vec![], vec![], vec![]);
    let args = ["images", "pull", "--plain-http", &lab.large];
    for _ in 0..3 {
        peer.push(pull_once(lab, &lab.peer, &mut lab.peer.ctr_command(&args))?);
        ours.push(pull_once(lab, &lab.ours, &mut lab.ours.ctr_rs_command(&["images", "pull", &lab.large]))?);
        same.push(pull_once(lab, &lab.ours, &mut lab.ours.ctr_command(&args))?);
    }
    let of = |list: &[Pulled], field: fn(&Pulled) -> f64| median(list.iter().map(field).collect());
    let size = lab.large_bytes / (1 << 20);
    for (what, list) in [("`ctr-rs` on ours", &ours), ("Debian's `ctr` on both", &same)] {
        table.compare(
            &format!("pull and unpack {size} MiB, 9 layers: wall ({what})"),
            of(list, |p| p.wall),
            of(&peer, |p| p.wall),
            "ms",
            "0.7",
        );
        table.compare(
            &format!("the same: CPU of client, daemon and workers ({what})"),
            of(list, |p| p.cpu),
            of(&peer, |p| p.cpu),
            "s",
            "",
        );
        table.compare(
            &format!("the same: peak PSS of daemon and workers ({what})"),
            of(list, |p| p.peak) / 1024.0,
            of(&peer, |p| p.peak) / 1024.0,
            "MiB",
            "",
        );
    }
    Ok(())
}
