//! Burns CPU: for ever, or for `spinner SECONDS` (or the environment's `SECONDS`).

use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() {
    let seconds = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("SECONDS").ok());
    let end = match seconds.map(|text| text.parse::<f64>().map_err(|error| (text, error))) {
        None => None,
        Some(Ok(seconds)) => {
            let span = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            Instant::now().checked_add(span)
        }
        Some(Err((text, error))) => {
            eprintln!("spinner: SECONDS is {text:?}: {error}");
            exit::with(2);
        }
    };
    println!("spinning");
    let mut rounds = 0_u64;
    while end.is_none_or(|end| Instant::now() < end) {
        // Long enough between looks at the clock that it is guest code that burns.
        for n in 0..100_000_u64 {
            black_box(n.wrapping_mul(n));
        }
        rounds += 1;
    }
    println!("done after {rounds} rounds");
}
