//! Clusters of several servers, each a process with an address of its own: joining, the loss of the leader, the loss
//! of a machine, what is saved and brought back.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use euston_tests::wait::{PATIENCE, until};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::{binary, guest};

/// A server or an agent as a process that goes away with its handle.
struct Machine {
    child: Child,
    /// What it said with `-o json` when it was up.
    said: Value,
}

impl Machine {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(binary())
            .args(args)
            .args(["-o", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        match told.recv_timeout(PATIENCE) {
            Ok(line) => Machine {
                child,
                said: serde_json::from_str(&line).unwrap(),
            },
            Err(error) => {
                let _ = child.kill();
                panic!("euston {args:?} is not up: {error}");
            }
        }
    }

    fn said(&self, field: &str) -> &str {
        self.said[field].as_str().unwrap()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn client(&self) -> kube::Client {
        client(Path::new(self.said("kubeconfig"))).await
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn client(kubeconfig: &Path) -> kube::Client {
    let config = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(config, &options).await;
    kube::Client::try_from(config.unwrap()).unwrap()
}

/// Where the machines of one test are: an address for each, in a network of the test's own.
struct Site {
    dir: tempfile::TempDir,
    network: u8,
}

impl Site {
    fn new(network: u8) -> Self {
        Site {
            dir: tempfile::tempdir().unwrap(),
            network,
        }
    }

    fn address(&self, number: u8) -> String {
        format!("127.0.{}.{number}", self.network)
    }

    fn url(&self, number: u8) -> String {
        format!("https://{}:6443", self.address(number))
    }

    fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn token(&self, role: &str) -> PathBuf {
        self.data("s1").join("tokens").join(role)
    }

    fn kubeconfig(&self, name: &str) -> PathBuf {
        self.data(name).join("kubeconfig")
    }

    /// The server `sN`, which joins the server `through`.
    fn server(&self, number: u8, through: Option<u8>, more: &[&str]) -> Machine {
        let name = format!("s{number}");
        let (data, address) = (self.data(&name), self.address(number));
        let mut args = vec![
            "server",
            "--name",
            &name,
            "--address",
            &address,
            "--data-dir",
        ];
        args.push(data.to_str().unwrap());
        let (url, token) = (self.url(through.unwrap_or_default()), self.token("server"));
        if through.is_some() {
            args.extend(["--join", &url, "--token", token.to_str().unwrap()]);
        }
        args.extend(more);
        Machine::start(&args)
    }

    /// The agent `wN`, which knows the server 1.
    fn agent(&self, number: u8) -> Machine {
        let name = format!("w{number}");
        let (data, address) = (self.data(&name), self.address(100 + number));
        let (url, token) = (self.url(1), self.token("agent"));
        Machine::start(&[
            "agent",
            "--name",
            &name,
            "--address",
            &address,
            "--data-dir",
            data.to_str().unwrap(),
            "--server",
            &url,
            "--token",
            token.to_str().unwrap(),
        ])
    }

    fn euston(&self, server: &str, args: &[&str]) -> Output {
        Command::new(binary())
            .args(args)
            .args(["-o", "json", "--kubeconfig"])
            .arg(self.kubeconfig(server))
            .output()
            .unwrap()
    }

    /// What a command prints, which must succeed.
    fn ask(&self, server: &str, args: &[&str]) -> Value {
        let out = self.euston(server, args);
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "euston {args:?}: {error}");
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// Waits until so many servers have a vote.
    async fn voters(&self, server: &str, count: usize) -> Value {
        until(&format!("{count} servers vote"), || async {
            let list = self.ask(server, &["member", "list"]);
            let members = list["members"].as_array().unwrap();
            let voting = members.iter().filter(|m| m["learner"] == json!(false));
            if voting.count() == count && members.len() == count {
                Ok(list)
            } else {
                Err(list.to_string())
            }
        })
        .await
    }
}

/// The name of the member that leads.
fn leader(list: &Value) -> String {
    let members = list["members"].as_array().unwrap();
    let leader = members.iter().find(|m| m["id"] == list["leader"]);
    leader.unwrap()["name"].as_str().unwrap().to_owned()
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name }, "data": { "a": "b" } })).unwrap()
}

