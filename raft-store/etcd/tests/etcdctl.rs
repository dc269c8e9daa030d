//! The real etcdctl 3.4 against a group of three real processes, and next to it against etcd 3.4.
//!
//! Both come from Debian's packages: `tests/fetch-etcd.sh`, or etcd-client and etcd-server installed.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "common/group.rs"]
mod group;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use group::{Group, Kind, tool};
use tempfile::TempDir;

/// Longer than anything here takes; a test that hits it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whether etcd and etcdctl are here. If not, that is said once, past the test harness, which keeps the output of tests
/// that pass to itself.
fn at_hand() -> bool {
    let runs = |name: &str| {
        let version = if name == "etcd" {
            "--version"
        } else {
            "version"
        };
        let run = Command::new(tool(name)).arg(version).output();
        run.is_ok_and(|out| out.status.success())
    };
    let here = runs("etcd") && runs("etcdctl");
    static SAID: Once = Once::new();
    if !here {
        SAID.call_once(|| {
            let line = b"NOT RUN, as etcd is not here: the tests with etcdctl (tests/fetch-etcd.sh gets it)\n";
            std::io::stderr().write_all(line).unwrap();
        });
    }
    here
}

/// What a command came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    success: bool,
    out: String,
    /// What it says went wrong, without the client's own log.
    error: String,
}

fn etcdctl(endpoints: &str, args: &[&str]) -> Command {
    let mut command = Command::new(tool("etcdctl"));
    command
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", endpoints, "--dial-timeout", "20s"])
        .args(["--command-timeout", "60s"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn start(endpoints: &str, args: &[&str]) -> Child {
    etcdctl(endpoints, args)
        .spawn()
        .expect("etcdctl can be started: run tests/fetch-etcd.sh")
}

fn run(endpoints: &str, args: &[&str], input: &str) -> Outcome {
    let mut child = start(endpoints, args);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    finish(child, args)
}

fn finish(mut child: Child, args: &[&str]) -> Outcome {
    // Beside each other: one that is not read could hold up the command.
    let mut out = child.stdout.take().unwrap();
    let mut error = child.stderr.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        error.read_to_string(&mut text).unwrap();
        text
    });
    let waiting = std::thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        text
    });
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("etcdctl {args:?} took too long");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let error = reading.join().unwrap();
    let error: Vec<&str> = error
        .lines()
        .filter(|line| !line.starts_with('{'))
        .collect();
    Outcome {
        success: status.success(),
        out: waiting.join().unwrap(),
        error: error.join("\n"),
    }
}

struct Fixture {
    group: Group,
    dir: TempDir,
}

impl Fixture {
    fn start(kind: Kind, number: u8, size: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let group = Group::start(kind, dir.path(), number, size);
        let fixture = Self { group, dir };
        fixture.wait("it serves", &["get", "nothing"], |_| true);
        fixture
    }

    fn run(&self, args: &[&str]) -> Outcome {
        run(&self.group.endpoints(), args, "")
    }

    /// Runs a command that must succeed, and returns what it prints.
    fn ok(&self, args: &[&str]) -> String {
        let outcome = self.run(args);
        assert!(outcome.success, "etcdctl {args:?}: {outcome:?}");
        outcome.out
    }

    /// Runs a command again and again until it succeeds with what is wanted.
    fn wait(&self, what: &str, args: &[&str], wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let outcome = self.run(args);
            if outcome.success && wanted(&outcome.out) {
                return outcome.out;
            }
            if seen.last() != Some(&outcome) {
                seen.push(outcome);
            }
            assert!(
                Instant::now() < deadline,
                "waited too long: {what}; what came, in this order: {seen:#?}"
            );
        }
    }

    /// The members' ids in the order of their names, in hexadecimal as etcdctl takes them.
    ///
    /// A member that is joining may be asked, and knows of none yet.
    fn ids(&self, count: usize) -> Vec<String> {
        let list = self.wait("all have published", &["member", "list"], |list| {
            let mut members = list.lines();
            let all = members.clone().count() == count;
            all && members.all(|line| line.contains(", started, "))
        });
        let mut members: Vec<(&str, &str)> = list
            .lines()
            .map(|line| {
                let mut fields = line.split(", ");
                let id = fields.next().unwrap();
                (fields.nth(1).unwrap(), id)
            })
            .collect();
        members.sort_unstable();
        members.iter().map(|(_, id)| (*id).to_owned()).collect()
    }

    /// Which member leads.
    fn leader(&self) -> usize {
        let status = self.wait("there is a leader", &["endpoint", "status"], |status| {
            status
                .lines()
                .any(|line| line.split(", ").nth(4) == Some("true"))
        });
        let mut members = status.lines();
        members
            .position(|line| line.split(", ").nth(4) == Some("true"))
            .unwrap()
    }
}

