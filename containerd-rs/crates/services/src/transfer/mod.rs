//! `containerd.services.transfer.v1.Transfer`: one call, a source and a destination; the pair says what is done.
//!
//! | from | to | |
//! | --- | --- | --- |
//! | registry | image store | pull |
//! | image store | registry | push |
//! | registry | registry | copy, past the store |
//! | archive stream | image store | import |
//! | image store | archive stream | export |
//! | image store | image store | tag |
//! | archive stream | archive stream | echo, for tests of streams |

mod auth;
mod bytes_stream;
mod decode;
mod progress;
mod settings;

use std::sync::Arc;

use base::{ErrorKind, Scope};
use image::transfer::Local;
use protos::api::transfer::TransferRequest;
use protos::api::transfer::transfer_server::Transfer;
use protos::api::types_transfer::{ImageExportStream, ImageImportStream, ImageStore, OciRegistry};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use crate::parts::Parts;
use crate::request::scope;
use crate::status::{refuse, status};
use decode::End;

pub use settings::TransferSettings;

pub(crate) struct Service(pub(crate) Arc<Parts>);

#[tonic::async_trait]
impl Transfer for Service {
    async fn transfer(&self, request: Request<TransferRequest>) -> Result<Response<()>, Status> {
        let scope = scope(&request)?;
        let TransferRequest { source, destination, options } = request.into_inner();
        let (source, destination) =
            (decode::end(source, "source")?, decode::end(destination, "destination")?);
        let stream = options.map(|o| o.progress_stream).unwrap_or_default();
        let parts = Arc::clone(&self.0);
        let progress = progress::open(&parts, &scope, &stream)?;
        // Not detached: a client that goes ends its transfer. What was fetched stays and is found by the next one.
        let job = Job { parts, scope, progress: progress.as_ref().map(progress::Forwarding::sink) };
        let result = job.run(source, destination).await;
        drop(job);
        if let Some(forwarding) = progress {
            forwarding.finish().await;
        }
        result.map(Response::new)
    }
}

struct Job {
    parts: Arc<Parts>,
    scope: Scope,
    progress: Option<image::transfer::ProgressSink>,
}

impl Job {
    async fn run(&self, source: End, destination: End) -> Result<(), Status> {
        match (source, destination) {
            (End::Registry(from), End::Store(to)) => self.pull(from, to).await,
            (End::Store(from), End::Registry(to)) => self.push(from, to).await,
            (End::Registry(from), End::Registry(to)) => self.mirror(from, to).await,
            (End::Import(from), End::Store(to)) => self.import(from, to).await,
            (End::Store(from), End::Export(to)) => self.export(from, to).await,
            (End::Store(from), End::Store(to)) => self.tag(from, to).await,
            (End::Import(from), End::Export(to)) => self.echo(from, to).await,
            (from, to) => {
                let text = format!("transfer from {} to {} is not supported", from.name(), to.name());
                Err(refuse(ErrorKind::Unimplemented, text))
            }
        }
    }

    fn local(&self) -> Local {
        Local { meta: self.parts.metadata.clone(), content: Arc::clone(&self.parts.content) }
    }

    async fn pull(&self, from: OciRegistry, to: ImageStore) -> Result<(), Status> {
        let settings = &self.parts.transfer;
        let resolver = self.resolver(&from)?;
        let mut options = image::pull::PullOptions::new(from.reference.clone());
        options.destination = decode::destination(&to, &from.reference);
        options.platforms = decode::platforms(to.platforms);
        options.all_metadata = to.all_metadata;
        options.manifest_limit = to.manifest_limit as usize;
        options.unpack = settings.unpack_targets(&self.parts, to.unpacks)?;
        options.throttle = settings.throttle.clone();
        options.discard_unpacked_layers = settings.discard_unpacked_layers;
        options.verifiers = settings.verifiers.clone();
        options.progress = self.progress.clone();
        let images =
            image::pull::pull(&self.local(), &self.scope, &resolver, options).await.map_err(status)?;
        self.tell(&images);
        Ok(())
    }

    async fn push(&self, from: ImageStore, to: OciRegistry) -> Result<(), Status> {
        let resolver = self.resolver(&to)?;
        let mut options = image::push::PushOptions::new(from.name, to.reference.clone());
        options.platforms = decode::platforms(from.platforms);
        options.max_concurrent_uploads = self.parts.transfer.max_concurrent_uploads;
        options.progress = self.progress.clone();
        image::push::push(&self.local(), &self.scope, &resolver, options).await.map_err(status)
    }

