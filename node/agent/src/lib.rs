//! The kubelet: makes pods bound to this node run.
