//! What every in-cluster client shares.
