//! A lease of our own that keeps what a command makes until something else refers to it.

use std::time::{Duration, SystemTime};

use protos::api::leases::{CreateRequest, DeleteRequest};
use rand::Rng;

use super::Client;
use crate::error::{Answered, Result};

/// A lease that nobody ended is gone after this.
const LIFE: Duration = Duration::from_secs(24 * 3600);
const EXPIRE_LABEL: &str = "containerd.io/gc.expire";

/// A random name that nobody else has chosen: a prefix and 12 hexadecimal digits.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}{:012x}", rand::rng().random::<u64>() & 0xffff_ffff_ffff)
}

/// Makes a lease that ends by itself after a day; gives its id.
pub async fn create(client: &Client) -> Result<String> {
    let expire = base::timestamp::to_rfc3339_nano(SystemTime::now() + LIFE);
    let id = unique("ctr-rs-");
    let labels = [(EXPIRE_LABEL.to_owned(), expire)].into();
    client.leases().create(CreateRequest { id: id.clone(), labels }).await.or_say("cannot create a lease")?;
    Ok(id)
}

/// Ends a lease. One that is gone already is fine.
pub async fn delete(client: &Client, id: &str) -> Result<()> {
    let request = DeleteRequest { id: id.to_owned(), sync: false };
    match client.leases().delete(request).await.or_say(format!("cannot delete lease {id}")) {
        Err(e) if !e.is_not_found() => Err(e),
        _ => Ok(()),
    }
}
