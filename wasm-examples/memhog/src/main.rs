//! Takes memory and touches every page of it: `memhog [MIB] [HOLD_SECONDS]`, or the environment's
//! `MIB` and `HOLD_SECONDS`; without a size it goes on until it is stopped.

use std::time::Duration;

const STEP_MIB: u64 = 8;

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |name: &str| {
        let text = args.next().or_else(|| std::env::var(name).ok())?;
        match text.parse::<u64>() {
            Ok(number) => Some(number),
            Err(error) => {
                eprintln!("memhog: {name} is {text:?}: {error}");
                exit::with(2);
            }
        }
    };
    let target = number("MIB").unwrap_or(u64::MAX);
    let hold = number("HOLD_SECONDS").unwrap_or(0);
    let mut held = Vec::new();
    let mut mib = 0;
    while mib < target {
        let step = STEP_MIB.min(target - mib);
        // Ones, so that every page is written.
        held.push(vec![1_u8; (step as usize) << 20]);
        mib += step;
        println!("{mib} MiB");
    }
    std::thread::sleep(Duration::from_secs(hold));
    let pages: usize = held.iter().map(|block| block.len() / 4096).sum();
    println!("done with {pages} pages");
}
