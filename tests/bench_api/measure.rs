//! The measurements. Requests are sent and answers read as bytes: what is measured is the server,
//! and as little as may be of this client.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt};
use hdrhistogram::Histogram;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::config::Config;
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;

const NAMESPACE: &str = "bench-api";
/// One request; a busy server answers much sooner.
const CALL_MAX: Duration = Duration::from_secs(60);
/// Clients, each with connections of its own, as many users have.
const CLIENTS: usize = 8;
/// Ticks of CPU time in a second, as Linux counts them in /proc.
const TICKS_PER_SECOND: u32 = 100;
/// Longest time that the histograms tell apart, in microseconds.
const MICROS_MAX: u64 = 120_000_000;

/// One line of the report.
#[derive(Serialize)]
pub struct Row {
    name: String,
    per_second: f64,
    p50_millis: f64,
    p99_millis: f64,
    /// What one costs the servers; absent without `--pid`.
    cpu_micros: Option<f64>,
    /// Of one answer.
    bytes: u64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row {
            name,
            per_second,
            p50_millis,
            p99_millis,
            bytes,
            ..
        } = self;
        write!(
            f,
            "{name:<28}{per_second:>9.0}/s  p50 {p50_millis:>8.2} ms  p99 {p99_millis:>8.2} ms  {bytes:>9} bytes"
        )?;
        match self.cpu_micros {
            Some(micros) => write!(f, "  {micros:>7.0} us of CPU each"),
            None => Ok(()),
        }
    }
}

/// A connected benchmark.
pub struct Bench {
    clients: Vec<Client>,
    config: Config,
    pids: Vec<u32>,
    at_once: usize,
}

impl Bench {
    pub async fn start(config: Config, pids: Vec<u32>, at_once: usize) -> anyhow::Result<Self> {
        let client = |_| Client::try_from(config.clone()).context("cannot make a client");
        let bench = Bench {
            clients: (0..CLIENTS).map(client).collect::<anyhow::Result<_>>()?,
            config: config.clone(),
            pids,
            at_once,
        };
        let namespace = json!({ "metadata": { "name": NAMESPACE } }).to_string();
        bench
            .call(0, "POST", "/api/v1/namespaces", namespace)
            .await?;
        Ok(bench)
    }

