//! `namespaces create NAME`.

use protos::api::namespaces::{CreateNamespaceRequest, Namespace};

use crate::cli::Global;
use crate::cmd::flags::labels;
use crate::error::{Answered, Result};

/// Arguments of `namespaces create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name
    name: String,
    /// Labels
    #[arg(value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

/// Makes it.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let what = format!("cannot create namespace {}", args.name);
    let namespace = Namespace { name: args.name, labels: labels(&args.labels) };
    let request = CreateNamespaceRequest { namespace: Some(namespace) };
    global.client()?.namespaces().create(request).await.or_say(what)?;
    Ok(())
}
