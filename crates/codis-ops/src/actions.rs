//! The actions that were published, and who followed them.

use crate::{Context, Failure};

pub use codis_store::{Followed, RecentActions};

/// The newest `count` actions, newest first.
///
/// # Errors
/// If the store does not answer.
pub async fn recent(cx: &Context, count: usize) -> Result<RecentActions, Failure> {
    let recent = cx.product.recent_actions(count).await;
    recent.map_err(|error| Failure::store("cannot list the actions", &error))
}
