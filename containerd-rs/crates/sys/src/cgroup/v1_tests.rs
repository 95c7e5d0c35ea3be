//! Recorded files, and the real groups of this machine where it has version 1.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::cgroup::{Cgroup, Mode, Stats};

fn fixture(files: &[(&str, &str)]) -> (tempfile::TempDir, BTreeMap<String, PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let all = ["cpu", "cpuacct", "memory", "pids", "blkio", "rdma"];
    let dirs = all.iter().map(|c| ((*c).to_owned(), dir.path().to_owned())).collect();
    (dir, dirs)
}

#[test]
fn every_field_comes_from_its_file() {
    let (_dir, dirs) = fixture(&[
        ("cpuacct.stat", "user 150\nsystem 7\n"),
        ("cpuacct.usage", "1570000123\n"),
        ("cpuacct.usage_percpu", "1000000123 570000000 \n"),
        ("cpu.stat", "nr_periods 10\nnr_throttled 3\nthrottled_time 123456\n"),
        (
            "memory.stat",
            "cache 1\nrss 2\nrss_huge 3\nmapped_file 4\nhierarchical_memory_limit 9223372036854771712\n\
             hierarchical_memsw_limit 77\ntotal_cache 18\ntotal_pgmajfault 28\ntotal_unevictable 32\npgpgin 7\n",
        ),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 1\noom_kill 5\n"),
        ("memory.usage_in_bytes", "1000\n"),
        ("memory.limit_in_bytes", "2000\n"),
        ("memory.max_usage_in_bytes", "1500\n"),
        ("memory.failcnt", "9\n"),
        ("memory.kmem.tcp.usage_in_bytes", "11\n"),
        ("pids.current", "4\n"),
        ("pids.max", "max\n"),
        ("blkio.throttle.io_serviced", "254:0 Read 3\n254:0 Write 4\n7:1 Discard 0\nTotal 7\n"),
        ("blkio.throttle.io_service_bytes", "254:0 Read 4096\nTotal 4096\n"),
        ("rdma.current", "mlx4_0 hca_handle=2 hca_object=2000\n"),
        ("rdma.max", "mlx4_0 hca_handle=3 hca_object=max\n"),
    ]);
    let m = read(&dirs).unwrap();
    assert_eq!(
        (m.cpu.usage_total, m.cpu.usage_user, m.cpu.usage_kernel),
        (1_570_000_123, 1_500_000_000, 70_000_000)
    );
    assert_eq!(m.cpu.usage_per_cpu, [1_000_000_123, 570_000_000]);
    assert_eq!((m.cpu.throttling_periods, m.cpu.throttled_periods, m.cpu.throttled_time), (10, 3, 123_456));
    let memory = m.memory.unwrap();
    assert_eq!(
        (memory.cache, memory.rss, memory.rss_huge, memory.mapped_file, memory.pg_pg_in),
        (1, 2, 3, 4, 7)
    );
    assert_eq!((memory.hierarchical_swap_limit, memory.total_cache, memory.total_pg_maj_fault), (77, 18, 28));
    assert_eq!((memory.total_unevictable, memory.hierarchical_memory_limit), (32, 9_223_372_036_854_771_712));
    assert_eq!(memory.usage, MemoryEntry { limit: 2000, usage: 1000, max: 1500, failcnt: 9 });
    assert_eq!((memory.swap, memory.kernel_tcp.usage), (MemoryEntry::default(), 11));
    assert_eq!(
        m.memory_oom_control.unwrap(),
        MemoryOomControl { oom_kill_disable: 0, under_oom: 1, oom_kill: 5 }
    );
    assert_eq!(m.pids.unwrap(), PidsStat { current: 4, limit: 0 });
    assert_eq!(m.rdma.unwrap().limit[0].hca_objects, u32::MAX);
    let blkio = m.blkio.unwrap();
    assert_eq!(blkio.io_serviced_recursive.len(), 3);
    let first = &blkio.io_service_bytes_recursive[0];
    assert_eq!((first.op.as_str(), first.major, first.minor, first.value), ("Read", 254, 0, 4096));
}

#[test]
fn schedulers_counters_go_before_the_throttling_ones() {
    let (dir, _) = fixture(&[
        ("blkio.io_serviced_recursive", "8:0 Read 10\nTotal 10\n"),
        ("blkio.sectors_recursive", "8:0 96\n"),
        ("blkio.throttle.io_serviced", "8:0 Read 99\nTotal 99\n"),
        (
            "partitions",
            "major minor  #blocks  name\n\n   8        0   1000 sda\n   8        0   1000 again\n",
        ),
    ]);
    let names = device_names(&dir.path().join("partitions"));
    let stat = read_blkio(dir.path(), &names).unwrap().unwrap();
    assert_eq!(stat.io_serviced_recursive[0].value, 10);
    assert_eq!((stat.sectors_recursive[0].op.as_str(), stat.sectors_recursive[0].value), ("", 96));
    assert_eq!(stat.sectors_recursive[0].device, "/dev/sda");
    std::fs::write(dir.path().join("blkio.sectors_recursive"), "nonsense\n").unwrap();
    assert!(read_blkio(dir.path(), &names).is_err());
}

#[test]
fn huge_pages_and_missing_groups() {
    let (dir, _) = fixture(&[
        ("hugetlb.2MB.usage_in_bytes", "2097152\n"),
        ("hugetlb.2MB.max_usage_in_bytes", "4194304\n"),
        ("hugetlb.2MB.failcnt", "1\n"),
    ]);
    let stats = read_hugetlb(dir.path(), &["2MB".to_owned(), "1GB".to_owned()]).unwrap();
    let expected = HugetlbStat { usage: 2_097_152, max: 4_194_304, failcnt: 1, pagesize: "2MB".to_owned() };
    assert_eq!(stats, [expected]);
    let gone = ["memory", "cpu", "pids"]
        .iter()
        .map(|c| ((*c).to_owned(), PathBuf::from("/no/such/group")))
        .collect();
    assert_eq!(read(&gone).unwrap(), Metrics::default());
}

#[test]
fn the_machines_own_group_is_read() {
    if Mode::detect() == Mode::Unified {
        return;
    }
    let Stats::V1(m) = Cgroup::of_pid(std::process::id()).unwrap().stats().unwrap() else {
        panic!("version 1 expected")
    };
    assert!(m.memory.unwrap().usage.usage > 0);
    assert!(m.cpu.usage_total > 0 && !m.cpu.usage_per_cpu.is_empty());
}
