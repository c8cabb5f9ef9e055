//! Servers fork again as they did before they were taken over.

use codis_core::{Addr, Versioned, duty::snapshots::Kept};
use codis_redis::{Redis, RedisCause};

use super::{
    claim::Claim,
    host::kept,
    look::{Listed, options},
};
use crate::{Context, Failure};

/// What was put back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutBack {
    /// Servers that have the settings from before.
    pub done: Vec<Addr>,
    /// Servers that do not answer, and why; what is kept of them stays.
    pub left: Vec<(Addr, String)>,
}

/// Puts settings of a host's servers back and forgets them, one server after the other: one that dies in between has the
/// rest done when it is asked again. A server that is neither listed nor there is forgotten.
pub(super) async fn put_back(
    cx: &Context,
    host: &str,
    servers: &[Listed],
    claim: &mut Claim,
    which: impl Fn(&Kept) -> bool,
) -> Result<PutBack, Failure> {
    let mut report = PutBack::default();
    for kept in kept(cx).await?.into_values().filter(|kept| kept.addr.host() == host && which(kept)) {
        claim.prove().await?;
        let listed = servers.iter().any(|server| server.addr == kept.addr);
        match restore(cx, &kept, listed).await {
            Ok(()) => {
                let what = format!("cannot forget the settings of {}", kept.addr);
                let gone = cx.product.forget_kept(&kept).await;
                gone.map_err(|error| Failure::store(what, &error))?;
                report.done.push(kept.value.addr);
            }
            Err(why) => report.left.push((kept.value.addr, why)),
        }
    }
    Ok(report)
}

async fn restore(cx: &Context, kept: &Versioned<Kept>, listed: bool) -> Result<(), String> {
    match Redis::connect(&kept.addr, &options(cx)).await {
        Ok(mut redis) => match redis.set_forking(&kept.settings).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        },
        Err(error) if !listed && matches!(error.cause, RedisCause::Connect(_)) => Ok(()),
        Err(error) => Err(error.cause.to_string()),
    }
}
