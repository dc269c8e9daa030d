//! What a pod has before its first container, and what a container is given: address, volumes,
//! environment, arguments, limits.

use crate::configs::{ConfigKey, Found};
use crate::downward::Fields;
use crate::env::{self, Sources};
use crate::node::Node;
use crate::tokens;
use crate::volumes;
use euston_api::quantity;
use euston_sandbox::Mount;
use futures::future::{select_all, try_join_all};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Changed files are written at most this often: a burst of changes is one.
const REFRESH_PAUSE: Duration = Duration::from_millis(500);
/// What a pod refers to may come a moment later than the pod: a manifest has an order, and a new namespace gets its
/// service account and CA from a controller. Only what is not there after this long is reported.
const ARRIVAL: Duration = Duration::from_secs(3);
const ARRIVAL_PAUSE: Duration = Duration::from_millis(100);

/// What a container is started with.
pub(crate) struct Built {
    pub(crate) args: Vec<String>,
    /// The manifest chose the command of an image that is an HTTP server as well.
    pub(crate) chosen: bool,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) mounts: Vec<Mount>,
    /// It has a standard input, which the first client closes if this is true.
    pub(crate) stdin: Option<bool>,
    pub(crate) tty: bool,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) cpu_limit: Option<u32>,
}

/// Gives a pod its address and its volumes.
///
/// # Errors
/// A sentence for the pod's status; nothing is kept then.
pub(crate) async fn set_up(
    node: &Node,
    pod: &Pod,
    dir: &Path,
    before: Option<IpAddr>,
) -> Result<IpAddr, String> {
    let ip = node.address(before).await?;
    let began = Instant::now();
    // Asked for once, however often the rest has to be tried.
    let mut tokens = None;
    loop {
        match write_volumes(node, pod, dir, Some(ip), &mut tokens).await {
            Ok(_) => return Ok(ip),
            Err(_) if began.elapsed() < ARRIVAL => tokio::time::sleep(ARRIVAL_PAUSE).await,
            Err(message) => {
                node.release_address(ip);
                return Err(message);
            }
        }
    }
}

fn spec_of(pod: &Pod) -> &PodSpec {
    static NONE: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&NONE)
}

fn fields<'a>(node: &'a Node, pod: &'a Pod, ip: Option<IpAddr>) -> Fields<'a> {
    Fields::new(
        pod,
        ip,
        &node.host_ip,
        (node.capacity.cpu_millis, node.capacity.memory_bytes),
    )
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// Whether some volume has to be kept current.
pub(crate) fn has_config_volumes(pod: &Pod) -> bool {
    let spec = spec_of(pod);
    !volumes::needs(namespace(pod), spec).is_empty() || !tokens::wanted(spec).is_empty()
}

/// The pod's tokens, and how long until one is due.
type Issued = (tokens::Tokens, Option<Duration>);

/// Writes what is not there or has changed. Returns how long until a token is due. `issued` keeps the tokens for a
/// caller that tries again.
async fn write_volumes(
    node: &Node,
    pod: &Pod,
    dir: &Path,
    ip: Option<IpAddr>,
    issued: &mut Option<Issued>,
) -> Result<Option<Duration>, String> {
    let spec = spec_of(pod);
    let Some(list) = spec.volumes.as_ref().filter(|list| !list.is_empty()) else {
        return Ok(None);
    };
    let keys = volumes::needs(namespace(pod), spec);
    let found = try_join_all(keys.into_iter().map(|key| async move {
        let watched = node.configs.watch(&key);
        Ok::<_, String>((key, watched.get().await?))
    }))
    .await?;
    let sources: Sources = found.into_iter().collect();
    let file = |want: &tokens::Wanted| volumes::file(dir, &want.volume, &want.path);
    if issued.is_none() {
        *issued = Some(tokens::get(&node.config.client, pod, spec, file).await?);
    }
    let (tokens, due) = issued.get_or_insert_default();
    let due = *due;
    let fields = fields(node, pod, ip);
    let allow_host_path = node.config.allow_host_path;
    let contents = list
        .iter()
        .map(|volume| {
            let content = volumes::content(volume, &fields, &sources, tokens, allow_host_path)?;
            Ok((volume.name.clone(), content))
        })
        .collect::<Result<Vec<_>, String>>()?;
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || {
        for (name, content) in contents {
            volumes::write(&dir, &name, &content)
                .map_err(|error| format!("cannot write the volume {name:?}: {error}"))?;
        }
        Ok(due)
    })
    .await
    .map_err(|error| error.to_string())?
}

