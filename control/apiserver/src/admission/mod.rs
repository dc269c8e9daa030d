//! Between decoding and validation: what a request meets besides its kind's own
//! rules. Each admission is a file; [`Admission`] is their chain.

mod escalation;
mod namespace;
mod node_restriction;
mod service_account;
mod service_addresses;
mod signing;

use std::sync::Arc;

use euston_access::User;
use euston_api::field::ErrorList;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{Pod, Service};

pub use service_addresses::{Reservation, ServiceAddresses};

use crate::access::Access;
use crate::error::Result;
use crate::registry::object::AnyObject;
use crate::registry::{Part, Resource};
use crate::storage::{Claims, ResourceCache};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The chain.
pub struct Admission {
    access: Arc<Access>,
    namespaces: Arc<ResourceCache>,
    accounts: Arc<ResourceCache>,
    addresses: Arc<ServiceAddresses>,
}

/// What somebody is about to do.
#[derive(Clone, Copy)]
pub enum Attempt<'a> {
    /// To create an object, which has its defaults.
    Create(&'a dyn AnyObject),
    /// To change a part of an object: as it will be, as it is.
    Update(Part, &'a dyn AnyObject, &'a dyn AnyObject),
    /// To delete an object.
    Delete(&'a dyn AnyObject),
}

impl Admission {
    /// A chain that knows who may what by `access`, looks namespaces and service accounts up in their
    /// caches, and gives out `addresses`.
    pub fn new(
        access: Arc<Access>,
        namespaces: Arc<ResourceCache>,
        accounts: Arc<ResourceCache>,
        addresses: Arc<ServiceAddresses>,
    ) -> Self {
        Admission {
            access,
            namespaces,
            accounts,
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

    /// Writes into a new object what others say that objects like it have.
    ///
    /// # Errors
    /// 403 for what it refers to and is not there.
    pub fn complete(&self, by: Option<&User>, object: &mut dyn AnyObject) -> Result<()> {
        let object = object.as_any_mut();
        if let Some(pod) = object.downcast_mut::<Pod>() {
            return service_account::complete(&self.accounts, pod);
        }
        if let Some(request) = object.downcast_mut::<CertificateSigningRequest>() {
            signing::complete(request, by);
        }
        Ok(())
    }

    /// Refuses what depends on who asks, and on what exactly is written: what no rule about verbs and resources says.
    /// This server's own writes are not asked about.
    ///
    /// # Errors
    /// 403 with the reason.
    pub fn permit(&self, resource: Resource<'_>, attempt: Attempt<'_>) -> Result<()> {
        let Some(by) = resource.by else {
            return Ok(());
        };
        node_restriction::check(by, resource, attempt)?;
        signing::check(&self.access, by, resource, attempt)?;
        match attempt {
            Attempt::Create(new) => escalation::check(&self.access, by, resource, new, None),
            Attempt::Update(_, new, old) => {
                escalation::check(&self.access, by, resource, new, Some(old))
            }
            Attempt::Delete(_) => Ok(()),
        }
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
