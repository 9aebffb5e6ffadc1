//! The Gesta server: an append-only decision log over HTTP.
