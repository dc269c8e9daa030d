//! End-to-end tests: the real binary, real guests, clients that others wrote.

#![allow(clippy::unwrap_used)] // here a failed unwrap is a failed test

mod clients;
mod cluster;
mod kubectl;
mod life;
mod pods;
mod reasons;
mod servers;
mod web;
mod wire;
