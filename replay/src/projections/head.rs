//! Where the log stands: its length, and for each stream how many records it has, the last one, and the phase of its
//! last turn.
//!
//! Memory: under 500 bytes for each stream, whatever the log's length.
//!
//! The state in a snapshot, version 1, streams in ascending order of their ids' bytes:
//!
//! ```text
//! {"applied":5,"streams":[{"correlation_id":"c-1","count":4,"last_index":4,"phase":"EXECUTED","stream_id":"default"},…]}
//! ```
//!
//! `correlation_id` is that of the stream's last INTENT `submitted`, or null; the counts add up to `applied`.

use std::collections::BTreeMap;

use gesta_log_format::Index;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::phase::{LastIntent, Phase};
use crate::projection::{FoldError, Projection};
use crate::snapshot::{self, RestoreError, ensure};

const NAME: &str = "head";
const VERSION: u32 = 1;

/// Where the log and each of its streams stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    applied: Index,
    streams: BTreeMap<String, Stream>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stream {
    count: u64,
    last_index: Index,
    last_intent: LastIntent,
}

/// Where one stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHead {
    /// How many records it has, at least one.
    pub count: u64,
    /// The index of its last record.
    pub last_index: Index,
    /// The phase of its last turn: of the INTENT that was submitted last.
    pub phase: Phase,
}

impl Head {
    /// One stream; none where no record names it.
    #[must_use]
    pub fn stream(&self, stream_id: &str) -> Option<StreamHead> {
        self.streams.get(stream_id).map(StreamHead::from)
    }

    /// Every stream that a record names, in ascending order of the ids' bytes.
    pub fn streams(&self) -> impl ExactSizeIterator<Item = (&str, StreamHead)> {
        self.streams.iter().map(|(stream_id, stream)| (stream_id.as_str(), stream.into()))
    }
}

impl From<&Stream> for StreamHead {
    fn from(stream: &Stream) -> Self {
        Self { count: stream.count, last_index: stream.last_index, phase: stream.last_intent.phase }
    }
}

impl Projection for Head {
    fn name(&self) -> &'static str {
        NAME
    }

    fn take_in(&mut self, event: &Event<'_>) -> Result<(), FoldError> {
        let index = event.index();
        let stream_id = event.stream_id()?;
        match self.streams.get_mut(stream_id.as_ref()) {
            Some(stream) => {
                stream.last_intent.apply(event)?;
                stream.count += 1;
                stream.last_index = index;
            }
            None => {
                let mut last_intent = LastIntent::default();
                last_intent.apply(event)?;
                let stream = Stream { count: 1, last_index: index, last_intent };
                self.streams.insert(stream_id.into_owned(), stream);
            }
        }
        Ok(())
    }

    /// Counts the record; the phase stays.
    fn pass_over(&mut self, event: &Event<'_>) {
        let stream_id = String::from_utf8_lossy(event.view().stream_id).into_owned();
        let stream = self.streams.entry(stream_id).or_default();
        stream.count += 1;
        stream.last_index = event.index();
        self.applied = event.index().next();
    }

    fn applied(&self) -> Index {
        self.applied
    }

    fn applied_mut(&mut self) -> &mut Index {
        &mut self.applied
    }

    fn snapshot(&self) -> Vec<u8> {
        let streams = self.streams.iter().map(|(stream_id, stream)| StreamForm {
            correlation_id: stream.last_intent.correlation_id.clone(),
            count: stream.count,
            last_index: stream.last_index.0,
            phase: stream.last_intent.phase,
            stream_id: stream_id.clone(),
        });
        snapshot::write(NAME, VERSION, &Form { applied: self.applied.0, streams: streams.collect() })
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        let form: Form = snapshot::read(NAME, VERSION, snapshot)?;
        let mut head = Self { applied: Index(form.applied), streams: BTreeMap::new() };
        let mut counted = 0_u64;
        for stream in form.streams {
            let last = head.streams.last_key_value();
            ensure(last.is_none_or(|(last, _)| *last < stream.stream_id), "the streams are not in order")?;
            ensure(stream.count > 0, "a stream has no record")?;
            ensure(stream.last_index < form.applied, "a stream's last record is not applied")?;
            let intented = stream.phase != Phase::Empty;
            ensure(intented == stream.correlation_id.is_some(), "a phase without an intent, or the reverse")?;
            counted = counted.saturating_add(stream.count);
            let last_intent = LastIntent { correlation_id: stream.correlation_id, phase: stream.phase };
            let (count, last_index) = (stream.count, Index(stream.last_index));
            head.streams.insert(stream.stream_id, Stream { count, last_index, last_intent });
        }
        ensure(counted == form.applied, "the streams' records are not as many as were applied")?;
        Ok(head)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    applied: u64,
    streams: Vec<StreamForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamForm {
    correlation_id: Option<String>,
    count: u64,
    last_index: u64,
    phase: Phase,
    stream_id: String,
}