    async fn mirror(&self, from: OciRegistry, to: OciRegistry) -> Result<(), Status> {
        let (source, destination) = (self.resolver(&from)?, self.resolver(&to)?);
        let mut options = image::push::MirrorOptions::new(from.reference, to.reference);
        options.max_concurrent_uploads = self.parts.transfer.max_concurrent_uploads;
        options.progress = self.progress.clone();
        image::push::mirror(&source, &destination, options).await.map_err(status)
    }

    async fn import(&self, from: ImageImportStream, to: ImageStore) -> Result<(), Status> {
        let stream = self.parts.streams.take(&self.scope.namespace, &from.stream)?;
        let options = image::archive::ImportOptions {
            destination: decode::destination(&to, ""),
            platforms: decode::platforms(to.platforms),
            compress: from.force_compress,
            unpack: self.parts.transfer.unpack_targets(&self.parts, to.unpacks)?,
            throttle: self.parts.transfer.throttle.clone(),
            progress: self.progress.clone(),
        };
        let source = bytes_stream::receive(stream);
        let imported =
            image::archive::import(&self.local(), &self.scope, source, options).await.map_err(status)?;
        self.tell(&imported.images);
        Ok(())
    }

    async fn export(&self, from: ImageStore, to: ImageExportStream) -> Result<(), Status> {
        let stream = self.parts.streams.take(&self.scope.namespace, &to.stream)?;
        let (sink, chunks) = mpsc::channel(4);
        let names = std::iter::once(from.name)
            .chain(from.extra_references.into_iter().map(|r| r.name))
            .filter(|name| !name.is_empty());
        let mut options = image::archive::ExportOptions::new(names);
        options.platforms = decode::export_platforms(to.platforms);
        options.all_platforms = to.all_platforms;
        options.skip_docker_manifest = to.skip_compatibility_manifest;
        options.skip_non_distributable = to.skip_non_distributable;
        options.progress = self.progress.clone();
        let local = self.local();
        let (exported, sent) = tokio::join!(
            image::archive::export(&local, &self.scope, sink, options),
            bytes_stream::send(stream, chunks)
        );
        exported.map_err(status)?;
        sent
    }

    async fn tag(&self, from: ImageStore, to: ImageStore) -> Result<(), Status> {
        let destination = decode::destination(&to, "");
        let images =
            image::tag(&self.local(), &self.scope, &from.name, &destination).await.map_err(status)?;
        self.tell(&images);
        Ok(())
    }

    async fn echo(&self, from: ImageImportStream, to: ImageExportStream) -> Result<(), Status> {
        let source = self.parts.streams.take(&self.scope.namespace, &from.stream)?;
        let target = self.parts.streams.take(&self.scope.namespace, &to.stream)?;
        let mut incoming = bytes_stream::receive(source);
        let (sink, chunks) = mpsc::channel(4);
        let copy = async move {
            while let Some(chunk) = incoming.recv().await {
                let chunk = chunk.map_err(|e| refuse(ErrorKind::Unknown, e.to_string()))?;
                if sink.send(chunk).await.is_err() {
                    break;
                }
            }
            Ok::<(), Status>(())
        };
        let (copied, sent) = tokio::join!(copy, bytes_stream::send(target, chunks));
        copied?;
        sent
    }

    fn resolver(&self, registry: &OciRegistry) -> Result<image::registry::Resolver, Status> {
        let settings = registry.resolver.clone().unwrap_or_default();
        let credentials = match settings.auth_stream.as_str() {
            "" => None,
            id => Some(auth::StreamCredentials::new(self.parts.streams.take(&self.scope.namespace, id)?)),
        };
        self.parts.transfer.resolver(&settings, credentials)
    }

    /// Images that a transfer made or moved, as the image service would tell of them.
    fn tell(&self, images: &[store::Image]) {
        for image in images {
            let (name, labels) = (image.name.clone(), image.labels.clone());
            if image.created_at == image.updated_at {
                let event = protos::api::images::ImageCreate { name, labels };
                self.parts.publish(&self.scope.namespace, "/images/create", &event);
            } else {
                let event = protos::api::images::ImageUpdate { name, labels };
                self.parts.publish(&self.scope.namespace, "/images/update", &event);
            }
        }
    }
}
