//! What filters look at, extracted once for each record.

use std::ops::Range;

use gesta_log_format::Kind;
use gesta_log_format::envelope::{Subject, View};

/// Where the filtered members lie in an envelope: ranges of bytes, strings without their quotes.
#[derive(Clone, Debug)]
pub struct Fields {
    kind: Kind,
    actor: Range<u16>,
    correlation_id: Range<u16>,
    intent_type: Range<u16>,
    lane: Range<u16>,
    stream_id: Range<u16>,
    subjects: Vec<Range<u16>>,
    thread_id: Range<u16>,
}

/// The filtered members of one envelope, still escaped.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'a> {
    pub kind: Kind,
    pub actor: &'a [u8],
    pub correlation_id: &'a [u8],
    pub intent_type: &'a [u8],
    pub lane: &'a [u8],
    pub stream_id: &'a [u8],
    pub thread_id: &'a [u8],
}

impl Fields {
    /// The fields of an envelope; `None` where it is not one.
    pub fn of(data: &[u8]) -> Option<Self> {
        let view = View::parse(data)?;
        let range = |part: &[u8]| range_of(data, part);
        Some(Self {
            kind: view.kind,
            actor: range(view.actor)?,
            correlation_id: range(view.correlation_id)?,
            intent_type: range(view.intent_type)?,
            lane: range(view.lane)?,
            stream_id: range(view.stream_id)?,
            subjects: view.subjects().map(|subject| range(subject?.subject)).collect::<Option<_>>()?,
            thread_id: range(view.thread_id)?,
        })
    }

    /// The members' bytes in `data`, the envelope that this was made of.
    pub fn selected<'a>(&self, data: &'a [u8]) -> Selected<'a> {
        Selected {
            kind: self.kind,
            actor: part(data, &self.actor),
            correlation_id: part(data, &self.correlation_id),
            intent_type: part(data, &self.intent_type),
            lane: part(data, &self.lane),
            stream_id: part(data, &self.stream_id),
            thread_id: part(data, &self.thread_id),
        }
    }

    /// Whether the record has a subject of this escaped text.
    pub fn has_subject(&self, data: &[u8], subject: &[u8]) -> bool {
        self.subjects.iter().any(|range| part(data, range) == subject)
    }
}

impl<'a> From<&View<'a>> for Selected<'a> {
    fn from(view: &View<'a>) -> Self {
        Self {
            kind: view.kind,
            actor: view.actor,
            correlation_id: view.correlation_id,
            intent_type: view.intent_type,
            lane: view.lane,
            stream_id: view.stream_id,
            thread_id: view.thread_id,
        }
    }
}

/// Whether the record has a subject of this escaped text.
pub(super) fn view_has_subject(view: &View<'_>, subject: &[u8]) -> bool {
    view.subjects().flatten().any(|found: Subject<'_>| found.subject == subject)
}

fn part<'a>(data: &'a [u8], range: &Range<u16>) -> &'a [u8] {
    data.get(usize::from(range.start)..usize::from(range.end)).unwrap_or_default()
}

/// Where `part`, which was cut from `data`, lies in it. An envelope has at most 65,000 bytes.
fn range_of(data: &[u8], part: &[u8]) -> Option<Range<u16>> {
    let start = part.as_ptr().addr().checked_sub(data.as_ptr().addr())?;
    Some(u16::try_from(start).ok()?..u16::try_from(start + part.len()).ok()?)
}
