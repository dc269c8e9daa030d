//! The Kubernetes API over the replicated store.
