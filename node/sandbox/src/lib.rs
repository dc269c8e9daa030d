//! Wasm sandboxes on wasmtime; knows no Kubernetes.
