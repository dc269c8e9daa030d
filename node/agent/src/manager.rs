//! Which pods run here: a worker for every pod that is bound to this node.

use crate::logs::writer::LogWriter;
use crate::node::Node;
use crate::remote::live::Live;
use crate::status_writer::PodId;
use crate::worker::{self, Input, Shown};
use ahash::{AHashMap, AHashSet};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use euston_client::{ChangeBatch, Changes, Informer, ObjectKey};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

struct Handle {
    input: watch::Sender<Input>,
    shown: watch::Receiver<Shown>,
    key: ObjectKey,
}

/// The workers of a node. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Manager {
    node: Arc<Node>,
    pods: Informer<Pod>,
    workers: Arc<Mutex<AHashMap<Arc<str>, Handle>>>,
    /// The uid of the pod that has a name now.
    names: Arc<Mutex<AHashMap<ObjectKey, Arc<str>>>>,
    pub(crate) tasks: TaskTracker,
}

/// Where the log of a container is.
pub(crate) struct LogPlace {
    pub(crate) dir: std::path::PathBuf,
    pub(crate) restart: i32,
    pub(crate) live: Option<Arc<LogWriter>>,
}

/// Why something of a pod cannot be had.
#[derive(Debug)]
pub(crate) struct Missing {
    /// The pod or container is not here at all.
    pub(crate) nothing_there: bool,
    /// In a sentence.
    pub(crate) why: String,
}

impl Missing {
    fn not_there(why: String) -> Self {
        Self {
            nothing_there: true,
            why,
        }
    }

    fn not_now(why: String) -> Self {
        Self {
            nothing_there: false,
            why,
        }
    }

    fn pod(namespace: &str, name: &str) -> Self {
        Self::not_there(format!("the pod {namespace}/{name} is not on this node"))
    }

    fn container(namespace: &str, name: &str, container: &str) -> Self {
        Self::not_there(format!(
            "the pod {namespace}/{name} has no container {container:?}"
        ))
    }
}

impl IntoResponse for Missing {
    fn into_response(self) -> Response {
        let status = match self.nothing_there {
            true => StatusCode::NOT_FOUND,
            false => StatusCode::BAD_REQUEST,
        };
        (status, self.why).into_response()
    }
}

