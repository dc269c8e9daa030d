//! How much may be sent (SPDY draft 3.1, sections 2.6.8 and 2.8): a window for each stream and one
//! for the connection.
//!
//! The peers that matter, Go's `spdystream` in kubectl and in every client made from client-go,
//! neither keep windows nor send updates; they rely on TCP. Holding them to the draft's 64 KiB
//! would stop every longer output for ever. So windows count from the first byte, but bind only
//! after the peer has shown, by an update or a setting, that it keeps them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The window that a peer has before it says otherwise.
const INITIAL: i64 = 64 << 10;
/// No window may grow beyond this.
const WINDOW_MAX: i64 = 0x7fff_ffff;

/// The peer broke the rules of flow control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow;

/// The decisions.
#[derive(Debug)]
struct Ledger {
    /// The peer keeps windows.
    binding: bool,
    initial: i64,
    connection: i64,
    streams: HashMap<u32, i64>,
}

impl Ledger {
    fn new() -> Self {
        Self {
            binding: false,
            initial: INITIAL,
            connection: INITIAL,
            streams: HashMap::new(),
        }
    }

    /// How many of `want` bytes may be sent on a stream now; those are taken.
    fn take(&mut self, id: u32, want: usize) -> Option<usize> {
        let window = self.streams.entry(id).or_insert(self.initial);
        let want = i64::try_from(want).unwrap_or(i64::MAX);
        let may = if self.binding {
            want.min(*window).min(self.connection)
        } else {
            want
        };
        if may <= 0 {
            return None;
        }
        *window = window.saturating_sub(may);
        self.connection = self.connection.saturating_sub(may);
        usize::try_from(may).ok()
    }

    fn grant(&mut self, id: u32, delta: u32) -> Result<(), Overflow> {
        self.binding = true;
        let window = match id {
            0 => &mut self.connection,
            // An update for a stream that is over means nothing.
            id => match self.streams.get_mut(&id) {
                Some(window) => window,
                None => return Ok(()),
            },
        };
        *window = window.saturating_add(i64::from(delta));
        if *window > WINDOW_MAX {
            return Err(Overflow);
        }
        Ok(())
    }

    fn set_initial(&mut self, initial: u32) -> Result<(), Overflow> {
        self.binding = true;
        let initial = i64::from(initial);
        if initial > WINDOW_MAX {
            return Err(Overflow);
        }
        let by = initial - self.initial;
        self.initial = initial;
        for window in self.streams.values_mut() {
            *window = window.saturating_add(by);
            if *window > WINDOW_MAX {
                return Err(Overflow);
            }
        }
        Ok(())
    }
}

/// The windows of one connection. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    ledger: Arc<Mutex<Ledger>>,
    wider: Arc<Notify>,
}

impl Windows {
    pub(crate) fn new() -> Self {
        Self {
            ledger: Arc::new(Mutex::new(Ledger::new())),
            wider: Arc::new(Notify::new()),
        }
    }

    /// A stream begins, with the window that streams have now.
    pub(crate) fn begin(&self, id: u32) {
        let mut ledger = self.ledger.lock();
        let initial = ledger.initial;
        ledger.streams.insert(id, initial);
    }

    /// Takes room for some of `want` bytes, and waits until there is any. Whoever waits ends with
    /// its stream or connection.
    pub(crate) async fn take(&self, id: u32, want: usize) -> usize {
        loop {
            let wider = self.wider.notified();
            tokio::pin!(wider);
            wider.as_mut().enable();
            if let Some(room) = self.ledger.lock().take(id, want) {
                return room;
            }
            wider.await;
        }
    }

    pub(crate) fn forget(&self, id: u32) {
        self.ledger.lock().streams.remove(&id);
    }

    /// The peer has read.
    ///
    /// # Errors
    /// When the window would be wider than the draft allows.
    pub(crate) fn grant(&self, id: u32, delta: u32) -> Result<(), Overflow> {
        self.change(|ledger| ledger.grant(id, delta))
    }

    /// The peer wants streams to begin with another window; running ones change by the difference.
    ///
    /// # Errors
    /// As for [`Windows::grant`].
    pub(crate) fn set_initial(&self, initial: u32) -> Result<(), Overflow> {
        self.change(|ledger| ledger.set_initial(initial))
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Ledger) -> Result<(), Overflow>,
    ) -> Result<(), Overflow> {
        let result = change(&mut self.ledger.lock());
        self.wider.notify_waiters();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_without_windows_are_sent_everything() {
        let mut ledger = Ledger::new();
        for _ in 0..100 {
            assert_eq!(ledger.take(1, 32 << 10), Some(32 << 10));
        }
    }

    #[test]
    fn windows_bind_once_the_peer_keeps_them_and_count_from_the_first_byte() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.take(1, 60 << 10), Some(60 << 10));
        ledger.grant(0, 100).unwrap();
        assert_eq!(ledger.take(1, 60 << 10), Some(4 << 10));
        assert_eq!(ledger.take(1, 1), None);
        // The connection has 100 left, which another stream may use.
        assert_eq!(ledger.take(3, 1000), Some(100));
        assert_eq!(ledger.take(3, 1000), None);
        ledger.grant(0, 1000).unwrap();
        assert_eq!(ledger.take(1, 1), None);
        ledger.grant(1, 10).unwrap();
        assert_eq!(ledger.take(1, 1000), Some(10));
        assert_eq!(ledger.take(3, 5), Some(5));
    }

    #[test]
    fn a_new_initial_window_changes_running_streams() {
        let mut ledger = Ledger::new();
        ledger.grant(0, 1 << 20).unwrap();
        assert_eq!(ledger.take(1, 64 << 10), Some(64 << 10));
        ledger.set_initial((64 << 10) + 7).unwrap();
        assert_eq!(ledger.take(1, 100), Some(7));
        ledger.set_initial(0).unwrap();
        assert_eq!(ledger.take(3, 1), None);
        ledger.grant(1, 64 << 10).unwrap();
        assert_eq!(ledger.take(1, 1), None, "it owes that much");
    }

    #[test]
    fn windows_never_overflow() {
        let mut ledger = Ledger::new();
        ledger.take(1, 1);
        assert_eq!(ledger.grant(1, 0x7fff_ffff), Err(Overflow));
        let mut ledger = Ledger::new();
        assert_eq!(ledger.grant(0, 0x7fff_ffff), Err(Overflow));
        assert_eq!(Ledger::new().set_initial(0x8000_0000), Err(Overflow));
        assert_eq!(Ledger::new().grant(9, 0x7fff_ffff), Ok(()));
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_the_window_widens() {
        let windows = Windows::new();
        windows.begin(1);
        windows.set_initial(0).unwrap();
        let waiting = windows.clone();
        let taken = tokio::spawn(async move { waiting.take(1, 10).await });
        tokio::task::yield_now().await;
        windows.grant(1, 4).unwrap();
        assert_eq!(taken.await.unwrap(), 4);
    }
}
