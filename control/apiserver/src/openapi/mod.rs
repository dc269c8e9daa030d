//! The documents at `/openapi`.
