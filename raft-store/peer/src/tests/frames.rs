//! Frames between members.

use std::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_arrive_in_order_once_and_both_ways() {
    let (a, b) = pair().await;
    // The core sends from a thread of its own.
    for (from, to) in [(&a, &b), (&b, &a)] {
        let (transport, to) = (Arc::clone(&from.transport), to.id());
        let sending = tokio::task::spawn_blocking(move || {
            for batch in 0..1000 {
                transport.send(to, (0..10).map(|i| numbered(batch * 10 + i)).collect());
            }
        });
        sending.await.expect("sending");
    }
    for (from, to) in [(&a, &b), (&b, &a)] {
        let log = to
            .core
            .until("10,000 frames", |log| log.frames.len() >= 10_000)
            .await;
        assert!(numbers(&log, from.id()).into_iter().eq(0..10_000));
        let counters = from.counters(to.id());
        assert_eq!(counters.sent_frames, 10_000);
        assert_eq!(counters.sent_bytes, 80_000);
        assert_eq!(counters.dropped_frames, 0);
        assert!(counters.sent_batches < 1_000, "{counters:?}");
        assert!(counters.round_trip.is_some());
        assert_eq!(to.network.counters().received_frames, 10_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_frames_pass_whole_between_small_ones() {
    let (a, b) = pair().await;
    let mib = 1 << 20;
    let lens = [0, 1, mib - 64, mib, mib + 1, 0, 3 * mib, 20 * mib, 5];
    let frames: Vec<Bytes> = lens
        .iter()
        .enumerate()
        .map(|(index, len)| Bytes::from(vec![index as u8; *len]))
        .collect();
    a.transport.send(b.id(), frames.clone());
    let log = b
        .core
        .until("all frames", |log| log.frames.len() == lens.len())
        .await;
    for ((_, frame), expect) in log.frames.iter().zip(&frames) {
        assert!(frame == expect, "{} bytes, {}", frame.len(), expect.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_starts_again_is_reached_again() {
    let (a, b) = pair().await;
    let next = a.send_until_received(&b.core, 0).await;
    let address = b.address();
    let reported = a.core.log.borrow().unreachable;
    b.network.shutdown().await;
    a.core
        .until("a report", |log| log.unreachable > reported)
        .await;
    a.until_counted(b.id(), "the loss", |counters| !counters.connected)
        .await;

    // The port is free again; a test that runs beside may not take it, since it asks for port 0.
    let again = Node::of_core(Arc::clone(&b.core), |config| config.listen = address).await;
    let begun = Instant::now();
    introduce(&[&a, &again]);
    a.send_until_received(&b.core, next).await;
    let took = begun.elapsed();
    let numbers = numbers(&b.core.log.borrow(), a.id());
    assert!(
        numbers.is_sorted_by(|left, right| left < right),
        "{numbers:?}"
    );
    assert_eq!(a.counters(b.id()).reconnects, 1);
    println!("reached again after {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_receiver_costs_a_queue_and_no_time() {
    const FRAME: usize = 1 << 20;
    let queue_bytes = 8 * FRAME;
    let a = Node::with(0xa, |config| config.queue_bytes = queue_bytes).await;
    let b = Node::new(0xb).await;
    introduce(&[&a, &b]);
    let first = a.send_until_received(&b.core, 0).await;
    b.core.stalled.send_replace(true);
    // One payload, shared: this test's own memory is not what is measured.
    let payload = vec![7; FRAME - 8];
    let reported = a.core.log.borrow().unreachable;
    let mut longest = Duration::ZERO;
    for number in first..first + 200 {
        let frame = [&numbered(number)[..], &payload].concat().into();
        let begun = Instant::now();
        a.transport.send(b.id(), vec![frame]);
        longest = longest.max(begun.elapsed());
        assert!(a.counters(b.id()).queued_bytes as usize <= queue_bytes);
        // Lets the connection take what it can.
        tokio::task::yield_now().await;
    }
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    a.core
        .until("a report of lost frames", |log| log.unreachable > reported)
        .await;
    let counters = a.counters(b.id());
    assert!(counters.dropped_frames > 100, "{counters:?}");
    assert!(counters.connected, "a slow member is not an absent one");

    b.core.stalled.send_replace(false);
    let sent = first + 200 - counters.dropped_frames;
    let log = b
        .core
        .until("the rest", |log| log.frames.len() as u64 == sent)
        .await;
    let numbers = numbers(&log, a.id());
    assert!(
        numbers.is_sorted_by(|left, right| left < right),
        "{numbers:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_for_absent_and_unknown_members_are_dropped_and_counted() {
    let a = Node::new(0xa).await;
    // A port that nobody listens at: taken and given back.
    let gone = Node::new(0xb).await;
    let member = gone.member();
    gone.network.shutdown().await;
    a.transport.set_members(vec![a.member(), member]);
    a.send(0xb, 0..5);
    a.until_counted(0xb, "drops", |counters| {
        counters.dropped_frames == 5 && counters.queued_bytes == 0
    })
    .await;
    a.send(0xd, 0..3);
    a.send(a.id(), 0..4);
    assert_eq!(a.network.counters().dropped_frames, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urls_are_tried_in_turn_and_a_move_is_followed() {
    let gone = Node::new(0xd).await;
    let dead = format!("http://{}", gone.address());
    gone.network.shutdown().await;
    let (a, b, moved) = (
        Node::new(0xa).await,
        Node::new(0xb).await,
        Node::new(0xb).await,
    );
    let url = format!("http://{}/", b.address());
    let urls = ["not a url", &dead, &url];
    a.transport
        .set_members(vec![a.member(), member(b.id(), &urls)]);
    b.transport.set_members(vec![a.member(), b.member()]);
    let next = a.send_until_received(&b.core, 0).await;
    moved
        .transport
        .set_members(vec![a.member(), moved.member()]);
    a.transport.set_members(vec![a.member(), moved.member()]);
    a.send_until_received(&moved.core, next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_is_cut_off_and_told() {
    let (a, b) = pair().await;
    let next = a.send_until_received(&b.core, 0).await;
    b.transport.set_members(vec![b.member()]);
    a.core
        .until("word of the removal", |log| log.told_removed > 0)
        .await;
    let before = b.core.log.borrow().frames.len();
    let refused = b.network.counters().refused;
    a.send(b.id(), next..next + 10);
    let counted = async {
        while b.network.counters().refused < refused + 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(BOUND, counted).await.expect("two more refusals");
    assert_eq!(b.core.log.borrow().frames.len(), before);
    // And listed again, it is welcome again.
    introduce(&[&a, &b]);
    a.send_until_received(&b.core, next + 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_joined_meanwhile_are_heard_and_answered() {
    let (a, b) = (Node::new(0xa).await, Node::new(0xb).await);
    a.transport.set_members(vec![a.member(), b.member()]);
    b.transport.set_members(vec![b.member()]);
    a.send_until_received(&b.core, 0).await;
    b.send_until_received(&a.core, 0).await;
    // It stays, once it is listed.
    introduce(&[&a, &b]);
    b.send_until_received(&a.core, 1000).await;

    let strict = Node::with(0xd, |config| config.strangers = false).await;
    strict.transport.set_members(vec![strict.member()]);
    a.transport.set_members(vec![a.member(), strict.member()]);
    a.core.until("a report", |log| log.unreachable > 0).await;
    assert_eq!(strict.core.log.borrow().frames.len(), 0);
    assert!(strict.network.counters().refused > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_before_serving_waits() {
    let b = Node::new(0xb).await;
    let network = PeerNetwork::listen(PeerConfig::new(local(0)))
        .await
        .expect("listening");
    let transport = network.transport();
    let core = FakeCore::new(CLUSTER, 0xa);
    let own = member(0xa, &[&network.local_addr().to_string()]);
    // The store says who the members are while it opens, before it is known which of them this is.
    transport.set_members(vec![own.clone(), b.member()]);
    b.transport.set_members(vec![own, b.member()]);
    transport.send(b.id(), vec![numbered(1), numbered(2)]);
    let inbox = Inbox::new(Arc::new(FakeSink(Arc::clone(&core))));
    network.serve(inbox.clone()).expect("serving");
    let log = b.core.until("both", |log| log.frames.len() == 2).await;
    assert_eq!(numbers(&log, 0xa), [1, 2]);
    let members = network.counters().members;
    assert_eq!(members.len(), 1, "this member is no peer: {members:?}");
    let again = network.serve(inbox).unwrap_err();
    assert!(matches!(again, crate::PeerError::NotWaiting { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_frees_the_port_and_the_inbox() {
    let (a, b) = pair().await;
    a.send_until_received(&b.core, 0).await;
    b.core.stalled.send_replace(true);
    a.send(b.id(), 0..10);
    let address = b.address();
    timeout(BOUND, b.network.shutdown()).await.expect("an end");
    drop(std::net::TcpListener::bind(address).expect("a free port"));
    let Node { core, .. } = b;
    // Streams that were being received let go of it as they end.
    let let_go = async {
        while Arc::strong_count(&core) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(BOUND, let_go)
        .await
        .expect("the inbox is let go of");
    a.transport.send(0xb, vec![numbered(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_cannot_read_frames_ends_the_stream_and_is_not_flooded() {
    let (a, b) = pair().await;
    a.send_until_received(&b.core, 0).await;
    *b.core.refuses.lock() = Some(InboxError::Undecodable {
        what: "no frame".to_owned(),
    });
    let reported = a.core.log.borrow().unreachable;
    a.send(b.id(), [1]);
    a.core
        .until("a report", |log| log.unreachable > reported)
        .await;
    *b.core.refuses.lock() = None;
    a.send_until_received(&b.core, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_calls_is_called_without_a_pause() {
    let gone = Node::new(0xb).await;
    let address = gone.address();
    let core = Arc::clone(&gone.core);
    gone.network.shutdown().await;
    // Left to itself, it would not try a second time before the test ends.
    let a = Node::with(0xa, |config| {
        config.backoff_min = Duration::from_secs(3600);
        config.backoff_max = Duration::from_secs(3600);
    })
    .await;
    let b = member(0xb, &[&address.to_string()]);
    a.transport.set_members(vec![a.member(), b]);
    a.core.until("a report", |log| log.unreachable > 0).await;
    let again = Node::of_core(core, |config| config.listen = address).await;
    introduce(&[&a, &again]);
    a.send_until_received(&again.core, 0).await;
}

/// Passes connections on to a member, until told not to.
async fn passing_on(to: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
    let listener = tokio::net::TcpListener::bind(local(0))
        .await
        .expect("listening");
    let address = listener.local_addr().expect("an address");
    let (open, _) = watch::channel(true);
    let gate = open.subscribe();
    tokio::spawn(async move {
        // Held, not closed: a cut cable says nothing.
        let mut held = Vec::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let mut gate = gate.clone();
            if !*gate.borrow() {
                held.push(near);
                continue;
            }
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(to)
                    .await
                    .expect("connecting");
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    () = async { drop(gate.wait_for(|open| !open).await) } => {
                        std::future::pending::<()>().await;
                    }
                }
            });
        }
    });
    (address, open)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_died_in_silence_is_given_up() {
    let a = Node::with(0xa, |config| {
        config.keepalive_interval = Duration::from_millis(100);
        config.keepalive_timeout = Duration::from_millis(300);
        config.connect_timeout = Duration::from_millis(300);
    })
    .await;
    let b = Node::new(0xb).await;
    let (address, open) = passing_on(b.address()).await;
    let through = member(0xb, &[&address.to_string()]);
    a.transport.set_members(vec![a.member(), through]);
    b.transport.set_members(vec![a.member(), b.member()]);
    let next = a.send_until_received(&b.core, 0).await;
    let reported = a.core.log.borrow().unreachable;
    open.send_replace(false);
    let begun = Instant::now();
    a.core
        .until("a report", |log| log.unreachable > reported)
        .await;
    println!("given up after {:?}", begun.elapsed());
    a.until_counted(0xb, "the loss", |counters| !counters.connected)
        .await;
    open.send_replace(true);
    a.send_until_received(&b.core, next).await;
}
