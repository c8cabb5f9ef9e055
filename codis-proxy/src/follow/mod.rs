//! Follows the store: registration, fence, actions, acknowledgements.

use crate::{
    config::{Config, FollowConfig},
    shutdown::Shutdown,
    workers::Workers,
};

/// Why the proxy stopped following.
#[derive(Debug, thiserror::Error)]
#[error("following a store is not available")]
pub(crate) struct FollowError;

impl FollowError {
    /// Exit status of the process for this error.
    pub(crate) fn exit_status(&self) -> u8 {
        1
    }
}

/// Serves until `shutdown` or until the store marks this proxy offline.
pub(crate) async fn run(
    _config: &Config,
    _follow: &FollowConfig,
    _workers: Workers,
    _shutdown: Shutdown,
) -> Result<(), FollowError> {
    Err(FollowError)
}
