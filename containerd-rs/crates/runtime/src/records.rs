//! What the runtime must know of the recorded containers and sandboxes.

use base::{ErrorKind, Kinded, Namespace};

/// Reads the records that say which tasks may exist. Reads must be quick: they happen on asynchronous threads.
pub trait Records: Send + Sync + 'static {
    /// The runtime name of a container; `None`: there is no such container.
    fn runtime_of(&self, namespace: &Namespace, id: &str) -> Result<Option<String>, base::Error>;

    /// Whether there is a sandbox of that id.
    fn has_sandbox(&self, namespace: &Namespace, id: &str) -> Result<bool, base::Error>;
}

impl Records for store::Metadata {
    fn runtime_of(&self, namespace: &Namespace, id: &str) -> Result<Option<String>, base::Error> {
        found(self.containers().get(namespace, id).map(|container| container.runtime.name))
    }

    fn has_sandbox(&self, namespace: &Namespace, id: &str) -> Result<bool, base::Error> {
        Ok(found(self.sandboxes().get(namespace, id))?.is_some())
    }
}

fn found<T>(looked_up: Result<T, store::Error>) -> Result<Option<T>, base::Error> {
    match looked_up {
        Ok(record) => Ok(Some(record)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(base::Error::wrap("look up", e)),
    }
}
