//! Images on this node: pulled once however many containers wait, compiled once, kept on disk.

use crate::pod::desire::PullPolicy;
use crate::pod::state::HoldReason;
use bytes::Bytes;
use euston_images::{ImageClient, Reference};
use euston_sandbox::{Image, Runtime};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Pulls at one time: they compete for one network, and each holds a whole image in memory.
const PULLS_MAX: usize = 4;
/// A pull that takes longer has failed.
const PULL_TIMEOUT: Duration = Duration::from_secs(300);
/// Compiled images kept in memory beyond those in use.
const IDLE_MAX: usize = 256;

/// An image that can be started.
#[derive(Clone)]
pub(crate) struct Ready {
    /// `NAME@sha256:...`, what `imageID` shows.
    pub(crate) id: String,
    pub(crate) image: Arc<Image>,
    /// Set if it came from the registry just now: how long that took.
    pub(crate) pulled: Option<(Duration, u64)>,
}

/// Why there is no image.
#[derive(Debug, Clone)]
pub(crate) struct NoImage {
    pub(crate) why: HoldReason,
    pub(crate) message: String,
}

/// Where the images of one node are.
pub(crate) struct Images {
    runtime: Runtime,
    registry: ImageClient,
    disk: Disk,
    pulls: Semaphore,
    slots: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Slot>>>>,
}

#[derive(Default)]
struct Slot {
    ready: Option<Ready>,
    /// When the registry was last asked: nobody who came before that has to ask again.
    asked: Option<Instant>,
    failed: Option<NoImage>,
}

impl Images {
    pub(crate) fn open(
        dir: PathBuf,
        runtime: Runtime,
        client: kube::Client,
    ) -> std::io::Result<Self> {
        Ok(Self {
            runtime,
            registry: ImageClient::new(client),
            disk: Disk::open(dir)?,
            pulls: Semaphore::new(PULLS_MAX),
            slots: Mutex::default(),
        })
    }

    /// The image of that name by that policy, for a container that wants it since `since`.
    pub(crate) async fn ensure(
        &self,
        name: &str,
        policy: PullPolicy,
        since: Instant,
    ) -> Result<Ready, NoImage> {
        if let Err(error) = name.parse::<Reference>() {
            return Err(NoImage {
                why: HoldReason::InvalidImageName,
                message: format!("cannot use the image name: {error}"),
            });
        }
        let slot = self.slot(name);
        // Whoever comes second waits here and finds the result of the first.
        let mut slot = slot.lock().await;
        let asked_since = slot.asked.is_some_and(|asked| asked >= since);
        if asked_since && let Some(failed) = &slot.failed {
            return Err(failed.clone());
        }
        if policy != PullPolicy::Always || asked_since {
            if let Some(ready) = &slot.ready {
                return Ok(Ready {
                    pulled: None,
                    ..ready.clone()
                });
            }
            if let Some(ready) = self.load_kept(name).await {
                slot.ready = Some(ready.clone());
                return Ok(ready);
            }
        }
        if policy == PullPolicy::Never {
            return Err(NoImage {
                why: HoldReason::ImageNeverPull,
                message: format!(
                    "the image {name:?} is not on this node, and its pull policy is Never"
                ),
            });
        }
        slot.asked = Some(Instant::now());
        slot.failed = None;
        match self.pull(name, slot.ready.as_ref()).await {
            Ok(ready) => {
                slot.ready = Some(ready.clone());
                Ok(ready)
            }
            Err(failed) => {
                slot.failed = Some(failed.clone());
                Err(failed)
            }
        }
    }

