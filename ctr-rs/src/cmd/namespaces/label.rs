//! `namespaces label NAME KEY=VALUE...`.

use protos::api::namespaces::{Namespace, UpdateNamespaceRequest};

use crate::cli::Global;
use crate::cmd::flags::labels;
use crate::error::{Answered, Result};

/// Arguments of `namespaces label`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name
    name: String,
    /// Labels; an empty value removes one
    #[arg(value_name = "KEY=VALUE", required = true)]
    labels: Vec<String>,
}

/// Sets them.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let what = format!("cannot label namespace {}", args.name);
    let labels = labels(&args.labels);
    let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
    let request = UpdateNamespaceRequest {
        namespace: Some(Namespace { name: args.name, labels }),
        update_mask: Some(prost_types::FieldMask { paths }),
    };
    global.client()?.namespaces().update(request).await.or_say(what)?;
    Ok(())
}
