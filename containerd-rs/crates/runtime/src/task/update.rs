use base::Namespace;
use protobuf::well_known_types::empty::Empty;
use protos::shim::task_v3::UpdateTaskRequest;

use crate::error::Error;
use crate::runtime::Runtime;

impl Runtime {
    /// Changes the container's limits: `resources` is an OCI LinuxResources. Runs on when the future is dropped.
    pub async fn update(
        &self,
        namespace: &Namespace,
        id: &str,
        resources: Option<&base::Any>,
        annotations: std::collections::BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let (_, shim) = self.live(namespace, id).await?;
        let request = UpdateTaskRequest {
            id: id.to_owned(),
            resources: resources.map(crate::wire::any).into(),
            annotations: annotations.into_iter().collect(),
            ..UpdateTaskRequest::default()
        };
        let limit = self.shared.options.timeouts.call;
        self.tracked("update", async move {
            let Empty { .. } = shim.client.call("Update", &request, limit).await?;
            Ok(())
        })
        .await
    }
}
