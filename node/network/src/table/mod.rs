//! The service table: what every Service of the cluster currently stands for.
//!
//! One writer applies the informer's events; an event costs what its own Service costs, however
//! large the cluster is. Readers load two pointers and take no lock.

mod endpoints;
mod model;
#[cfg(test)]
mod tests;

pub(crate) use endpoints::InFlight;
pub use endpoints::{Endpoint, EndpointSet, Place, Tried};
pub use model::{Backend, PortDef, ServiceDef, SliceDef};

use ahash::{AHashMap, RandomState};
use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::Service as ApiService;
use k8s_openapi::api::discovery::v1::EndpointSlice as ApiSlice;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// From where a request enters a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// From a pod, through ClusterIP or name.
    Internal,
    /// From outside, through a node port.
    External,
}

/// A Service as requests see it. A new one is published when the Service's spec changes; its
/// endpoints change in place.
#[derive(Debug)]
pub struct Service {
    /// What the Service says.
    pub def: Arc<ServiceDef>,
    set: ArcSwap<EndpointSet>,
    changed: Notify,
}

impl Service {
    /// `namespace/name`, for messages.
    pub fn id(&self) -> String {
        format!("{}/{}", self.def.namespace, self.def.name)
    }

    /// The position of a port of the Service; `None` for a port that it does not have.
    pub fn port_index(&self, port: u16) -> Option<usize> {
        self.def.ports.iter().position(|p| p.port == port)
    }

    /// The endpoint for one request, leaving out those that refused it already. `port` is a
    /// position from [`Service::port_index`], or `None` for any pod of a headless Service.
    pub fn pick(
        &self,
        port: Option<usize>,
        scope: Scope,
        client: Option<IpAddr>,
        tried: &Tried,
    ) -> Option<Arc<Endpoint>> {
        let local_only = match scope {
            Scope::Internal => self.def.internal_local,
            Scope::External => self.def.external_local,
        };
        let affinity = client.filter(|_| self.def.client_affinity);
        self.set.load().pick(port, local_only, affinity, tried)
    }

    /// The pod of a headless Service with this hostname.
    pub fn by_hostname(&self, hostname: &str) -> Option<Arc<Endpoint>> {
        self.set.load().by_hostname(hostname).cloned()
    }

    /// The endpoints as they are now.
    pub fn endpoints(&self) -> Arc<EndpointSet> {
        self.set.load_full()
    }

    /// Waits until the endpoints change, at most this long.
    pub(crate) async fn changed(&self, at_most: Duration) {
        // A timeout is as good an answer as a change: the caller looks again either way.
        let _ = tokio::time::timeout(at_most, self.changed.notified()).await;
    }
}

type Map<K, V> = imbl::GenericHashMap<K, V, RandomState, imbl::shared_ptr::DefaultSharedPtr>;

/// What readers see: persistent maps, so that a change copies a path and not the cluster.
#[derive(Clone, Default)]
struct Index {
    by_ip: Map<IpAddr, Arc<Service>>,
    by_name: Map<Arc<str>, Map<Arc<str>, Arc<Service>>>,
    by_node_port: Map<u16, (Arc<Service>, usize)>,
}

#[derive(Default)]
struct Slot {
    service: Option<Arc<Service>>,
    slices: Vec<SliceDef>,
}

type Key = (Arc<str>, Arc<str>);

#[derive(Default)]
struct Writer {
    slots: AHashMap<Key, Slot>,
    /// Which Service a slice was last seen to belong to: a deletion and a changed label need it.
    owner: AHashMap<Key, Arc<str>>,
    /// How many Services send new requests to an address.
    taken: AHashMap<IpAddr, usize>,
}

/// The service table of one node.
pub struct ServiceTable {
    node: Arc<str>,
    index: ArcSwap<Index>,
    writer: Mutex<Writer>,
    /// Counts changes of the set of node ports.
    node_ports: watch::Sender<u64>,
    /// Told after every change of endpoints.
    endpoints_changed: Notify,
}

impl ServiceTable {
    /// An empty table, as seen from the named node.
    pub fn new(node: &str) -> Self {
        Self {
            node: node.into(),
            index: ArcSwap::from_pointee(Index::default()),
            writer: Mutex::new(Writer::default()),
            node_ports: watch::Sender::new(0),
            endpoints_changed: Notify::new(),
        }
    }

