//! A group of three members as processes on 127.0.0.1: of this store, or of etcd to compare it with.

#![allow(dead_code, reason = "not every one of them needs all of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Etcd,
    Store,
}

/// Where `tests/fetch-etcd.sh` leaves etcd and etcdctl; where it did not run, they are looked for on the `PATH`.
pub fn tool(name: &str) -> PathBuf {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/etcd");
    let fetched = fetched.join(name);
    if fetched.exists() {
        fetched
    } else {
        name.into()
    }
}

pub struct Group {
    kind: Kind,
    dir: PathBuf,
    /// Tells apart groups that run at the same time: the second part of their addresses.
    number: u8,
    members: Vec<Option<Child>>,
}

impl Group {
    /// Starts members with their data and logs in `dir`.
    pub fn start(kind: Kind, dir: &Path, number: u8, size: u8) -> Self {
        let mut group = Self {
            kind,
            dir: dir.join(format!("{kind:?}")),
            number,
            members: Vec::new(),
        };
        std::fs::create_dir_all(&group.dir).unwrap();
        let list = group.list(size);
        for at in 0..size {
            group.members.push(None);
            group.spawn(usize::from(at), &list, &[]);
        }
        group
    }

    /// As `--initial-cluster` has it.
    pub fn list(&self, size: u8) -> String {
        let members = (0..size).map(|at| format!("m{at}={}", self.peer_url(usize::from(at))));
        members.collect::<Vec<_>>().join(",")
    }

    /// Addresses that nobody else in these tests has: a loopback address for each member.
    fn ip(&self, at: usize) -> [u8; 4] {
        [127, self.number, 1, u8::try_from(at).unwrap() + 1]
    }

    pub fn address(&self, at: usize) -> SocketAddr {
        SocketAddr::from((self.ip(at), 2379))
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        (0..self.members.len()).map(|at| self.address(at)).collect()
    }

    /// As `--endpoints` has it.
    pub fn endpoints(&self) -> String {
        let addresses = self.addresses().into_iter();
        let addresses = addresses.map(|address| address.to_string());
        addresses.collect::<Vec<_>>().join(",")
    }

    pub fn peer_url(&self, at: usize) -> String {
        let address = SocketAddr::from((self.ip(at), 2380));
        format!("http://{address}")
    }

    /// Starts a member that the group was told of.
    pub fn join(&mut self) {
        let at = self.members.len();
        self.members.push(None);
        let list = self.list(u8::try_from(at).unwrap() + 1);
        self.spawn(at, &list, &["--initial-cluster-state", "existing"]);
    }

    /// Starts a member of the first ones again, with what it has on its disk.
    pub fn restart(&mut self, at: usize) {
        let list = self.list(u8::try_from(self.members.len()).unwrap());
        self.spawn(at, &list, &[]);
    }

    /// Sends a signal to a member that runs.
    pub fn signal(&self, at: usize, signal: Signal) {
        let child = self.members[at].as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    fn spawn(&mut self, at: usize, list: &str, more: &[&str]) {
        let (client, url) = (self.address(at), self.peer_url(at));
        let data = self.dir.join(format!("m{at}"));
        let mut command = match self.kind {
            Kind::Etcd => {
                let mut command = Command::new(tool("etcd"));
                let client = format!("http://{client}");
                command
                    .args(["--listen-client-urls", &client])
                    .args(["--advertise-client-urls", &client])
                    .args(["--listen-peer-urls", &url])
                    .args(["--initial-advertise-peer-urls", &url])
                    .args(["--logger", "zap", "--log-level", "warn"])
                    .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH);
                command
            }
            Kind::Store => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_store"));
                command
                    .arg("--with-parent")
                    .args(["--listen-client", &client.to_string()])
                    .args(["--listen-peer", url.trim_start_matches("http://")])
                    .env("RUST_LOG", "info");
                command
            }
        };
        let log = self.dir.join(format!("m{at}.log"));
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let child = command
            .args(["--name", &format!("m{at}")])
            .args(["--initial-cluster", list])
            .arg("--data-dir")
            .arg(data)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{:?} cannot be started: {error}", self.kind));
        self.members[at] = Some(child);
    }

    /// Kills a member, as a power cut would.
    pub fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.members[at].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What a member logged.
    pub fn log(&self, at: usize) -> String {
        std::fs::read_to_string(self.dir.join(format!("m{at}.log"))).unwrap_or_default()
    }

    /// Whether a member has ended by itself.
    pub fn has_ended(&mut self, at: usize) -> bool {
        let child = self.members[at].as_mut();
        child.is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Process ids of the members that run.
    pub fn pids(&self) -> Vec<u32> {
        let members = self.members.iter().flatten();
        members.map(Child::id).collect()
    }

    /// The memory of all members, in MiB.
    pub fn resident_mib(&self) -> f64 {
        let members = self.members.iter().flatten();
        let kib = members.map(|child| {
            let status = format!("/proc/{}/status", child.id());
            let status = std::fs::read_to_string(status).unwrap();
            let line = status
                .lines()
                .find(|line| line.starts_with("VmRSS:"))
                .unwrap();
            let kib = line.split_whitespace().nth(1).unwrap();
            kib.parse::<f64>().unwrap()
        });
        kib.sum::<f64>() / 1024.0
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for at in 0..self.members.len() {
            self.kill(at);
        }
    }
}
