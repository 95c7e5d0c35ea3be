//! `leases create`.

use std::time::{Duration, SystemTime};

use protos::api::leases::CreateRequest;

use crate::cli::{Global, duration};
use crate::cmd::flags::labels;
use crate::error::{Answered, Result};
use crate::io::output;

/// Arguments of `leases create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id; a random one when left out
    #[arg(long)]
    id: Option<String>,
    /// End it after this long; 0: never
    #[arg(long, short = 'x', value_parser = duration, default_value = "24h")]
    expires: Duration,
    /// Labels
    #[arg(value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

/// Makes it; prints its id.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let mut labels = labels(&args.labels);
    if !args.expires.is_zero() {
        let at = base::timestamp::to_rfc3339_nano(SystemTime::now() + args.expires);
        labels.insert(base::labels::gc::EXPIRE.into(), at);
    }
    let id = args.id.unwrap_or_else(|| crate::client::lease::unique("lease-"));
    let request = CreateRequest { id, labels };
    let answer = client.leases().create(request).await.or_say("cannot create a lease")?;
    output::line(answer.lease.unwrap_or_default().id)
}
