//! What a sandbox in a given phase lets be done to it: a pure table.

use base::Error;

/// Where a sandbox is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not made.
    #[default]
    Absent,
    /// Made; nothing runs.
    Created,
    /// Its namespaces are held.
    Ready,
    /// Nobody holds them any more.
    Ended,
    /// Shut down: the shim leaves.
    Gone,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Create,
    Start,
    Stop,
    Wait,
    Status,
    Ping,
    Metrics,
    Shutdown,
}

/// Whether it may be done.
///
/// # Errors
/// `NotFound`, `AlreadyExists`, or `FailedPrecondition`, with the reason.
pub(crate) fn decide(phase: Phase, ask: Ask, id: &str) -> Result<(), Error> {
    use Ask::{Create, Metrics, Ping, Shutdown, Start, Status, Stop, Wait};
    use Phase::{Absent, Created, Ended, Gone, Ready};
    let no = |why: &str| Err(Error::failed_precondition(format!("sandbox {id:?} {why}")));
    match (phase, ask) {
        (Absent, Create)
        | (Created, Start)
        | (Ready, Ping | Metrics)
        | (Created | Ready | Ended, Stop | Wait | Status)
        | (_, Shutdown) => Ok(()),
        (Absent | Gone, Start | Stop | Wait | Status | Ping | Metrics) => Err(absent(id)),
        (Created | Ready | Ended, Create) => Err(Error::already_exists(format!("sandbox {id:?}"))),
        (Gone, Create) => no("was shut down"),
        (Ready, Start) => no("is running already"),
        (Ended, Start) => no("has ended and cannot be started again"),
        (Created, Ping | Metrics) => no("is not started"),
        (Ended, Ping | Metrics) => no("has ended"),
    }
}

/// There is none of that name.
pub(crate) fn absent(id: &str) -> Error {
    Error::not_found(format!("sandbox {id:?}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use base::{ErrorKind, Kinded};

    #[test]
    fn the_whole_table() {
        use Phase::{Absent, Created, Ended, Gone, Ready};
        const OK: &str = "ok";
        let short = |answer: Result<(), Error>| match answer {
            Ok(()) => OK,
            Err(e) => match e.kind() {
                ErrorKind::NotFound => "nf",
                ErrorKind::AlreadyExists => "ae",
                ErrorKind::FailedPrecondition => "fp",
                other => panic!("{other}"),
            },
        };
        for (ask, want) in [
            (Ask::Create, [OK, "ae", "ae", "ae", "fp"]),
            (Ask::Start, ["nf", OK, "fp", "fp", "nf"]),
            (Ask::Stop, ["nf", OK, OK, OK, "nf"]),
            (Ask::Wait, ["nf", OK, OK, OK, "nf"]),
            (Ask::Status, ["nf", OK, OK, OK, "nf"]),
            (Ask::Ping, ["nf", "fp", OK, "fp", "nf"]),
            (Ask::Metrics, ["nf", "fp", OK, "fp", "nf"]),
            (Ask::Shutdown, [OK, OK, OK, OK, OK]),
        ] {
            let got = [Absent, Created, Ready, Ended, Gone].map(|phase| short(decide(phase, ask, "s")));
            assert_eq!(got, want, "{ask:?}");
        }
    }
}
