//! When a connection is given up.
//!
//! A peer that vanished without a word (power cut, dropped route) leaves pings unacknowledged, and
//! TCP reports that after some minutes as a failed write. A peer that lives but does not answer is
//! left alone: `kubectl exec ... | less` reads nothing, pings included, while somebody looks at a
//! page. What remains is the limit on sessions in which nothing happens, the kubelet's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How often the peer is pinged. Proxies and NATs commonly forget connections after 30 to 60 s.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(15);
/// A session that carried no byte for so long ends (the kubelet's
/// `streamingConnectionIdleTimeout`). A write that waits for so long for its peer, too.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(4 * 3600);
/// After the last was said: how long the peer has to close before it is closed on.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// When bytes last went one way or the other. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    began: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            last_ms: Arc::default(),
        }
    }

    pub(crate) fn note(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    pub(crate) fn idle_for_too_long(&self) -> bool {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(last) >= IDLE_MAX
    }
}
