//! A worker that has been taken over: it goes to jail as the real one does, and then tries to get out in every way that it can think of. One
//! line for each way on stdout, `name=errno`; 0 is a way that worked.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use std::ffi::CString;
use std::os::fd::AsRawFd;

use snapshot::worker::Inside;

fn main() {
    // Whom to attack: the process that started this one.
    let victim = std::os::unix::process::parent_id() as i32;
    let inside = snapshot::worker::enter_jail(&std::env::args().nth(2).unwrap()).unwrap();
    println!("private={}", i32::from(inside.private));
    println!("landlock={}", inside.walls.landlock.unwrap_or(0));
    println!("fds={}", open_descriptors());
    outside(&inside);
    lowers(&inside);
    devices(&inside);
    links(&inside);
    blob(&inside);
    mounts();
    processes(victim);
    programs();
    kernel();
    the_work_itself(&inside);
}

fn say(name: &str, rc: libc::c_long) {
    let errno = if rc < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { 0 };
    println!("{name}={errno}");
}

/// Any call with up to six arguments.
macro_rules! call {
    ($name:expr, $call:expr $(, $arg:expr)*) => {{
        // SAFETY: pointers among the arguments come from values that live through the call.
        let rc = unsafe { libc::syscall($call $(, $arg)*) };
        say($name, rc);
        rc
    }};
}

fn text(s: &str) -> CString {
    CString::new(s).unwrap()
}

fn open_descriptors() -> usize {
    // SAFETY: asks for flags only.
    (0..1024).filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0).count()
}

/// Everything that a path can be used for.
fn by_path(from: &str, dir: i32, path: &str) {
    let p = text(path);
    let p = p.as_ptr();
    let name = |what: &str| format!("{from} {what} {path}");
    for (what, flags) in [
        ("read", libc::O_RDONLY),
        ("write", libc::O_WRONLY),
        ("path", libc::O_PATH),
        ("list", libc::O_DIRECTORY),
    ] {
        call!(&name(what), libc::SYS_openat, dir, p, flags, 0);
        let how = [flags as u64, 0, 0u64];
        call!(&name(&format!("{what} openat2")), libc::SYS_openat2, dir, p, how.as_ptr(), size_of_val(&how));
    }
    let mut stat = [0u8; 512];
    call!(&name("stat"), libc::SYS_newfstatat, dir, p, stat.as_mut_ptr(), 0);
    call!(&name("chmod"), libc::SYS_fchmodat, dir, p, 0o777);
    call!(&name("chown"), libc::SYS_fchownat, dir, p, 1, 1, 0);
    call!(&name("utimes"), libc::SYS_utimensat, dir, p, std::ptr::null::<u8>(), 0);
    call!(&name("unlink"), libc::SYS_unlinkat, dir, p, 0);
    call!(&name("link here"), libc::SYS_linkat, dir, p, libc::AT_FDCWD, c"/stolen".as_ptr(), 0);
    call!(&name("rename"), libc::SYS_renameat2, dir, p, libc::AT_FDCWD, c"/stolen2".as_ptr(), 0);
    call!(&name("mkdir"), libc::SYS_mkdirat, dir, text(&format!("{path}.made")).as_ptr(), 0o777);
    // SAFETY: a valid descriptor or AT_FDCWD.
    if dir >= 0 && unsafe { libc::fchdir(dir) } == 0 {
        call!(&name("set xattr"), libc::SYS_lsetxattr, p, c"user.a".as_ptr(), c"b".as_ptr(), 1, 0);
    }
}

fn outside(inside: &Inside) {
    let all = std::iter::once(("root", &inside.root)).chain(inside.lowers.iter().map(|l| ("lower", l)));
    for (name, fd) in all {
        for path in ["../secret", "../../secret", "../../../../../../../etc/passwd", "../lower/f"] {
            by_path(name, fd.as_raw_fd(), path);
        }
    }
    for path in ["/etc/passwd", "../../../../etc/passwd", "/proc/self/fd/1", "/dev/null", "/secret"] {
        by_path("here", libc::AT_FDCWD, path);
    }
}

fn lowers(inside: &Inside) {
    for fd in inside.lowers.iter().map(AsRawFd::as_raw_fd) {
        call!("lower file read", libc::SYS_openat, fd, c"f".as_ptr(), libc::O_RDONLY, 0);
        call!("lower file write", libc::SYS_openat, fd, c"f".as_ptr(), libc::O_WRONLY, 0);
        call!(
            "lower file create",
            libc::SYS_openat,
            fd,
            c"new".as_ptr(),
            libc::O_CREAT | libc::O_WRONLY,
            0o600
        );
        call!("lower file chmod", libc::SYS_fchmodat, fd, c"f".as_ptr(), 0o4777);
        call!("lower file chown", libc::SYS_fchownat, fd, c"f".as_ptr(), 1, 1, 0);
        call!("lower file unlink", libc::SYS_unlinkat, fd, c"f".as_ptr(), 0);
        call!("lower file link", libc::SYS_linkat, fd, c"f".as_ptr(), libc::AT_FDCWD, c"/f".as_ptr(), 0);
        call!("lower mkdir", libc::SYS_mkdirat, fd, c"d".as_ptr(), 0o777);
        call!("lower mknod", libc::SYS_mknodat, fd, c"n".as_ptr(), libc::S_IFCHR | 0o666, 0x103);
        let (key, value) = (c"trusted.overlay.opaque".as_ptr(), c"y".as_ptr());
        call!("lower set xattr", libc::SYS_fsetxattr, fd, key, value, 1, 0);
        call!("lower chown itself", libc::SYS_fchown, fd, 1, 1);
        call!("lower chmod itself", libc::SYS_fchmod, fd, 0o777);
    }
}