    /// Takes a Service as it is now, new or changed.
    pub fn apply_service(&self, service: &ApiService) {
        if let Some(def) = ServiceDef::from_api(service) {
            self.put_service(def);
        }
    }

    /// Forgets a Service. Its slices are kept until they go too.
    pub fn remove_service(&self, namespace: &str, name: &str) {
        let mut writer = self.writer.lock();
        let key: Key = (namespace.into(), name.into());
        let Some(slot) = writer.slots.get_mut(&key) else {
            return;
        };
        let old = slot.service.take();
        if slot.slices.is_empty() {
            writer.slots.remove(&key);
        }
        if let Some(old) = old {
            self.publish(Some(&old), None);
            writer.count(&old.set.load(), &EndpointSet::default());
        }
        drop(writer);
        self.endpoints_changed.notify_waiters();
    }

    fn put_service(&self, def: ServiceDef) {
        let mut writer = self.writer.lock();
        let key: Key = (def.namespace.clone(), def.name.clone());
        let slot = writer.slots.entry(key).or_default();
        // Status and metadata of a Service change too; they mean nothing here.
        if slot.service.as_ref().is_some_and(|old| *old.def == def) {
            return;
        }
        let nothing = EndpointSet::default();
        let before = slot.service.as_ref().map(|old| old.set.load_full());
        let before = before.as_deref().unwrap_or(&nothing);
        let set = EndpointSet::compute(&self.node, &def, slot.slices.iter(), before);
        let service = Arc::new(Service {
            def: Arc::new(def),
            set: ArcSwap::from_pointee(set),
            changed: Notify::new(),
        });
        let old = slot.service.replace(service.clone());
        writer.count(before, &service.set.load());
        self.publish(old.as_deref(), Some(&service));
        drop(writer);
        // Whoever waits on the old one looks at the new one.
        if let Some(old) = old {
            old.changed.notify_waiters();
        }
        self.endpoints_changed.notify_waiters();
    }

    /// Takes an EndpointSlice as it is now, new or changed.
    pub fn apply_slice(&self, slice: &ApiSlice) {
        match SliceDef::from_api(slice) {
            Some(def) => self.put_slice(def),
            // It may have lost the label that made it ours.
            None => {
                if let (Some(namespace), Some(name)) =
                    (&slice.metadata.namespace, &slice.metadata.name)
                {
                    self.remove_slice(namespace, name);
                }
            }
        }
    }

    fn put_slice(&self, def: SliceDef) {
        let mut writer = self.writer.lock();
        let id: Key = (def.namespace.clone(), def.name.clone());
        let key: Key = (def.namespace.clone(), def.service.clone());
        if let Some(owner) = writer.owner.insert(id, def.service.clone())
            && owner != def.service
        {
            let previous: Key = (def.namespace.clone(), owner);
            self.edit_slices(&mut writer, previous, |slices| {
                slices.retain(|slice| slice.name != def.name);
            });
        }
        self.edit_slices(&mut writer, key, |slices| {
            match slices.iter_mut().find(|slice| slice.name == def.name) {
                Some(slice) => *slice = def,
                None => slices.push(def),
            }
        });
        drop(writer);
        self.endpoints_changed.notify_waiters();
    }

    /// Forgets an EndpointSlice.
    pub fn remove_slice(&self, namespace: &str, name: &str) {
        let mut writer = self.writer.lock();
        let Some(owner) = writer.owner.remove(&(namespace.into(), name.into())) else {
            return;
        };
        self.edit_slices(&mut writer, (namespace.into(), owner), |slices| {
            slices.retain(|slice| &*slice.name != name);
        });
        drop(writer);
        self.endpoints_changed.notify_waiters();
    }

    fn edit_slices(&self, writer: &mut Writer, key: Key, edit: impl FnOnce(&mut Vec<SliceDef>)) {
        let slot = writer.slots.entry(key.clone()).or_default();
        edit(&mut slot.slices);
        let Some(service) = slot.service.clone() else {
            if slot.slices.is_empty() {
                writer.slots.remove(&key);
            }
            return;
        };
        let before = service.set.load_full();
        let set = EndpointSet::compute(&self.node, &service.def, slot.slices.iter(), &before);
        writer.count(&before, &set);
        service.set.store(Arc::new(set));
        service.changed.notify_waiters();
    }

