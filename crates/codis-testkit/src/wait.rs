//! Waiting for a condition instead of for time.

use std::time::{Duration, Instant};

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `deadline`; the panic names the caller's line.
#[track_caller]
pub fn eventually(deadline: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    loop {
        if condition() {
            return;
        }
        assert!(Instant::now() < end, "the condition did not hold within {deadline:?}");
        std::thread::sleep(POLL);
    }
}

/// [`eventually`] for a condition that is asked asynchronously; the runtime keeps running meanwhile.
///
/// # Panics
/// When it does not hold within `deadline`, also if one look alone takes longer than that.
pub async fn eventually_async<F, Fut>(deadline: Duration, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let all = async {
        while !condition().await {
            tokio::time::sleep(POLL).await;
        }
    };
    assert!(
        tokio::time::timeout(deadline, all).await.is_ok(),
        "the condition did not hold within {deadline:?}"
    );
}
