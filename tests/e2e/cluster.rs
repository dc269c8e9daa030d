//! A cluster of the real binary, as a child process that goes away with its handle.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use euston_tests::wait::PATIENCE;

/// Where cargo put the binary: beside this test's own folder.
pub fn binary() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let path = exe.parent().and_then(Path::parent).unwrap().join("euston");
    assert!(
        path.exists(),
        "{} is not built: cargo build --workspace --bin euston",
        path.display()
    );
    path
}

/// A guest that `wasm-examples/build.sh` made.
pub fn guest(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../wasm-examples/dist")
        .join(name);
    assert!(
        path.exists(),
        "{} is not built: wasm-examples/build.sh",
        path.display()
    );
    path.to_string_lossy().into_owned()
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A running `euston dev`.
pub struct Cluster {
    child: Child,
    ports: (u16, u16),
    pub dir: PathBuf,
    _own: Option<tempfile::TempDir>,
}

impl Cluster {
    /// Starts one in a folder of its own and waits until it says that it is ready.
    pub fn start(args: &[&str]) -> Self {
        let own = tempfile::tempdir().unwrap();
        let dir = own.path().join("data");
        let mut cluster = Self::start_in(&dir, (free_port(), free_port()), args);
        cluster._own = Some(own);
        cluster
    }

    fn start_in(dir: &Path, ports: (u16, u16), args: &[&str]) -> Self {
        let mut child = Command::new(binary())
            .arg("dev")
            .args([
                "--api-port",
                &ports.0.to_string(),
                "--agent-port",
                &ports.1.to_string(),
            ])
            .arg("--data-dir")
            .arg(dir)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // Read to the end, so that the child never waits for us.
            for line in out.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let end = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        loop {
            match ready.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains("Ctrl-C stops it") => break,
                Ok(line) => said.push(line),
                Err(error) => {
                    let _ = child.kill();
                    panic!("euston dev is not ready ({error}); it said: {said:#?}");
                }
            }
        }
        Cluster {
            child,
            ports,
            dir: dir.to_owned(),
            _own: None,
        }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// Kills it as the kernel would, and starts it again on what it left.
    pub fn kill_and_restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let own = self._own.take();
        let (dir, ports) = (self.dir.clone(), self.ports);
        let mut again = Self::start_in(&dir, ports, &[]);
        again._own = own;
        again
    }

    /// Asks it to stop and returns whether it ended well, and how long that took.
    pub fn interrupt(mut self) -> (bool, Duration) {
        let start = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.success(), start.elapsed());
            }
            // No portable way to wait for a child with a time limit.
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("euston dev does not stop");
    }

    pub fn push(&self, file: &str, name: &str) -> Output {
        Command::new(binary())
            .args(["image", "push", file, name, "--kubeconfig"])
            .arg(self.kubeconfig())
            .output()
            .unwrap()
    }

    pub fn push_guests(&self, names: &[&str]) {
        for name in names {
            let out = self.push(&guest(&format!("{name}.wasm")), &format!("{name}:v1"));
            assert!(
                out.status.success(),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
        }
    }

    pub async fn config(&self) -> kube::Config {
        let config = kube::config::Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        kube::Config::from_custom_kubeconfig(config, &options)
            .await
            .unwrap()
    }

    pub async fn client(&self) -> kube::Client {
        kube::Client::try_from(self.config().await).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
