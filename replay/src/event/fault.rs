//! Why a text is not an envelope, for the person who has to find out.

use std::fmt;

use gesta_log_format::json::canonical::{self, Members};
use gesta_log_format::{Index, Kind};

/// A record whose envelope cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", Place(*index))]
pub struct EventError {
    /// The index that the envelope gives; none where it gives no readable one.
    pub index: Option<Index>,
    /// What is wrong.
    pub fault: Fault,
}

struct Place(Option<Index>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(index) => write!(f, "the record at index {index}"),
            None => f.write_str("a record without a readable index"),
        }
    }
}

/// What is wrong with an envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A member is missing, out of order or has a value of another type.
    #[error("its member {member} is missing, out of order or of another type")]
    Member {
        /// The first such member, in canonical order.
        member: &'static str,
    },
    /// All members are there, and something follows.
    #[error("something follows its last member")]
    Surplus,
    /// The kind is not in the list.
    #[error("its kind {name:?} is unknown: a newer version may have written it")]
    UnknownKind {
        /// The first bytes of what stands there.
        name: String,
    },
    /// The type is not in the kind's list.
    #[error("its type {name:?} is unknown among those of {kind}: a newer version may have written it")]
    UnknownType {
        /// The kind, which is known.
        kind: Kind,
        /// The first bytes of what stands there.
        name: String,
    },
    /// A member is a string in form, and its inside is none.
    #[error("its member {member} is not the text of a JSON string")]
    NotText {
        /// Which.
        member: &'static str,
    },
    /// The time is none.
    #[error("its recorded_at is no UTC time with six decimals")]
    NotTime,
    /// The list of subjects is malformed.
    #[error("its list of subjects is malformed")]
    Subjects,
    /// A member of the payload is missing or has a value of another type.
    #[error("its payload's member {member} is not {wanted}")]
    Payload {
        /// Which; where it lies in an object, that object's name and a dot before it.
        member: &'static str,
        /// What has to stand there.
        wanted: &'static str,
    },
    /// An EXECUTION without a subject that names an execution.
    #[error("none of its subjects is execution/ and a ULID")]
    NoExecution,
    /// A TASK without a subject that names a task.
    #[error("none of its subjects is task/ and a ULID")]
    NoTask,
    /// A DECISION that neither allows nor denies.
    #[error("its result is {found:?}, which is neither ALLOW nor DENY")]
    UnknownResult {
        /// The first bytes of what stands there; none where nothing does.
        found: Option<String>,
    },
}

const MEMBERS: [&str; 16] = [
    "actor",
    "cause",
    "correlation_id",
    "digest",
    "index",
    "intent_type",
    "kind",
    "lane",
    "parent_turn_id",
    "payload",
    "recorded_at",
    "stream_id",
    "subjects",
    "thread_id",
    "turn_id",
    "type",
];

/// The most bytes of foreign text that an error repeats.
const EXCERPT_BYTES_MAX: usize = 64;

/// The beginning of a text that was not understood.
pub(super) fn excerpt(raw: &[u8]) -> String {
    let (start, rest) = raw.split_at_checked(EXCERPT_BYTES_MAX).unwrap_or((raw, &[]));
    let more = if rest.is_empty() { "" } else { "…" };
    format!("{}{more}", String::from_utf8_lossy(start))
}

/// Says what keeps `data` from being an envelope. Slow: it runs once, before everything stops.
#[cold]
pub(super) fn diagnose(data: &[u8]) -> EventError {
    let mut index = None;
    let mut kind = None;
    let mut members = Members::new(data);
    for member in MEMBERS {
        let found = members.next().and_then(Result::ok).filter(|(key, _)| *key == member.as_bytes());
        let fault = match found {
            None => Some(Fault::Member { member }),
            Some((_, value)) => judge(member, value, &mut index, &mut kind),
        };
        if let Some(fault) = fault {
            return EventError { index: index.or_else(|| index_of(data)), fault };
        }
    }
    EventError { index, fault: Fault::Surplus }
}

/// What is wrong with the value of one member, if anything is.
fn judge(
    member: &'static str,
    value: &[u8],
    index: &mut Option<Index>,
    kind: &mut Option<Kind>,
) -> Option<Fault> {
    let sound = match member {
        "cause" => value == b"null" || number(value).is_some(),
        "index" => {
            *index = number(value);
            index.is_some()
        }
        "kind" => match canonical::string(value) {
            Some(name) => {
                *kind = Kind::parse(&name);
                return kind.is_none().then(|| Fault::UnknownKind { name: excerpt(name.as_bytes()) });
            }
            None => false,
        },
        "type" => match (canonical::string(value), *kind) {
            (Some(name), Some(kind)) => {
                let unknown = kind.type_named(&name).is_none();
                return unknown.then(|| Fault::UnknownType { kind, name: excerpt(name.as_bytes()) });
            }
            (_, _) => false,
        },
        "parent_turn_id" => value == b"null" || canonical::string(value).is_some(),
        "payload" => value.first() == Some(&b'{'),
        "subjects" => value.first() == Some(&b'['),
        _ => canonical::string(value).is_some(),
    };
    (!sound).then_some(Fault::Member { member })
}

/// The index of an envelope in which a member before it is wrong.
fn index_of(data: &[u8]) -> Option<Index> {
    canonical::member(data, "index").and_then(number)
}

fn number(value: &[u8]) -> Option<Index> {
    let text = std::str::from_utf8(value).ok()?;
    text.parse().ok().map(Index).filter(|index| *index <= Index::MAX && index.to_string() == text)
}