fn devices(inside: &Inside) {
    let root = inside.root.as_raw_fd();
    for (name, kind, device) in
        [(c"null", libc::S_IFCHR, 0x103), (c"mem", libc::S_IFCHR, 0x101), (c"disk", libc::S_IFBLK, 0xfe00)]
    {
        // A layer may bring these: making them is allowed.
        // SAFETY: a C string and a descriptor that live on.
        assert_eq!(unsafe { libc::mknodat(root, name.as_ptr(), kind | 0o666, device) }, 0);
        let what = name.to_str().unwrap();
        call!(&format!("device {what} read"), libc::SYS_openat, root, name.as_ptr(), libc::O_RDONLY, 0);
        call!(&format!("device {what} write"), libc::SYS_openat, root, name.as_ptr(), libc::O_RDWR, 0);
    }
}

fn links(inside: &Inside) {
    for (name, to) in
        [("abs", "/etc/passwd"), ("rel", "../../../../etc/passwd"), ("proc", "/proc/1/root/etc/passwd")]
    {
        rustix::fs::symlinkat(to, &inside.root, name).unwrap();
        by_path("link", inside.root.as_raw_fd(), name);
    }
}

/// Only reading: the blob is the content store's.
fn blob(inside: &Inside) {
    let layer = inside.layer.as_raw_fd();
    call!("blob chmod", libc::SYS_fchmod, layer, 0o777);
    call!("blob chown", libc::SYS_fchown, layer, 1, 1);
    call!("blob truncate", libc::SYS_ftruncate, layer, 0);
    call!("blob write", libc::SYS_write, layer, c"x".as_ptr(), 1);
    call!("blob pwrite", libc::SYS_pwrite64, layer, c"x".as_ptr(), 1, 0);
    call!("blob xattr", libc::SYS_fsetxattr, layer, c"user.a".as_ptr(), c"b".as_ptr(), 1, 0);
    call!("blob utimes", libc::SYS_utimensat, layer, std::ptr::null::<u8>(), std::ptr::null::<u8>(), 0);
    call!(
        "blob link",
        libc::SYS_linkat,
        layer,
        c"".as_ptr(),
        libc::AT_FDCWD,
        c"/blob".as_ptr(),
        libc::AT_EMPTY_PATH
    );
    let link = text(&format!("/proc/self/fd/{layer}"));
    call!("blob reopen", libc::SYS_openat, libc::AT_FDCWD, link.as_ptr(), libc::O_RDWR, 0);
    // What was on descriptor 0 before is no longer there.
    call!("stdin chmod", libc::SYS_fchmodat, 0, c"".as_ptr(), 0o777, libc::AT_EMPTY_PATH);
}

fn mounts() {
    let (root, none) = (c"/".as_ptr(), std::ptr::null::<u8>());
    call!("mount", libc::SYS_mount, c"none".as_ptr(), root, c"proc".as_ptr(), 0, none);
    call!("bind mount", libc::SYS_mount, c"..".as_ptr(), root, none, libc::MS_BIND, none);
    call!("umount", libc::SYS_umount2, root, libc::MNT_DETACH);
    call!("pivot_root", libc::SYS_pivot_root, root, root);
    call!("chroot", libc::SYS_chroot, c"..".as_ptr());
    call!("unshare", libc::SYS_unshare, libc::CLONE_NEWNS);
    call!("unshare user", libc::SYS_unshare, libc::CLONE_NEWUSER);
    call!("setns", libc::SYS_setns, 1, 0);
    call!("open_tree", libc::SYS_open_tree, libc::AT_FDCWD, root, 1);
    call!("fsopen", libc::SYS_fsopen, c"proc".as_ptr(), 0);
    call!("move_mount", libc::SYS_move_mount, 3, c"".as_ptr(), libc::AT_FDCWD, root, 4);
    call!("mount_setattr", 442, 3, c"".as_ptr(), libc::AT_EMPTY_PATH, none, 32);
    call!("swapon", libc::SYS_swapon, root, 0);
}

