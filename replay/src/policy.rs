//! Policies: bundles of Cedar, read once and asked for each intent.
//!
//! Cedar is total: a policy has no clock, no I/O and no loop. What it leaves open is closed here: reasons come as a set
//! and are sorted, and a policy that fails makes the answer a DENY. `DECISIONS.md` says how a request is built and
//! what annotations mean.
//!
//! Cedar gives an error instead of overflowing the stack, so threads that evaluate need the usual 2 MiB: on less, a
//! deeply nested policy could fail where an auditor's does not.

mod annotation;
mod bundle;
mod cases;
mod check;
mod embedded;
mod evaluate;
mod fault;
pub mod files;
mod request;

pub use bundle::{
    Bundle, CASES_FILE, ENTITIES_FILE, Files, NAME_FILE, POLICIES_DIR, PolicyRule, SCHEMA_FILE, digest,
};
pub use cases::{CaseFailure, CaseReport, Report, test};
pub use check::{Checked, check};
pub use embedded::default_files;
pub use evaluate::{ENGINE_NAME, Outcome, engine_version};
pub(crate) use evaluate::{parse_result, result_text};
pub use fault::Fault;
pub(crate) use request::texts as request_texts;
pub use request::{Counts, Input};
