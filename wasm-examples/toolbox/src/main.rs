//! Small tools in one command, for `kubectl exec`: the first argument names the tool, or the second
//! where the first is the program's name. Without a tool it repeats the lines that it reads, as long
//! as there are any.

use std::io::{self, BufRead, Read, Write};
use std::time::Duration;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        [tool, ref rest @ ..] if TOOLS.contains(&tool) => run(tool, rest),
        [_, tool, ref rest @ ..] => run(tool, rest),
        _ => repeat(),
    };
    if let Err(error) = done {
        eprintln!("{}: {error}", args.join(" "));
        exit::with(1);
    }
}

const TOOLS: &[&str] = &["cat", "echo", "warn", "exit", "fill", "sleep", "env", "put"];

fn run(tool: &str, rest: &[&str]) -> io::Result<()> {
    let number = || rest.first().and_then(|text| text.parse::<u64>().ok());
    match (tool, rest) {
        // Standard input, or files.
        ("cat", []) => io::copy(&mut io::stdin(), &mut io::stdout()).map(drop),
        ("cat", paths) => paths.iter().try_for_each(|path| {
            let mut file = std::fs::File::open(path)?;
            io::copy(&mut file, &mut io::stdout()).map(drop)
        }),
        ("echo", words) => writeln!(io::stdout(), "{}", words.join(" ")),
        ("warn", words) => writeln!(io::stderr(), "{}", words.join(" ")),
        ("exit", _) => exit::with(number().unwrap_or(0) as i32),
        // So many bytes of output.
        ("fill", _) => {
            let bytes = io::repeat(b'x').take(number().unwrap_or(0));
            io::copy(
                &mut io::BufReader::with_capacity(4096, bytes),
                &mut io::stdout(),
            )
            .map(drop)
        }
        ("sleep", _) => {
            std::thread::sleep(Duration::from_secs(number().unwrap_or(u64::MAX >> 20)));
            Ok(())
        }
        ("env", [name]) => match std::env::var(name) {
            Ok(value) => writeln!(io::stdout(), "{value}"),
            Err(error) => Err(io::Error::other(error)),
        },
        // Standard input into a file.
        ("put", [path]) => {
            let mut file = std::fs::File::create(path)?;
            io::copy(&mut io::stdin(), &mut file).map(drop)
        }
        _ => {
            eprintln!("usage: {} ...", TOOLS.join(" | "));
            exit::with(2)
        }
    }
}

/// Every line as it comes, so that whoever is attached sees it at once.
fn repeat() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        println!("you said {line:?}");
        if line == "bye" {
            break;
        }
    }
    Ok(())
}
