//! Logs of many decided intents, made by the library's own replay because walking the log for each would take for ever.

use std::sync::{Arc, Mutex};

use gesta_log_format::tree::leaf_hash;
use gesta_log_format::{Digest, Index};
use gesta_replay::verify::{Derived, Place, Record, Replay, Store};

use super::prefix::said;
use super::{Maker, example};

/// The intents of one thread: so few that the example's policy permits them.
const INTENTS_PER_THREAD: u64 = 15;

#[derive(Clone, Default)]
pub struct Memory(pub Arc<Mutex<Vec<Vec<u8>>>>);

impl Store for Memory {
    type Error = std::convert::Infallible;

    fn record(&self, place: Place) -> Result<Vec<u8>, Self::Error> {
        Ok(self.0.lock().expect("it is sound")[usize::try_from(place.0).expect("it is sound")].clone())
    }

    fn blob(&self, _: &Digest) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(None)
    }
}

/// Folds what the log has more than the memory.
fn follow(replay: &mut Replay<Memory>, memory: &Memory, maker: &Maker) {
    let from = memory.0.lock().expect("it is sound").len();
    for (index, data) in (from as u64..).zip(&maker.log.records[from..]) {
        memory.0.lock().expect("it is sound").push(data.clone());
        let record = Record { index: Index(index), place: Place(index), data, leaf: leaf_hash(data) };
        let report = &mut |finding| panic!("{finding:?}");
        replay.fold(&[record], &mut |_, _, _| {}, report).expect("it is sound");
    }
}

/// A log of so many intents, decided and executed.
pub fn decided(intents: u64) -> Maker {
    let memory = Memory::default();
    let (mut maker, mut replay) = (Maker::new(&example()), Replay::new(memory.clone(), 1));
    for nth in 0..intents {
        let thread = format!("t-{}", nth / INTENTS_PER_THREAD);
        let mut said = said(nth).thread(&thread);
        if nth % INTENTS_PER_THREAD > 0 && nth % 4 == 0 {
            said = said.refs(&[&format!("c-{}", nth - 1)]);
        }
        let intent = maker.intent(&said);
        follow(&mut replay, &memory, &maker);
        let job = replay.job(Index(intent), &mut |_| {}).expect("it is sound").expect("it is sound");
        let derived =
            replay.derive(&[job], None, |taken| taken.decision.payload).expect("it is sound").remove(0);
        let Derived::Decision(payload) = derived else { panic!("it can be decided") };
        maker.decide_as(intent, std::str::from_utf8(&payload).expect("it is sound"));
        maker.execution(intent, "running", r#"{"delivery":1}"#);
        maker.execution(intent, "completed", r#"{"delivery":1,"output":{"message":"done"}}"#);
        follow(&mut replay, &memory, &maker);
    }
    maker
}
