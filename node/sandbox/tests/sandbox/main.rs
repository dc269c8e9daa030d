//! Black-box tests of the sandbox with real guests.
//!
//! Most guests are written here as WebAssembly text. Those that need a whole language come from
//! wasm-examples; where they have not been built, their tests say so and pass, unless
//! `EUSTON_EXAMPLES` names the folder, which makes them required.

mod commands;
mod common;
mod cpu;
mod examples;
mod http;
mod images;