impl Manager {
    pub(crate) fn new(node: Arc<Node>, pods: Informer<Pod>) -> Self {
        Self {
            node,
            pods,
            workers: Arc::default(),
            names: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Follows the informer until it ends.
    pub(crate) async fn run(self, mut changes: Changes) {
        if !self.pods.synced().await {
            return;
        }
        self.forget_strangers().await;
        while let Some(batch) = changes.next().await {
            match batch {
                ChangeBatch::Keys(keys) => keys.iter().for_each(|key| self.look_at(key)),
                ChangeBatch::Relist => {
                    let known: Vec<_> = self.names.lock().keys().cloned().collect();
                    let listed = self.pods.list();
                    let listed = listed.iter().map(|pod| ObjectKey::of(&pod.metadata));
                    let all: AHashSet<_> = known.into_iter().chain(listed).collect();
                    all.iter().for_each(|key| self.look_at(key));
                }
            }
        }
    }

    fn look_at(&self, key: &ObjectKey) {
        let pod = self.pods.get_key(key);
        let uid: Option<Arc<str>> = pod
            .as_ref()
            .and_then(|pod| pod.metadata.uid.as_deref())
            .map(Arc::from);
        let before = match &uid {
            Some(uid) => self.names.lock().insert(key.clone(), uid.clone()),
            None => self.names.lock().remove(key),
        };
        if let Some(before) = before
            && Some(&before) != uid.as_ref()
            && let Some(handle) = self.workers.lock().get(&before)
        {
            handle.input.send_modify(|input| input.gone = true);
        }
        let (Some(pod), Some(uid)) = (pod, uid) else {
            return;
        };
        if let Some(handle) = self.workers.lock().get(&uid) {
            handle.input.send_replace(Input { pod, gone: false });
            return;
        }
        let id = PodId {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid,
        };
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            // It ended under an earlier agent: nothing is left to do for it but to let it go.
            if pod.metadata.deletion_timestamp.is_some() {
                let node = self.node.clone();
                self.tasks
                    .spawn(async move { worker::delete(&node, &id).await });
            }
            return;
        }
        self.start(id, key.clone(), pod);
    }

    fn start(&self, id: PodId, key: ObjectKey, pod: Arc<Pod>) {
        let (input, inputs) = watch::channel(Input { pod, gone: false });
        let (show, shown) = watch::channel(Shown::default());
        let uid = id.uid.clone();
        self.workers
            .lock()
            .insert(uid.clone(), Handle { input, shown, key });
        let (node, workers) = (self.node.clone(), self.workers.clone());
        self.tasks.spawn(async move {
            worker::run(node, id, inputs, show).await;
            workers.lock().remove(&uid);
        });
    }

    /// Removes what pods left on disk that are no longer bound to this node.
    async fn forget_strangers(&self) {
        let known: AHashSet<String> = self
            .pods
            .list()
            .iter()
            .filter_map(|pod| pod.metadata.uid.clone())
            .collect();
        let dir = self.node.config.data_dir.join("pods");
        let removal = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            for entry in std::fs::read_dir(dir)? {
                let entry = entry?;
                let name = entry.file_name();
                let uid = name.to_str().and_then(|name| name.rsplit('_').next());
                if uid.is_some_and(|uid| !known.contains(uid)) {
                    std::fs::remove_dir_all(entry.path())?;
                }
            }
            Ok(())
        });
        match removal.await {
            Ok(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "cannot remove what former pods left on disk");
            }
            _ => {}
        }
    }

    /// Finds the log of a container.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn log(
        &self,
        namespace: &str,
        name: &str,
        container: &str,
        previous: bool,
    ) -> Result<LogPlace, Missing> {
        let pod = self
            .pods
            .get(namespace, name)
            .ok_or_else(|| Missing::pod(namespace, name))?;
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let dir =
            crate::logs::pod_dir(&self.node.config.data_dir, namespace, name, &uid).join(container);
        let shown = self.workers.lock().get(&*uid).map(|handle| {
            debug_assert_eq!(&*handle.key.name, name);
            handle.shown.borrow().clone()
        });
        let (restart, live) = match shown {
            Some(shown) => shown
                .logs
                .into_iter()
                .find(|(known, ..)| known == container)
                .map(|(_, restart, live)| (restart, live)),
            // Ended under an earlier agent.
            None => pod.status.as_ref().and_then(|status| {
                status
                    .container_statuses
                    .iter()
                    .chain(&status.init_container_statuses)
                    .flatten()
                    .find(|status| status.name == container)
                    .map(|status| (status.restart_count, None))
            }),
        }
        .ok_or_else(|| Missing::container(namespace, name, container))?;
        if !previous {
            return Ok(LogPlace { dir, restart, live });
        }
        if restart == 0 {
            return Err(Missing::not_now(format!(
                "previous terminated container {container:?} in pod {name:?} not found"
            )));
        }
        Ok(LogPlace {
            dir,
            restart: restart - 1,
            live: None,
        })
    }

    fn shown(&self, namespace: &str, name: &str) -> Result<Shown, Missing> {
        let pod = self.pods.get(namespace, name);
        let uid = pod.and_then(|pod| pod.metadata.uid.clone());
        let workers = self.workers.lock();
        uid.and_then(|uid| workers.get(&*uid))
            .map(|handle| handle.shown.borrow().clone())
            .ok_or_else(|| Missing::pod(namespace, name))
    }

    /// Finds a container that runs.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn live(
        &self,
        namespace: &str,
        name: &str,
        container: &str,
    ) -> Result<Live, Missing> {
        let shown = self.shown(namespace, name)?;
        if !shown.logs.iter().any(|(known, ..)| known == container) {
            return Err(Missing::container(namespace, name, container));
        }
        shown
            .live
            .into_iter()
            .find(|(known, _)| known == container)
            .map(|(_, live)| live)
            .ok_or_else(|| {
                Missing::not_now(format!(
                    "container {container:?} of pod {namespace}/{name} is not running"
                ))
            })
    }

    /// Finds a pod's address.
    ///
    /// # Errors
    /// Why it has none.
    pub(crate) fn address(&self, namespace: &str, name: &str) -> Result<IpAddr, Missing> {
        self.shown(namespace, name)?.ip.ok_or_else(|| {
            Missing::not_now(format!("the pod {namespace}/{name} has no address now"))
        })
    }
}
