//! Decisions, from outside: context, policies, payloads, and the page that specifies them.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "decisions/context.rs"]
mod context;
#[path = "decisions/deciding.rs"]
mod deciding;
#[path = "decisions/log.rs"]
mod log;
#[path = "decisions/page.rs"]
mod page;
#[path = "decisions/policies.rs"]
mod policies;

use std::sync::LazyLock;

use gesta_replay::context::Config;
use gesta_replay::policy::{Bundle, Files, default_files};

static ALLOW_ALL: LazyLock<Bundle> = LazyLock::new(|| Bundle::read(&default_files()).unwrap());

fn allow_all() -> &'static Bundle {
    &ALLOW_ALL
}

fn config(text: &str) -> Config {
    Config::parse(text.as_bytes()).unwrap()
}

/// A bundle of one file of policies.
fn files(policies: &str) -> Files {
    let mut files = default_files();
    files.remove("policies/default.cedar");
    files.insert("policies/test.cedar".into(), policies.into());
    files
}
