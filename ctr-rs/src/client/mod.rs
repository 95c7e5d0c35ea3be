//! The connection to the daemon: one socket, made when the first call needs it, with the namespace (and, where one is held, the
//! lease) in every call's header.

pub mod activation;
pub mod blob;
pub mod image;
pub mod lease;
pub mod retry;
pub mod stream;
pub mod unpack;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::Namespace;
use hyper_util::rt::TokioIo;
use protos::api::{
    containers::containers_client::ContainersClient,
    content::content_client::ContentClient,
    diff::diff_client::DiffClient,
    events::events_client::EventsClient,
    images::images_client::ImagesClient,
    introspection::introspection_client::IntrospectionClient,
    leases::leases_client::LeasesClient,
    mounts::mounts_client::MountsClient,
    namespaces::namespaces_client::NamespacesClient,
    sandbox::{controller_client::ControllerClient, store_client::StoreClient},
    snapshots::snapshots_client::SnapshotsClient,
    streaming::streaming_client::StreamingClient,
    tasks::tasks_client::TasksClient,
    transfer::transfer_client::TransferClient,
    version::version_client::VersionClient,
};
use tokio::net::UnixStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::{Interceptor, interceptor::InterceptedService};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

use crate::error::{ConnectFailure, Error, Result};

const NAMESPACE_HEADER: &str = "containerd-namespace";
const LEASE_HEADER: &str = "containerd-lease";
/// How long between two tries of a connection.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);

/// Bytes that the daemon may send ahead on one stream, and on all.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// A channel whose calls carry our headers.
pub type Service = InterceptedService<Channel, Headers>;

/// Puts namespace and lease into each call.
#[derive(Clone, Debug)]
pub struct Headers {
    namespace: MetadataValue<Ascii>,
    lease: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        let headers = request.metadata_mut();
        headers.insert(NAMESPACE_HEADER, self.namespace.clone());
        if let Some(lease) = &self.lease {
            headers.insert(LEASE_HEADER, lease.clone());
        }
        Ok(request)
    }
}

/// A handle to the daemon. Cheap to clone; connects when the first call is made, and again when the connection broke.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    headers: Headers,
    namespace: Namespace,
}

macro_rules! services {
    ($($name:ident: $client:ident),* $(,)?) => {
        impl Client {
            $(
                #[doc = concat!("The service behind [`", stringify!($client), "`].")]
                pub fn $name(&self) -> $client<Service> {
                    $client::with_interceptor(self.channel.clone(), self.headers.clone())
                        .max_decoding_message_size(base::defaults::MAX_MESSAGE)
                        .max_encoding_message_size(base::defaults::MAX_MESSAGE)
                }
            )*
        }
    };
}

impl Client {
    /// A client of the socket at `address` (a path, or `unix://` and a path). Nothing is connected yet.
    ///
    /// `connect_timeout` is how long a socket that does not answer is tried again; zero: one try.
    pub fn new(address: &str, namespace: &str, connect_timeout: Duration) -> Result<Self> {
        let namespace =
            Namespace::new(namespace).map_err(|e| Error::refused("namespace cannot be used", e))?;
        let value = MetadataValue::try_from(namespace.as_str())
            .map_err(|_| Error::invalid(format!("namespace {namespace} cannot be used")))?;
        let path = PathBuf::from(address.strip_prefix("unix://").unwrap_or(address));
        let endpoint = Endpoint::from_static("http://localhost")
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { connect(&path, connect_timeout).await.map(TokioIo::new) }
        }));
        Ok(Client { channel, headers: Headers { namespace: value, lease: None }, namespace })
    }

    /// The namespace that calls are made in.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The same connection, with everything made under this lease.
    pub fn under_lease(&self, id: &str) -> Result<Self> {
        let lease = MetadataValue::try_from(id)
            .map_err(|_| Error::invalid(format!("lease id {id:?} cannot be sent")))?;
        let headers = Headers { lease: Some(lease), ..self.headers.clone() };
        Ok(Client { headers, ..self.clone() })
    }
}

services! {
    containers: ContainersClient,
    content: ContentClient,
    diff: DiffClient,
    events: EventsClient,
    images: ImagesClient,
    introspection: IntrospectionClient,
    leases: LeasesClient,
    mounts: MountsClient,
    namespaces: NamespacesClient,
    sandbox_controllers: ControllerClient,
    sandboxes: StoreClient,
    snapshots: SnapshotsClient,
    streaming: StreamingClient,
    tasks: TasksClient,
    transfer: TransferClient,
    version: VersionClient,
}

async fn connect(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(stream),
            Err(_) if begun.elapsed() < limit => tokio::time::sleep(CONNECT_PAUSE).await,
            Err(e) => {
                let text = match e.raw_os_error() {
                    Some(code) => rustix::io::Errno::from_raw_os_error(code).to_string(),
                    None => e.to_string(),
                };
                let failure = ConnectFailure {
                    address: path.display().to_string(),
                    kind: e.kind(),
                    text: text.split(" (os error").next().unwrap_or_default().to_lowercase(),
                };
                return Err(io::Error::new(e.kind(), failure));
            }
        }
    }
}
