//! A job: counts to a number, prints each step, and ends with 0.
//!
//! `counter [N] [PAUSE_MS]`, or the environment's `COUNT` and `PAUSE_MS`; 10 and 0 by default.

use std::time::Duration;

fn main() {
    let mut args = std::env::args().skip(1);
    let setting = |arg: Option<String>, name: &str, default: u64| match arg
        .or_else(|| std::env::var(name).ok())
    {
        None => Ok(default),
        Some(text) => text
            .parse::<u64>()
            .map_err(|error| format!("{name} is {text:?}: {error}")),
    };
    let settings = setting(args.next(), "COUNT", 10)
        .and_then(|count| Ok((count, setting(args.next(), "PAUSE_MS", 0)?)));
    let (count, pause) = match settings {
        Ok((count, pause)) => (count, Duration::from_millis(pause)),
        Err(reason) => {
            eprintln!("counter: {reason}");
            exit::with(2);
        }
    };
    for n in 1..=count {
        println!("{n}");
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
}
