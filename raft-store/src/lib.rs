//! Replicated MVCC key-value store.
