//! Cluster IPs and node ports: given out once, taken back when the Service goes.
//!
//! Follows <https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/>:
//! addresses that nobody asked for by number come from the upper part of the range,
//! so that the lower part stays free for those who do.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use euston_api::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::Service;
use parking_lot::Mutex;

use crate::storage::{Claims, Entry, ResourceCache, WatchCursor};

/// The service network, 10.96.0.0/16: its first address, and how many follow.
const NETWORK: u32 = u32::from_be_bytes([10, 96, 0, 0]);
const NETWORK_SIZE: u32 = 1 << 16;
/// Addresses below this offset are only given to those who ask for them.
const DYNAMIC_IP: u32 = 256;

const PORT_FIRST: u32 = 30_000;
const PORT_LAST: u32 = 32_767;
/// Ports below this are only given to those who ask for them.
const DYNAMIC_PORT: u32 = 30_086;

/// Below this, the store has a key for every number that is given out.
const CLAIMS: &str = "/euston/claims/";
/// Changes read at a time; the cache's lock is held meanwhile.
const CHANGES_AT_A_TIME: usize = 1024;

/// Numbers of one sort: which are taken, and which is next.
#[derive(Debug)]
struct Pool {
    /// By Services that exist, as far as the changes have been read.
    held: BTreeSet<u32>,
    /// By writes of this server that are under way.
    pending: BTreeSet<u32>,
    /// First and last number that may be given out unasked.
    dynamic: (u32, u32),
    next: u32,
}

impl Pool {
    fn new(first: u32, last: u32) -> Self {
        Pool {
            held: BTreeSet::new(),
            pending: BTreeSet::new(),
            dynamic: (first, last),
            next: first,
        }
    }

    /// Takes this number; false if it is taken.
    fn take(&mut self, number: u32) -> bool {
        !self.held.contains(&number) && self.pending.insert(number)
    }

    /// The next free number, going round, so that one just freed is not reused at once.
    fn take_any(&mut self) -> Option<u32> {
        let (first, last) = self.dynamic;
        for _ in first..=last {
            let candidate = self.next;
            self.next = if candidate == last {
                first
            } else {
                candidate + 1
            };
            if self.take(candidate) {
                return Some(candidate);
            }
        }
        None
    }
}

#[derive(Debug)]
struct Pools {
    ips: Pool,
    ports: Pool,
    /// How far the changes of Services have been read.
    read: Option<WatchCursor>,
}

/// What is given out.
///
/// The Services themselves say what is taken. Two servers may still give out one number at the same moment, so every
/// write that takes one also creates a key of its own for it, and of two such writes the store refuses the second
/// ([`Claims`]); it is then tried again with another number.
pub struct ServiceAddresses {
    services: Arc<ResourceCache>,
    pools: Mutex<Pools>,
}

/// Numbers that are taken for a write under way, until this is dropped.
#[derive(Default)]
pub struct Reservation {
    from: Option<Arc<ServiceAddresses>>,
    taken: Held,
    claims: Claims,
}

/// The numbers of one Service.
#[derive(Debug, Default)]
struct Held {
    ips: Vec<u32>,
    ports: Vec<u32>,
}

impl Held {
    /// What is in here and not in `other`, as keys of the store.
    fn claims_without(&self, other: &Held) -> Vec<String> {
        let ips = self.ips.iter().filter(|ip| !other.ips.contains(ip));
        let ports = self.ports.iter().filter(|p| !other.ports.contains(p));
        let mut claims: Vec<String> = ips
            .map(|&ip| format!("{CLAIMS}service-ips/{}", Ipv4Addr::from(ip)))
            .chain(ports.map(|port| format!("{CLAIMS}node-ports/{port}")))
            .collect();
        // One port may stand for TCP and for UDP.
        claims.sort();
        claims.dedup();
        claims
    }
}

impl Reservation {
    /// Of nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// What the write has to claim and to give up in the store.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(from) = &self.from else { return };
        let mut pools = from.pools.lock();
        for ip in &self.taken.ips {
            pools.ips.pending.remove(ip);
        }
        for port in &self.taken.ports {
            pools.ports.pending.remove(port);
        }
    }
}

impl ServiceAddresses {
    /// Gives out what the Services in this cache do not hold.
    pub fn new(services: Arc<ResourceCache>) -> Arc<Self> {
        Arc::new(ServiceAddresses {
            services,
            pools: Mutex::new(Pools {
                ips: Pool::new(NETWORK + DYNAMIC_IP, NETWORK + NETWORK_SIZE - 2),
                ports: Pool::new(DYNAMIC_PORT, PORT_LAST),
                read: None,
            }),
        })
    }

    /// What the deletion of a Service gives up.
    pub(super) fn given_up(service: &Service) -> Claims {
        Claims {
            taken: Vec::new(),
            given_up: held_by(service).claims_without(&Held::default()),
            beside: Vec::new(),
        }
    }

