//! What each fuzz target asserts about arbitrary bytes. The targets themselves only call these functions, so that a
//! crash can be repeated in a debugger without libFuzzer.

pub mod json;
pub mod record;
pub mod recovery;
pub mod sample;
pub mod saved_tail;
pub mod script;