fn processes(victim: i32) {
    let none = std::ptr::null::<u8>();
    call!("ptrace attach", libc::SYS_ptrace, libc::PTRACE_ATTACH, victim, 0, 0);
    call!("ptrace seize", libc::SYS_ptrace, libc::PTRACE_SEIZE, victim, 0, 0);
    call!("read memory", libc::SYS_process_vm_readv, victim, none, 0, none, 0, 0);
    call!("write memory", libc::SYS_process_vm_writev, victim, none, 0, none, 0, 0);
    call!("kill", libc::SYS_kill, victim, 0);
    call!("tgkill", libc::SYS_tgkill, victim, victim, 0);
    call!("pidfd_open", libc::SYS_pidfd_open, victim, 0);
    call!("kcmp", libc::SYS_kcmp, victim, victim, 0, 0, 0);
    call!("prlimit", libc::SYS_prlimit64, 0, libc::RLIMIT_AS, none, none);
    call!("fork", libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
    let args = [0u64; 11];
    call!("clone3", 435, args.as_ptr(), size_of_val(&args));
    call!("sigio", libc::SYS_fcntl, 1, libc::F_SETOWN, victim);
    call!("pdeathsig", libc::SYS_prctl, libc::PR_SET_PDEATHSIG, 9, 0, 0, 0);
}

fn programs() {
    let none = std::ptr::null::<u8>();
    let argv = [c"/bin/sh".as_ptr(), std::ptr::null()];
    call!("execve", libc::SYS_execve, argv[0], argv.as_ptr(), none);
    call!("execveat", libc::SYS_execveat, 0, c"".as_ptr(), argv.as_ptr(), none, libc::AT_EMPTY_PATH);
    call!("memfd", libc::SYS_memfd_create, c"x".as_ptr(), 0);
    let exec = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    call!("map code", libc::SYS_mmap, 0, 4096, exec, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
    let page = std::alloc::Layout::from_size_align(4096, 4096).unwrap();
    // SAFETY: a layout of some size; the page is leaked.
    let page = unsafe { std::alloc::alloc(page) };
    call!("make code", libc::SYS_mprotect, page, 4096, libc::PROT_READ | libc::PROT_EXEC);
}

fn kernel() {
    let none = std::ptr::null::<u8>();
    for (name, family) in
        [("unix", libc::AF_UNIX), ("inet", libc::AF_INET), ("netlink", libc::AF_NETLINK), ("alg", 38)]
    {
        call!(&format!("socket {name}"), libc::SYS_socket, family, libc::SOCK_STREAM, 0);
    }
    let mut pair = [0i32; 2];
    call!("socketpair", libc::SYS_socketpair, libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr());
    call!("open_by_handle_at", libc::SYS_open_by_handle_at, libc::AT_FDCWD, none, 0);
    call!("name_to_handle_at", libc::SYS_name_to_handle_at, libc::AT_FDCWD, none, none, none, 0);
    call!("ioctl", libc::SYS_ioctl, 1, libc::TIOCSTI, c"x".as_ptr());
    call!("bpf", libc::SYS_bpf, 0, none, 0);
    call!("perf_event_open", libc::SYS_perf_event_open, none, 0, -1, -1, 0);
    call!("io_uring_setup", libc::SYS_io_uring_setup, 1, none);
    call!("userfaultfd", libc::SYS_userfaultfd, 0);
    call!("keyctl", libc::SYS_keyctl, 0, 0, 0, 0, 0);
    call!("init_module", libc::SYS_init_module, none, 0, none);
    call!("seccomp", libc::SYS_seccomp, 0, 0, none);
    call!("capset", libc::SYS_capset, none, none);
    call!("setuid", libc::SYS_setuid, 1);
    call!("sethostname", libc::SYS_sethostname, none, 0);
    call!("fanotify_init", libc::SYS_fanotify_init, 0, 0);
    call!("inotify_init1", libc::SYS_inotify_init1, 0);
}

/// What a layer needs goes on working: a jail in which nothing works would pass all of the above.
fn the_work_itself(inside: &Inside) {
    use rustix::fs::{AtFlags, Gid, Mode, Uid};
    let root = &inside.root;
    rustix::fs::mkdirat(root, "work", Mode::from_raw_mode(0o755)).unwrap();
    std::fs::write("/work/file", "ok").unwrap();
    rustix::fs::linkat(root, "work/file", root, "linked", AtFlags::empty()).unwrap();
    rustix::fs::fsetxattr(root, "trusted.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).unwrap();
    let (uid, gid) = (Some(Uid::from_raw(12)), Some(Gid::from_raw(34)));
    rustix::fs::chownat(root, "work/file", uid, gid, AtFlags::empty()).unwrap();
    for lower in &inside.lowers {
        let names = rustix::fs::Dir::read_from(lower).unwrap().map(|e| e.unwrap().file_name().to_owned());
        assert!(names.into_iter().any(|n| n.as_c_str() == c"f"));
    }
    let mut first = [0u8; 4];
    rustix::io::pread(&inside.layer, &mut first, 0).unwrap();
    assert_eq!(&first, b"blob");
    println!("done=0");
}
