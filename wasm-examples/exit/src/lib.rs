//! Ends a command with any exit code, as module and as component.
//!
//! `std::process::exit` of Rust's `wasm32-wasip2` calls the `exit` of `wasi:cli`, which knows only
//! success and failure: every code but 0 comes out as 1. WASI 0.2.12 brought `exit-with-code`.

use std::io::Write;

/// Ends the program with this code, of which the low eight bits count.
pub fn with(code: i32) -> ! {
    // What is left over when this fails has nowhere to go.
    let _ = std::io::stdout().flush();
    #[cfg(target_env = "p2")]
    wasip2::cli::exit::exit_with_code(code as u8);
    // A module, or a host that returned from the call above, which it must not.
    std::process::exit(code)
}
