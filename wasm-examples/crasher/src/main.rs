//! Fails in the way it is told to.
//!
//! `crasher [exit CODE | panic | trap | recurse | divide]`, or the environment's
//! `CRASH` with the same words; `exit 1` by default.

use std::hint::black_box;

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words.is_empty() {
        let crash = std::env::var("CRASH").unwrap_or_else(|_| "exit 1".to_owned());
        words = crash.split_whitespace().map(str::to_owned).collect();
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    eprintln!("crasher: about to {}", words.join(" "));
    match words.as_slice() {
        ["exit", code] => match code.parse() {
            Ok(code) => exit::with(code),
            Err(_) => unknown(&words),
        },
        ["panic"] => panic!("asked to"),
        ["trap"] => bake_too_long(),
        ["recurse"] => {
            recurse(black_box(0));
        }
        ["divide"] => divide(black_box(1), black_box(0)),
        _ => unknown(&words),
    }
}

fn unknown(words: &[&str]) -> ! {
    eprintln!("crasher: {words:?} is none of: exit CODE, panic, trap, recurse, divide");
    exit::with(2);
}

/// A trap without a word, as a C program's abort gives.
#[inline(never)]
fn bake_too_long() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

/// Deeper than any stack.
#[inline(never)]
#[allow(unconditional_recursion)] // the point of it
fn recurse(n: u64) -> u64 {
    black_box(recurse(black_box(n + 1)) + n)
}

#[inline(never)]
fn divide(a: i32, b: i32) {
    println!("{}", a / b);
}