    fn slot(&self, name: &str) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(name) {
            return slot.clone();
        }
        if slots.len() >= IDLE_MAX {
            slots.retain(|_, slot| {
                let idle = |slot: &Slot| {
                    slot.ready
                        .as_ref()
                        .is_none_or(|ready| Arc::strong_count(&ready.image) == 1)
                };
                // Locked means in use.
                Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|slot| !idle(&slot))
            });
        }
        slots.entry(name.to_owned()).or_default().clone()
    }

    async fn load_kept(&self, name: &str) -> Option<Ready> {
        let (id, wasm, content) = self.disk.load(name).await?;
        let image = self.runtime.prepare(wasm).await.ok()?;
        // A file that changed on disk is another image; the registry has the right one.
        (image.digest() == content).then_some(Ready {
            id,
            image,
            pulled: None,
        })
    }

    async fn pull(&self, name: &str, before: Option<&Ready>) -> Result<Ready, NoImage> {
        let failed = |why, message: String| NoImage { why, message };
        let pull_failed = |reason: String| {
            failed(
                HoldReason::ImagePull,
                format!("failed to pull image {name:?}: {reason}"),
            )
        };
        // The semaphore is never closed.
        let _permit = self
            .pulls
            .acquire()
            .await
            .map_err(|e| pull_failed(e.to_string()))?;
        let began = Instant::now();
        let pulled = tokio::time::timeout(PULL_TIMEOUT, self.registry.pull(name))
            .await
            .map_err(|_| pull_failed(format!("no answer within {PULL_TIMEOUT:?}")))?
            .map_err(|error| pull_failed(error.to_string()))?;
        let bare = name.split('@').next().unwrap_or(name);
        let id = format!("{}@{}", strip_tag(bare), pulled.digest);
        let size = pulled.wasm.len() as u64;
        let took = Some((began.elapsed(), size));
        if let Some(before) = before
            && before.id == id
        {
            return Ok(Ready {
                pulled: took,
                ..before.clone()
            });
        }
        let image = self
            .runtime
            .prepare(pulled.wasm.clone())
            .await
            .map_err(|error| {
                failed(
                    HoldReason::ImageInspect,
                    format!("the image {name:?} cannot be run: {error}"),
                )
            })?;
        self.disk
            .store(name, &id, &image.digest(), pulled.wasm)
            .await;
        Ok(Ready {
            id,
            image,
            pulled: took,
        })
    }
}

fn strip_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((front, tag)) if !tag.contains('/') => front,
        _ => name,
    }
}

/// `refs.json` (name to id and content) and a file per content, named by its BLAKE3.
struct Disk {
    dir: PathBuf,
    refs: Arc<Mutex<BTreeMap<String, (String, String)>>>,
}

impl Disk {
    fn open(dir: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        // A list that cannot be read is as good as none: images are pulled again.
        let refs = std::fs::read(dir.join("refs.json"))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        Ok(Self {
            dir,
            refs: Arc::new(Mutex::new(refs)),
        })
    }

    async fn load(&self, name: &str) -> Option<(String, Bytes, String)> {
        let (id, content) = self.refs.lock().get(name).cloned()?;
        let path = self.dir.join(format!("{content}.wasm"));
        let bytes = tokio::fs::read(path).await.ok()?;
        Some((id, Bytes::from(bytes), content))
    }

    /// Keeps an image for the next start of the agent. Failing costs a pull then, nothing now.
    async fn store(&self, name: &str, id: &str, content: &str, wasm: Bytes) {
        let (dir, refs) = (self.dir.clone(), self.refs.clone());
        let (name, id, content) = (name.to_owned(), id.to_owned(), content.to_owned());
        let outcome = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            let path = dir.join(format!("{content}.wasm"));
            if !path.exists() {
                write_whole(&path, &wasm)?;
            }
            // Held while writing, so that two pulls cannot put an older list over a newer one.
            let mut refs = refs.lock();
            refs.insert(name, (id, content));
            write_whole(&dir.join("refs.json"), &serde_json::to_vec(&*refs)?)
        })
        .await;
        if let Ok(Err(error)) = outcome {
            tracing::warn!(%error, "cannot keep a pulled image on disk; it is pulled again after a restart");
        }
    }
}

/// Writes a file so that nobody ever sees half of it.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_cut_off_and_registry_ports_are_not() {
        for (name, expect) in [
            ("app:v1", "app"),
            ("app", "app"),
            ("team/app:v1", "team/app"),
            ("host:5000/app", "host:5000/app"),
            ("host:5000/app:v1", "host:5000/app"),
        ] {
            assert_eq!(strip_tag(name), expect);
        }
    }
}
