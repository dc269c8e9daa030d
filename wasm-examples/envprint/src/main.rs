//! Prints what it was given: arguments, environment, and the files under the directories that are
//! named as arguments (or in the environment's `DIRS`, separated by colons).

use std::fs;
use std::path::Path;

/// Deeper than this it does not look.
const DEPTH_MAX: usize = 16;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    for (n, arg) in args.iter().enumerate() {
        println!("arg {n}: {arg}");
    }
    let mut variables: Vec<(String, String)> = std::env::vars().collect();
    variables.sort();
    for (name, value) in variables {
        println!("env {name}={value}");
    }
    let named = std::env::var("DIRS").unwrap_or_default();
    let dirs = args.iter().skip(1).map(String::as_str);
    for dir in dirs.chain(named.split(':').filter(|dir| !dir.is_empty())) {
        list(Path::new(dir), 0);
    }
}

fn list(path: &Path, depth: usize) {
    if depth > DEPTH_MAX {
        println!("{}: too deep", path.display());
        return;
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => {
            println!("dir {}: {error}", path.display());
            return;
        }
    };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            list(&path, depth + 1);
        } else {
            match fs::read_to_string(&path) {
                Ok(text) => println!("file {}: {}", path.display(), text.trim_end()),
                Err(error) => println!("file {}: {error}", path.display()),
            }
        }
    }
}
