//! Whole members, store and network, as a group on 127.0.0.1: in this process, and as processes that are killed.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use raft_store::{
    Config, Error, KeyRange, RangeRequest, Start, StopCause, Store, Txn, force_new_group, restore,
};
use raft_store_peer::{PeerConfig, PeerNetwork};
use tempfile::TempDir;

/// Longer than anything here takes; a test that hits it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

struct Member {
    store: Store,
    network: PeerNetwork,
}

impl Member {
    /// Starts a member whose network listens already.
    async fn open(network: PeerNetwork, config: Config) -> Self {
        let store = Store::open_in_group(config, network.transport())
            .await
            .unwrap();
        network.serve(store.inbox()).unwrap();
        Self { store, network }
    }

    async fn stop(self) -> SocketAddr {
        let address = self.network.local_addr();
        self.store.shutdown().await;
        self.network.shutdown().await;
        address
    }
}

async fn listen(address: SocketAddr) -> PeerNetwork {
    until("the port is free", async || {
        PeerNetwork::listen(PeerConfig::new(address)).await.ok()
    })
    .await
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn config(name: &str, dir: &Path, start: Start) -> Config {
    Config {
        start,
        // Small, so that members that were away are sent snapshots.
        snapshot_log_bytes: 64 << 10,
        log_entries_kept: 10,
        ..Config::new(name, dir)
    }
}

fn list(addresses: &[SocketAddr]) -> Vec<(String, Vec<String>)> {
    let named = addresses.iter().enumerate();
    named
        .map(|(at, address)| (format!("m{at}"), vec![url(*address)]))
        .collect()
}

fn group(addresses: &[SocketAddr]) -> Start {
    Start::Group {
        token: "test".to_owned(),
        members: list(addresses),
    }
}

struct Group {
    dirs: Vec<TempDir>,
    addresses: Vec<SocketAddr>,
    members: Vec<Option<Member>>,
}

impl Group {
    async fn of(size: usize) -> Self {
        let mut networks = Vec::new();
        for _ in 0..size {
            networks.push(listen(anywhere()).await);
        }
        let addresses: Vec<SocketAddr> = networks.iter().map(PeerNetwork::local_addr).collect();
        let dirs: Vec<TempDir> = (0..size).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut members = Vec::new();
        for (at, network) in networks.into_iter().enumerate() {
            let config = config(&format!("m{at}"), dirs[at].path(), group(&addresses));
            members.push(Some(Member::open(network, config).await));
        }
        Self {
            dirs,
            addresses,
            members,
        }
    }

    fn store(&self, at: usize) -> &Store {
        &self.members[at].as_ref().unwrap().store
    }

    async fn stop(&mut self, at: usize) {
        self.members[at].take().unwrap().stop().await;
    }

    async fn start(&mut self, at: usize) {
        let network = listen(self.addresses[at]).await;
        let config = config(
            &format!("m{at}"),
            self.dirs[at].path(),
            group(&self.addresses),
        );
        self.members[at] = Some(Member::open(network, config).await);
    }

    async fn leader(&self) -> usize {
        until("there is a leader", async || {
            self.members.iter().position(|member| {
                member.as_ref().is_some_and(|member| {
                    let status = member.store.status();
                    status.leader == Some(status.member_id)
                })
            })
        })
        .await
    }

    async fn all_hold_the_same(&self) {
        until("all hold the same", async || {
            let mut stores = self.members.iter().flatten().map(|member| &member.store);
            let first = stores.next()?.hash(0).unwrap();
            stores
                .all(|store| store.hash(0).unwrap() == first)
                .then_some(())
        })
        .await;
    }
}

/// Waits for a condition.
async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn put(store: &Store, key: &str, value: &str) -> u64 {
    let txn = Txn::put(key.to_owned(), value.to_owned());
    store.txn(txn).await.unwrap().revision
}

async fn get(store: &Store, key: &str) -> Option<String> {
    let request = RangeRequest::new(KeyRange::key(key.to_owned()));
    let answer = store.range(request).await.unwrap();
    let kv = answer.kvs.first()?;
    Some(String::from_utf8(kv.value.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_takes_writes_and_reads_and_a_restarted_one_catches_up() {
    let mut group = Group::of(3).await;
    for at in 0..30 {
        let value = format!("v{at}");
        put(group.store(at % 3), "key", &value).await;
        // Linearizable wherever it is read.
        for reader in 0..3 {
            assert_eq!(get(group.store(reader), "key").await, Some(value.clone()));
        }
    }
    let follower = (group.leader().await + 1) % 3;
    group.stop(follower).await;
    // Far more than the log keeps, so that it is a snapshot that brings the member up to date.
    let big = "x".repeat(10_000);
    for at in 0..100 {
        put(group.store((follower + 1) % 3), &format!("big{at}"), &big).await;
    }
    group.start(follower).await;
    assert_eq!(get(group.store(follower), "big99").await, Some(big));
    group.all_hold_the_same().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_goes_away_costs_a_client_only_time() {
    let mut group = Group::of(3).await;
    for round in 0..3 {
        let leader = group.leader().await;
        let survivor = (leader + 1) % 3;
        // Under way while the leader goes; each must be done once.
        let store = group.store(survivor).clone();
        let writes = tokio::spawn(async move {
            for at in 0..50 {
                put(&store, &format!("r{round}-{at}"), "v").await;
            }
        });
        group.stop(leader).await;
        tokio::time::timeout(PATIENCE, writes)
            .await
            .unwrap()
            .unwrap();
        group.start(leader).await;
    }
    let answer = group
        .store(0)
        .range(RangeRequest::new(KeyRange::prefix("r")))
        .await
        .unwrap();
    assert_eq!(answer.count, 150);
    assert!(answer.kvs.iter().all(|kv| kv.version == 1));
    group.all_hold_the_same().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_join_as_learners_are_promoted_replaced_and_removed() {
    let mut group = Group::of(3).await;
    put(group.store(0), "before", "v").await;
    let network = listen(anywhere()).await;
    let address = network.local_addr();
    let new = group
        .store(1)
        .member_add(vec![url(address)], true)
        .await
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let join = Start::Join {
        cluster_id: group.store(0).status().cluster_id,
        member_id: new.id,
        members: group.store(0).members(),
    };
    let member = Member::open(network, config("m3", dir.path(), join)).await;
    assert_eq!(get(&member.store, "before").await.as_deref(), Some("v"));
    assert!(member.store.status().learner);
    member
        .store
        .publish(vec!["http://127.0.0.1:9".to_owned()])
        .await
        .unwrap();
    until("the learner is promoted", async || {
        match group.store(2).member_promote(new.id).await {
            Ok(()) => Some(()),
            Err(Error::LearnerNotReady | Error::Unavailable { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    let members = group.store(2).members();
    let joined = members.iter().find(|member| member.id == new.id).unwrap();
    assert!(!joined.learner);
    assert_eq!(joined.name, "m3");
    group.dirs.push(dir);
    group.addresses.push(address);
    group.members.push(Some(member));

    // One that does not lead goes, and learns of it.
    let gone = (group.leader().await + 1) % 4;
    let id = group.store(gone).status().member_id;
    let stays = (gone + 1) % 4;
    until("the member is removed", async || {
        match group.store(stays).member_remove(id).await {
            Ok(()) => Some(()),
            Err(Error::Unavailable { .. } | Error::UnhealthyGroup) => None,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    until("the removed member stops", async || {
        group.store(gone).status().stopped
    })
    .await;
    assert!(matches!(
        group.store(stays).member_remove(id).await,
        Err(Error::MemberNotFound { .. })
    ));
    put(group.store(stays), "after", "v").await;

    // Leadership moves where it is told to go.
    let to = (0..4)
        .find(|at| *at != gone && *at != stays)
        .map(|at| group.store(at).status().member_id)
        .unwrap();
    group.store(stays).move_leader(to).await.unwrap();
    assert_eq!(group.store(stays).status().leader, Some(to));
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_live_on_through_another_leader_and_end() {
    let mut group = Group::of(3).await;
    let leader = group.leader().await;
    let survivor = (leader + 1) % 3;
    let store = group.store(survivor).clone();
    let lease = store.lease_grant(0, 2).await.unwrap();
    let mut txn = Txn::put("leased", "v");
    if let raft_store::Op::Put { lease: to, .. } = &mut txn.success[0] {
        *to = lease.id;
    }
    store.txn(txn).await.unwrap();
    group.stop(leader).await;
    assert_eq!(store.lease_keep_alive(lease.id).await.unwrap(), 2);
    assert_eq!(get(&store, "leased").await.as_deref(), Some("v"));
    until("the lease ends", async || {
        get(&store, "leased").await.is_none().then_some(())
    })
    .await;
    assert!(matches!(
        store.lease_keep_alive(lease.id).await,
        Err(Error::LeaseNotFound { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_data_were_lost_stops_and_is_replaced_while_the_others_go_on() {
    let mut group = Group::of(3).await;
    for at in 0..20 {
        put(group.store(0), &format!("k{at}"), "v").await;
    }
    group.all_hold_the_same().await;
    let leader = group.leader().await;
    let lost = (leader + 1) % 3;
    let id = group.store(lost).status().member_id;
    group.stop(lost).await;
    group.dirs[lost] = tempfile::tempdir().unwrap();
    // It is started as it was the first time, and takes itself for new.
    group.start(lost).await;
    let cause = until("the member without its data stops", async || {
        group.store(lost).status().stopped
    })
    .await;
    assert!(matches!(cause, StopCause::LostLog { .. }), "{cause}");
    put(group.store(leader), "after", "v").await;

    let address = group.members[lost].take().unwrap().stop().await;
    until("the member is removed", async || {
        match group.store(leader).member_remove(id).await {
            Ok(()) => Some(()),
            Err(Error::Unavailable { .. } | Error::UnhealthyGroup) => None,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    let new = until("another is added in its place", async || {
        match group
            .store(leader)
            .member_add(vec![url(address)], false)
            .await
        {
            Ok(new) => Some(new),
            Err(Error::Unavailable { .. } | Error::UnhealthyGroup) => None,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let join = Start::Join {
        cluster_id: group.store(leader).status().cluster_id,
        member_id: new.id,
        members: group.store(leader).members(),
    };
    let config = config(&format!("m{lost}"), dir.path(), join);
    group.members[lost] = Some(Member::open(listen(address).await, config).await);
    group.dirs[lost] = dir;
    group.all_hold_the_same().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_survivor_goes_on_and_members_of_the_old_group_are_refused() {
    let mut group = Group::of(3).await;
    for at in 0..20 {
        put(group.store(at % 3), &format!("k{at}"), "v").await;
    }
    group.all_hold_the_same().await;
    let old = group.store(0).status();
    for at in 0..3 {
        group.stop(at).await;
    }

    let forced = force_new_group(group.dirs[0].path()).unwrap();
    assert_ne!(forced.cluster_id, old.cluster_id);
    group.start(0).await;
    let survivor = group.store(0);
    assert_eq!(survivor.status().cluster_id, forced.cluster_id);
    let all = survivor
        .range(RangeRequest::new(KeyRange::prefix("k")))
        .await
        .unwrap();
    assert_eq!(all.count, 20);
    assert_eq!(put(survivor, "after", "v").await, old.revision + 1);

    // One that comes back knows where the survivor is to be found, and gets nowhere.
    group.start(1).await;
    until("the call of the old member is refused", async || {
        let counted = group.members[0].as_ref().unwrap().network.counters();
        (counted.refused > 0).then_some(())
    })
    .await;
    assert_eq!(group.store(1).status().leader, None);
    assert_eq!(get(group.store(0), "after").await.as_deref(), Some("v"));
    group.stop(1).await;

    // New members join, as with any group.
    let network = listen(anywhere()).await;
    let urls = vec![url(network.local_addr())];
    let new = group.store(0).member_add(urls, true).await.unwrap();
    let join = Start::Join {
        cluster_id: forced.cluster_id,
        member_id: new.id,
        members: group.store(0).members(),
    };
    let dir = tempfile::tempdir().unwrap();
    let member = Member::open(network, config("m3", dir.path(), join)).await;
    assert_eq!(get(&member.store, "k19").await.as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_restored_from_a_backup_serves_it() {
    let mut group = Group::of(3).await;
    let revision = put(group.store(0), "key", "backed up").await;
    let dir = tempfile::tempdir().unwrap();
    let backup = dir.path().join("backup");
    let mut file = std::fs::File::create(&backup).unwrap();
    for chunk in group.store(0).backup() {
        file.write_all(&chunk.unwrap()).unwrap();
    }
    put(group.store(1), "key", "lost").await;
    for at in 0..3 {
        group.stop(at).await;
        group.dirs[at] = tempfile::tempdir().unwrap();
        let config = config(
            &format!("m{at}"),
            group.dirs[at].path(),
            self::group(&group.addresses),
        );
        restore(&backup, &config, 1_000).unwrap();
    }
    for at in 0..3 {
        group.start(at).await;
    }
    for at in 0..3 {
        assert_eq!(
            get(group.store(at), "key").await.as_deref(),
            Some("backed up")
        );
    }
    assert_eq!(put(group.store(2), "key", "new").await, revision + 1_001);
    group.all_hold_the_same().await;
}

// --- processes ------------------------------------------------------------------

const CHILD: &str = "EUSTON_TEST_GROUP_CHILD";
const KILLS: usize = 8;

/// Not a test of its own: what the child processes run. Writes through its own member, one key after the other, and
/// prints what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn child_member_writes_until_killed() {
    let Ok(given) = std::env::var(CHILD) else {
        return;
    };
    let mut parts = given.split(';');
    let at: usize = parts.next().unwrap().parse().unwrap();
    let dir = parts.next().unwrap().to_owned();
    let life: usize = parts.next().unwrap().parse().unwrap();
    let addresses: Vec<SocketAddr> = parts.map(|part| part.parse().unwrap()).collect();
    let network = listen(addresses[at]).await;
    let config = config(&format!("m{at}"), Path::new(&dir), group(&addresses));
    let member = Member::open(network, config).await;
    let mut out = std::io::stdout();
    for number in 0.. {
        let key = format!("c{at}-{life}-{number}");
        let leads = {
            let status = member.store.status();
            status.leader == Some(status.member_id)
        };
        match member.store.txn(Txn::put(key.clone(), "v")).await {
            Ok(answer) => {
                writeln!(out, "\nacked {key} {} {leads}", answer.revision).unwrap();
            }
            // Held up, with no majority: go on with the next.
            Err(error) if error.outcome_unknown() => {}
            Err(error) => panic!("{error}"),
        }
    }
}

struct Processes {
    dirs: Vec<TempDir>,
    addresses: Vec<SocketAddr>,
    children: BTreeMap<usize, Child>,
    lives: usize,
    lines: mpsc::Sender<(usize, String)>,
}

impl Processes {
    fn start(&mut self, at: usize) {
        self.lives += 1;
        let mut given = format!("{at};{};{}", self.dirs[at].path().display(), self.lives);
        for address in &self.addresses {
            given.push_str(&format!(";{address}"));
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_member_writes_until_killed", "--nocapture"])
            .env(CHILD, given)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let lines = self.lines.clone();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if lines.send((at, line)).is_err() {
                    return;
                }
            }
        });
        self.children.insert(at, child);
    }

    fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.children.remove(&at) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, at: usize, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.children[&at]);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for at in 0..self.dirs.len() {
            self.kill(at);
        }
    }
}

#[test]
fn killed_and_stopped_processes_lose_nothing_that_was_acknowledged() {
    // Ports that were free a moment ago: three processes have to know each other's before they start.
    let addresses: Vec<SocketAddr> = (0..3)
        .map(|_| std::net::TcpListener::bind(anywhere()).unwrap())
        .collect::<Vec<_>>()
        .iter()
        .map(|listener| listener.local_addr().unwrap())
        .collect();
    let (lines, acked) = mpsc::channel();
    let mut processes = Processes {
        dirs: (0..3).map(|_| tempfile::tempdir().unwrap()).collect(),
        addresses: addresses.clone(),
        children: BTreeMap::new(),
        lives: 0,
        lines,
    };
    for at in 0..3 {
        processes.start(at);
    }
    let mut acknowledged: HashMap<String, u64> = HashMap::new();
    let mut leader = 0;
    let mut gaps = Vec::new();
    for round in 0..KILLS {
        // Under load, until every member that is up has got something done.
        hear(&acked, &mut acknowledged, &mut leader, 50);
        let victim = if round % 2 == 0 {
            leader
        } else {
            (leader + 1) % 3
        };
        if round % 4 == 3 {
            processes.signal(victim, rustix::process::Signal::STOP);
        } else {
            processes.kill(victim);
        }
        // What was still on its way out of the victim is not what is waited for.
        let gap = first_from_others(&acked, &mut acknowledged, victim);
        if round % 2 == 0 {
            gaps.push(gap);
        }
        hear(&acked, &mut acknowledged, &mut leader, 50);
        if round % 4 == 3 {
            processes.signal(victim, rustix::process::Signal::CONT);
        } else {
            processes.start(victim);
        }
    }
    for at in 0..3 {
        processes.kill(at);
    }
    while let Ok((_, line)) = acked.try_recv() {
        note(&line, &mut acknowledged, &mut 0, 0);
    }
    eprintln!(
        "{} writes acknowledged; after a leader's death the next one came after {gaps:?}",
        acknowledged.len()
    );

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut members = Vec::new();
        for (at, address) in addresses.iter().enumerate() {
            let config = config(
                &format!("m{at}"),
                processes.dirs[at].path(),
                group(&addresses),
            );
            members.push(Member::open(listen(*address).await, config).await);
        }
        for member in &members {
            let request = RangeRequest::new(KeyRange::prefix("c"));
            let answer = until("the group answers", async || {
                member.store.range(request.clone()).await.ok()
            })
            .await;
            let found: HashMap<&[u8], u64> = answer
                .kvs
                .iter()
                .map(|kv| (&kv.key[..], kv.mod_revision))
                .collect();
            for (key, revision) in &acknowledged {
                assert_eq!(found.get(key.as_bytes()), Some(revision), "{key}");
            }
            assert!(answer.kvs.iter().all(|kv| kv.version == 1));
        }
    });
}

fn note(
    line: &str,
    acknowledged: &mut HashMap<String, u64>,
    leader: &mut usize,
    at: usize,
) -> bool {
    let mut words = line.split(' ');
    // The last line of a killed process may be cut short.
    if let (Some("acked"), Some(key), Some(revision), Some(leads)) =
        (words.next(), words.next(), words.next(), words.next())
    {
        acknowledged.insert(key.to_owned(), revision.parse().unwrap());
        if leads == "true" {
            *leader = at;
        }
        return true;
    }
    false
}

fn hear(
    acked: &mpsc::Receiver<(usize, String)>,
    acknowledged: &mut HashMap<String, u64>,
    leader: &mut usize,
    count: usize,
) {
    let mut heard = 0;
    while heard < count {
        let (at, line) = acked.recv_timeout(PATIENCE).expect("writes go on");
        heard += usize::from(note(&line, acknowledged, leader, at));
    }
}

fn first_from_others(
    acked: &mpsc::Receiver<(usize, String)>,
    acknowledged: &mut HashMap<String, u64>,
    victim: usize,
) -> Duration {
    let began = Instant::now();
    // What the others had printed before.
    while let Ok((at, line)) = acked.try_recv() {
        note(&line, acknowledged, &mut 0, at);
    }
    loop {
        let (at, line) = acked.recv_timeout(PATIENCE).expect("writes resume");
        if note(&line, acknowledged, &mut 0, at) && at != victim {
            return began.elapsed();
        }
    }
}
