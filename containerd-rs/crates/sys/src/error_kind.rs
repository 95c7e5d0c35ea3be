//! Which class of failure an error is for the API: the one table of this crate.

use base::{ErrorKind, Kinded};
use rustix::io::Errno;

use crate::Error;

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Invalid(_) => ErrorKind::InvalidArgument,
            Error::Exists(_) => ErrorKind::AlreadyExists,
            Error::Timeout { .. } => ErrorKind::DeadlineExceeded,
            // Go containerd gives the bare errno of a failed mount to its clients, which is "unknown".
            Error::Mount { .. } | Error::Malformed { .. } | Error::Program { .. } => ErrorKind::Unknown,
            Error::Path { source, .. } | Error::Call { source, .. } => {
                source.raw_os_error().map_or(ErrorKind::Unknown, of_errno)
            }
        }
    }
}

fn of_errno(errno: i32) -> ErrorKind {
    match Errno::from_raw_os_error(errno) {
        Errno::NOENT | Errno::SRCH => ErrorKind::NotFound,
        Errno::EXIST => ErrorKind::AlreadyExists,
        Errno::PERM | Errno::ACCESS => ErrorKind::PermissionDenied,
        Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE | Errno::NOMEM => {
            ErrorKind::ResourceExhausted
        }
        Errno::INVAL | Errno::NAMETOOLONG => ErrorKind::InvalidArgument,
        Errno::NOSYS | Errno::OPNOTSUPP => ErrorKind::Unimplemented,
        Errno::BUSY | Errno::NOTEMPTY => ErrorKind::FailedPrecondition,
        Errno::TIMEDOUT => ErrorKind::DeadlineExceeded,
        Errno::AGAIN => ErrorKind::Unavailable,
        _ => ErrorKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errnos_become_kinds() {
        for (errno, kind) in [
            (Errno::NOENT, ErrorKind::NotFound),
            (Errno::EXIST, ErrorKind::AlreadyExists),
            (Errno::NOSPC, ErrorKind::ResourceExhausted),
            (Errno::IO, ErrorKind::Unknown),
        ] {
            assert_eq!(Error::path("open", "/x", errno).kind(), kind);
            assert_eq!(Error::call("poll", errno).kind(), kind);
        }
        assert_eq!(Error::Exists(String::new()).kind(), ErrorKind::AlreadyExists);
        let e = Error::path("open", "/x", Errno::NOENT);
        assert_eq!(base::chain(&e), "open /x: No such file or directory (os error 2)");
    }
}
