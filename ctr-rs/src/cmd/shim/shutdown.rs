//! `shim shutdown`.

use protos::shim::Empty;
use protos::shim::task_v3::ShutdownRequest;

use super::connect::Shim;
use crate::error::{Error, Result};

/// Asks the shim to leave. One that was faster than its answer has left.
pub(super) async fn run(shim: &Shim) -> Result<()> {
    let asked = shim.call::<_, Empty>("cannot shut the shim down", "Shutdown", &ShutdownRequest::new()).await;
    match asked {
        Err(Error::Refused { source, .. }) if base::Kinded::kind(&source) == base::ErrorKind::Unavailable => {
            Ok(())
        }
        other => other.map(drop),
    }
}
