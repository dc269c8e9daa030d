//! Certificates, and serving and calling over mutual TLS.
