//! Writes a log of decided and executed intents into a new data directory, for measuring and for trying things out:
//!
//! ```text
//! cargo run -p gesta-replay --example decided-log -- DIR INTENTS
//! ```

#![expect(clippy::unwrap_used, reason = "a maker of test data that fails says where")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::{Arc, Mutex};

use gesta_log_format::tree::leaf_hash;
use gesta_log_format::{Digest, Index};
use gesta_replay::verify::{Derived, Place, Record, Replay, Store};

use support::prefix::said;
use support::{Maker, example};

/// Threads that the intents are spread over, so that the example's policy denies few of them.
const THREADS_OF_INTENTS: u64 = 15;

/// Segments of a log that is made here.
const SEGMENT_BYTES: u64 = 256 << 20;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<Vec<u8>>>>);

impl Store for Memory {
    type Error = std::convert::Infallible;

    fn record(&self, place: Place) -> Result<Vec<u8>, Self::Error> {
        Ok(self.0.lock().unwrap()[usize::try_from(place.0).unwrap()].clone())
    }

    fn blob(&self, _: &Digest) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(None)
    }
}

/// Folds what the log has more than the memory.
fn follow(replay: &mut Replay<Memory>, memory: &Memory, maker: &Maker) {
    let from = memory.0.lock().unwrap().len();
    for (index, data) in (from as u64..).zip(&maker.log.records[from..]) {
        memory.0.lock().unwrap().push(data.clone());
        let record = Record { index: Index(index), place: Place(index), data, leaf: leaf_hash(data) };
        let report = &mut |finding| panic!("{finding:?}");
        replay.fold(&[record], &mut |_, _, _| {}, report).unwrap();
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(intents)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: decided-log DIR INTENTS");
        std::process::exit(4);
    };
    let intents: u64 = intents.parse().unwrap();
    let memory = Memory::default();
    let (mut maker, mut replay) = (Maker::new(&example()), Replay::new(memory.clone(), 1));
    for nth in 0..intents {
        let thread = format!("t-{}", nth / THREADS_OF_INTENTS);
        let mut said = said(nth).thread(&thread);
        if nth % THREADS_OF_INTENTS > 0 && nth % 4 == 0 {
            said = said.refs(&[&format!("c-{}", nth - 1)]);
        }
        let intent = maker.intent(&said);
        follow(&mut replay, &memory, &maker);
        let job = replay.job(Index(intent), &mut |_| {}).unwrap().unwrap();
        let derived = replay.derive(&[job], None, |taken| taken.decision.payload).unwrap().remove(0);
        let Derived::Decision(payload) = derived else { panic!("it can be decided") };
        maker.decide_as(intent, std::str::from_utf8(&payload).unwrap());
        maker.execution(intent, "running", r#"{"delivery":1}"#);
        maker.execution(intent, "completed", r#"{"delivery":1,"output":{"message":"done"}}"#);
        follow(&mut replay, &memory, &maker);
    }
    maker.write(dir.as_ref(), 16, SEGMENT_BYTES);
    println!("{} records in {dir}", maker.len());
}
