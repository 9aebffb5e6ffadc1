//! What a handler in Rust is written against: the registry, the context of an execution, and what the server offers.
//!
//! A [`Solution`] registers its handlers when the server starts, before it listens, through the same door as those that
//! ship with it. A handler gets an [`ExecutionContext`] and gives artifacts and events, or a failure. It never writes the
//! status of an execution: the executor does, so that a panic or a missed deadline fails one execution and nothing else.
//!
//! ```no_run
//! use gesta::runtime::{
//!     ExecutionContext, Handled, Handler, IntentRegistry, IntentService, Output, PublicWorks, Solution, StateSurface,
//! };
//! use serde_json::json;
//!
//! /// Counts the rows that an intent brings.
//! struct Counter {
//!     works: PublicWorks,
//! }
//!
//! impl IntentService for Counter {
//!     fn new(works: PublicWorks, _state: StateSurface) -> Self {
//!         Self { works }
//!     }
//! }
//!
//! impl Handler for Counter {
//!     fn invoke(&self, context: ExecutionContext) -> Handled {
//!         let works = self.works.clone();
//!         Box::pin(async move {
//!             let parameters = context.parameters().await?;
//!             let count = parameters["rows"].as_array().map_or(0, Vec::len);
//!             works.telemetry().count("rows_counted", count as u64);
//!             Output::new(&json!({ "count": count }), &[json!({ "name": "counted", "count": count })])
//!         })
//!     }
//! }
//!
//! struct Reports;
//!
//! impl Solution for Reports {
//!     fn register(&self, registry: &mut IntentRegistry) {
//!         registry.register_service::<Counter>("report.count", "counter", json!({ "owner": "reports" }));
//!         // What keeps nothing is a function.
//!         let hello = async |context: ExecutionContext| Output::new(&json!({ "hello": context.intent.actor }), &[]);
//!         registry.register_intent("report.hello", "hello", hello, json!({}));
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     gesta::run_with(vec![Box::new(Reports)])
//! }
//! ```

mod context;
mod handler;
mod http;
mod registry;
mod service;
mod state;
mod wal;
mod works;

pub use axum::http as types;
pub use gesta_log_format::{Digest, Index, Timestamp};
pub use gesta_replay::event::ExecutionId;

pub use crate::executor::cancel::Cancel;
pub use context::{ExecutionContext, Intent};
pub use handler::{Handled, Handler, HandlerError, Output};
pub use http::{HttpClient, HttpError, HttpRequest, HttpResponse};
pub use registry::IntentRegistry;
pub(crate) use registry::Registered;
pub use service::{IntentService, Solution};
pub use state::{StateError, StateSurface};
pub use wal::{Wal, WalError};
pub use works::{Blobs, BlobsError, PublicWorks, Telemetry};
