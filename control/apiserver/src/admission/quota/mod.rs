//! ResourceQuota: what a namespace takes together stays within its bounds, exactly, whoever
//! writes at the same time and through whichever server.
//!
//! What an object takes is written into the quota's status in the very write that stores, changes
//! or removes the object, with the precondition that the quota is still as it was read. So no two
//! writes count upon the same room, and none is counted that was not done. Of writes that meet,
//! one goes ahead and the others look again; those of one server wait for one another, so that
//! they do not take turns in vain. Follows
//! <https://kubernetes.io/docs/concepts/policy/resource-quotas/>; there a controller gives back
//! later what is deleted, here the deletion does.

mod measure;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use tokio::sync::{Mutex, MutexGuard};

use super::plugin::{Lookup, Request};
use super::pod_totals::{Amounts, add};
use crate::error::{ApiError, Result};
use crate::registry::Part;
use crate::registry::kind::Names;
use crate::registry::object::AnyObject;
use crate::registry::table::Table;
use crate::storage::{Beside, Entry, ResourceCache, Storage, join, prefix};
use measure::{Measured, count_name, is_plain, measure, plain};
use plan::{Step, charge, masked};

/// Writes under quotas wait for others of the same namespace in one of so many places. Two busy
/// namespaces that share one only wait for each other.
const TURNS: usize = 64;
/// How long a write waits for its turn before the client is told to try again: half of what
/// Kubernetes gives a request altogether.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a count waits for the caches, which trail the store by less than a millisecond.
const COUNT_TIMEOUT: Duration = Duration::from_secs(10);

/// Holds namespaces to their quotas.
pub struct Quotas {
    quotas: Lookup<ResourceQuota>,
    storage: Arc<Storage>,
    table: Arc<Table>,
    turns: [Mutex<()>; TURNS],
}

/// What a write changes besides its object, and its turn, which lasts until this is dropped.
#[derive(Default)]
pub struct Charged<'a> {
    /// The quotas as they are after the write.
    pub beside: Vec<Beside>,
    _turn: Option<MutexGuard<'a, ()>>,
}

impl Quotas {
    /// Over the quotas in a cache, which count the objects of every kind of the table.
    pub fn new(quotas: Arc<ResourceCache>, storage: Arc<Storage>, table: Arc<Table>) -> Self {
        Quotas {
            quotas: Lookup::new(quotas),
            storage,
            table,
            turns: std::array::from_fn(|_| Mutex::new(())),
        }
    }