/// Waits until something that the pod's volumes are made from has changed or is due, and writes it. An object
/// that is gone leaves the files as they are, as the kubelet does.
pub(crate) async fn keep_volumes(node: &Node, pod: &Pod, dir: &Path, ip: Option<IpAddr>) {
    let keys = volumes::needs(namespace(pod), spec_of(pod));
    let watched: Vec<_> = keys.iter().map(|key| node.configs.watch(key)).collect();
    let mut changes: Vec<_> = watched.iter().map(|watch| watch.changes()).collect();
    // Whatever happened between writing and subscribing is in the first batch.
    let mut due = watched.is_empty().then_some(Duration::ZERO);
    loop {
        let next = async {
            if changes.is_empty() {
                return std::future::pending().await;
            }
            let next = changes.iter_mut().map(|changes| Box::pin(changes.next()));
            select_all(next).await.0
        };
        let waited = match due {
            Some(due) => tokio::time::timeout(due, next).await,
            None => Ok(next.await),
        };
        if let Ok(None) = waited {
            // The client is shutting down.
            return std::future::pending().await;
        }
        tokio::time::sleep(REFRESH_PAUSE).await;
        due = match write_volumes(node, pod, dir, ip, &mut None).await {
            Ok(due) => due,
            Err(error) => {
                tracing::debug!(%error, "a pod's volumes keep their old files");
                Some(tokens::RETRY)
            }
        };
    }
}

/// Puts together what a container is started with.
///
/// # Errors
/// A sentence that names what is missing.
pub(crate) async fn container(
    node: &Node,
    pod: &Pod,
    name: &str,
    dir: &Path,
    ip: IpAddr,
    since: Instant,
) -> Result<Built, String> {
    let spec = spec_of(pod);
    let container = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .find(|container| container.name == name)
        .ok_or_else(|| format!("the pod has no container {name:?}"))?;
    let keys = env::needs(namespace(pod), container);
    let found: Vec<(ConfigKey, Found)> = try_join_all(keys.into_iter().map(|key| async move {
        let found = node
            .configs
            .get(&key, since)
            .await
            .map_err(|error| format!("cannot read {key} from the API server: {error}"))?;
        Ok::<_, String>((key, found))
    }))
    .await?;
    let services = match spec.enable_service_links {
        Some(false) => Vec::new(),
        _ => node.net.table().of_namespace(namespace(pod)),
    };
    let sources: Sources = found.into_iter().collect();
    let env = env::resolve(&fields(node, pod, Some(ip)), container, &services, &sources)?;
    Ok(Built {
        args: env::arguments(container, &env),
        chosen: container.command.is_some() || container.args.is_some(),
        mounts: volumes::mounts(dir, spec, container)?,
        stdin: (container.stdin == Some(true)).then_some(container.stdin_once == Some(true)),
        tty: container.tty == Some(true),
        memory_limit: limit(container, "memory").and_then(|q| u64::try_from(q / 1000).ok()),
        cpu_limit: limit(container, "cpu").and_then(|milli| u32::try_from(milli).ok()),
        env,
    })
}

/// A limit of a container, in thousandths.
fn limit(container: &Container, name: &str) -> Option<i64> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    quantity::parse_milli(limits.get(name)?).filter(|milli| *milli > 0)
}