/// Blanks what differs between any two groups.
fn alike(text: &str) -> String {
    let mut text = text.to_owned();
    for field in ["cluster_id", "member_id", "raft_term"] {
        let name = format!("\"{field}\":");
        let mut rest = std::mem::take(&mut text);
        while let Some(at) = rest.find(&name) {
            let value = at + name.len();
            let end = rest[value..].find(|c: char| !c.is_ascii_digit());
            text.push_str(&rest[..value]);
            rest = rest[value + end.unwrap_or(rest.len() - value)..].to_owned();
        }
        text.push_str(&rest);
    }
    text
}

#[test]
fn the_same_commands_get_the_same_answers_as_from_etcd() {
    if !at_hand() {
        return;
    }
    let ours = Fixture::start(Kind::Store, 31, 3);
    let theirs = Fixture::start(Kind::Etcd, 32, 1);
    let check = |args: &[&str], input: &str| {
        let [ours, theirs] = [&ours, &theirs].map(|side| {
            let outcome = run(&side.group.endpoints(), args, input);
            Outcome {
                out: alike(&outcome.out),
                ..outcome
            }
        });
        assert_eq!(ours, theirs, "etcdctl {args:?}");
    };
    let words = |line: &str, input: &str| {
        let args: Vec<&str> = line.split(' ').collect();
        check(&args, input);
    };
    for line in [
        "put a 1",
        "put b 2",
        "put c 3",
        "put a 4 --prev-kv",
        "put new 4 --prev-kv",
        "put a --ignore-lease 5",
        "put none --ignore-value",
        "put none x --ignore-lease",
        "put leased x --lease=1234",
        "get a",
        "get a -w json",
        "get none -w json",
        "get a --print-value-only",
        "get a b",
        "get a c --keys-only",
        "get --prefix  --limit=2 -w json",
        "get a --from-key",
        "get b --from-key --limit=1 -w json",
        "get --prefix a --count-only -w json",
        "get a d --sort-by=MODIFY --order=DESCEND",
        "get a d --sort-by=CREATE --order=ASCEND -w json",
        "get a d --sort-by=VERSION --order=DESCEND --limit=2 -w json",
        "get a d --sort-by=VALUE --order=DESCEND",
        "get a d --sort-by=KEY --order=DESCEND",
        "get a --rev=2 -w json",
        "get a --rev=99",
        "get a --consistency=s -w json",
        "del none",
        "del b --prev-kv",
        "del a -w json",
        "put a 1",
        "del a z --prev-kv -w json",
        "del a --from-key",
        "put p/1 1",
        "put p/2 2",
        "del p/ --prefix",
        "put k 1",
        "put k 2",
        "put k 3",
        "compaction 1",
        "compaction 12",
        "compaction 12",
        "compaction 99",
        "get k --rev=3",
        "get k --rev=13 -w json",
        "lease grant 0 -w json --bogus",
        "lease revoke 1234",
        "lease timetolive 1234",
        "lease keep-alive --once 1234",
        "lease list",
        "alarm list",
        "alarm disarm",
        "member remove 1234",
        "member promote 1234",
        "member update 1234 --peer-urls=http://127.0.0.9:1",
        "member add x --peer-urls=bogus",
        "user list --bogus",
        "watch k --rev=2 --bogus",
    ] {
        words(line, "");
    }
    for input in [
        "value(\"k\") = \"3\"\n\nput k 4\nget k\n\nget k\n\n",
        "value(\"k\") = \"3\"\n\nput k 4\nget k\n\nget k\ndel none\n\n",
        "mod(\"k\") > \"1\"\nver(\"k\") < \"9\"\ncreate(\"none\") = \"0\"\n\ndel k\n\nput k x\n\n",
        "\n\nput k 1\nput k 2\n\n\n\n",
        "bogus\n\n\n\n\n\n",
    ] {
        words("txn -i", input);
        words("txn -w json", input);
    }
}

