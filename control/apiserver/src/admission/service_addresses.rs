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

/// The service network, 10.96.0.0/16: its first address, and how many follow.
const NETWORK: u32 = u32::from_be_bytes([10, 96, 0, 0]);
const NETWORK_SIZE: u32 = 1 << 16;
/// Addresses below this offset are only given to those who ask for them.
const DYNAMIC_IP: u32 = 256;

const PORT_FIRST: u32 = 30_000;
const PORT_LAST: u32 = 32_767;
/// Ports below this are only given to those who ask for them.
const DYNAMIC_PORT: u32 = 30_086;

#[derive(Debug)]
struct Pool {
    used: BTreeSet<u32>,
    /// First and last number that may be given out unasked.
    dynamic: (u32, u32),
    next: u32,
}

impl Pool {
    fn new(first: u32, last: u32) -> Self {
        Pool {
            used: BTreeSet::new(),
            dynamic: (first, last),
            next: first,
        }
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
            if self.used.insert(candidate) {
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
}

/// What is given out.
#[derive(Debug)]
pub struct ServiceAddresses {
    pools: Mutex<Pools>,
}

/// Numbers that are taken for a write under way. Dropped, it undoes itself; kept,
/// it frees what the write gave up.
#[derive(Debug, Default)]
pub struct Reservation {
    from: Option<Arc<ServiceAddresses>>,
    taken: Held,
    given_up: Held,
}

#[derive(Debug, Default)]
struct Held {
    ips: Vec<u32>,
    ports: Vec<u32>,
}

impl Reservation {
    /// Of nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// The write was done.
    pub fn keep(mut self) {
        self.taken = Held::default();
        std::mem::swap(&mut self.taken, &mut self.given_up);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(from) = &self.from {
            from.free(&self.taken);
        }
    }
}

impl ServiceAddresses {
    /// Starts with what `services` hold.
    pub fn new<'a>(services: impl Iterator<Item = &'a Service>) -> Arc<Self> {
        let mut pools = Pools {
            ips: Pool::new(NETWORK + DYNAMIC_IP, NETWORK + NETWORK_SIZE - 2),
            ports: Pool::new(DYNAMIC_PORT, PORT_LAST),
        };
        for service in services {
            let held = held_by(service);
            pools.ips.used.extend(held.ips);
            pools.ports.used.extend(held.ports);
        }
        Arc::new(ServiceAddresses {
            pools: Mutex::new(pools),
        })
    }

    pub(super) fn release(&self, service: &Service) {
        self.free(&held_by(service));
    }

    fn free(&self, held: &Held) {
        let mut pools = self.pools.lock();
        for ip in &held.ips {
            pools.ips.used.remove(ip);
        }
        for port in &held.ports {
            pools.ports.used.remove(port);
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
        let mut taken = Held::default();
        reserve_ip(&mut pools.ips, service, old, &before, &mut taken, errors);
        reserve_ports(&mut pools.ports, service, old, &before, &mut taken, errors);
        drop(pools);
        let after = held_by(service);
        let given_up = Held {
            ips: before
                .ips
                .into_iter()
                .filter(|ip| !after.ips.contains(ip))
                .collect(),
            ports: before
                .ports
                .into_iter()
                .filter(|p| !after.ports.contains(p))
                .collect(),
        };
        Reservation {
            from: Some(self.clone()),
            taken,
            given_up,
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
            Ok(ip) if !pool.used.insert(ip) => errors.invalid(
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
                } else if !pool.used.insert(number) {
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

    #[test]
    fn a_number_is_given_out_once_and_taken_back() {
        let addresses = ServiceAddresses::new(std::iter::empty());
        let mut errors = ErrorList::new();
        let mut first = service("NodePort", None, &[30_080]);
        addresses.reserve(&mut first, None, &mut errors).keep();
        assert!(errors.is_empty(), "{errors}");
        assert_eq!(spec(&first).cluster_ip.as_deref(), Some("10.96.1.0"));

        let mut second = service("NodePort", Some("10.96.1.0"), &[30_080]);
        drop(addresses.reserve(&mut second, None, &mut errors));
        let text = errors.to_string();
        assert!(text.contains("provided IP is already allocated"), "{text}");
        assert!(text.contains("spec.ports[0].nodePort"), "{text}");

        addresses.release(&first);
        let mut errors = ErrorList::new();
        addresses.reserve(&mut second, None, &mut errors).keep();
        assert!(errors.is_empty(), "{errors}");
    }

    #[test]
    fn a_dropped_reservation_undoes_itself() {
        let addresses = ServiceAddresses::new(std::iter::empty());
        let mut errors = ErrorList::new();
        drop(addresses.reserve(
            &mut service("NodePort", Some("10.96.0.9"), &[30_001]),
            None,
            &mut errors,
        ));
        addresses
            .reserve(
                &mut service("NodePort", Some("10.96.0.9"), &[30_001]),
                None,
                &mut errors,
            )
            .keep();
        assert!(errors.is_empty(), "{errors}");
    }

    #[test]
    fn an_update_keeps_what_it_leaves_out_and_frees_what_it_gives_up() {
        let addresses = ServiceAddresses::new(std::iter::empty());
        let mut errors = ErrorList::new();
        let mut old = service("NodePort", None, &[0]);
        addresses.reserve(&mut old, None, &mut errors).keep();
        let port = spec(&old).ports.as_ref().unwrap()[0].node_port;

        let mut same = service("NodePort", None, &[0]);
        addresses.reserve(&mut same, Some(&old), &mut errors).keep();
        assert_eq!(spec(&same).cluster_ip, spec(&old).cluster_ip);
        assert_eq!(spec(&same).ports.as_ref().unwrap()[0].node_port, port);

        let mut plain = old.clone();
        plain.spec.as_mut().unwrap().type_ = Some("ClusterIP".to_owned());
        addresses
            .reserve(&mut plain, Some(&old), &mut errors)
            .keep();
        assert_eq!(spec(&plain).ports.as_ref().unwrap()[0].node_port, None);
        addresses
            .reserve(
                &mut service("NodePort", None, &[port.unwrap()]),
                None,
                &mut errors,
            )
            .keep();
        assert!(errors.is_empty(), "{errors}");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let addresses = ServiceAddresses::new(std::iter::empty());
        let mut errors = ErrorList::new();
        drop(addresses.reserve(
            &mut service("NodePort", Some("10.97.0.1"), &[80]),
            None,
            &mut errors,
        ));
        let text = errors.to_string();
        assert!(text.contains("10.96.0.0/16"), "{text}");
        assert!(text.contains("30000-32767"), "{text}");
    }
}
