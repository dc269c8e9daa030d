//! The `euston` command.
fn main() {}