fn deployment(name: &str, replicas: i32) -> Deployment {
    let labels = json!({ "app": name });
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{
                    "name": name,
                    "image": "hello:v1",
                    "ports": [{ "containerPort": 80 }],
                }] },
            },
        },
    }))
    .unwrap()
}

async fn available(client: &kube::Client, name: &str, replicas: i32) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    until(&format!("{name} has {replicas} available"), || async {
        let found = deployments.get(name).await.map_err(|e| e.to_string())?;
        let status = found.status.unwrap_or_default();
        if status.available_replicas == Some(replicas) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_and_two_agents_are_one_cluster_that_survives_its_leader() {
    let site = Site::new(41);
    // Pods of a dead machine are another matter: here servers die and nodes do not.
    let mut servers = vec![site.server(1, None, &["--no-agent"])];
    servers.push(site.server(2, Some(1), &["--no-agent"]));
    servers.push(site.server(3, Some(2), &["--no-agent"]));
    let _agents = [site.agent(1), site.agent(2)];
    let list = site.voters("s3", 3).await;

    // All speak for the same cluster, the moment that a write is acknowledged.
    let (one, three) = (servers[0].client().await, servers[2].client().await);
    let through = |client: &kube::Client| Api::<ConfigMap>::namespaced(client.clone(), "default");
    for n in 0..20 {
        let name = format!("note-{n}");
        let (to, from) = if n % 2 == 0 {
            (&one, &three)
        } else {
            (&three, &one)
        };
        through(to)
            .create(&PostParams::default(), &config_map(&name))
            .await
            .unwrap();
        through(from).get(&name).await.unwrap();
    }
    let nodes: Api<Node> = Api::all(three.clone());
    let nodes = nodes.list(&ListParams::default()).await.unwrap();
    let names: Vec<_> = nodes
        .iter()
        .filter_map(|n| n.metadata.name.clone())
        .collect();
    assert_eq!(names, ["w1", "w2"]);

    // Pods run, from an image that was pushed to one server.
    site.ask("s2", &["image", "push", &guest("hello.wasm"), "hello:v1"]);
    let deployments: Api<Deployment> = Api::namespaced(one.clone(), "default");
    deployments
        .create(&PostParams::default(), &deployment("before", 6))
        .await
        .unwrap();
    available(&three, "before", 6).await;

    // The leader dies.
    let leader = leader(&list);
    let at = servers
        .iter()
        .position(|server| server.said("name") == leader)
        .unwrap();
    servers[at].kill();
    let left = servers[(at + 1) % 3].client().await;
    until("writes go on", || async {
        let written = through(&left)
            .create(&PostParams::default(), &config_map("after"))
            .await;
        match written {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(_) => Ok(()),
        }
    })
    .await;
    let deployments: Api<Deployment> = Api::namespaced(left.clone(), "default");
    until("controllers go on", || async {
        let created = deployments
            .create(&PostParams::default(), &deployment("after", 2))
            .await;
        match created {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(_) => Ok(()),
        }
    })
    .await;
    available(&left, "after", 2).await;

    // It comes back as what it was.
    servers[at] = site.server(at as u8 + 1, None, &["--no-agent"]);
    let again = servers[at].client().await;
    through(&again).get("after").await.unwrap();
    site.voters(&leader, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_server_is_removed_and_another_takes_its_place() {
    let site = Site::new(42);
    let mut servers = vec![site.server(1, None, &["--no-agent"])];
    for number in [2, 3] {
        servers.push(site.server(number, Some(1), &["--no-agent"]));
    }
    site.voters("s1", 3).await;
    servers[2].kill();
    std::fs::remove_dir_all(site.data("s3")).unwrap();

    // Under its old name it would be somebody who forgot what it promised.
    let (data, token) = (site.data("s3"), site.token("server"));
    let refused = Command::new(binary())
        .args([
            "server",
            "--name",
            "s3",
            "--address",
            &site.address(3),
            "--no-agent",
        ])
        .args(["--join", &site.url(1), "--data-dir"])
        .arg(&data)
        .arg("--token")
        .arg(&token)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && error.contains("euston member remove"),
        "{error}"
    );

    site.ask("s1", &["member", "remove", "s3"]);
    servers[2] = site.server(3, Some(1), &["--no-agent"]);
    site.voters("s3", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_saved_or_is_left_begins_a_new_cluster() {
    let site = Site::new(45);
    let mut servers = vec![site.server(1, None, &["--no-agent"])];
    servers.push(site.server(2, Some(1), &["--no-agent"]));
    site.voters("s1", 2).await;
    let maps = |client: kube::Client| Api::<ConfigMap>::namespaced(client, "default");
    let write = async |server: &Machine, name: &str| {
        let maps = maps(server.client().await);
        maps.create(&PostParams::default(), &config_map(name))
            .await
            .unwrap();
    };
    write(&servers[0], "saved").await;
    let saved = site.dir.path().join("saved.db");
    let saved = saved.to_str().unwrap();
    site.ask("s2", &["snapshot", "save", saved]);
    let again = site.euston("s2", &["snapshot", "save", saved]);
    assert!(!again.status.success(), "it does not write over a file");
    write(&servers[1], "later").await;

    // One of two is lost, and nothing can be written. The other goes on alone, with all of it.
    servers[1].kill();
    servers[0].kill();
    let left = site.data("s1");
    let forced = site.ask(
        "s1",
        &[
            "snapshot",
            "force-new",
            "--data-dir",
            left.to_str().unwrap(),
        ],
    );
    servers[0] = site.server(1, None, &["--no-agent"]);
    let alone = site.voters("s1", 1).await;
    assert_eq!(alone["clusterId"], forced["clusterId"]);
    let left = maps(servers[0].client().await);
    left.get("later").await.unwrap();
    write(&servers[0], "alone").await;
    servers[0].kill();

    // A new one from the file, with the old one's certificates.
    let new = site.data("s3");
    std::fs::create_dir_all(new.join("pki")).unwrap();
    for file in ["ca.crt", "ca.key"] {
        let from = site.data("s1").join("pki").join(file);
        std::fs::copy(from, new.join("pki").join(file)).unwrap();
    }
    let status = site.ask("s1", &["snapshot", "status", saved]);
    let members = status["members"].as_array().unwrap();
    assert!(
        members.len() == 2 && members.contains(&json!("s2")),
        "{status}"
    );
    let new = new.to_str().unwrap();
    let restore = [
        "snapshot",
        "restore",
        saved,
        "--name",
        "s3",
        "--data-dir",
        new,
    ];
    site.ask("s1", &restore);
    let twice = site.euston("s1", &restore);
    assert!(!twice.status.success(), "it does not write over a member");
    let restored = site.server(3, None, &["--no-agent"]);
    let maps = maps(restored.client().await);
    maps.get("saved").await.unwrap();
    let later = maps.get_opt("later").await.unwrap();
    assert!(later.is_none(), "written after the snapshot: {later:?}");
    // The tokens of before still let others in.
    let _joined = site.server(4, Some(3), &["--no-agent"]);
    site.voters("s4", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_token_stays_outside() {
    let site = Site::new(43);
    let _server = site.server(1, None, &["--no-agent"]);
    let other = Site::new(44);
    let _other = other.server(1, None, &["--no-agent"]);
    let attempt = |token: &str| {
        let out = Command::new(binary())
            .args(["agent", "--name", "w1", "--address", &site.address(101)])
            .args(["--server", &site.url(1), "--token", token, "--data-dir"])
            .arg(site.data("w1"))
            .output()
            .unwrap();
        assert!(!out.status.success());
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let good = std::fs::read_to_string(site.token("agent")).unwrap();
    let good = good.trim();
    let (head, _) = good.split_at(good.len() / 2);
    let error = attempt(head);
    assert!(error.contains("euston token create"), "{error}");
    // Of another cluster: its server is not asked to believe it.
    let foreign = std::fs::read_to_string(other.token("agent")).unwrap();
    let error = attempt(foreign.trim());
    assert!(error.contains("CA"), "{error}");
    // One that was deleted.
    let made = site.ask("s1", &["token", "create", "--ttl", "1h"]);
    site.ask("s1", &["token", "delete", made["id"].as_str().unwrap()]);
    let error = attempt(made["token"].as_str().unwrap());
    assert!(error.contains("refuses"), "{error}");
}
