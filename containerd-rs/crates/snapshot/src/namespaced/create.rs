//! Prepare and view, with the protocol of `containerd.io/snapshot.ref`.

use base::filter::FilterSet;
use base::labels::snapshot as label;
use base::{ErrorKind, Kinded, Labels, Mount, Scope};
use store::NewSnapshot;

use super::{Snapshots, named, passed_down};
use crate::error::{Error, Result, carried_through};
use crate::info::{Info, Kind};

/// What is to be made.
struct Wanted {
    scope: Scope,
    kind: Kind,
    key: String,
    parent: String,
    labels: Labels,
}

impl Wanted {
    fn target(&self) -> Option<&str> {
        self.labels.get(label::REF).map(String::as_str).filter(|t| !t.is_empty())
    }
}

impl Snapshots {
    /// Makes an active snapshot.
    ///
    /// # Errors
    /// Already exists also when the label `containerd.io/snapshot.ref` names a snapshot that is
    /// there, or that the backend can give at once: it is then held by the lease of the scope.
    pub async fn prepare(
        &self,
        scope: &Scope,
        key: &str,
        parent: &str,
        labels: Labels,
    ) -> Result<Vec<Mount>> {
        self.create(scope, Kind::Active, key, parent, labels).await
    }

    /// Makes a read-only snapshot of a committed one.
    pub async fn view(&self, scope: &Scope, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.create(scope, Kind::View, key, parent, labels).await
    }

    async fn create(
        &self,
        scope: &Scope,
        kind: Kind,
        key: &str,
        parent: &str,
        labels: Labels,
    ) -> Result<Vec<Mount>> {
        named(key)?;
        let this = self.clone();
        let wanted =
            Wanted { scope: scope.clone(), kind, key: key.to_owned(), parent: parent.to_owned(), labels };
        carried_through(async move {
            match this.create_once(&wanted).await {
                Err(e) if e.kind() == ErrorKind::AlreadyExists && this.forget_lost(&wanted).await => {
                    this.create_once(&wanted).await
                }
                other => other,
            }
        })
        .await
    }

