//! What can be set from outside.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::certificates::CertificateSigner;
use crate::error::Error;

/// Settings of the controllers.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster's CA certificate (PEM), published to every namespace as ConfigMap `kube-root-ca.crt`.
    pub ca_pem: String,
    /// Signs certificates for those whose requests are approved. `None` signs none.
    pub signer: Option<Arc<dyn CertificateSigner>>,
    /// A node whose lease was not renewed for this long is treated as unreachable. Default 40 s.
    pub node_monitor_grace: Duration,
    /// Terminated pods kept in the cluster; the oldest above this are deleted. 0 keeps all. Default 12,500.
    pub terminated_pods_max: usize,
    /// A node must be gone for this long before its pods are removed. Default 40 s.
    pub missing_node_grace: Duration,
    /// The range that nodes' pod ranges are cut from: address and prefix length. Default 10.128.0.0/9.
    pub pod_network: (Ipv4Addr, u8),
    /// Prefix length of one node's pod range. Default 18, which gives 512 nodes of 16,384 addresses.
    pub node_prefix: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ca_pem: String::new(),
            signer: None,
            node_monitor_grace: Duration::from_secs(40),
            terminated_pods_max: 12_500,
            missing_node_grace: Duration::from_secs(40),
            pod_network: (Ipv4Addr::new(10, 128, 0, 0), 9),
            node_prefix: 18,
        }
    }
}

impl Options {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let (network, prefix) = self.pod_network;
        if prefix == 0 || prefix > self.node_prefix || self.node_prefix > 30 {
            return Err(Error::Options(format!(
                "node_prefix /{} must lie between the pod network's /{prefix} and /30",
                self.node_prefix
            )));
        }
        if self.node_monitor_grace.is_zero() {
            return Err(Error::Options(
                "node_monitor_grace must be greater than 0".to_owned(),
            ));
        }
        if u32::from(network) & (u32::MAX >> prefix) != 0 {
            return Err(Error::Options(format!(
                "pod_network {network}/{prefix} has bits set beyond its prefix"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_with_the_bad_value() {
        let ok = Options::default();
        assert!(ok.validate().is_ok());
        for (options, expect) in [
            (
                Options {
                    node_prefix: 8,
                    ..ok.clone()
                },
                "/8 must lie between",
            ),
            (
                Options {
                    node_prefix: 31,
                    ..ok.clone()
                },
                "/31 must lie between",
            ),
            (
                Options {
                    node_monitor_grace: Duration::ZERO,
                    ..ok.clone()
                },
                "node_monitor_grace",
            ),
            (
                Options {
                    pod_network: (Ipv4Addr::new(10, 1, 0, 0), 9),
                    ..ok.clone()
                },
                "10.1.0.0/9",
            ),
        ] {
            let error = options.validate().unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        }
    }
}
