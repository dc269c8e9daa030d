//! Black-box tests in tiers, and their harness.
