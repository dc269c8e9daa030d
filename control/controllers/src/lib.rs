//! Controllers: ordinary API clients that make the declared state true.
