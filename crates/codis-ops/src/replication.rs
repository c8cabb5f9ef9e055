//! Who replicates from whom, where no master changes.

use codis_core::Addr;
use codis_redis::replicaof;

use crate::{Context, Failure};

/// Makes `server` replicate from `master`, or a master itself.
pub(crate) async fn replicate(cx: &Context, server: &Addr, master: Option<&Addr>) -> Result<(), Failure> {
    let what = match master {
        Some(master) => format!("cannot make {server} replicate from {master}"),
        None => format!("cannot make {server} a master"),
    };
    replicaof(server, master, &cx.redis).await.map_err(|error| Failure::redis(&what, &error))
}