/// Reads lines of a command that goes on until it is killed.
struct Running {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Running {
    fn start(fixture: &Fixture, args: &[&str]) -> Self {
        let mut child = start(&fixture.group.endpoints(), args);
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line in time")
    }

    fn lines(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.line()).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn watches_show_history_and_what_comes() {
    if !at_hand() {
        return;
    }
    let fixture = Fixture::start(Kind::Store, 33, 3);
    for value in ["1", "2"] {
        fixture.ok(&["put", "a/x", value]);
    }
    let all = Running::start(
        &fixture,
        &["watch", "a/", "--prefix", "--rev=2", "--prev-kv"],
    );
    assert_eq!(all.lines(3), ["PUT", "a/x", "1"]);
    assert_eq!(all.lines(5), ["PUT", "a/x", "1", "a/x", "2"]);
    fixture.ok(&["put", "b", "1"]);
    fixture.ok(&["del", "a/x"]);
    assert_eq!(all.lines(5), ["DELETE", "a/x", "2", "a/x", ""]);
    fixture.ok(&["compaction", "4"]);
    let outcome = fixture.run(&["watch", "a/x", "--rev=2"]);
    let expect = "required revision has been compacted";
    assert!(
        outcome.out.contains(expect) || outcome.error.contains(expect),
        "{outcome:?}"
    );
    // Several on one stream, and cancelled.
    let mut interactive = Running::start(&fixture, &["watch", "-i"]);
    let stdin = interactive.child.stdin.as_mut().unwrap();
    stdin.write_all(b"watch c\nwatch d\nprogress\n").unwrap();
    // For all watches of the stream, so each of the two tells it.
    assert_eq!(interactive.lines(2), ["progress notify: 5"; 2]);
    fixture.ok(&["put", "d", "1"]);
    assert_eq!(interactive.lines(3), ["PUT", "d", "1"]);
}

#[test]
fn leases_live_while_they_are_kept_alive() {
    if !at_hand() {
        return;
    }
    let fixture = Fixture::start(Kind::Store, 34, 3);
    let granted = fixture.ok(&["lease", "grant", "300"]);
    let id = granted.split(' ').nth(1).unwrap();
    assert_eq!(granted, format!("lease {id} granted with TTL(300s)\n"));
    fixture.ok(&["put", "leased", "1", &format!("--lease={id}")]);
    let left = fixture.ok(&["lease", "timetolive", id, "--keys"]);
    assert!(
        left.contains("granted with TTL(300s)") && left.contains("attached keys([leased])"),
        "{left}"
    );
    assert_eq!(
        fixture.ok(&["lease", "list"]),
        format!("found 1 leases\n{id}\n")
    );
    let alive = fixture.ok(&["lease", "keep-alive", "--once", id]);
    assert_eq!(alive, format!("lease {id} keepalived with TTL(300)\n"));
    assert_eq!(
        fixture.ok(&["lease", "revoke", id]),
        format!("lease {id} revoked\n")
    );
    assert_eq!(fixture.ok(&["get", "leased"]), "");
    // One that nobody keeps alive ends, and takes its keys along.
    let granted = fixture.ok(&["lease", "grant", "2"]);
    let id = granted.split(' ').nth(1).unwrap();
    fixture.ok(&["put", "short", "1", &format!("--lease={id}")]);
    fixture.wait("the lease has ended", &["get", "short"], str::is_empty);
}

#[test]
fn endpoints_tell_health_status_and_the_same_hash() {
    if !at_hand() {
        return;
    }
    let fixture = Fixture::start(Kind::Store, 35, 3);
    fixture.ids(3);
    fixture.ok(&["put", "a", "1"]);
    let healthy = fixture.ok(&["endpoint", "health", "--cluster"]);
    assert_eq!(healthy, "", "it tells on the other stream");
    let status = fixture.ok(&["endpoint", "status", "-w", "table"]);
    assert_eq!(status.matches("3.4.31").count(), 3, "{status}");
    assert_eq!(status.matches("true").count(), 1, "one leader: {status}");
    fixture.wait("all have the same", &["endpoint", "hashkv"], |hashes| {
        let mut hashes = hashes.lines().map(|line| line.split(", ").nth(1));
        let first = hashes.next();
        first.is_some() && hashes.all(|hash| Some(hash) == first)
    });
    fixture.ok(&["defrag"]);
    assert_eq!(fixture.ok(&["alarm", "list"]), "");
}

#[test]
fn members_are_added_promoted_updated_and_removed() {
    if !at_hand() {
        return;
    }
    let mut fixture = Fixture::start(Kind::Store, 36, 3);
    fixture.ids(3);
    fixture.ok(&["put", "a", "1"]);
    let url = format!("--peer-urls={}", fixture.group.peer_url(3));
    let add = ["member", "add", "m3", &url, "--learner"];
    let added = fixture.wait("it can be added", &add, |_| true);
    assert!(added.contains("added to cluster"), "{added}");
    let outcome = fixture.run(&["member", "add", "again", &url]);
    assert_eq!(outcome.error, "Error: etcdserver: Peer URLs already exists");
    fixture.group.join();
    let ids = fixture.ids(4);
    assert_eq!(ids.len(), 4);
    let new = ids[3].as_str();
    fixture.wait("it is promoted", &["member", "promote", new], |_| true);
    let list = fixture.ok(&["member", "list"]);
    assert!(!list.contains("true"), "no learner is left: {list}");
    let here = fixture.group.address(3).to_string();
    let get = [
        "--endpoints",
        here.as_str(),
        "get",
        "a",
        "--print-value-only",
    ];
    assert_eq!(fixture.wait("it reads", &get, |_| true), "1\n");
    let moved = format!(
        "--peer-urls={},http://127.36.1.4:2381",
        fixture.group.peer_url(3)
    );
    fixture.ok(&["member", "update", new, &moved]);
    assert!(
        fixture
            .ok(&["member", "list"])
            .contains("http://127.36.1.4:2381")
    );
    // Not by the member itself, which stops as soon as it learns of it.
    let others = fixture.group.endpoints();
    let (others, _) = others.rsplit_once(',').unwrap();
    let removed = run(others, &["member", "remove", new], "");
    assert!(removed.success, "{removed:?}");
    let deadline = Instant::now() + PATIENCE;
    while !fixture.group.has_ended(3) {
        assert!(
            Instant::now() < deadline,
            "it did not end: {}",
            fixture.group.log(3)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(fixture.ids(3).len(), 3);
}

#[test]
fn leadership_moves_where_it_is_told_to() {
    if !at_hand() {
        return;
    }
    let fixture = Fixture::start(Kind::Store, 37, 3);
    let ids = fixture.ids(3);
    let leader = fixture.leader();
    let next = (leader + 1) % 3;
    let moved = fixture.ok(&["move-leader", &ids[next]]);
    assert!(moved.starts_with("Leadership transferred from"), "{moved}");
    assert_eq!(fixture.leader(), next);
    let follower = fixture.group.address(leader).to_string();
    let outcome = run(&follower, &["move-leader", &ids[leader]], "");
    assert!(
        outcome.error.contains("no leader endpoint given"),
        "{outcome:?}"
    );
    let outcome = fixture.run(&["move-leader", "1234"]);
    assert_eq!(outcome.error, "Error: etcdserver: bad leader transferee");
}

#[test]
fn a_snapshot_is_saved_whole() {
    if !at_hand() {
        return;
    }
    let fixture = Fixture::start(Kind::Store, 38, 3);
    let value = "v".repeat(100_000);
    for key in 0..20 {
        fixture.ok(&["put", &format!("k{key}"), &value]);
    }
    let file = fixture.dir.path().join("saved");
    let one = fixture.group.address(1).to_string();
    let save = ["snapshot", "save", file.to_str().unwrap()];
    let saved = run(&one, &save, "");
    assert!(saved.success, "{saved:?}");
    let bytes = std::fs::metadata(&file).unwrap().len();
    assert!(bytes > 2_000_000 && bytes % 512 == 32, "{bytes}");
    // It is no bolt file, which etcdctl notices.
    let status = ["snapshot", "status", file.to_str().unwrap()];
    assert!(!run(&one, &status, "").success);
}

#[test]
fn locks_and_elections_work_as_they_are_made_of_leases_and_transactions() {
    if !at_hand() {
        return;
    }
    let fixture = Fixture::start(Kind::Store, 39, 3);
    let first = Running::start(&fixture, &["lock", "mutex"]);
    assert!(first.line().starts_with("mutex/"));
    let second = Running::start(&fixture, &["lock", "mutex"]);
    fixture.wait(
        "the second waits",
        &["get", "mutex/", "--prefix", "--keys-only"],
        |keys| keys.matches("mutex/").count() == 2,
    );
    assert!(second.lines.try_recv().is_err(), "the first holds it");
    // Asked to, so that it lets go of the lock; killed, its lease would have to run out.
    let pid = first.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(second.line().starts_with("mutex/"));
    assert!(
        fixture
            .ok(&["lock", "other", "echo", "held"])
            .contains("held")
    );

    let leader = Running::start(&fixture, &["elect", "e", "me"]);
    assert!(leader.line().starts_with("e/"));
    assert_eq!(leader.line(), "me");
    let listener = Running::start(&fixture, &["elect", "-l", "e"]);
    assert!(listener.line().starts_with("e/"));
    assert_eq!(listener.line(), "me");
}

#[test]
fn clients_go_on_when_a_member_dies() {
    if !at_hand() {
        return;
    }
    let mut fixture = Fixture::start(Kind::Store, 40, 3);
    fixture.ok(&["put", "a", "1"]);
    let leader = fixture.leader();
    fixture.group.kill(leader);
    fixture.wait("another leads", &["put", "a", "2"], |_| true);
    assert_eq!(fixture.ok(&["get", "a", "--print-value-only"]), "2\n");
    let health = fixture.run(&["endpoint", "health"]);
    assert!(
        !health.success && health.error.contains("unhealthy"),
        "{health:?}"
    );
}

#[test]
fn the_quota_is_told_and_lifted_as_in_etcd() {
    if !at_hand() {
        return;
    }
    let fixture = Fixture::start(Kind::Store, 41, 1);
    let ids = fixture.ids(1);
    // Raised by hand: it is the same alarm that outgrowing the quota raises.
    let id = u64::from_str_radix(&ids[0], 16).unwrap();
    let raised =
        std::thread::scope(|scope| scope.spawn(|| raise(fixture.group.address(0), id)).join());
    raised.unwrap();
    assert_eq!(
        fixture.ok(&["alarm", "list"]),
        format!("memberID:{id} alarm:NOSPACE \n")
    );
    let outcome = fixture.run(&["put", "a", "1"]);
    assert_eq!(
        outcome.error,
        "Error: etcdserver: mvcc: database space exceeded"
    );
    fixture.ok(&["del", "a"]);
    fixture.ok(&["alarm", "disarm"]);
    fixture.ok(&["put", "a", "1"]);
}

mod common;

fn raise(address: std::net::SocketAddr, member_id: u64) {
    use raft_store_etcd::etcdserverpb::{AlarmRequest, AlarmType};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut client = common::Client::connect(address).await.unwrap();
        let raise = AlarmRequest {
            action: 1,
            member_id,
            alarm: AlarmType::Nospace.into(),
        };
        client.maintenance.alarm(raise).await.unwrap();
    });
}

#[test]
fn the_performance_check_runs_to_its_end() {
    if !at_hand() {
        return;
    }
    let fixture = Fixture::start(Kind::Store, 42, 3);
    // Whether it passes depends on the machine; that it comes to a judgement does not.
    let outcome = fixture.run(&["check", "perf", "--load=s"]);
    let told = format!("{}{}", outcome.out, outcome.error);
    assert!(
        told.contains("Throughput") && !told.contains("too many errors"),
        "{told}"
    );
    assert!(Path::new(fixture.dir.path()).exists());
}
