//! How a guest's failure reads: traps in plain words, with the functions they happened in.

use crate::exit::Exit;
use crate::limits::Limits;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// Innermost functions that a message names; more makes it a wall.
const FUNCTIONS_MAX: usize = 4;

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It called exit.
    Exit(i32),
    OutOfMemory(String),
    Trap(String),
    /// The sandbox could not be made because a pool is exhausted.
    NoRoom(String),
}

impl Failure {
    /// Reads the error that guest code ended with.
    pub(crate) fn of(error: &wasmtime::Error, limits: &Limits) -> Self {
        if let Some(I32Exit(code)) = error.downcast_ref() {
            return Self::Exit(*code);
        }
        if let Some(oom) = limits.denied() {
            return Self::OutOfMemory(oom.to_string());
        }
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Self::NoRoom(crate::error::wasmtime_chain(error));
        }
        let place = place(error);
        match error.downcast_ref::<Trap>() {
            Some(Trap::UnreachableCodeReached) if limits.refused() => Self::OutOfMemory(format!(
                "out of memory: the guest reached the largest memory its code declares, and \
                 aborted{place}"
            )),
            Some(trap) => Self::Trap(format!("wasm trap: {}{place}", explain(trap))),
            // A host function refused the call: its message says why.
            None => Self::Trap(format!(
                "the sandbox ended the guest: {}{place}",
                host_error(error)
            )),
        }
    }

    /// The end of a command that failed like this.
    pub(crate) fn into_exit(self) -> Exit {
        match self {
            Self::Exit(code) => Exit::code(code),
            Self::OutOfMemory(message) => Exit::out_of_memory(message),
            Self::Trap(what) | Self::NoRoom(what) => Exit::trapped(what),
        }
    }
}

fn explain(trap: &Trap) -> String {
    let plain = match trap {
        Trap::UnreachableCodeReached => {
            "unreachable instruction executed (how a panic or abort looks from outside)"
        }
        Trap::StackOverflow => "call stack exhausted (infinite recursion?)",
        Trap::MemoryOutOfBounds => "memory access out of bounds",
        Trap::IndirectCallToNull => "call through an empty table entry (a null function pointer?)",
        Trap::BadSignature => "call through a function pointer of another type",
        Trap::IntegerDivisionByZero => "integer division by zero",
        other => {
            let text = other.to_string();
            return text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned();
        }
    };
    plain.to_owned()
}

/// The innermost message; the outer ones are the backtrace.
fn host_error(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}

/// ` in f, called from g, h`, or nothing if no function is known.
fn place(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    // Its text has demangled names: lines of `  0:  0x1234 - module!function`.
    let text = trace.to_string();
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once(" - ").map(|(_, place)| place))
        .filter_map(|place| place.split_once('!').map(|(_, function)| function.trim()))
        .collect();
    let blame: Vec<&str> = names.iter().copied().filter(|n| !is_machinery(n)).collect();
    let shown = if blame.is_empty() { names } else { blame };
    match shown.split_first() {
        None => String::new(),
        Some((first, [])) => format!(", in {first}"),
        Some((first, rest)) => {
            let rest: Vec<&str> = rest.iter().copied().take(FUNCTIONS_MAX - 1).collect();
            format!(", in {first}, called from {}", rest.join(", "))
        }
    }
}

/// Functions that carry a panic from where it happened to the trap, and those that call `main`.
fn is_machinery(function: &str) -> bool {
    const PREFIXES: [&str; 9] = [
        "std::",
        "core::",
        "alloc::",
        "__rust",
        "rust_",
        "_start",
        "__main_void",
        "abort",
        "<wasm function",
    ];
    let bare = function.trim_start_matches('<');
    PREFIXES
        .iter()
        .any(|prefix| function.starts_with(prefix) || bare.starts_with(prefix))
}