    pub(super) fn reserve(
        self: &Arc<Self>,
        service: &mut Service,
        old: Option<&Service>,
        errors: &mut ErrorList,
    ) -> Reservation {
        let before = old.map(held_by).unwrap_or_default();
        let mut pools = self.pools.lock();
        pools.catch_up(&self.services);
        let mut taken = Held::default();
        reserve_ip(&mut pools.ips, service, old, &before, &mut taken, errors);
        reserve_ports(&mut pools.ports, service, old, &before, &mut taken, errors);
        drop(pools);
        let after = held_by(service);
        Reservation {
            from: Some(self.clone()),
            taken,
            claims: Claims {
                taken: after.claims_without(&before),
                given_up: before.claims_without(&after),
                beside: Vec::new(),
            },
        }
    }
}

impl Pools {
    /// Reads what has changed since the last time.
    fn catch_up(&mut self, services: &ResourceCache) {
        while let Some(cursor) = &mut self.read {
            match services.changes(cursor, CHANGES_AT_A_TIME) {
                Ok((changes, _)) if changes.is_empty() => return,
                Ok((changes, _)) => {
                    for change in changes {
                        let old = decoded(change.old.as_deref());
                        for ip in &old.ips {
                            self.ips.held.remove(ip);
                        }
                        for port in &old.ports {
                            self.ports.held.remove(port);
                        }
                        self.hold(decoded(change.new.as_deref()));
                    }
                }
                // Too many changes since: all of it is read anew.
                Err(_) => self.read = None,
            }
        }
        let (snapshot, _, cursor) = services.snapshot_and_cursor();
        self.read = Some(cursor);
        self.ips.held.clear();
        self.ports.held.clear();
        for entry in snapshot.values() {
            self.hold(decoded(Some(entry)));
        }
    }

    fn hold(&mut self, numbers: Held) {
        self.ips.held.extend(numbers.ips);
        self.ports.held.extend(numbers.ports);
    }
}

/// What a stored Service holds.
fn decoded(entry: Option<&Entry>) -> Held {
    let Some(entry) = entry else {
        return Held::default();
    };
    match serde_json::from_slice(&entry.value) {
        Ok(service) => held_by(&service),
        Err(error) => {
            // What it holds is still claimed in the store, so nobody else gets it.
            tracing::error!(%error, service = entry.key.as_str(), "a stored Service cannot be read");
            Held::default()
        }
    }
}

fn kind_of(service: &Service) -> &str {
    service
        .spec
        .as_ref()
        .and_then(|s| s.type_.as_deref())
        .unwrap_or("ClusterIP")
}

fn has_node_ports(service: &Service) -> bool {
    match kind_of(service) {
        "NodePort" => true,
        "LoadBalancer" => service
            .spec
            .as_ref()
            .and_then(|s| s.allocate_load_balancer_node_ports)
            .unwrap_or(true),
        _ => false,
    }
}

fn held_by(service: &Service) -> Held {
    let Some(spec) = &service.spec else {
        return Held::default();
    };
    let ips = spec
        .cluster_ip
        .iter()
        .filter_map(|ip| ip.parse::<Ipv4Addr>().ok());
    let ports = spec.ports.iter().flatten().filter_map(|p| p.node_port);
    Held {
        ips: ips.map(u32::from).collect(),
        ports: ports.filter(|&p| p > 0).map(i32::cast_unsigned).collect(),
    }
}

fn reserve_ip(
    pool: &mut Pool,
    service: &mut Service,
    old: Option<&Service>,
    before: &Held,
    taken: &mut Held,
    errors: &mut ErrorList,
) {
    let external = kind_of(service) == "ExternalName";
    let Some(spec) = &mut service.spec else {
        return;
    };
    if external {
        // A Service that turns into a mere name gives its address up.
        if old.is_some_and(|o| kind_of(o) != "ExternalName") {
            spec.cluster_ip = None;
            spec.cluster_ips = None;
        }
        return;
    }
    let path = Path::new("spec").child("clusterIPs");
    // An update that leaves the address out keeps it.
    if spec.cluster_ip.as_deref().unwrap_or_default().is_empty()
        && let Some(old) = old.and_then(|o| o.spec.as_ref())
        && !old.cluster_ip.as_deref().unwrap_or_default().is_empty()
    {
        spec.cluster_ip = old.cluster_ip.clone();
        spec.cluster_ips = old.cluster_ips.clone();
    }
    let asked = spec.cluster_ip.clone().filter(|ip| !ip.is_empty());
    match asked.as_deref() {
        None => match pool.take_any() {
            Some(ip) => {
                taken.ips.push(ip);
                spec.cluster_ip = Some(Ipv4Addr::from(ip).to_string());
            }
            None => errors.invalid(path, "", "failed to allocate a service IP: 10.96.0.0/16 is full"),
        },
        Some("None") => {}
        Some(asked) => match asked.parse::<Ipv4Addr>().map(u32::from) {
            Ok(ip) if before.ips.contains(&ip) => {}
            Ok(ip) if !(NETWORK + 1..NETWORK + NETWORK_SIZE - 1).contains(&ip) => errors.invalid(
                path,
                [asked],
                "failed to allocate IP: the provided IP is not in the valid range, which is 10.96.0.0/16",
            ),
            Ok(ip) if !pool.take(ip) => errors.invalid(
                path,
                [asked],
                format!("failed to allocate IP {asked}: provided IP is already allocated"),
            ),
            Ok(ip) => taken.ips.push(ip),
            // The Service's own rules say what is wrong with it.
            Err(_) => {}
        },
    }
    if spec.cluster_ips.as_ref().is_none_or(Vec::is_empty) {
        spec.cluster_ips = spec.cluster_ip.clone().map(|ip| vec![ip]);
    }
}

