//! Writes the logs of `fixtures/logs` below a directory: `fixtures/logs/make` runs this.

#![expect(clippy::unwrap_used, reason = "a maker of test data that fails says where")]

#[path = "../tests/support/mod.rs"]
mod support;

fn main() {
    let root = std::env::args_os().nth(1).unwrap();
    support::fixtures::make(root.as_ref());
}