    /// What the step to `new` (`None`: the object goes) changes in the namespace's quotas.
    ///
    /// # Errors
    /// 403 if it does not fit; 429 if its turn does not come; the store's.
    pub async fn charge(
        &self,
        request: &Request<'_>,
        new: Option<&dyn AnyObject>,
    ) -> Result<Charged<'_>> {
        let names = &request.resource.kind.names;
        let Some(object) = new.or(request.old) else {
            return Ok(Charged::default());
        };
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        if !names.namespaced || self.quotas.cache().within(namespace).is_empty() {
            return Ok(Charged::default());
        }
        let step = Step {
            old: request.old.map(|old| measure(names, old)),
            new: new.map(|new| measure(names, new)),
            may_be_refused: request.part == Part::Main && new.is_some(),
        };
        if step.old == step.new {
            return Ok(Charged::default());
        }
        let refused = |why: String| request.forbidden(object, &why);
        let touched = |quotas: &[(Arc<Entry>, ResourceQuota)]| {
            charge(&step, quotas.iter().map(|(_, quota)| quota)).map_err(refused)
        };
        if touched(&self.quotas.within(namespace))?.is_empty() {
            return Ok(Charged::default());
        }
        let turn = self.turn(namespace).await?;
        // As whoever had the turn before has left them.
        self.storage.fresh().await?;
        let quotas = self.quotas.within(namespace);
        let beside = touched(&quotas)?
            .into_iter()
            .map(|(place, used)| {
                let (entry, quota) = &quotas[place];
                self.charged(entry, quota.clone(), used)
            })
            .collect::<Result<_>>()?;
        Ok(Charged {
            beside,
            _turn: Some(turn),
        })
    }

    async fn turn(&self, namespace: &str) -> Result<MutexGuard<'_, ()>> {
        let mut hasher = DefaultHasher::new();
        namespace.hash(&mut hasher);
        let place = hasher.finish() as usize % TURNS;
        let turn = self.turns[place].lock();
        tokio::time::timeout(TURN_TIMEOUT, turn).await.map_err(|_| {
            ApiError::too_many_requests(format!(
                "too many writes wait for the quotas of the namespace {namespace:?}"
            ))
        })
    }

    fn charged(
        &self,
        entry: &Entry,
        mut quota: ResourceQuota,
        used: BTreeMap<String, ApiQuantity>,
    ) -> Result<Beside> {
        quota.status.get_or_insert_default().used = Some(used);
        // Who owns which of its fields stays as it is: nobody has applied what is counted.
        let lean = serde_json::to_vec(&quota).map_err(ApiError::internal)?;
        let value = join(lean, entry.parts().owners);
        Ok(Beside {
            key: format!(
                "{}{}",
                prefix(self.quotas.cache().kind()),
                entry.key.as_str()
            ),
            revision: entry.revision,
            value: value.into(),
        })
    }

    /// Gives a quota the status that follows from its spec and from what is there; `at` is the
    /// revision that it is stored at, 0 if it is new.
    ///
    /// A write that knew nothing of a new quota yet may be missing from its first status;
    /// upkeep counts again.
    ///
    /// # Errors
    /// 504 if the caches are behind for long.
    pub async fn settle(&self, object: &mut dyn AnyObject, at: u64) -> Result<()> {
        let Some(quota) = object.as_any_mut().downcast_mut::<ResourceQuota>() else {
            return Ok(());
        };
        // Of what was written together with the quota, all caches must have their part.
        self.storage.wait_for(at, COUNT_TIMEOUT).await?;
        self.count(quota, at == 0);
        Ok(())
    }

    fn count(&self, quota: &mut ResourceQuota, is_new: bool) {
        let default = Default::default();
        let spec = quota.spec.as_ref().unwrap_or(&default);
        let hard = spec.hard.clone().unwrap_or_default();
        let namespace = quota.metadata.namespace.as_deref().unwrap_or_default();
        let mut usage = Amounts::new();
        let mut counted = BTreeSet::new();
        for row in self.table.now().iter() {
            let (cache, names) = (&row.cache, &row.kind.names);
            // Of a kind that is served in several versions, one is counted.
            if names.namespaced && counted.insert((names.group.clone(), names.plural.clone())) {
                let bounds = |name: &String| hard.contains_key(name);
                let taken = if is_plain(names) {
                    let one = plain(names);
                    if one.keys().any(bounds) && Measured::default().is_within(spec) {
                        let itself = is_new && Arc::ptr_eq(cache, self.quotas.cache());
                        let count = cache.within(namespace).len() + usize::from(itself);
                        std::iter::repeat_n(one, count).collect()
                    } else {
                        Vec::new()
                    }
                } else if hard.keys().any(|name| is_about(names, name)) {
                    let entries = cache.within(namespace);
                    let measured = entries.iter().filter_map(|entry| {
                        let object = cache.kind().rules.decode_stored(&entry.value).ok()?;
                        Some(measure(names, object.as_ref()))
                    });
                    let within = measured.filter(|m| m.is_within(spec));
                    within.map(|m| m.usage).collect()
                } else {
                    Vec::new()
                };
                for one in &taken {
                    add(&mut usage, one);
                }
            }
        }
        quota.status = Some(ResourceQuotaStatus {
            used: Some(masked(&usage, &hard)),
            hard: Some(hard),
        });
    }
}

/// True if objects of this kind may take what a quota calls `bounded`.
fn is_about(names: &Names, bounded: &str) -> bool {
    match bounded.strip_prefix("count/") {
        Some(_) => bounded == count_name(names),
        None => match names.plural.as_str() {
            "services" => bounded.starts_with("services"),
            "persistentvolumeclaims" => {
                bounded.contains("persistentvolumeclaims") || bounded.contains("requests.storage")
            }
            _ => !bounded.starts_with("services"),
        },
    }
}