    /// Puts one Service in the place of another in every index. Called under the writer's lock.
    fn publish(&self, old: Option<&Service>, new: Option<&Arc<Service>>) {
        let mut index = Index::clone(&self.index.load());
        let is = |entry: Option<&Arc<Service>>| {
            entry.is_some_and(|entry| old.is_some_and(|old| std::ptr::eq(&**entry, old)))
        };
        let ports = |service: &Service| -> Vec<u16> {
            service
                .def
                .ports
                .iter()
                .filter_map(|p| p.node_port)
                .collect()
        };
        if let Some(old) = old {
            for ip in &old.def.cluster_ips {
                if is(index.by_ip.get(ip)) {
                    index.by_ip.remove(ip);
                }
            }
            for port in ports(old) {
                if is(index.by_node_port.get(&port).map(|(service, _)| service)) {
                    index.by_node_port.remove(&port);
                }
            }
            if let Some(names) = index.by_name.get_mut(&old.def.namespace) {
                names.remove(&old.def.name);
                if names.is_empty() {
                    index.by_name.remove(&old.def.namespace);
                }
            }
        }
        if let Some(new) = new {
            for ip in &new.def.cluster_ips {
                index.by_ip.insert(*ip, new.clone());
            }
            for (position, port) in new.def.ports.iter().enumerate() {
                if let Some(node_port) = port.node_port {
                    index
                        .by_node_port
                        .insert(node_port, (new.clone(), position));
                }
            }
            index
                .by_name
                .entry(new.def.namespace.clone())
                .or_default()
                .insert(new.def.name.clone(), new.clone());
        }
        let node_ports_differ =
            old.map(ports).unwrap_or_default() != new.map(|s| ports(s)).unwrap_or_default();
        self.index.store(Arc::new(index));
        if node_ports_differ {
            self.node_ports.send_modify(|version| *version += 1);
        }
    }

    /// The Service with this name.
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.index.load().by_name.get(namespace)?.get(name).cloned()
    }

    /// The Service with this virtual address.
    pub fn by_cluster_ip(&self, ip: IpAddr) -> Option<Arc<Service>> {
        self.index.load().by_ip.get(&ip).cloned()
    }

    /// The Service behind a node port, and which of its ports that is.
    pub fn by_node_port(&self, port: u16) -> Option<(Arc<Service>, usize)> {
        self.index.load().by_node_port.get(&port).cloned()
    }

    /// Every node port in use.
    pub fn node_ports(&self) -> Vec<u16> {
        self.index.load().by_node_port.keys().copied().collect()
    }

    /// Tells when the set of node ports has changed.
    pub fn watch_node_ports(&self) -> watch::Receiver<u64> {
        self.node_ports.subscribe()
    }

    /// The Services of a namespace, for the environment variables of its pods.
    pub fn of_namespace(&self, namespace: &str) -> Vec<Arc<Service>> {
        self.index
            .load()
            .by_name
            .get(namespace)
            .map(|names| names.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether some Service sends new requests to this address, as far as this node knows.
    pub fn takes_requests(&self, ip: IpAddr) -> bool {
        self.writer.lock().taken.contains_key(&ip)
    }

    /// Waits until no Service sends new requests to this address, at most this long. `true` when it
    /// is so.
    pub async fn withdrawn(&self, ip: IpAddr, at_most: Duration) -> bool {
        let wait = async {
            loop {
                let changed = self.endpoints_changed.notified();
                tokio::pin!(changed);
                // Registered before looking, so that no change falls between.
                changed.as_mut().enable();
                if !self.takes_requests(ip) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(at_most, wait).await.is_ok()
    }
}

impl Writer {
    fn count(&mut self, before: &EndpointSet, after: &EndpointSet) {
        for ip in after.addresses() {
            *self.taken.entry(*ip).or_default() += 1;
        }
        for ip in before.addresses() {
            if let Some(count) = self.taken.get_mut(ip) {
                *count -= 1;
                if *count == 0 {
                    self.taken.remove(ip);
                }
            }
        }
    }
}
