//! Where a story plays: a shim under test, and the book that its answers are held against.

use std::fs::File;
use std::path::PathBuf;

use integration::program::{installed, ours};
use integration::shim::{Bundle, Dialect, Place, Task, Version, eventually};

/// Whose shim answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Subject {
    Ours,
    /// The original of 1.6, with version 2 of the service.
    Older,
    /// The original of 2.3, with version 3.
    Newer,
}

impl Subject {
    /// The original that is the oracle in this run.
    pub(crate) fn peer() -> Subject {
        match std::env::var_os("SHIM_CONTRACT_PEER") {
            Some(_) => Subject::Newer,
            None => Subject::Older,
        }
    }

    pub(crate) fn version(self) -> Version {
        match self {
            Subject::Older => Version::V2,
            Subject::Ours | Subject::Newer => Version::V3,
        }
    }

    fn program(self) -> PathBuf {
        let name = "containerd-shim-runc-v2";
        match self {
            Subject::Ours => ours(name),
            Subject::Older => installed(name),
            Subject::Newer => std::env::var_os("SHIM_CONTRACT_PEER").map(PathBuf::from).unwrap(),
        }
    }

    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Subject::Older => Dialect::Address,
            Subject::Ours | Subject::Newer => Dialect::Params,
        }
    }
}

/// What a case must say. `*` stands for anything.
#[derive(Clone, Copy)]
pub(crate) struct Want {
    older: &'static str,
    newer: Option<&'static str>,
    ours: Option<(&'static str, &'static str)>,
}

/// All say the same, unless told otherwise.
pub(crate) fn all(text: &'static str) -> Want {
    Want { older: text, newer: None, ours: None }
}

impl Want {
    /// 2.3 says this; so do we.
    pub(crate) fn newer(mut self, text: &'static str) -> Want {
        self.newer = Some(text);
        self
    }

    /// Ours says this, and why.
    pub(crate) fn ours(mut self, text: &'static str, why: &'static str) -> Want {
        self.ours = Some((text, why));
        self
    }

    fn of(&self, subject: Subject) -> &'static str {
        let newer = self.newer.unwrap_or(self.older);
        match subject {
            Subject::Older => self.older,
            Subject::Newer => newer,
            Subject::Ours => self.ours.map_or(newer, |o| o.0),
        }
    }

    /// The line of `docs/behaviours/shim-contract.md`, for a case in which not all agree.
    pub(crate) fn line(&self, story: &str, case: &str) -> Option<String> {
        if self.newer.is_none() && self.ours.is_none() {
            return None;
        }
        let newer = self.newer.unwrap_or(self.older);
        let (ours, why) = self.ours.unwrap_or((newer, "as 2.3"));
        let cell = |text: &str| format!("`{}`", text.replace('|', "\\|").replace('`', "'"));
        Some(format!(
            "| {story} | {case} | {} | {} | {} | {why} |",
            cell(self.older),
            cell(newer),
            cell(ours)
        ))
    }
}

/// See the module.
pub(crate) struct Stage {
    pub(crate) place: Place,
    pub(crate) subject: Subject,
    pub(crate) version: Version,
    story: &'static str,
    wrong: Vec<String>,
    logs: Vec<File>,
}

impl Stage {
    pub(crate) async fn new(subject: Subject, version: Version, story: &'static str) -> Stage {
        let place = Place::of(subject.program()).await;
        Stage { place, subject, version, story, wrong: Vec::new(), logs: Vec::new() }
    }

    /// Holds an answer against what it must be; the story goes on, and fails at its end.
    pub(crate) fn check(&mut self, case: &'static str, got: impl AsRef<str>, want: Want) {
        let dir = self.place.dir.path().to_string_lossy().into_owned();
        let got = got.as_ref().replace(&dir, "DIR");
        let must = want.of(self.subject);
        if std::env::var_os("SHIM_CONTRACT_SHOW").is_some() {
            println!("{:?} {}/{case}: {got:?}", self.subject, self.story);
        }
        if !matches(must, &got) {
            self.wrong.push(format!("{case}:\n   got {got:?}\n  want {must:?}"));
        }
        if let Some(line) = want.line(self.story, case)
            && !crate::document::lists(&line)
        {
            self.wrong.push(format!("docs/behaviours/shim-contract.md lacks:\n{line}"));
        }
    }

