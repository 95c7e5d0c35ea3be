//! Wall time, CPU time and memory, from the kernel's own books.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The middle of some values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// Milliseconds that `work` takes.
pub fn millis(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

/// Proportional set size and private dirty memory of a process, in KiB.
pub fn memory(pid: u32) -> Option<(f64, f64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let field =
        |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    Some((field("Pss:")?, field("Private_Dirty:")?))
}

/// Resident memory of a process, in KiB.
pub fn resident(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|l| l.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
}

/// CPU time of a process and of its children that it has waited for, in seconds.
pub fn cpu(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11..15)?.iter().filter_map(|f| f.parse::<f64>().ok()).sum();
    Some(ticks / 100.0)
}

/// Watches the memory of a process and its children from a thread; the highest sum that it saw, in KiB.
pub struct Peak {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: std::thread::JoinHandle<f64>,
}

impl Peak {
    /// Watch `pid` and what it starts.
    pub fn watch(pid: u32) -> Self {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut highest = 0.0_f64;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                let mut all = integration::daemon::children_of(&[pid]);
                all.push(pid);
                let now: BTreeMap<u32, f64> =
                    all.into_iter().filter_map(|p| Some((p, memory(p)?.0))).collect();
                highest = highest.max(now.values().sum());
                std::thread::sleep(Duration::from_millis(20));
            }
            highest
        });
        Self { stop, thread }
    }

    /// The highest sum, in KiB.
    pub fn end(self) -> f64 {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.join().unwrap_or(f64::NAN)
    }
}
