//! CreateSandbox: what the pod shall be is read, checked and written down; nothing runs yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use base::{Error, Mount};
use protos::shim::sandbox::CreateSandboxRequest;
use serde::Serialize;

use crate::beside::MOUNTS;
use crate::runc::SHORT;
use crate::sandbox::cri::PodConfig;
use crate::sandbox::decide::{Ask, Phase};
use crate::sandbox::plan::{Plan, Want};
use crate::sandbox::{FILE, Pod, Sandbox};
use crate::task::create::mounts_of;
use crate::task::ground;

/// What `delete` and people find in the bundle.
#[derive(Serialize)]
struct File<'a> {
    id: &'a str,
    created_at: String,
    plan: &'a Plan,
}

impl Sandbox {
    /// Makes the sandbox. Not cancel-safe.
    ///
    /// # Errors
    /// `AlreadyExists`; a bad id, spec, configuration or network namespace; a rootfs that cannot be mounted.
    pub(crate) async fn create(&self, request: CreateSandboxRequest) -> Result<(), Error> {
        let _claim = self.claim(&request.sandbox_id, Ask::Create).await?;
        let bundle = PathBuf::from(&request.bundle_path);
        if !bundle.is_absolute() || !bundle.is_dir() {
            return Err(Error::invalid(format!("bundle {:?} is not a directory", request.bundle_path)));
        }
        let config = match request.options.as_ref() {
            Some(any) if PodConfig::is(&any.type_url) => Some(PodConfig::parse(&any.value)?),
            // Of another kind, they are for somebody else.
            _ => None,
        };
        let plan = Plan::new(&bundle, config, &request.netns_path)?;
        if let Want::Join(path) = &plan.network {
            check_namespace(path)?;
        }
        let created_at = SystemTime::now();
        let file = File {
            id: &request.sandbox_id,
            created_at: base::timestamp::to_rfc3339_nano(created_at),
            plan: &plan,
        };
        let text = serde_json::to_vec(&file).map_err(|e| Error::internal("encode sandbox").with_source(e))?;
        sys::fs::write_atomic(&bundle.join(FILE), &text, 0o600)
            .map_err(|e| Error::unknown(format!("write {FILE}")).with_source(e))?;
        let mounted = mount(&bundle, mounts_of(&request.rootfs)).await?;
        let pod = Pod { id: request.sandbox_id, bundle, plan, mounted, created_at };
        let mut state = self.state();
        state.pod = Some(Arc::new(pod));
        state.phase = Phase::Created;
        state.held = Some(self.0.lifetime.hold());
        Ok(())
    }
}

/// Mounts the rootfs, if there is one, and says whether.
async fn mount(bundle: &Path, mounts: Vec<Mount>) -> Result<bool, Error> {
    let bundle = bundle.to_owned();
    let work = move || ground::mount(&bundle, &mounts);
    let unwanted = |mounted: Result<Option<PathBuf>, Error>| {
        if let Ok(Some(rootfs)) = mounted {
            ground::unmount(&rootfs);
        }
    };
    MOUNTS.run("mounting the rootfs", SHORT, None, work, unwanted).await?.map(|rootfs| rootfs.is_some())
}

/// A path that leads to no namespace is found out now, and not when the first container joins.
fn check_namespace(path: &str) -> Result<(), Error> {
    let wrong = |why: String| Error::invalid(format!("network namespace {path:?}: {why}"));
    let file = std::fs::File::open(Path::new(path)).map_err(|e| wrong(e.to_string()))?;
    let kind = rustix::fs::fstatfs(&file).map_err(|e| wrong(e.to_string()))?.f_type;
    // NSFS_MAGIC
    if kind as u64 == 0x6e73_6673 { Ok(()) } else { Err(wrong("is no namespace".to_owned())) }
}
