//! The task that keeps one member reachable: connects, sends what is queued, and connects again.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use raft_store::Inbox;
use tokio::time::{sleep, sleep_until};

use crate::address::{Address, URLS_MAX};
use crate::backoff::Backoff;
use crate::link::Link;
use crate::network::Network;
use crate::peer::Peer;
use crate::proto::frames_request::What;
use crate::proto::{Batch, FramesRequest, Handshake, Part};
use crate::queue::BATCH_BYTES;
use crate::trouble::{Said, Trouble};

/// The core is told no more often that a member cannot be reached.
const REPORT_EVERY: Duration = Duration::from_millis(200);
/// And no more often that this member was removed.
const REPORT_REMOVED_EVERY: Duration = Duration::from_secs(1);
/// A member that does not answer a hello for so long is stuck, although its connection is alive.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that lasted so long was a good one: the next pause is short again.
const GOOD_CONNECTION: Duration = Duration::from_secs(1);
/// A pause is cut short by a call no more often than this. Otherwise two members, each of which takes calls and fails
/// to make them, would wake each other without end.
const SHORTCUT_EVERY: Duration = Duration::from_millis(500);
/// A stranger that was not heard of for so long is forgotten.
const STRANGER_SILENCE_MAX: Duration = Duration::from_secs(60);
/// Kinds of trouble that are remembered as logged; more than there are.
const TROUBLES_SAID_MAX: usize = 16;

/// Runs until the member is no member any more, or the network ends.
pub(crate) async fn run(network: Arc<Network>, peer: Arc<Peer>) {
    let stop = peer.stop.clone();
    let sending = async {
        let Some(inbox) = network.inbox().await else {
            return;
        };
        let backoff = Backoff::new(network.config.backoff_min, network.config.backoff_max);
        let sender = Sender {
            network,
            inbox,
            backoff,
            attempt: 0,
            said: Said::new(TROUBLES_SAID_MAX),
            reported: None,
            reported_removed: None,
            shortcut: None,
            peer: Arc::clone(&peer),
        };
        sender.run().await;
    };
    stop.run_until_cancelled(sending).await;
    peer.connected.store(false, Relaxed);
}

struct Sender {
    network: Arc<Network>,
    peer: Arc<Peer>,
    inbox: Inbox,
    backoff: Backoff,
    /// Chooses among the member's urls.
    attempt: usize,
    said: Said<&'static str>,
    reported: Option<Instant>,
    reported_removed: Option<Instant>,
    shortcut: Option<Instant>,
}

impl Sender {
    async fn run(mut self) {
        loop {
            let result = self.session().await;
            let was_connected = self.peer.connected.swap(false, Relaxed);
            // Otherwise it has moved: to be called at its new address at once.
            if let Err(trouble) = result {
                self.failed(&trouble, was_connected);
                self.pause().await;
            }
            let stranger = !self.peer.listed.load(Relaxed);
            if stranger && self.peer.silent_for() > STRANGER_SILENCE_MAX {
                self.network.forget_stranger(&self.peer);
            }
        }
    }

    /// Connects and sends until something fails, or the member is to be called elsewhere.
    async fn session(&mut self) -> Result<(), Trouble> {
        let mut urls = self.peer.urls.subscribe();
        let url = choose(&urls.borrow_and_update(), self.attempt)?;
        let address =
            Address::parse(&url, self.network.config.tls.is_some()).map_err(Trouble::Url)?;
        let link = Link::connect(&address, &self.network.config).await?;
        let limit = self.network.config.connect_timeout;
        let round_trip = link.hello(self.handshake(), limit).await?;
        self.connected(&url, round_trip);
        let begun = Instant::now();
        let mut client = link.client();
        let frames = client.frames(self.outgoing());
        let moved = urls.wait_for(|urls| !urls.contains(&url));
        let result = tokio::select! {
            ended = frames => match ended {
                Ok(_) => Err(Trouble::Away("it has ended the stream".to_owned())),
                Err(status) => Err(Trouble::of_status(&status)),
            },
            Err(trouble) = self.watch_over(&link) => Err(trouble),
            // The sender of urls lives in the peer.
            _ = moved => Ok(()),
        };
        if begun.elapsed() >= GOOD_CONNECTION {
            self.backoff.reset();
        }
        result
    }

    /// Measures round trips and reports what is lost, until there is no answer.
    async fn watch_over(&mut self, link: &Link) -> Result<Infallible, Trouble> {
        let every = self.network.config.round_trip_interval;
        loop {
            let next = tokio::time::Instant::now() + every;
            while tokio::select! {
                () = sleep_until(next) => false,
                () = self.peer.lost.notified() => true,
            } {
                self.report_unreachable();
            }
            let round_trip = link.hello(self.handshake(), HELLO_TIMEOUT).await?;
            self.peer.sent.set_round_trip(round_trip);
            self.peer.heard();
        }
    }

    fn handshake(&self) -> Handshake {
        self.network.handshake(&self.inbox, self.peer.id)
    }

