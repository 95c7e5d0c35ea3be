//! `snapshots ls`.

use super::{Target, kind};
use crate::error::Result;
use crate::table::Table;

/// Prints one line per snapshot.
pub async fn run(target: &Target) -> Result<()> {
    let mut table = Table::new(["KEY", "PARENT", "KIND"]);
    for info in target.all().await? {
        let kind = kind(&info).to_owned();
        table.row([info.name, info.parent, kind]);
    }
    table.print()
}
