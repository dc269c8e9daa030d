//! The user-space pod network.
