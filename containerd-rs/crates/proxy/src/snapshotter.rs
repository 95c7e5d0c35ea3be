//! A snapshotter in another process.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base::filter::FilterSet;
use base::{ErrorKind, Labels, Mount, Namespace, Scope};
use protos::api::snapshots::snapshots_client::SnapshotsClient;
use protos::api::snapshots::{self as api, *};
use snapshot::{CommitOptions, Error, Snapshotter, Usage};
use tonic::Status;
use tonic::transport::Channel;

use crate::channel::{Connection, MESSAGE, failure, request};
use crate::convert::{mask, mounts_in, time};

type Result<T> = std::result::Result<T, Error>;

/// The most snapshots that are taken from one list.
const LIMIT: usize = 1_000_000;

/// Speaks for the snapshotter `name` at an address.
pub struct ProxySnapshotter {
    name: String,
    client: SnapshotsClient<Channel>,
    capabilities: Vec<&'static str>,
    root: PathBuf,
}

impl ProxySnapshotter {
    /// `capabilities` are those of the configuration; unknown ones mean nothing here and are left out.
    pub fn new(name: &str, connection: &Connection, root: &Path, capabilities: &[String]) -> Self {
        let known = [snapshot::REBASE, snapshot::REMAP_IDS, snapshot::ONLY_REMAP_IDS];
        let client = SnapshotsClient::new(connection.channel());
        Self {
            name: name.to_owned(),
            client: client.max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE),
            capabilities: known.into_iter().filter(|k| capabilities.iter().any(|c| c == k)).collect(),
            root: root.to_owned(),
        }
    }

    fn client(&self) -> SnapshotsClient<Channel> {
        self.client.clone()
    }
}

fn error(status: Status) -> Error {
    let (kind, message) = failure(&status);
    Error::refused(kind, message)
}

/// Keys of the daemon begin with the namespace that they belong to.
fn scope(key: &str) -> Scope {
    let namespace = key.split_once('/').map(|(ns, _)| ns).and_then(|ns| Namespace::new(ns).ok());
    let default = || Namespace::new(base::defaults::NAMESPACE).ok();
    // The default name is a valid identifier.
    namespace.or_else(default).map_or_else(|| unreachable!("the default namespace is valid"), Scope::new)
}

fn info_in(info: Option<Info>) -> Result<snapshot::Info> {
    let info = info.ok_or_else(|| Error::refused(ErrorKind::Internal, "the answer has no snapshot"))?;
    let kind = match info.kind() {
        Kind::View => snapshot::Kind::View,
        Kind::Active => snapshot::Kind::Active,
        Kind::Committed => snapshot::Kind::Committed,
        Kind::Unknown => {
            return Err(Error::refused(ErrorKind::Internal, "the answer has a snapshot of unknown kind"));
        }
    };
    let (created_at, updated_at) = (time(info.created_at), time(info.updated_at));
    Ok(snapshot::Info {
        kind,
        name: info.name,
        parent: info.parent,
        labels: info.labels,
        created_at,
        updated_at,
    })
}

#[async_trait]
impl Snapshotter for ProxySnapshotter {
    async fn stat(&self, key: &str) -> Result<snapshot::Info> {
        let message = StatSnapshotRequest { snapshotter: self.name.clone(), key: key.to_owned() };
        info_in(self.client().stat(request(&scope(key), message)).await.map_err(error)?.into_inner().info)
    }

    async fn update(&self, info: snapshot::Info, fields: &[String]) -> Result<snapshot::Info> {
        let scope = scope(&info.name);
        let info = api::Info { name: info.name, labels: info.labels, ..Default::default() };
        let message = UpdateSnapshotRequest {
            snapshotter: self.name.clone(),
            info: Some(info),
            update_mask: mask(fields),
        };
        info_in(self.client().update(request(&scope, message)).await.map_err(error)?.into_inner().info)
    }

    async fn usage(&self, key: &str) -> Result<Usage> {
        let message = UsageRequest { snapshotter: self.name.clone(), key: key.to_owned() };
        let answer = self.client().usage(request(&scope(key), message)).await.map_err(error)?.into_inner();
        Ok(Usage { size: answer.size, inodes: answer.inodes })
    }

    async fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        let message = MountsRequest { snapshotter: self.name.clone(), key: key.to_owned() };
        Ok(mounts_in(
            self.client().mounts(request(&scope(key), message)).await.map_err(error)?.into_inner().mounts,
        ))
    }

    async fn prepare(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        let (snapshotter, key, parent) = (self.name.clone(), key.to_owned(), parent.to_owned());
        let scope = scope(&key);
        let message = PrepareSnapshotRequest { snapshotter, key, parent, labels };
        Ok(mounts_in(
            self.client().prepare(request(&scope, message)).await.map_err(error)?.into_inner().mounts,
        ))
    }

    async fn view(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        let (snapshotter, key, parent) = (self.name.clone(), key.to_owned(), parent.to_owned());
        let scope = scope(&key);
        let message = ViewSnapshotRequest { snapshotter, key, parent, labels };
        Ok(mounts_in(self.client().view(request(&scope, message)).await.map_err(error)?.into_inner().mounts))
    }

    async fn commit(&self, name: &str, key: &str, options: CommitOptions) -> Result<()> {
        let message = CommitSnapshotRequest {
            snapshotter: self.name.clone(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: options.labels,
            parent: options.parent,
        };
        self.client().commit(request(&scope(key), message)).await.map_err(error)?;
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<()> {
        let message = RemoveSnapshotRequest { snapshotter: self.name.clone(), key: key.to_owned() };
        self.client().remove(request(&scope(key), message)).await.map_err(error)?;
        Ok(())
    }

    async fn walk(&self, filters: &FilterSet) -> Result<Vec<snapshot::Info>> {
        // Filters are applied here: the other side's language may differ.
        // All of it is wanted. A snapshotter knows no namespaces; one that does would show one of them only, and what
        // this daemon has given up in the others would stay there.
        let message = ListSnapshotsRequest { snapshotter: self.name.clone(), filters: Vec::new() };
        let mut stream = self.client().list(request(&scope(""), message)).await.map_err(error)?.into_inner();
        let mut found = Vec::new();
        while let Some(batch) = stream.message().await.map_err(error)? {
            for info in batch.info {
                found.push(info_in(Some(info))?);
            }
            if found.len() > LIMIT {
                return Err(Error::refused(
                    ErrorKind::ResourceExhausted,
                    format!("more than {LIMIT} snapshots"),
                ));
            }
        }
        found.retain(|info| filters.matches(info));
        Ok(found)
    }

    async fn cleanup(&self) -> Result<()> {
        let message = CleanupRequest { snapshotter: self.name.clone() };
        match self.client().cleanup(request(&scope(""), message)).await {
            Err(status) if status.code() != tonic::Code::Unimplemented => Err(error(status)),
            _ => Ok(()),
        }
    }

    fn capabilities(&self) -> &[&'static str] {
        &self.capabilities
    }

    fn root(&self) -> &Path {
        &self.root
    }
}
