//! What the tiers of tests share: a control plane in this process, waiting on
//! conditions, sample objects.

pub mod control_plane;
pub mod samples;
pub mod wait;