    /// A bundle, with its log held open as a daemon holds it.
    pub(crate) fn bundle(&mut self, id: &str, args: &[&str]) -> Bundle {
        let bundle = self.place.bundle(id, args);
        self.logs.push(sys::fifo::open_read_write(&bundle.dir.join("log")).unwrap());
        bundle
    }

    /// A shim for the bundle, in the dialect of its generation: where it listens, and a client.
    pub(crate) async fn shim(&self, bundle: &Bundle) -> (String, Task) {
        let started =
            self.place.program.start(&bundle.dir, &bundle.id, self.subject.dialect(), None).unwrap();
        let address = started.answer.address;
        let task = Task::dial(&address, self.version).await.unwrap();
        (address, task)
    }

    /// A bundle, its shim, and the container running.
    pub(crate) async fn running(&mut self, id: &str, args: &[&str]) -> (Bundle, Task) {
        let bundle = self.bundle(id, args);
        let (_, task) = self.shim(&bundle).await;
        task.create(&bundle.create_request()).await.unwrap();
        task.start(id, "").await.unwrap();
        (bundle, task)
    }

    /// Kills and deletes a container, and asks its shim to leave.
    pub(crate) async fn over(&self, task: &Task, id: &str) {
        let _ = task.kill(id, "", 9).await;
        if task.wait(id, "").await.is_ok() {
            // The original tells of an end before it takes one that is not yet its own: it may want a second try.
            task.delete(id, "").await.unwrap();
        }
        let _ = task.shutdown(id).await;
    }

    /// Nothing of the story is left, and all answers were right.
    pub(crate) async fn end(self) {
        let dir = self.place.dir.path().to_string_lossy().into_owned();
        let shims = || {
            let found = integration::daemon::processes();
            found.filter(|(_, args)| args.iter().any(|a| a.contains(&dir))).map(|p| p.0).collect::<Vec<_>>()
        };
        if self.wrong.is_empty() {
            eventually("every process of the story ends", || shims().is_empty().then_some(())).await;
            let mounts = integration::leftovers::mounts_below(self.place.dir.path());
            assert!(mounts.is_empty(), "left behind: {mounts:?}");
        }
        assert!(self.wrong.is_empty(), "{:?}, {}:\n{}", self.subject, self.story, self.wrong.join("\n"));
    }
}

/// Whether `text` is `pattern`, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut rest = rest;
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// An answer in words: `ok`, or the code's name and the message.
pub(crate) fn said<T>(answer: &ttrpc::Result<T>) -> String {
    match answer {
        Ok(_) => "ok".to_owned(),
        Err(ttrpc::Error::RpcStatus(status)) => format!("{}: {}", name(status.code()), status.message),
        Err(e) => format!("no answer: {e}"),
    }
}

fn name(code: ttrpc::Code) -> &'static str {
    use ttrpc::Code;
    match code {
        Code::OK => "Ok",
        Code::CANCELLED => "Canceled",
        Code::UNKNOWN => "Unknown",
        Code::INVALID_ARGUMENT => "InvalidArgument",
        Code::DEADLINE_EXCEEDED => "DeadlineExceeded",
        Code::NOT_FOUND => "NotFound",
        Code::ALREADY_EXISTS => "AlreadyExists",
        Code::PERMISSION_DENIED => "PermissionDenied",
        Code::UNAUTHENTICATED => "Unauthenticated",
        Code::RESOURCE_EXHAUSTED => "ResourceExhausted",
        Code::FAILED_PRECONDITION => "FailedPrecondition",
        Code::ABORTED => "Aborted",
        Code::OUT_OF_RANGE => "OutOfRange",
        Code::UNIMPLEMENTED => "Unimplemented",
        Code::INTERNAL => "Internal",
        Code::UNAVAILABLE => "Unavailable",
        Code::DATA_LOSS => "DataLoss",
    }
}

#[test]
fn patterns() {
    for (pattern, text, want) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a*", "ab", true),
        ("*b", "ab", true),
        ("a*c*e", "abcde", true),
        ("a*x*e", "abcde", false),
        ("", "a", false),
        ("*", "", true),
    ] {
        assert_eq!(matches(pattern, text), want, "{pattern} {text}");
    }
}
