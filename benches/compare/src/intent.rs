//! The 450-byte intent that every target gets: the body of `POST /ingress/intent`, with a
//! correlation id and a turn id of its own each time. Its type says what Gesta makes of it.
//!
//! A connection keeps one request and overwrites the digits that change; nothing is formatted or
//! allocated for each request.

/// Bytes of one intent.
pub(crate) const BODY_LEN: usize = 450;

/// The intent type that Gesta answers by itself.
pub(crate) const CHAT: &str = "chat.message";

/// Begins a stamp in the message text: the time of sending, a dot, the intent's number.
const STAMP: &[u8] = b"@t=";

/// Bytes of a stamp.
pub(crate) const STAMP_LEN: usize = STAMP.len() + TIME_SLOT.len() + 1 + COUNT_SLOT.len();

const COUNT_SLOT: &str = "############";
const THREAD_SLOT: &str = "%%%%";
/// Nanoseconds since the generator's start, padded with zeroes.
const TIME_SLOT: &str = "$$$$$$$$$$$$$$$$$$$";

/// Threads that the intents are spread over.
const THREADS: u64 = 1_000;

/// Where in a request the digits stand that change.
pub(crate) struct Slots {
    counts: Vec<usize>,
    threads: Vec<usize>,
    time: usize,
}

/// An intent of exactly `BODY_LEN` bytes, its slots still unfilled. `run` makes its ids different
/// from those of every other run against the same server.
fn body(run: u32, intent_type: &str) -> String {
    let id = format!("{run:08x}-{COUNT_SLOT}");
    let text = |message: &str| {
        format!(
            r#"{{"interface_version":2,"correlation_id":"c-{id}","payload":{{"stream_id":"default","lane":"user","actor":"user-0001","intent_type":"{intent_type}","thread_id":"thread-{THREAD_SLOT}","turn_id":"t-{id}","parent_turn_id":null,"payload":{{"message":"{message}","thread_id":"thread-{THREAD_SLOT}","turn_id":"t-{id}"}}}}}}"#
        )
    };
    let message = format!("@t={TIME_SLOT}.{COUNT_SLOT} ");
    let words = "append it to the log and say where it stands; ".repeat(8);
    let pad = BODY_LEN - text(&message).len();
    text(&format!("{message}{}", &words[..pad]))
}

/// A whole request, the intent between `prefix` and `suffix`, and where its digits stand.
pub(crate) fn request(run: u32, intent_type: &str, prefix: &[u8], suffix: &[u8]) -> (Vec<u8>, Slots) {
    let body = body(run, intent_type);
    let all = |slot: &str| body.match_indices(slot).map(|(at, _)| prefix.len() + at).collect::<Vec<_>>();
    let time = prefix.len() + body.find(TIME_SLOT).expect("the message holds the time's slot");
    let slots = Slots { counts: all(COUNT_SLOT), threads: all(THREAD_SLOT), time };
    let mut request = [prefix, body.as_bytes(), suffix].concat();
    slots.fill(&mut request, 0, 0);
    (request, slots)
}

impl Slots {
    /// Writes the ids of the intent number `count` and its time of sending.
    pub(crate) fn fill(&self, request: &mut [u8], count: u64, time_ns: u64) {
        for &at in &self.counts {
            decimal(&mut request[at..at + COUNT_SLOT.len()], count);
        }
        for &at in &self.threads {
            decimal(&mut request[at..at + THREAD_SLOT.len()], count % THREADS);
        }
        decimal(&mut request[self.time..self.time + TIME_SLOT.len()], time_ns);
    }
}

fn decimal(slot: &mut [u8], mut value: u64) {
    for digit in slot.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// The stamps in `bytes` that are whole: (nanoseconds at sending, the intent's number).
pub(crate) fn stamps(bytes: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok();
    memchr::memmem::find_iter(bytes, STAMP).filter_map(move |at| {
        let digits = bytes.get(at..at + STAMP_LEN)?.split_at(STAMP.len()).1;
        Some((number(&digits[..TIME_SLOT.len()])?, number(&digits[TIME_SLOT.len() + 1..])?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_is_450_bytes_of_json_with_ids_of_its_own() {
        let (mut request, slots) = request(7, CHAT, b"head", b"tail");
        slots.fill(&mut request, 1_234, 99);
        let body = &request[4..request.len() - 4];
        assert_eq!(body.len(), BODY_LEN);
        let value: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(value["correlation_id"], "c-00000007-000000001234");
        assert_eq!(value["payload"]["turn_id"], value["payload"]["payload"]["turn_id"]);
        assert_eq!(value["payload"]["thread_id"], "thread-0234");
        assert_eq!(value["payload"]["payload"]["thread_id"], "thread-0234");
        let message = value["payload"]["payload"]["message"].as_str().unwrap();
        assert!(message.starts_with("@t=0000000000000000099.000000001234 append"));
        assert_eq!(stamps(body).collect::<Vec<_>>(), [(99, 1_234)]);
        assert_eq!(stamps(&body[..body.len() / 2]).count(), 0, "a cut stamp waits for its rest");
    }
}
