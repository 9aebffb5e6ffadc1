//! The running server: what its parts share, how sockets become requests, and how it ends.
//!
//! Threads do what blocks (sequencer, filler, background, projector), tasks serve sockets. The router that answers
//! while the log is being opened is replaced by the whole one when it is ready.

mod app;
mod background;
mod connection;
mod cors;
mod front;
mod linger;
mod listen;
mod listeners;
mod openapi;
mod router;
mod run;
mod sockets;
mod tls;

pub use app::{App, Parts};
pub use connection::Connection;
pub use listeners::{Endpoint, ListenersError, Surface};
pub use router::document;
pub use run::{Ended, ServeError, serve};
pub use tls::TlsError;
