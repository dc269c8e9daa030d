//! A load generator: a fixed number of keep-alive connections, one request at a time on each.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures::future::try_join_all;
use hdrhistogram::Histogram;
use http::Request;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A request that takes longer is a failure, and its connection is given up.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Not measured: the server's caches and pools fill, all connections open.
const WARM_UP: Duration = Duration::from_secs(1);
/// Connections that one slot opens before its server is taken to be broken.
const RECONNECTS_MAX: u32 = 100;
/// The guest answers with one line.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What one number of connections gave.
#[derive(Serialize)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) requests: u64,
    /// Other statuses than 200, timeouts, broken connections; not among `requests`.
    pub(crate) failures: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_micros: u64,
    pub(crate) p99_micros: u64,
    /// Of one core. Near 100, it is this generator that bounds the figures.
    pub(crate) generator_cpu_percent: f64,
}

/// GET `/` over and over for `seconds`, after a warm-up.
pub(crate) async fn run(
    address: SocketAddr,
    connections: usize,
    seconds: Duration,
) -> anyhow::Result<Load> {
    let begin = Instant::now() + WARM_UP;
    let end = begin + seconds;
    let cpu = async {
        tokio::time::sleep_until(begin.into()).await;
        let before = cpu_seconds();
        tokio::time::sleep_until(end.into()).await;
        Ok(cpu_seconds() - before)
    };
    let slots = (0..connections).map(|_| Slot::new(address).map(|slot| slot.run(begin, end)));
    let slots: Vec<_> = slots.collect::<anyhow::Result<_>>()?;
    let (finished, cpu) = futures::try_join!(try_join_all(slots), cpu)?;

    let mut latency = histogram()?;
    let mut failures = 0;
    for slot in finished {
        latency.add(&slot.latency)?;
        failures += slot.failures;
    }
    let requests = latency.len();
    if requests == 0 {
        bail!("no request to http://{address}/ succeeded in {seconds:?}, {failures} failed");
    }
    Ok(Load {
        connections,
        requests,
        failures,
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        requests_per_second: requests as f64 / seconds.as_secs_f64(),
        p50_micros: latency.value_at_quantile(0.5),
        p99_micros: latency.value_at_quantile(0.99),
        generator_cpu_percent: 100.0 * cpu / seconds.as_secs_f64(),
    })
}

/// One request on a connection of its own.
pub(crate) async fn get_once(address: SocketAddr) -> anyhow::Result<Bytes> {
    Connection::open(address).await?.get().await
}

/// One connection, or its successor when it breaks.
struct Slot {
    address: SocketAddr,
    latency: Histogram<u64>,
    failures: u64,
}

impl Slot {
    fn new(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self {
            address,
            latency: histogram()?,
            failures: 0,
        })
    }

    async fn run(mut self, begin: Instant, end: Instant) -> anyhow::Result<Self> {
        let mut connection = Connection::open(self.address).await?;
        let mut reconnects = 0;
        loop {
            let sent = Instant::now();
            if sent >= end {
                return Ok(self);
            }
            let got = connection.get().await;
            let done = Instant::now();
            // What overlaps the warm-up or the end is in neither sum.
            let counts = sent >= begin && done <= end;
            match got {
                Ok(_) if counts => {
                    let micros = u64::try_from((done - sent).as_micros()).unwrap_or(u64::MAX);
                    self.latency.saturating_record(micros);
                }
                Ok(_) => {}
                Err(error) => {
                    self.failures += u64::from(counts);
                    reconnects += 1;
                    if reconnects > RECONNECTS_MAX {
                        return Err(error.context(format!(
                            "gave up after {RECONNECTS_MAX} failures on one connection"
                        )));
                    }
                    connection = Connection::open(self.address).await?;
                }
            }
        }
    }
}

struct Connection {
    address: SocketAddr,
    sender: SendRequest<Empty<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
            // Its error comes back through `sender` as well.
            let driver = tokio::spawn(async move { drop(driver.await) }).abort_handle();
            Ok::<_, anyhow::Error>(Self {
                address,
                sender,
                driver,
            })
        };
        timeout(CONNECT_MAX, connect)
            .await
            .with_context(|| format!("no connection to {address} within {CONNECT_MAX:?}"))?
            .with_context(|| format!("cannot connect to {address}"))
    }

    async fn get(&mut self) -> anyhow::Result<Bytes> {
        let request = Request::get("/")
            .header(http::header::HOST, self.address.to_string())
            .body(Empty::new())?;
        let exchange = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX)
                .collect()
                .await;
            let body = body.map_err(|e| anyhow::anyhow!(e))?.to_bytes();
            if status != http::StatusCode::OK {
                bail!("status {status}: {}", String::from_utf8_lossy(&body).trim());
            }
            Ok(body)
        };
        timeout(REQUEST_MAX, exchange)
            .await
            .with_context(|| format!("no answer within {REQUEST_MAX:?}"))?
    }
}

/// Microseconds up to a minute, to three digits.
fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

/// Processor time of this process so far.
fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    #[allow(clippy::cast_precision_loss)] // seconds and nanoseconds of one run
    let seconds = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
    seconds
}