    pub async fn clean_up(&self) -> anyhow::Result<()> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}");
        self.call(0, "DELETE", &path, String::new()).await?;
        Ok(())
    }

    /// Sends one request and reads the answer; its length.
    async fn call(
        &self,
        by: usize,
        method: &str,
        path: &str,
        body: String,
    ) -> anyhow::Result<usize> {
        let content_type = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .header("accept", "application/json")
            .body(Body::from(body.into_bytes()))?;
        let (status, bytes) = self.send(by, request).await?;
        if !status.is_success() {
            bail!(
                "{method} {path}: {status}: {}",
                String::from_utf8_lossy(&bytes)
            );
        }
        Ok(bytes.len())
    }

    async fn send(
        &self,
        by: usize,
        request: Request<Body>,
    ) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let what = format!("{} {}", request.method(), request.uri());
        let client = &self.clients[by % self.clients.len()];
        let work = async {
            let answer = client.send(request).await?;
            let status = answer.status();
            let bytes = answer.into_body().collect_bytes().await?;
            Ok::<_, kube::Error>((status, bytes.to_vec()))
        };
        let done = timeout(CALL_MAX, work).await;
        done.with_context(|| format!("{what}: no answer within {CALL_MAX:?}"))?
            .with_context(|| what)
    }

    /// CPU time that the servers have used so far.
    fn cpu(&self) -> anyhow::Result<Option<Duration>> {
        let mut ticks = 0;
        for pid in &self.pids {
            let path = format!("/proc/{pid}/stat");
            let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            ticks += cpu_ticks(&stat).with_context(|| format!("{path} has no CPU times"))?;
        }
        let used = Duration::from_secs(ticks) / TICKS_PER_SECOND;
        Ok((!self.pids.is_empty()).then_some(used))
    }

    /// Does `work` for 0 to `count`, so many at once, and says how long each took.
    async fn each<F>(&self, name: &str, count: u32, work: impl Fn(u32) -> F) -> anyhow::Result<Row>
    where
        F: Future<Output = anyhow::Result<usize>>,
    {
        eprintln!("bench-api: {name}");
        let mut histogram = Histogram::<u64>::new_with_max(MICROS_MAX, 3)?;
        let (begun, cpu) = (Instant::now(), self.cpu()?);
        let mut bytes = 0;
        let mut done = futures::stream::iter(0..count)
            .map(|index| {
                let work = work(index);
                async move {
                    let begun = Instant::now();
                    let bytes = work.await?;
                    Ok::<_, anyhow::Error>((begun.elapsed(), bytes))
                }
            })
            .buffer_unordered(self.at_once);
        while let Some((took, length)) = done.try_next().await? {
            histogram.saturating_record(micros(took));
            bytes += length as u64;
        }
        let used = self
            .cpu()?
            .zip(cpu)
            .map(|(after, before)| after.saturating_sub(before));
        Ok(row(name, begun.elapsed(), used, bytes, &histogram))
    }

    /// Creates, reads and patches pods.
    pub async fn pods(&self, count: u32) -> anyhow::Result<Vec<Row>> {
        let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        let one = |index: u32| format!("{pods}/pod-{index}");
        let create = |index: u32| {
            let path = pods.clone();
            async move { self.call(index as usize, "POST", &path, pod(index)).await }
        };
        let get = |index: u32| {
            let path = one(index);
            async move { self.call(index as usize, "GET", &path, String::new()).await }
        };
        let patch = |index: u32| {
            let path = one(index);
            let note = json!({ "metadata": { "annotations": { "note": index.to_string() } } });
            async move {
                self.call(index as usize, "PATCH", &path, note.to_string())
                    .await
            }
        };
        Ok(vec![
            self.each("create a pod", count, create).await?,
            self.each("get a pod", count, get).await?,
            self.each("patch a pod", count, patch).await?,
        ])
    }

    /// Lists all of them, one list after the other.
    pub async fn lists(&self, count: u32, times: u32) -> anyhow::Result<Vec<Row>> {
        const JSON: &str = "application/json";
        const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
        const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
        const METADATA: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        let mut rows = Vec::new();
        for (name, accept, query) in [
            ("JSON", JSON, ""),
            ("JSON from the cache", JSON, "?resourceVersion=0"),
            ("pages of 500", JSON, "?limit=500"),
            ("metadata", METADATA, ""),
            ("table", TABLE, ""),
            ("protobuf", PROTOBUF, ""),
        ] {
            let path = format!("/api/v1/namespaces/{NAMESPACE}/pods{query}");
            let name = format!("list {count}, {name}");
            eprintln!("bench-api: {name}");
            let mut histogram = Histogram::<u64>::new_with_max(MICROS_MAX, 3)?;
            let (start, cpu) = (Instant::now(), self.cpu()?);
            let mut bytes = 0;
            for _ in 0..times {
                let begun = Instant::now();
                let request = Request::get(&path).header("accept", accept);
                let (status, answer) = self.send(0, request.body(Body::empty())?).await?;
                if status != StatusCode::OK {
                    bail!("GET {path}: {status}: {}", String::from_utf8_lossy(&answer));
                }
                histogram.saturating_record(micros(begun.elapsed()));
                bytes += answer.len() as u64;
            }
            let used = self
                .cpu()?
                .zip(cpu)
                .map(|(after, before)| after.saturating_sub(before));
            rows.push(row(&name, start.elapsed(), used, bytes, &histogram));
        }
        Ok(rows)
    }

    /// How long changes take to reach every watcher: from before the write is sent.
    pub async fn fan_out(&self, watchers: u32, changes: u32) -> anyhow::Result<Row> {
        let maps = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
        let name = format!("a change to {watchers} watchers");
        eprintln!("bench-api: {name}");
        let client = Client::try_from(self.config.clone()).context("cannot make a client")?;
        let open = |_| {
            let (client, path) = (
                client.clone(),
                format!("{maps}?watch=true&labelSelector=bench"),
            );
            async move {
                let request = Request::get(path).body(Body::empty())?;
                let answer = timeout(CALL_MAX, client.send(request)).await??;
                if answer.status() != StatusCode::OK {
                    bail!("a watch was refused: {}", answer.status());
                }
                Ok(answer.into_body())
            }
        };
        let opened = futures::stream::iter(0..watchers)
            .map(open)
            .buffer_unordered(64);
        let bodies: Vec<Body> = opened.try_collect().await?;
        let (seen, mut times) = tokio::sync::mpsc::channel(4096);
        let readers: Vec<_> = bodies
            .into_iter()
            .map(|mut body| {
                let seen = seen.clone();
                tokio::spawn(async move {
                    let mut line = Vec::new();
                    while let Some(Ok(frame)) = body.frame().await {
                        for byte in frame.into_data().unwrap_or_default() {
                            line.push(byte);
                            if byte == b'\n' {
                                line.clear();
                                if seen.send(Instant::now()).await.is_err() {
                                    return;
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        let mut histogram = Histogram::<u64>::new_with_max(MICROS_MAX, 3)?;
        let (start, cpu) = (Instant::now(), self.cpu()?);
        for index in 0..changes {
            let begun = Instant::now();
            let map = json!({ "metadata": { "name": format!("c{index}"), "labels": { "bench": "yes" } } });
            self.call(0, "POST", &maps, map.to_string()).await?;
            for _ in 0..watchers {
                let at = timeout(CALL_MAX, times.recv()).await;
                let at = at
                    .context("a watcher did not see a change")?
                    .context("the watches ended")?;
                histogram.saturating_record(micros(at.saturating_duration_since(begun)));
            }
        }
        let took = start.elapsed();
        let used = self
            .cpu()?
            .zip(cpu)
            .map(|(after, before)| after.saturating_sub(before));
        readers.iter().for_each(tokio::task::JoinHandle::abort);
        Ok(row(&name, took, used, 0, &histogram))
    }
}

/// A pod as a Deployment makes them, which no scheduler feels responsible for.
fn pod(index: u32) -> String {
    json!({
        "metadata": {
            "name": format!("pod-{index}"),
            "labels": { "app": "bench", "pod-template-hash": "12345" },
        },
        "spec": {
            "schedulerName": "nobody",
            "containers": [{
                "name": "main", "image": "hello:v1", "ports": [{ "containerPort": 80 }],
                "env": [{ "name": "NAME", "value": "bench" }],
                "resources": { "requests": { "cpu": "10m", "memory": "16Mi" } },
            }],
        },
    })
    .to_string()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[allow(clippy::cast_precision_loss)] // for people
fn row(
    name: &str,
    took: Duration,
    cpu: Option<Duration>,
    bytes: u64,
    times: &Histogram<u64>,
) -> Row {
    let count = times.len().max(1) as f64;
    Row {
        name: name.to_owned(),
        per_second: times.len() as f64 / took.as_secs_f64(),
        p50_millis: times.value_at_quantile(0.5) as f64 / 1000.0,
        p99_millis: times.value_at_quantile(0.99) as f64 / 1000.0,
        cpu_micros: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / count),
        bytes: bytes / times.len().max(1),
    }
}

/// User and system time in /proc/PID/stat. The name before them may hold anything, but no `)`
/// comes after its own.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::cpu_ticks;

    #[test]
    fn cpu_time_is_read_behind_the_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 30 12 13 14";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
        assert_eq!(cpu_ticks(""), None);
    }
}
