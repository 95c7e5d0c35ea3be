//! Contracts of the gRPC services: tables of calls with the status code and the words that must come back, run against
//! our daemon and against the original.
//!
//! `PEER_CONTAINERD=/path/to/containerd` runs a table against that daemon instead of ours; without it, the cases that
//! are marked as valid for it run against the distribution's 1.6 too. `RPC_SHOW=1` prints every answer.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::BoxFuture;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::leftovers::mounts_below;
use crate::{Daemon, Kind, Scratch, eventually};

/// How long one case may take.
const CASE: Duration = Duration::from_secs(60);
/// Bytes that the client takes in one message: more than any server here may send.
const CLIENT_LIMIT: usize = 64 << 20;

/// Which implementation answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Server {
    /// containerd-rs.
    Ours,
    /// The original, of the generation that ours follows (2.x).
    Original,
    /// The distribution's older original (1.x).
    Older,
}

/// A connection to a daemon, with the headers that go with every call. Cheap to clone.
#[derive(Clone)]
pub struct Rpc {
    channel: Channel,
    headers: Headers,
    dir: PathBuf,
    server: Server,
}

/// Namespace and lease, put into each request.
#[derive(Clone, Default)]
pub struct Headers {
    namespace: Option<MetadataValue<Ascii>>,
    lease: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (key, value) in [("containerd-namespace", &self.namespace), ("containerd-lease", &self.lease)] {
            if let Some(value) = value {
                request.metadata_mut().insert(key, value.clone());
            }
        }
        Ok(request)
    }
}

/// What the clients of the services speak over.
pub type Transport = InterceptedService<Channel, Headers>;

macro_rules! clients {
    ($($name:ident => $client:path),* $(,)?) => {
        impl Rpc {
            $(/// A client of the service.
            pub fn $name(&self) -> $client {
                <$client>::new(InterceptedService::new(self.channel.clone(), self.headers.clone()))
                    .max_decoding_message_size(CLIENT_LIMIT)
                    .max_encoding_message_size(CLIENT_LIMIT)
            })*
        }
    };
}

clients! {
    containers => protos::api::containers::containers_client::ContainersClient<Transport>,
    content => protos::api::content::content_client::ContentClient<Transport>,
    diff => protos::api::diff::diff_client::DiffClient<Transport>,
    events => protos::api::events::events_client::EventsClient<Transport>,
    images => protos::api::images::images_client::ImagesClient<Transport>,
    introspection => protos::api::introspection::introspection_client::IntrospectionClient<Transport>,
    mounts => protos::api::mounts::mounts_client::MountsClient<Transport>,
    leases => protos::api::leases::leases_client::LeasesClient<Transport>,
    namespaces => protos::api::namespaces::namespaces_client::NamespacesClient<Transport>,
    sandbox_controllers => protos::api::sandbox::controller_client::ControllerClient<Transport>,
    sandboxes => protos::api::sandbox::store_client::StoreClient<Transport>,
    snapshots => protos::api::snapshots::snapshots_client::SnapshotsClient<Transport>,
    streaming => protos::api::streaming::streaming_client::StreamingClient<Transport>,
    tasks => protos::api::tasks::tasks_client::TasksClient<Transport>,
    transfer => protos::api::transfer::transfer_client::TransferClient<Transport>,
    version => protos::api::version::version_client::VersionClient<Transport>,
}

impl Rpc {
    /// Connect to the daemon below `dir`.
    pub async fn connect(address: &Path, dir: &Path, server: Server) -> anyhow::Result<Self> {
        let endpoint = Endpoint::try_from(format!("unix://{}", address.display()))?;
        let channel = endpoint.connect().await.context("connect to the daemon")?;
        Ok(Self { channel, headers: Headers::default(), dir: dir.to_path_buf(), server })
    }

    /// The same connection in namespace `name`.
    pub fn within(&self, name: &str) -> Self {
        let namespace = name.parse().ok();
        Self { headers: Headers { namespace, lease: self.headers.lease.clone() }, ..self.clone() }
    }

    /// The same connection without a namespace.
    pub fn nowhere(&self) -> Self {
        Self { headers: Headers { namespace: None, lease: self.headers.lease.clone() }, ..self.clone() }
    }

    /// The same connection under lease `id`.
    pub fn leased(&self, id: &str) -> Self {
        let lease = id.parse().ok();
        Self { headers: Headers { namespace: self.headers.namespace.clone(), lease }, ..self.clone() }
    }

