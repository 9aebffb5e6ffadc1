//! Canonical JSON (RFC 8785), strictly read.
