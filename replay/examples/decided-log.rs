//! Writes a log of decided and executed intents into a new data directory, for measuring and for trying things out:
//!
//! ```text
//! cargo run -p gesta-replay --example decided-log -- DIR INTENTS
//! ```

#[path = "../tests/support/mod.rs"]
mod support;

/// Segments of a log that is made here.
const SEGMENT_BYTES: u64 = 256 << 20;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (dir, intents) = (arguments.next(), arguments.next().and_then(|count| count.parse().ok()));
    let (Some(dir), Some(intents)) = (dir, intents) else {
        eprintln!("usage: decided-log DIR INTENTS");
        std::process::exit(4);
    };
    let maker = support::large::decided(intents);
    maker.write(dir.as_ref(), 16, SEGMENT_BYTES);
    println!("{} records in {dir}", maker.len());
}
