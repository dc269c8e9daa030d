//! The built-in image registry and the client that pushes to it and pulls from it.
