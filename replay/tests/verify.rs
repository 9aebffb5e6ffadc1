//! `gesta-replay verify` on logs that are sound and on logs that were tampered with.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

#[path = "verify/bad.rs"]
mod bad;
#[path = "verify/determinism.rs"]
mod determinism;
#[path = "verify/interleaved.rs"]
mod interleaved;
#[path = "verify/run.rs"]
mod run;
#[path = "verify/sound.rs"]
mod sound;
#[path = "verify/tasks.rs"]
mod tasks;