    /// The bare channel, for calls that no generated client makes.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A directory of the test's own.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Who answers.
    pub fn server(&self) -> Server {
        self.server
    }
}

type Call = Box<dyn FnOnce(Rpc) -> BoxFuture<'static, Result<String, Status>>>;

/// What must come back.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    code: Code,
    /// Parts of the message (of the answer's debug text when the code is Ok), in this order, `*` between them.
    words: &'static str,
}

impl Answer {
    fn matches(&self, got: &Result<String, Status>) -> bool {
        let (code, mut text) = match got {
            Ok(text) => (Code::Ok, text.as_str()),
            Err(status) => (status.code(), status.message()),
        };
        code == self.code
            && self.words.split('*').all(|part| match text.find(part) {
                Some(at) => {
                    text = &text[at + part.len()..];
                    true
                }
                None => false,
            })
    }
}

/// One call and what it answers.
pub struct Case {
    name: String,
    expected: Answer,
    /// What ours answers instead, and why.
    ours: Option<(Answer, &'static str)>,
    /// The original is not asked: it does not survive the call, or does not answer it reliably.
    only_ours: bool,
    older: bool,
    call: Call,
}

/// A case: `call` must answer `code`, with `words` in the message (see [`Answer`]).
pub fn case<F, R, T>(name: impl Into<String>, code: Code, words: &'static str, call: F) -> Case
where
    F: FnOnce(Rpc) -> R + 'static,
    R: Future<Output = Result<T, Status>> + Send + 'static,
    T: Debug,
{
    let call: Call = Box::new(move |rpc| {
        let answer = call(rpc);
        Box::pin(async move { answer.await.map(|value| shown(&value)) })
    });
    let expected = Answer { code, words };
    Case { name: name.into(), expected, ours: None, only_ours: false, older: false, call }
}

/// An answer as text, without the headers that it came with.
fn shown(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    match text.split_once("}, message: ") {
        Some((_, message)) => message.strip_suffix(", extensions: {} }").unwrap_or(message).to_owned(),
        None => text,
    }
}

impl Case {
    /// Ours answers otherwise, for a reason that stands in `docs/behaviours/rpc.md` below the case's name.
    pub fn ours(mut self, code: Code, words: &'static str, reason: &'static str) -> Self {
        self.ours = Some((Answer { code, words }, reason));
        self
    }

    /// The original must not be asked; the reason stands in `docs/behaviours/rpc.md`.
    pub fn only_ours(mut self, reason: &'static str) -> Self {
        self.ours = Some((self.expected, reason));
        self.only_ours = true;
        self
    }

    /// The distribution's older containerd answers the same.
    pub fn older(mut self) -> Self {
        self.older = true;
        self
    }

    fn runs_on(&self, server: Server) -> bool {
        match server {
            Server::Ours => true,
            Server::Original => !self.only_ours,
            Server::Older => self.older && !self.only_ours,
        }
    }

    async fn run(self, rpc: Rpc) -> Result<(), String> {
        let expected = match (&self.ours, rpc.server) {
            (Some((answer, _)), Server::Ours) => *answer,
            _ => self.expected,
        };
        let got = match tokio::time::timeout(CASE, (self.call)(rpc)).await {
            Ok(got) => got,
            Err(_) => return Err(format!("{}: no answer within {CASE:?}", self.name)),
        };
        let text = match &got {
            Ok(text) => format!("Ok: {}", text.chars().take(400).collect::<String>()),
            Err(s) => format!("{:?}: {}", s.code(), s.message().chars().take(600).collect::<String>()),
        };
        if std::env::var_os("RPC_SHOW").is_some() {
            println!("{} -> {text}", self.name);
        }
        match expected.matches(&got) {
            true => Ok(()),
            false => Err(format!(
                "{}\n    wanted {:?}: {}\n    got    {text}",
                self.name, expected.code, expected.words
            )),
        }
    }
}

/// The daemons that a table is run on in this process.
fn servers() -> Vec<(Server, Option<PathBuf>)> {
    match std::env::var_os("PEER_CONTAINERD").map(PathBuf::from) {
        Some(path) => vec![(generation(&path), Some(path))],
        None => vec![(Server::Ours, None), (Server::Older, Some(crate::program::installed("containerd")))],
    }
}

fn generation(path: &Path) -> Server {
    let ran = crate::program::run(std::process::Command::new(path).arg("--version"));
    match ran.map(|r| r.stdout) {
        Ok(text) if text.contains(" 1.") => Server::Older,
        _ => Server::Original,
    }
}

/// Build a table with `table` (which may set things up first) and run it, each case in turn; panics with every case
/// that answered otherwise. `name` is short: it becomes part of a socket's path.
pub fn contract<T>(name: &str, table: T)
where
    T: AsyncFn(Rpc) -> anyhow::Result<Vec<Case>>,
{
    check(name, servers(), table);
}

/// [`contract`] of a service that the older containerd does not have.
pub fn newer_contract<T>(name: &str, table: T)
where
    T: AsyncFn(Rpc) -> anyhow::Result<Vec<Case>>,
{
    check(name, servers().into_iter().filter(|s| s.0 != Server::Older).collect(), table);
}

fn check<T>(name: &str, servers: Vec<(Server, Option<PathBuf>)>, table: T)
where
    T: AsyncFn(Rpc) -> anyhow::Result<Vec<Case>>,
{
    let mut failed = Vec::new();
    for (server, path) in servers {
        on(server, path, name, async |rpc, daemon| {
            let cases: Vec<Case> =
                table(rpc.clone()).await?.into_iter().filter(|c| c.runs_on(rpc.server)).collect();
            let (total, before) = (cases.len(), failed.len());
            for case in cases {
                recorded(&case, &mut failed);
                let name = case.name.clone();
                if let Err(mismatch) = case.run(rpc.clone()).await {
                    failed.push(format!("[{:?}] {mismatch}", rpc.server));
                }
                if daemon.has_ended()? {
                    failed.push(format!("[{:?}] {name}: the daemon died of it", rpc.server));
                    daemon.start()?;
                }
            }
            println!("{:?}: {} of {total} cases as expected", rpc.server, total - (failed.len() - before));
            Ok(())
        });
    }
    assert!(failed.is_empty(), "{} cases answered otherwise:\n{}", failed.len(), failed.join("\n"));
}

/// Every difference must be told in the book of behaviours.
fn recorded(case: &Case, failed: &mut Vec<String>) {
    let Some((_, reason)) = &case.ours else { return };
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/behaviours/rpc.md");
    let book = std::fs::read_to_string(book).unwrap_or_default();
    // A row may stand for all cases whose names begin alike.
    let named = |row: &str| row.split('`').skip(1).step_by(2).any(|name| case.name.starts_with(name));
    if !book.lines().any(|row| named(row) && row.contains(reason)) {
        failed.push(format!("docs/behaviours/rpc.md: no row with `{}` and the reason: {reason}", case.name));
    }
}

/// Run `story` on our daemon, or on the one that `PEER_CONTAINERD` names.
pub fn story<T>(name: &str, story: T)
where
    T: AsyncFnOnce(Rpc) -> anyhow::Result<()>,
{
    let Some((server, path)) = servers().into_iter().next() else { return };
    on(server, path, name, async |rpc, _| story(rpc).await);
}

fn on<T>(server: Server, path: Option<PathBuf>, name: &str, work: T)
where
    T: AsyncFnOnce(Rpc, &mut Daemon) -> anyhow::Result<()>,
{
    if server == Server::Older && path.as_ref().is_some_and(|p| !p.exists()) {
        return;
    }
    let scratch = Scratch::new(name).unwrap_or_else(|e| panic!("{e:?}"));
    let kind = if server == Server::Ours { Kind::Ours } else { Kind::Peer };
    let mut daemon = Daemon::new(kind, scratch.join("d"));
    if let Some(path) = path {
        daemon = daemon.program(path);
    }
    daemon.start().unwrap_or_else(|e| panic!("{e:?}"));
    let runtime = tokio::runtime::Runtime::new().unwrap_or_else(|e| panic!("{e:?}"));
    let result = runtime.block_on(async {
        let rpc = Rpc::connect(&daemon.address(), scratch.path(), server).await?;
        work(rpc, &mut daemon).await
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    result.unwrap_or_else(|e| panic!("{e:?}"));
    daemon.stop().unwrap_or_else(|e| panic!("{e:?}"));
    // A shim hangs up first and ends a little later.
    eventually("the shims to be gone", || daemon.shims().is_empty().then_some(()));
    assert_eq!(mounts_below(scratch.path()), Vec::<String>::new(), "mounts left behind");
}
