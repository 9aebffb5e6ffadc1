//! Which records a tail or a page shows.

use gesta_log_format::envelope::View;
use gesta_log_format::{Kind, json};

use super::fields::{Fields, Selected, view_has_subject};
use crate::keys::Fingerprint;
use crate::problem::{Problem, ReasonCode};

/// The parameters that filter, as they stand in a query. Each that is given has to match.
#[derive(Debug, Default, Clone, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FilterQuery {
    /// Only records of this stream. Without it the caller needs to read the whole log.
    pub stream_id: Option<String>,
    /// Only these lanes, separated by commas.
    pub lanes: Option<String>,
    /// Only these kinds, separated by commas: INTENT, DECISION, EXECUTION, TASK, ARTIFACT, SESSION, CONTROL, LEDGER.
    pub kinds: Option<String>,
    /// Only this thread.
    pub thread_id: Option<String>,
    /// Only what follows from this request.
    pub correlation_id: Option<String>,
    /// Only this actor.
    pub actor: Option<String>,
    /// Only this intent type.
    pub intent_type: Option<String>,
    /// Only records that move this subject, such as `intent/{correlation_id}`.
    pub subject: Option<String>,
}

/// A filter with its values escaped as they stand in canonical JSON, so that matching compares bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    stream_id: Option<Vec<u8>>,
    lanes: Vec<Vec<u8>>,
    kinds: Vec<Kind>,
    thread_id: Option<Vec<u8>>,
    correlation_id: Option<Vec<u8>>,
    actor: Option<Vec<u8>>,
    intent_type: Option<Vec<u8>>,
    subject: Option<Vec<u8>>,
    /// What history is found by, where one of the parameters has an index.
    key: Option<Fingerprint>,
}

impl FilterQuery {
    /// The filter; none where no parameter is given.
    ///
    /// # Errors
    /// `INVALID_INPUT` for an unknown kind.
    pub fn filter(&self) -> Result<Option<Filter>, Problem> {
        let given = [
            &self.stream_id,
            &self.lanes,
            &self.kinds,
            &self.thread_id,
            &self.correlation_id,
            &self.actor,
            &self.intent_type,
            &self.subject,
        ];
        if given.iter().all(|parameter| parameter.is_none()) {
            return Ok(None);
        }
        let kinds = list(self.kinds.as_deref())
            .map(|name| Kind::parse(name).ok_or_else(|| unknown_kind(name)))
            .collect::<Result<_, _>>()?;
        Ok(Some(Filter {
            stream_id: self.stream_id.as_deref().map(escaped),
            lanes: list(self.lanes.as_deref()).map(escaped).collect(),
            kinds,
            thread_id: self.thread_id.as_deref().map(escaped),
            correlation_id: self.correlation_id.as_deref().map(escaped),
            actor: self.actor.as_deref().map(escaped),
            intent_type: self.intent_type.as_deref().map(escaped),
            subject: self.subject.as_deref().map(escaped),
            key: self.key(),
        }))
    }

    /// The key that leads to the fewest records. Keys are scoped by their stream.
    fn key(&self) -> Option<Fingerprint> {
        let stream = self.stream_id.as_deref()?;
        let by_correlation = self.correlation_id.as_deref().map(|id| Fingerprint::correlation(stream, id));
        let by_subject = || self.subject.as_deref().map(|subject| Fingerprint::subject(stream, subject));
        let by_thread = || self.thread_id.as_deref().map(|id| Fingerprint::thread(stream, id));
        by_correlation.or_else(by_subject).or_else(by_thread)
    }
}

fn unknown_kind(name: &str) -> Problem {
    let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.text()).collect();
    Problem::new(ReasonCode::InvalidInput)
        .detail(format!("kinds: there is no kind {name:?}; the kinds are {}.", known.join(", ")))
}

fn list(parameter: Option<&str>) -> impl Iterator<Item = &str> {
    parameter.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

/// The text as it stands between the quotes of a canonical string.
fn escaped(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    json::write_string(&mut out, text);
    out.pop();
    out.remove(0);
    out
}

impl Filter {
    /// What history is found by, if one of the parameters has an index.
    pub fn key(&self) -> Option<&Fingerprint> {
        self.key.as_ref()
    }

    /// Whether a record whose fields were extracted is shown.
    pub fn matches_fields(&self, fields: &Fields, data: &[u8]) -> bool {
        self.matches_selected(&fields.selected(data))
            && self.subject.as_deref().is_none_or(|subject| fields.has_subject(data, subject))
    }

    /// Whether an envelope is shown. One that cannot be read is: nothing is left out silently.
    pub fn matches(&self, data: &[u8]) -> bool {
        let Some(view) = View::parse(data) else { return true };
        self.matches_selected(&Selected::from(&view))
            && self.subject.as_deref().is_none_or(|subject| view_has_subject(&view, subject))
    }

    fn matches_selected(&self, record: &Selected<'_>) -> bool {
        let equals =
            |wanted: &Option<Vec<u8>>, found: &[u8]| wanted.as_deref().is_none_or(|wanted| wanted == found);
        equals(&self.stream_id, record.stream_id)
            && (self.lanes.is_empty() || self.lanes.iter().any(|lane| lane == record.lane))
            && (self.kinds.is_empty() || self.kinds.contains(&record.kind))
            && equals(&self.thread_id, record.thread_id)
            && equals(&self.correlation_id, record.correlation_id)
            && equals(&self.actor, record.actor)
            && equals(&self.intent_type, record.intent_type)
    }
}
