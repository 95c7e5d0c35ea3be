//! Applies a layer of the content store.

use base::oci::media_type::{self, Compression};
use base::{Descriptor, ErrorKind, Mount, Scope};
use store::Blob;

use super::Walking;
use super::place::Place;
use super::processors::{Chain, Step, StreamProcessor};
use crate::differ::ApplyOptions;
use crate::error::{Error, Result};
use crate::layer::Rules;
use crate::overlay::in_user_namespace;
use crate::worker::{Job, Outcome, Packing, Source, Workers};

pub(super) async fn apply(
    differ: &Walking,
    scope: &Scope,
    layer: &Descriptor,
    mounts: &[Mount],
    options: ApplyOptions,
) -> Result<Descriptor> {
    let (steps, packing) = plan(&differ.processors, &layer.media_type)?;
    let arriving = options.arriving.as_deref();
    let blob = match arriving {
        Some(_) => None,
        None => Some(
            differ
                .content
                .open(scope, &layer.digest)
                .await
                .map_err(|e| Error::from(e).during("failed to get reader from content store"))?,
        ),
    };
    let total = match &blob {
        Some(blob) => blob.size(),
        None => u64::try_from(layer.size).map_err(|_| Error::invalid("layer without a size"))?,
    };
    let workers = &differ.workers;
    let place = match &options.apart {
        Some(_) => Place::apart(mounts)?,
        None => Place::of(mounts, &workers.options().tmp_dir, differ.mounts.as_ref()).await?,
    };
    let job = Job {
        root: place.root.clone(),
        lowers: place.lowers.clone(),
        rules: Rules {
            whiteouts: place.hiding,
            skip_devices: in_user_namespace(),
            apart: options.apart.is_some(),
            limits: workers.options().limits,
        },
        packing,
        size: total,
        sync_fs: options.sync_fs,
        memory: workers.options().memory,
        keep_free: workers.options().keep_free,
    };
    if let Some(progress) = &options.progress {
        progress(0);
    }
    let applied = match (&blob, arriving) {
        (Some(blob), _) if steps.is_empty() => {
            workers.run(&job, Source::Blob(blob), options.progress.clone()).await
        }
        (Some(blob), _) => processed(workers, &job, blob, &steps, &options).await,
        (None, Some(arriving)) if steps.is_empty() => {
            workers.run(&job, Source::Arriving(arriving), options.progress.clone()).await
        }
        (None, _) => Err(Error::invalid("only plain layers can be applied while they arrive")),
    };
    let closed = place.close().await;
    let applied = applied?;
    closed?;
    if let Some(apart) = &options.apart {
        apart.fill(job.root, applied.undecided, applied.apply_again);
    }
    if let Some(progress) = &options.progress {
        progress(total);
    }
    let size = i64::try_from(applied.size)
        .map_err(|_| Error::refused(ErrorKind::OutOfRange, "layer size out of range"))?;
    Ok(Descriptor::new(media_type::OCI_LAYER, applied.diff_id, size))
}

/// Most programs in a row.
const MAX_STEPS: usize = 8;

/// The programs that a layer of this type goes through, and how what comes out of them is packed.
fn plan<'a>(processors: &'a [StreamProcessor], media_type: &str) -> Result<(Vec<Step<'a>>, Packing)> {
    let mut steps: Vec<Step<'a>> = Vec::new();
    let mut at = media_type.to_owned();
    while let Some(processor) = processors.iter().rev().find(|p| p.accepts.contains(&at)) {
        if steps.len() == MAX_STEPS {
            let message = format!("stream processors for {media_type} go round in circles");
            return Err(Error::refused(ErrorKind::FailedPrecondition, message));
        }
        let returns = processor.returns.clone();
        steps.push(Step { processor, media_type: std::mem::replace(&mut at, returns) });
        if at == media_type::OCI_LAYER {
            return Ok((steps, Packing::Plain));
        }
    }
    Ok((steps, packing(&at)?))
}

