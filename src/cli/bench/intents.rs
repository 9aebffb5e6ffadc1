//! The intents of a run: each of the same size and with a correlation id of its own.

use std::io::Write as _;

use ulid::Ulid;

/// Threads over which a run's intents are spread.
const THREADS: u64 = 1000;

/// Intents that bear the name of one run.
#[derive(Debug, Clone)]
pub(super) struct Intents {
    run: String,
    bytes: usize,
}

impl Intents {
    /// Intents of `bytes` each, and as many more as their fixed members need.
    pub(super) fn new(bytes: u32) -> Self {
        Self { run: Ulid::generate().to_string(), bytes: usize::try_from(bytes).unwrap_or(usize::MAX) }
    }

    /// The `nth` intent's body. `sent_us` comes back in its record.
    pub(super) fn body(&self, nth: u64, sent_us: u64) -> Vec<u8> {
        let (run, thread) = (&self.run, nth % THREADS);
        let mut body = Vec::with_capacity(self.bytes + 64);
        let front = format!(
            "{{\"correlation_id\":\"bench-{run}-{nth}\",\"interface_version\":2,\"payload\":{{\"actor\":\"bench\",\
             \"intent_type\":\"bench.append\",\"lane\":\"bench\",\"parent_turn_id\":null,\"payload\":{{\"filler\":\""
        );
        let back = format!(
            "\",\"run\":\"{run}\",\"sent_us\":{sent_us}}},\"stream_id\":\"default\",\"thread_id\":\"bench-{thread}\",\
             \"turn_id\":\"{nth}\"}}}}"
        );
        body.extend_from_slice(front.as_bytes());
        body.resize(front.len() + self.bytes.saturating_sub(front.len() + back.len()), b'x');
        body.extend_from_slice(back.as_bytes());
        body
    }

    /// What stands in a record of this run before the time at which it was sent.
    pub(super) fn mark(&self) -> Vec<u8> {
        let mut mark = Vec::new();
        // Writing to a vector does not fail.
        let _ = write!(mark, "\"run\":\"{}\",\"sent_us\":", self.run);
        mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::request;

    #[test]
    fn an_intent_is_of_its_size_and_valid_and_its_record_holds_the_mark() {
        let intents = Intents::new(450);
        for nth in [0, 7, 1_234_567] {
            let body = intents.body(nth, 99);
            assert_eq!(body.len(), 450);
            let intent = request::parse(&body).unwrap();
            assert!(memchr::memmem::find(&intent.payload, &intents.mark()).is_some());
        }
    }
}
