//! `gesta-replay verify` on logs that are sound and on logs that were tampered with.

mod support;

#[path = "verify/bad.rs"]
mod bad;
#[path = "verify/determinism.rs"]
mod determinism;
#[path = "verify/run.rs"]
mod run;
#[path = "verify/sound.rs"]
mod sound;