fn reserve_ports(
    pool: &mut Pool,
    service: &mut Service,
    old: Option<&Service>,
    before: &Held,
    taken: &mut Held,
    errors: &mut ErrorList,
) {
    let wanted = has_node_ports(service);
    let had = old.is_some_and(has_node_ports);
    let Some(spec) = &mut service.spec else {
        return;
    };
    let old_ports = old
        .and_then(|o| o.spec.as_ref())
        .and_then(|s| s.ports.as_ref());
    let ports_path = Path::new("spec").child("ports");
    for (i, port) in spec.ports.iter_mut().flatten().enumerate() {
        let given = port.node_port.filter(|&p| p != 0);
        if !wanted {
            // A Service that stops being a NodePort gives its ports up, unless the
            // client just wrote one, which its kind's rules then refuse.
            if had && given.is_some_and(|p| before.ports.contains(&p.cast_unsigned())) {
                port.node_port = None;
            }
            continue;
        }
        let path = ports_path.index(i).child("nodePort");
        let kept = || {
            old_ports?
                .iter()
                .find(|o| o.port == port.port && o.protocol == port.protocol)?
                .node_port
        };
        match given.or_else(kept).filter(|&p| p != 0) {
            None => match pool.take_any() {
                Some(number) => {
                    taken.ports.push(number);
                    port.node_port = Some(number.cast_signed());
                }
                None => errors.invalid(
                    path,
                    0,
                    "failed to allocate a nodePort: 30000-32767 is full",
                ),
            },
            Some(asked) => {
                port.node_port = Some(asked);
                let number = asked.cast_unsigned();
                if before.ports.contains(&number) || taken.ports.contains(&number) {
                    continue;
                }
                if !(PORT_FIRST..=PORT_LAST).contains(&number) {
                    errors.invalid(
                        path,
                        asked,
                        "provided port is not in the valid range. The range of valid ports is 30000-32767",
                    );
                } else if !pool.take(number) {
                    errors.invalid(path, asked, "provided port is already allocated");
                } else {
                    taken.ports.push(number);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};

    use super::*;
    use crate::storage::ObjectKey;

    fn service(kind: &str, ip: Option<&str>, node_ports: &[i32]) -> Service {
        let ports = node_ports.iter().enumerate().map(|(i, &p)| ServicePort {
            port: 80 + i as i32,
            node_port: Some(p).filter(|&p| p != 0),
            ..ServicePort::default()
        });
        Service {
            spec: Some(ServiceSpec {
                type_: Some(kind.to_owned()),
                cluster_ip: ip.map(str::to_owned),
                ports: Some(ports.collect()),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }

    fn spec(service: &Service) -> &ServiceSpec {
        service.spec.as_ref().unwrap()
    }

    /// Services as the store's feed would show them.
    struct Shop {
        cache: Arc<ResourceCache>,
        addresses: Arc<ServiceAddresses>,
        revision: u64,
    }

    impl Shop {
        fn new() -> Self {
            let kind = crate::registry::table::builtin()
                .into_iter()
                .find(|kind| kind.names.plural == "services")
                .unwrap();
            let cache = Arc::new(ResourceCache::new(Arc::new(kind)));
            Shop {
                addresses: ServiceAddresses::new(cache.clone()),
                cache,
                revision: 1,
            }
        }

        fn write(&mut self, name: &str, service: Option<&Service>) {
            self.revision += 1;
            let key = ObjectKey::new(Some("default"), name);
            let entry = service.map(|service| {
                let value = serde_json::to_vec(service).unwrap().into();
                Arc::new(Entry::new(key.clone(), self.revision, value))
            });
            self.cache
                .apply(vec![(key, entry, self.revision)], self.revision);
        }

        fn reserve(&self, service: &mut Service, old: Option<&Service>) -> (Reservation, String) {
            let mut errors = ErrorList::new();
            let reserved = self.addresses.reserve(service, old, &mut errors);
            let text = if errors.is_empty() {
                String::new()
            } else {
                errors.to_string()
            };
            (reserved, text)
        }
    }

    #[test]
    fn a_number_is_given_out_once_and_taken_back() {
        let mut shop = Shop::new();
        let mut first = service("NodePort", None, &[30_080]);
        let (reserved, errors) = shop.reserve(&mut first, None);
        assert_eq!(errors, "");
        assert_eq!(spec(&first).cluster_ip.as_deref(), Some("10.96.1.0"));
        assert_eq!(
            reserved.claims().taken,
            [
                "/euston/claims/node-ports/30080",
                "/euston/claims/service-ips/10.96.1.0"
            ]
        );

        // While it is written, and when it is there.
        let taken = |shop: &Shop| {
            let mut second = service("NodePort", Some("10.96.1.0"), &[30_080]);
            let (_, text) = shop.reserve(&mut second, None);
            assert!(text.contains("provided IP is already allocated"), "{text}");
            assert!(text.contains("spec.ports[0].nodePort"), "{text}");
        };
        taken(&shop);
        shop.write("first", Some(&first));
        drop(reserved);
        taken(&shop);

        shop.write("first", None);
        let (_, errors) =
            shop.reserve(&mut service("NodePort", Some("10.96.1.0"), &[30_080]), None);
        assert_eq!(errors, "");
    }

    #[test]
    fn what_another_server_gave_out_is_seen() {
        let mut shop = Shop::new();
        shop.write(
            "theirs",
            Some(&service("ClusterIP", Some("10.96.1.0"), &[0])),
        );
        let mut ours = service("ClusterIP", None, &[0]);
        let (_, errors) = shop.reserve(&mut ours, None);
        assert_eq!(errors, "");
        assert_eq!(spec(&ours).cluster_ip.as_deref(), Some("10.96.1.1"));
    }

    #[test]
    fn more_changes_than_are_kept_are_read_anew() {
        let mut shop = Shop::new();
        let (_, _) = shop.reserve(&mut service("ClusterIP", None, &[0]), None);
        shop.write("gone", Some(&service("ClusterIP", Some("10.96.1.7"), &[0])));
        shop.write("gone", None);
        for n in 0..20_000 {
            let ip = if n % 2 == 0 { "10.96.1.8" } else { "10.96.1.9" };
            shop.write("busy", Some(&service("ClusterIP", Some(ip), &[0])));
        }
        for (ip, free) in [
            ("10.96.1.7", true),
            ("10.96.1.8", true),
            ("10.96.1.9", false),
        ] {
            let (_, errors) = shop.reserve(&mut service("ClusterIP", Some(ip), &[0]), None);
            assert_eq!(errors.is_empty(), free, "{ip}: {errors}");
        }
    }

    #[test]
    fn a_dropped_reservation_undoes_itself() {
        let shop = Shop::new();
        for _ in 0..2 {
            let mut wanted = service("NodePort", Some("10.96.0.9"), &[30_001]);
            let (_, errors) = shop.reserve(&mut wanted, None);
            assert_eq!(errors, "");
        }
    }

    #[test]
    fn an_update_keeps_what_it_leaves_out_and_gives_up_the_rest() {
        let mut shop = Shop::new();
        let mut old = service("NodePort", None, &[0]);
        drop(shop.reserve(&mut old, None));
        shop.write("one", Some(&old));
        let port = spec(&old).ports.as_ref().unwrap()[0].node_port.unwrap();

        let mut same = service("NodePort", None, &[0]);
        let (reserved, errors) = shop.reserve(&mut same, Some(&old));
        assert_eq!(errors, "");
        assert_eq!(spec(&same).cluster_ip, spec(&old).cluster_ip);
        assert_eq!(spec(&same).ports.as_ref().unwrap()[0].node_port, Some(port));
        assert_eq!(reserved.claims(), &Claims::default());

        let mut plain = old.clone();
        plain.spec.as_mut().unwrap().type_ = Some("ClusterIP".to_owned());
        let (reserved, errors) = shop.reserve(&mut plain, Some(&old));
        assert_eq!(errors, "");
        assert_eq!(spec(&plain).ports.as_ref().unwrap()[0].node_port, None);
        let given_up = vec![format!("/euston/claims/node-ports/{port}")];
        assert_eq!(
            (&reserved.claims().taken, &reserved.claims().given_up),
            (&vec![], &given_up)
        );
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let shop = Shop::new();
        let (_, text) = shop.reserve(&mut service("NodePort", Some("10.97.0.1"), &[80]), None);
        assert!(text.contains("10.96.0.0/16"), "{text}");
        assert!(text.contains("30000-32767"), "{text}");
    }
}