    fn outgoing(&self) -> Outgoing {
        Outgoing {
            reader: self.peer.queue.open(),
            peer: Arc::clone(&self.peer),
            handshake: Some(self.handshake()),
            parts: None,
        }
    }

    fn connected(&mut self, url: &str, round_trip: Duration) {
        let peer = &self.peer;
        peer.connected.store(true, Relaxed);
        peer.heard();
        peer.sent.connects.add(1);
        peer.sent.set_round_trip(round_trip);
        let member = format!("{:016x}", peer.id);
        if self.said.clear() {
            tracing::info!(member, url, ?round_trip, "another member is reached again");
        } else {
            tracing::debug!(member, url, ?round_trip, "another member is reached");
        }
    }

    fn failed(&mut self, trouble: &Trouble, was_connected: bool) {
        self.attempt = self.attempt.wrapping_add(1);
        if !was_connected {
            // What waits is stale: Raft has repeated it, or will.
            self.peer.sent.dropped.add(self.peer.queue.clear());
        }
        self.report_unreachable();
        if trouble.is_removal() && is_due(&mut self.reported_removed, REPORT_REMOVED_EVERY) {
            self.inbox.told_removed(self.peer.id);
        }
        if self.said.is_news(trouble.kind()) {
            let member = format!("{:016x}", self.peer.id);
            let urls = self.peer.urls.borrow().clone();
            tracing::warn!(member, ?urls, "cannot reach another member: {trouble}");
        }
    }

    fn report_unreachable(&mut self) {
        if is_due(&mut self.reported, REPORT_EVERY) {
            self.inbox.unreachable(self.peer.id);
        }
    }

    /// Waits before the next attempt; less if the member calls, or has new urls.
    async fn pause(&mut self) {
        let pause = self.backoff.pause(rand::random());
        let mut urls = self.peer.urls.subscribe();
        tokio::select! {
            () = sleep(pause) => return,
            _ = urls.changed() => return,
            () = self.peer.called.notified() => {}
        }
        if !is_due(&mut self.shortcut, SHORTCUT_EVERY) {
            sleep(pause).await;
        }
    }
}

/// The url for this attempt.
fn choose(urls: &[String], attempt: usize) -> Result<String, Trouble> {
    let urls = &urls[..urls.len().min(URLS_MAX)];
    match attempt.checked_rem(urls.len()) {
        Some(index) => Ok(urls[index].clone()),
        None => Err(Trouble::Url("none is known".to_owned())),
    }
}

/// Whether it is time again; then it was the last time now.
fn is_due(last: &mut Option<Instant>, every: Duration) -> bool {
    let due = last.is_none_or(|last| last.elapsed() >= every);
    if due {
        *last = Some(Instant::now());
    }
    due
}

/// The frames of a queue as a stream of messages. HTTP/2's flow control asks for the next message when there is room, so
/// that nothing is between the queue and the connection.
struct Outgoing {
    peer: Arc<Peer>,
    reader: u64,
    handshake: Option<Handshake>,
    /// A frame that goes in pieces, and how much of it went.
    parts: Option<(Bytes, usize)>,
}

impl Outgoing {
    fn next_part(&mut self) -> Option<What> {
        let (frame, begin) = self.parts.take()?;
        let end = frame.len().min(begin + BATCH_BYTES);
        let part = Part {
            frame_bytes: frame.len() as u64,
            data: frame.slice(begin..end),
        };
        if end < frame.len() {
            self.parts = Some((frame, end));
        }
        Some(What::Part(part))
    }

    fn begin(&mut self, mut frames: Vec<Bytes>) -> Option<What> {
        let sent = &self.peer.sent;
        sent.batches.add(1);
        sent.frames.add(frames.len() as u64);
        sent.bytes
            .add(frames.iter().map(|frame| frame.len() as u64).sum());
        match &mut frames[..] {
            [frame] if frame.len() > BATCH_BYTES => {
                self.parts = Some((std::mem::take(frame), 0));
                self.next_part()
            }
            _ => Some(What::Batch(Batch { frames })),
        }
    }
}

impl Stream for Outgoing {
    type Item = FramesRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let what = if let Some(handshake) = self.handshake.take() {
            Some(What::Handshake(handshake))
        } else if let Some(part) = self.next_part() {
            Some(part)
        } else {
            match ready!(self.peer.queue.poll_take(self.reader, context)) {
                None => return Poll::Ready(None),
                Some(frames) => self.begin(frames),
            }
        };
        Poll::Ready(Some(FramesRequest { what }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_tried_in_turn() {
        let urls = ["a".to_owned(), "b".to_owned()];
        let tried: Vec<_> = (0..3).map(|attempt| choose(&urls, attempt)).collect();
        assert_eq!(tried, ["a", "b", "a"].map(|url| Ok(url.to_owned())));
        assert!(matches!(choose(&[], 0), Err(Trouble::Url(_))));
    }
}
