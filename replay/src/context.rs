//! Context: what a decision is made from, and how references become events.
//!
//! INTENTs are normative and may be seen by a policy; EXECUTIONs are observational, and nothing of them but index and
//! digest is ever looked at. `DECISIONS.md` gives all of this to the byte.

mod assemble;
mod config;
mod prefix;
pub mod refs;
mod resolve;
mod submitted;
mod transform;

pub use assemble::BOUNDARY_VERSION;
pub(crate) use assemble::{Context, assemble};
pub use config::{Config, ConfigError, EmptyRefsPolicy, ORDERING, Rule, SCHEMA_VERSION, Settings};
pub use prefix::{Blob, ContextError, Origin, Prefix, Terminal, Turn};
pub use resolve::{
    AdmittedFor, Answer, RESOLVED_INTENTS_MAX, RefCode, RefFault, Resolution, ResolvedRef, SURFACE_WIRE,
    Scope, check, resolve,
};
pub use submitted::VALUE_BYTES_MAX;
pub use transform::{Reason, Transform};
