//! The events that a worker's result holds, where it is the `{artifacts, events}` of a handler: each becomes an EXECUTION
//! `event` behind the task's end and before the execution's.
//!
//! How many have become one already, the log says: between the two nobody else has anything to record of the execution. So
//! a crash in between loses none and repeats none.

use gesta_log_format::Index;
use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;
use gesta_replay::event::{Content, Elements, Execution};
use gesta_replay::projections::executions;

use super::Tasks;
use super::brief::BriefError;
use crate::limits::{EXECUTION_EVENTS_MAX, PARAMS_BYTES_MAX, TASK_RETURNED_EVENT_BYTES_MAX};
use crate::problem::{Problem, ReasonCode};

/// The events of a result, canonical, if it is a handler's.
fn events(result: &[u8]) -> Option<Vec<&[u8]>> {
    let events = canonical::member(result, "events").filter(|events| events.first() == Some(&b'['))?;
    if canonical::member(result, "artifacts")?.first() != Some(&b'{') {
        return None;
    }
    let events: Option<Vec<_>> = Elements::new(events).collect();
    events.filter(|events| events.iter().all(|event| event.first() == Some(&b'{')))
}

/// Demands that each event of a result can be a record of its own.
///
/// # Errors
/// `RESULT_INVALID`.
pub(super) fn demand(result: &[u8]) -> Result<(), Problem> {
    let events = events(result).unwrap_or_default();
    let wrong = |pointer: String, what: String| {
        Problem::new(ReasonCode::ResultInvalid)
            .detail(format!("Nothing was appended: {pointer}: {what}."))
            .pointer(pointer)
    };
    if events.len() > EXECUTION_EVENTS_MAX {
        let what = format!("give at most {EXECUTION_EVENTS_MAX} events");
        return Err(wrong("/result/events".to_owned(), what));
    }
    match events.iter().position(|event| event.len() > TASK_RETURNED_EVENT_BYTES_MAX) {
        Some(nth) => {
            let what =
                format!("an event has at most {TASK_RETURNED_EVENT_BYTES_MAX} bytes: put more into a blob");
            Err(wrong(format!("/result/events/{nth}"), what))
        }
        None => Ok(()),
    }
}

impl Tasks {
    /// The events of the result in the record at `outcome` that have become no EXECUTION yet.
    pub(super) async fn events_left(
        &self,
        execution: &executions::Open,
        outcome: Index,
        record: &[u8],
    ) -> Result<Vec<Vec<u8>>, BriefError> {
        let works = self.executor.works();
        let result = View::parse(record).and_then(|view| view.payload_member("result")).map(Content::of);
        let result = match result {
            None => return Ok(Vec::new()),
            Some(Content::Inline(result)) => result.to_vec(),
            Some(Content::Blob(blob)) => works.blob(blob.digest, PARAMS_BYTES_MAX).await?,
        };
        let events = events(&result).unwrap_or_default();
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let done = self.events_behind(execution, outcome).await?;
        Ok(events.into_iter().skip(done).map(<[u8]>::to_vec).collect())
    }

    /// How many EXECUTION `event` there are of an execution behind a record.
    async fn events_behind(&self, execution: &executions::Open, outcome: Index) -> Result<usize, BriefError> {
        let own = format!("execution/{}", execution.execution_id);
        let (mut at, mut count) = (execution.last_index, 0);
        while let Some(index) = at.filter(|index| *index > outcome) {
            let record = self.executor.works().record(index).await?;
            let view = View::parse(record.data()).ok_or(BriefError::Foreign(index))?;
            if view.type_name == Execution::text(Execution::Event) {
                count += 1;
            }
            let is_own = |raw| canonical::unescape(raw).is_some_and(|subject| subject == own);
            let subject = view.subjects().flatten().find(|subject| is_own(subject.subject));
            at = subject.ok_or(BriefError::Foreign(index))?.expected;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_a_result_are_those_of_a_handler() {
        let found = |result: &[u8]| events(result).map(|events| events.len());
        assert_eq!(found(br#"{"artifacts":{},"events":[{"a":1},{}]}"#), Some(2));
        assert_eq!(found(br#"{"artifacts":{},"events":[]}"#), Some(0));
        for other in [
            &br#"{"artifacts":[],"events":[{}]}"#[..],
            br#"{"events":[{}]}"#,
            br#"{"artifacts":{},"events":[1]}"#,
            br#"{"artifacts":{},"events":{}}"#,
            br#"{"artifacts":{}}"#,
            b"null",
        ] {
            assert_eq!(found(other), None, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn an_event_that_no_record_could_hold_is_refused_with_its_result() {
        let result = |event: &str, count: usize| {
            format!("{{\"artifacts\":{{}},\"events\":[{}]}}", vec![event; count].join(","))
        };
        assert!(demand(result("{}", EXECUTION_EVENTS_MAX).as_bytes()).is_ok());
        assert!(demand(result("{}", EXECUTION_EVENTS_MAX + 1).as_bytes()).is_err());
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(TASK_RETURNED_EVENT_BYTES_MAX));
        assert_eq!(
            demand(result(&large, 2).as_bytes()).unwrap_err().body().pointer(),
            Some("/result/events/0")
        );
    }
}
