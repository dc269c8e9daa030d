//! Between decoding and validation: what a request meets besides its kind's own
//! rules. Each admission is a file; [`Admission`] is their chain.

mod namespace;
mod service_addresses;

use std::sync::Arc;

use euston_api::field::ErrorList;
use k8s_openapi::api::core::v1::Service;

pub use service_addresses::{Reservation, ServiceAddresses};

use crate::error::Result;
use crate::registry::Resource;
use crate::registry::object::AnyObject;
use crate::storage::{Claims, ResourceCache};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The chain.
pub struct Admission {
    namespaces: Arc<ResourceCache>,
    addresses: Arc<ServiceAddresses>,
}

impl Admission {
    /// A chain that looks namespaces up in `namespaces` and gives out `addresses`.
    pub fn new(namespaces: Arc<ResourceCache>, addresses: Arc<ServiceAddresses>) -> Self {
        Admission {
            namespaces,
            addresses,
        }
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
