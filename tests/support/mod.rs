//! What the tests of the running server share: the built program as a child process, a small HTTP client, a tail
//! reader that keeps every byte, and intents to send. Nothing here knows the server's own code.

#![allow(dead_code, unused_imports, reason = "each test crate uses a part of it")]
#![allow(unreachable_pub, reason = "a test crate is no library; the part that it uses differs")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

pub mod copy;
pub mod http;
pub mod intent;
pub mod lives;
pub mod problem;
pub mod process;
pub mod random;
pub mod tail;
pub mod work;

use std::time::{Duration, Instant};

pub use http::{Client, Response};
pub use intent::Intent;
pub use process::Server;
pub use random::Random;
pub use tail::{Block, Ending, Tail, frames};

/// How long anything that should happen may take on a slow machine under load, with a disk that stalls now and then.
/// Nothing that goes well waits for it.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Asks again and again until there is an answer.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A number from the environment: how often a random test repeats itself.
pub fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}
