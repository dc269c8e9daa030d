//! The group apps: what keeps pods running.

mod controller_revision;
mod daemon_set;
mod stateful_set;

use super::deployment::DeploymentStrategy;
use super::replica_set::ReplicaSetStrategy;
use crate::registry::kind::Kind;
use crate::registry::kind::Subresource::{Scale, Status};

/// The group's rows of the table of kinds.
pub fn rows() -> Vec<Kind> {
    vec![
        Kind::new(
            controller_revision::ControllerRevisionStrategy,
            "controllerrevision",
            true,
        ),
        Kind::new(daemon_set::DaemonSetStrategy, "daemonset", true)
            .short(&["ds"])
            .in_all()
            .with(&[Status]),
        Kind::new(DeploymentStrategy, "deployment", true)
            .short(&["deploy"])
            .in_all()
            .with(&[Status, Scale]),
        Kind::new(ReplicaSetStrategy, "replicaset", true)
            .short(&["rs"])
            .in_all()
            .with(&[Status, Scale]),
        Kind::new(stateful_set::StatefulSetStrategy, "statefulset", true)
            .short(&["sts"])
            .in_all()
            .with(&[Status, Scale]),
    ]
}