    async fn create_once(&self, wanted: &Wanted) -> Result<Vec<Mount>> {
        let Wanted { scope, kind, key, parent, labels } = wanted;
        let prepared = self.records.prepare(scope, key, parent, wanted.target(), labels).await?;
        let (below, below_parent) = (prepared.backend_key.as_str(), prepared.backend_parent.as_str());
        let made = match kind {
            Kind::View => self.backend.view(below, below_parent, passed_down(labels)).await,
            _ => self.backend.prepare(below, below_parent, passed_down(labels)).await,
        };
        let mounts = match made {
            Ok(mounts) => mounts,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                return match wanted.target() {
                    Some(target) => Err(self.adopt(wanted, target, below_parent).await?),
                    // The key was new: this is no answer that a client could act upon.
                    None => {
                        let message = format!("unexpected error from snapshotter: {}", base::chain(&e));
                        Err(Error::refused(ErrorKind::Unknown, message))
                    }
                };
            }
            Err(e) => return Err(e),
        };
        let new = NewSnapshot {
            key: key.clone(),
            backend_key: below.to_owned(),
            parent: parent.clone(),
            backend_parent: below_parent.to_owned(),
            labels: labels.clone(),
            times: None,
        };
        if let Err(e) = self.records.insert(scope, new).await {
            if let Err(e) = self.backend.remove(below).await {
                tracing::error!(snapshotter = %self.name, key = below, error = %base::chain(&e), "unreferenced snapshot is left to garbage collection");
            }
            return Err(e.into());
        }
        Ok(mounts)
    }

    /// The backend has the target already (a remote snapshotter): records it and gives the error
    /// that tells the client so.
    async fn adopt(&self, wanted: &Wanted, target: &str, below_parent: &str) -> Result<Error> {
        let found = self.find_target(target, below_parent).await?;
        let below = found.name.clone();
        let mut labels = wanted.labels.clone();
        for (key, value) in found.labels {
            labels.entry(key).or_insert(value);
        }
        let new = NewSnapshot {
            key: target.to_owned(),
            backend_key: found.name,
            parent: wanted.parent.clone(),
            backend_parent: found.parent,
            labels,
            times: Some((found.created_at, found.updated_at)),
        };
        match self.records.insert(&wanted.scope, new).await {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(e.into()),
            Err(e) => return Err(e.into()),
        }
        // A collection that looked before the record was there may have taken it away.
        if let Err(e) = self.backend.stat(&below).await {
            self.records.remove(&wanted.scope, target).await?;
            return Err(e);
        }
        let message = format!("target snapshot {target:?} from snapshotter");
        Ok(Error::refused(ErrorKind::AlreadyExists, message))
    }

    async fn find_target(&self, target: &str, below_parent: &str) -> Result<Info> {
        let filter = format!("labels.{:?}=={target:?},parent=={below_parent:?}", label::REF);
        let filters = FilterSet::parse(&[filter]).map_err(|e| Error::invalid(e.to_string()))?;
        let found =
            self.backend.walk(&filters).await.map_err(|e| e.during("failed walking backend snapshots"))?;
        // Not every backend honours filters.
        let fits = |info: &Info| {
            info.kind == Kind::Committed
                && info.parent == below_parent
                && info.labels.get(label::REF).is_some_and(|t| t == target)
        };
        found.into_iter().find(fits).ok_or_else(|| {
            Error::refused(ErrorKind::NotFound, format!("target snapshot {target:?} in backend"))
        })
    }

    /// Removes the record that is in the way when the backend no longer has its snapshot (a disk
    /// that lost data), with the lost ones on top of it; whether that made room.
    async fn forget_lost(&self, wanted: &Wanted) -> bool {
        for name in [wanted.target(), Some(wanted.key.as_str())].into_iter().flatten() {
            match self.forget_with_children(&wanted.scope, name).await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(e) => {
                    let error = base::chain(&e);
                    tracing::warn!(snapshotter = %self.name, key = name, error, "record of a lost snapshot stays");
                }
            }
        }
        false
    }

    async fn forget_with_children(&self, scope: &Scope, name: &str) -> Result<bool> {
        let mut chain = vec![name.to_owned()];
        let records = self.records.list(&scope.namespace)?;
        if !records.iter().any(|r| r.key == name) {
            return Ok(false);
        }
        let mut at = 0;
        while let Some(parent) = chain.get(at).cloned() {
            chain.extend(records.iter().filter(|r| r.parent == parent).map(|r| r.key.clone()));
            at += 1;
        }
        for record in records.iter().filter(|r| chain.contains(&r.key)) {
            match self.backend.stat(&record.backend_key).await {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
                Ok(_) => return Ok(false),
            }
        }
        for key in chain.iter().rev() {
            tracing::warn!(snapshotter = %self.name, key, "record of a lost snapshot is removed");
            self.records.remove(scope, key).await?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::sync::Arc;

    use base::Namespace;
    use store::{Metadata, MetadataOptions};

    use super::*;
    use crate::native::Native;
    use crate::snapshotter::Snapshotter;

    #[tokio::test]
    async fn a_name_without_a_record_is_not_lost() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("meta");
        std::fs::create_dir(&dir).unwrap();
        let meta = Metadata::open(&dir, MetadataOptions::default()).unwrap();
        let native = Arc::new(Native::open(&root.path().join("native")).await.unwrap());
        let snapshots = Snapshots::new("native", native.clone(), &meta);
        let scope = Scope { namespace: Namespace::new("one").unwrap(), lease: None };
        snapshots.prepare(&scope, "there", "", Labels::new()).await.unwrap();
        assert!(!snapshots.forget_with_children(&scope, "there").await.unwrap());
        assert!(!snapshots.forget_with_children(&scope, "never-made").await.unwrap());
        let below = native.walk(&FilterSet::all()).await.unwrap().remove(0).name;
        native.remove(&below).await.unwrap();
        assert!(snapshots.forget_with_children(&scope, "there").await.unwrap());
    }
}