/// Whether a layer of this type goes to the worker as it is.
pub(super) fn is_plain(processors: &[StreamProcessor], media_type: &str) -> bool {
    plan(processors, media_type).is_ok_and(|(steps, _)| steps.is_empty())
}

/// Applies what a chain of programs makes of the blob.
async fn processed(
    workers: &Workers,
    job: &Job,
    blob: &Blob,
    steps: &[Step<'_>],
    options: &ApplyOptions,
) -> Result<Outcome> {
    let (chain, output) = Chain::start(steps, blob, &options.payloads)?;
    let applied = workers.run(job, Source::Stream(output), options.progress.clone());
    let (applied, fed) = chain.feed_while(applied, blob).await;
    fed?;
    // Why the worker saw a broken layer, when it did.
    chain.finish(workers.options().stall, applied.as_ref().err()).await?;
    applied
}

/// How the bytes of a layer of this type may be packed.
pub(crate) fn packing(media_type: &str) -> Result<Packing> {
    match media_type::compression(media_type) {
        None => {
            let message = format!("no processor for media-type {media_type:?}");
            Err(Error::refused(ErrorKind::Unimplemented, message))
        }
        Some(Compression::None) if !media_type::may_be_compressed(media_type) => Ok(Packing::Plain),
        // Gzip under a zstd type and the other way round have been seen: the bytes decide.
        Some(_) => Ok(Packing::Detect),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use base::Kinded;

    use super::*;

    #[test]
    fn plans() {
        let processor = |id: &str, accepts: &str, returns: &str| StreamProcessor {
            id: id.into(),
            accepts: accepts.split(' ').map(str::to_owned).collect(),
            returns: returns.into(),
            ..StreamProcessor::default()
        };
        let all = [
            processor("first", "x/enc", "x/other"),
            processor("outer", "x/enc y/enc", "x/inner"),
            processor("inner", "x/inner", media_type::OCI_LAYER_GZIP),
            processor("plain", "x/plain", media_type::OCI_LAYER),
            processor("circle", "x/circle", "x/circle"),
            processor("lost", "x/lost", "x/nobody"),
        ];
        let ids = |mt: &str| {
            plan(&all, mt).map(|(steps, packing)| {
                let steps = steps.iter().map(|s| format!("{}<{}", s.processor.id, s.media_type));
                (steps.collect::<Vec<_>>(), packing)
            })
        };
        let chain = vec!["outer<x/enc".to_owned(), "inner<x/inner".to_owned()];
        assert_eq!(ids("x/enc").unwrap(), (chain, Packing::Detect));
        assert_eq!(ids("x/plain").unwrap(), (vec!["plain<x/plain".to_owned()], Packing::Plain));
        assert_eq!(ids(media_type::OCI_LAYER_GZIP).unwrap(), (vec![], Packing::Detect));
        assert_eq!(ids("x/circle").unwrap_err().kind(), ErrorKind::FailedPrecondition);
        assert_eq!(ids("x/lost").unwrap_err().kind(), ErrorKind::Unimplemented);
    }

    #[test]
    fn media_types() {
        for (media_type, wanted) in [
            (media_type::OCI_LAYER, Packing::Plain),
            (media_type::OCI_LAYER_GZIP, Packing::Detect),
            (media_type::OCI_LAYER_ZSTD, Packing::Detect),
            (media_type::DOCKER_LAYER, Packing::Detect),
            (media_type::DOCKER_LAYER_GZIP, Packing::Detect),
        ] {
            assert_eq!(packing(media_type).unwrap(), wanted, "{media_type}");
        }
        for other in ["", "text/plain", media_type::OCI_CONFIG, media_type::OCI_LAYER_GZIP_ENCRYPTED] {
            assert_eq!(packing(other).unwrap_err().kind(), ErrorKind::Unimplemented, "{other}");
        }
    }
}
