//! Between decoding and validation: what a request meets besides its kind's own
//! rules. Each admission is a file; [`Admission`] is their chain.

mod defaults;
mod limit_ranger;
mod namespace;
mod plugin;
mod pod_totals;
mod priority;
mod quota;
mod runtime_class;
mod service_addresses;
mod tolerations;

#[cfg(test)]
mod testing;

use std::sync::Arc;

use euston_api::field::ErrorList;
use k8s_openapi::api::core::v1::Service;

pub use plugin::{Plugin, Request};
pub use quota::{Charged, Quotas};
pub use service_addresses::{Reservation, ServiceAddresses};

use crate::error::Result;
use crate::registry::object::AnyObject;
use crate::registry::{Part, Resource};
use crate::storage::{Claims, ResourceCache};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use plugin::Lookup;

/// The chain.
///
/// A created object meets [`namespace`](Self::namespace), [`mutate`](Self::mutate),
/// [`reserve`](Self::reserve), its kind's own validation, [`validate`](Self::validate), and with
/// each try to write it [`charge`](Self::charge). An updated one the same without the first.
/// What calls out of this process will stand in `mutate` and `validate`, which may wait therefore.
pub struct Admission {
    namespaces: Arc<ResourceCache>,
    addresses: Arc<ServiceAddresses>,
    plugins: Vec<Box<dyn Plugin>>,
    quotas: Quotas,
}

/// The parts of the chain that look things up, in Kubernetes' order. `cache` finds the objects of
/// a kind by group and plural.
///
/// # Errors
/// Those of `cache`.
pub fn plugins(
    cache: impl Fn(&str, &str) -> Result<Arc<ResourceCache>>,
) -> Result<Vec<Box<dyn Plugin>>> {
    Ok(vec![
        Box::new(limit_ranger::LimitRanger {
            ranges: Lookup::new(cache("", "limitranges")?),
        }),
        Box::new(priority::Priority {
            classes: Lookup::new(cache("scheduling.k8s.io", "priorityclasses")?),
        }),
        Box::new(runtime_class::RuntimeClasses {
            classes: Lookup::new(cache("node.k8s.io", "runtimeclasses")?),
        }),
        Box::new(tolerations::DefaultTolerations),
        Box::new(defaults::DefaultStorageClass {
            classes: Lookup::new(cache("storage.k8s.io", "storageclasses")?),
        }),
        Box::new(defaults::DefaultIngressClass {
            classes: Lookup::new(cache("networking.k8s.io", "ingressclasses")?),
        }),
    ])
}

impl Admission {
    /// A chain that looks namespaces up in `namespaces`, gives out `addresses`, asks each of
    /// `plugins` in their order, and holds namespaces to their `quotas`.
    pub fn new(
        namespaces: Arc<ResourceCache>,
        addresses: Arc<ServiceAddresses>,
        plugins: Vec<Box<dyn Plugin>>,
        quotas: Quotas,
    ) -> Self {
        Admission {
            namespaces,
            addresses,
            plugins,
            quotas,
        }
    }

    /// Fills in what the client left out.
    ///
    /// # Errors
    /// 403, if what it wrote rules that out.
    pub async fn mutate(&self, request: &Request<'_>, object: &mut dyn AnyObject) -> Result<()> {
        for plugin in &self.plugins {
            plugin.mutate(request, object)?;
        }
        Ok(())
    }

    /// Refuses an object that is valid by itself. A quota's status is counted here: `at` is the
    /// revision that it is stored at, 0 if it is new.
    ///
    /// # Errors
    /// 403 with the reason; 504 if the caches are behind for long.
    pub async fn validate(
        &self,
        request: &Request<'_>,
        object: &mut dyn AnyObject,
        at: u64,
    ) -> Result<()> {
        for plugin in &self.plugins {
            plugin.validate(request, object)?;
        }
        if request.part == Part::Main {
            self.quotas.settle(object, at).await?;
        }
        Ok(())
    }

    /// Refuses the deletion of an object.
    ///
    /// # Errors
    /// 403 with the reason.
    pub fn delete(&self, resource: Resource<'_>, object: &dyn AnyObject) -> Result<()> {
        self.plugins
            .iter()
            .try_for_each(|plugin| plugin.delete(resource, object))
    }

    /// What the write of `new` changes in quotas; `None`: the object goes. Held until the write
    /// is done.
    ///
    /// # Errors
    /// 403 if it does not fit; 429 if too many write in the namespace; the store's.
    pub async fn charge(
        &self,
        request: &Request<'_>,
        new: Option<&dyn AnyObject>,
    ) -> Result<Charged<'_>> {
        self.quotas.charge(request, new).await
    }

    /// Refuses new objects in namespaces that are missing or terminating. Returns the
    /// store keys that must still be there when the object is written.
    ///
    /// # Errors
    /// 404, 403.
    pub fn namespace(&self, resource: Resource<'_>, meta: &ObjectMeta) -> Result<Vec<String>> {
        namespace::check(&self.namespaces, resource, meta)
    }

    /// Gives the object the addresses and ports that it asks for and lacks.
    /// What cannot be had is added to `errors`.
    pub fn reserve(
        &self,
        object: &mut dyn AnyObject,
        old: Option<&dyn AnyObject>,
        errors: &mut ErrorList,
    ) -> Reservation {
        match object.as_any_mut().downcast_mut::<Service>() {
            Some(service) => {
                let old = old.and_then(|o| o.as_any().downcast_ref::<Service>());
                self.addresses.reserve(service, old, errors)
            }
            None => Reservation::none(),
        }
    }

    /// True if [`reserve`](Self::reserve) may write into objects like this one.
    pub fn reserves(&self, object: &dyn AnyObject) -> bool {
        object.as_any().is::<Service>()
    }

    /// What the deletion of an object gives up.
    pub fn given_up(&self, object: &dyn AnyObject) -> Claims {
        match object.as_any().downcast_ref::<Service>() {
            Some(service) => ServiceAddresses::given_up(service),
            None => Claims::default(),
        }
    }
}
