//! Where a tail begins and ends.

use axum::http::HeaderMap;
use gesta_log_format::Index;
use serde::Deserialize;
use utoipa::IntoParams;

use super::control::Reset;
use crate::problem::{Problem, ReasonCode};

/// The parameters of `GET /tail`, but for the filters.
#[derive(Debug, Default, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TailQuery {
    /// Records with a greater index; −1, the default, means all.
    pub since: Option<String>,
    /// As the header `Last-Event-Id`, for clients that cannot set it.
    pub last_event_id: Option<String>,
    /// The last record to send; behind it the tail ends, and a reconnect is answered 204.
    pub until: Option<u64>,
    /// `false` ends the tail at the head of this request.
    pub follow: Option<bool>,
    /// The log that the cursor belongs to; another log answers with a reset.
    pub origin: Option<String>,
    /// A ticket from `POST /tail/ticket`, for clients that cannot send a token.
    pub ticket: Option<String>,
}

/// What a tail shows: the records from `next` up to `stop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub next: Index,
    /// Exclusive; none follows for ever.
    pub stop: Option<Index>,
}

/// What a request for a tail is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Records.
    At(Span),
    /// Nothing ever again: 204 ends a browser's reconnects.
    Over,
    /// A reset block.
    Reset(Reset),
}

impl TailQuery {
    /// Decides where the tail begins. `first` and `head` are those of the log now.
    ///
    /// # Errors
    /// `INVALID_INPUT` where `since` is not an index. A cursor that a client repeats by itself is never refused with a
    /// status, because that would end a browser's EventSource: it is answered with a reset.
    pub(super) fn start(
        &self,
        headers: &HeaderMap,
        origin: &str,
        first: Index,
        head: Index,
    ) -> Result<Start, Problem> {
        let header = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
        // An empty one is what a browser has before its first event.
        let cursor = header.or(self.last_event_id.as_deref()).filter(|cursor| !cursor.is_empty());
        let resumed = cursor.is_some();
        let next = match cursor.map(after) {
            Some(Some(next)) => next,
            Some(None) => return Ok(Start::Reset(Reset::Unreadable)),
            None => match self.since.as_deref().map(after) {
                Some(Some(next)) => next,
                Some(None) => return Err(bad_since()),
                None => first,
            },
        };
        if self.origin.as_deref().is_some_and(|wanted| wanted != origin) {
            return Ok(Start::Reset(Reset::Origin));
        }
        let stop = match (self.until, self.follow) {
            (Some(until), Some(false)) => Some(Index(until).next().min(head)),
            (Some(until), _) => Some(Index(until).next()),
            (None, Some(false)) => Some(head),
            (None, _) => None,
        };
        if self.until.is_some_and(|until| next > Index(until)) {
            return Ok(Start::Over);
        }
        if next > head {
            return Ok(Start::Reset(Reset::Ahead));
        }
        if resumed && self.follow == Some(false) && next == head {
            return Ok(Start::Over);
        }
        if next < first && next > Index::ZERO {
            return Ok(Start::Reset(Reset::Gone));
        }
        Ok(Start::At(Span { next: next.max(first), stop }))
    }
}

/// The index behind a cursor: −1 is in front of everything.
fn after(cursor: &str) -> Option<Index> {
    let cursor = cursor.trim();
    if cursor == "-1" {
        return Some(Index::ZERO);
    }
    let digits = !cursor.is_empty() && cursor.bytes().all(|byte| byte.is_ascii_digit());
    let last: u64 = cursor.parse().ok().filter(|_| digits)?;
    (last <= Index::MAX.0).then(|| Index(last).next())
}

fn bad_since() -> Problem {
    Problem::new(ReasonCode::InvalidInput)
        .detail("since: give the index of the last record that is not wanted, or -1 for all.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &TailQuery, last_event_id: Option<&str>, expected: Start) {
        let mut headers = HeaderMap::new();
        if let Some(id) = last_event_id {
            headers.insert("last-event-id", id.parse().unwrap());
        }
        assert_eq!(query.start(&headers, "o", Index(0), Index(10)).unwrap(), expected);
    }

    fn since(since: &str) -> TailQuery {
        TailQuery { since: Some(since.to_owned()), ..TailQuery::default() }
    }

    fn at(next: u64) -> Start {
        Start::At(Span { next: Index(next), stop: None })
    }

    #[test]
    fn a_tail_begins_behind_its_cursor_and_the_header_beats_the_query() {
        check(&TailQuery::default(), None, at(0));
        check(&since("-1"), None, at(0));
        check(&since("4"), None, at(5));
        check(&since("4"), Some("7"), at(8));
        check(&since("4"), Some(""), at(5));
        check(&since("9"), None, at(10));
        let query = TailQuery { last_event_id: Some("3".to_owned()), ..since("8") };
        check(&query, None, at(4));
        check(&query, Some("5"), at(6));
    }

    #[test]
    fn a_cursor_that_cannot_be_served_is_reset() {
        check(&since("4"), Some("x"), Start::Reset(Reset::Unreadable));
        check(&since("4"), Some("-2"), Start::Reset(Reset::Unreadable));
        check(&since("10"), None, Start::Reset(Reset::Ahead));
        check(&TailQuery::default(), Some("99999999999999999999"), Start::Reset(Reset::Unreadable));
        let other = TailQuery { origin: Some("p".to_owned()), ..TailQuery::default() };
        check(&other, None, Start::Reset(Reset::Origin));
        let gone = since("4").start(&HeaderMap::new(), "o", Index(8), Index(10)).unwrap();
        assert_eq!(gone, Start::Reset(Reset::Gone));
        let all = since("-1").start(&HeaderMap::new(), "o", Index(8), Index(10)).unwrap();
        assert_eq!(all, at(8));
    }

    #[test]
    fn a_tail_ends_where_it_is_told_and_a_reconnect_there_is_over() {
        let until = TailQuery { until: Some(6), ..since("4") };
        check(&until, None, Start::At(Span { next: Index(5), stop: Some(Index(7)) }));
        check(&until, Some("6"), Start::Over);
        check(
            &TailQuery { until: Some(20), ..since("4") },
            None,
            Start::At(Span { next: Index(5), stop: Some(Index(21)) }),
        );
        let once = TailQuery { follow: Some(false), ..since("4") };
        check(&once, None, Start::At(Span { next: Index(5), stop: Some(Index(10)) }));
        check(&once, Some("9"), Start::Over);
    }

    #[test]
    fn a_since_that_is_no_index_is_refused() {
        assert!(since("abc").start(&HeaderMap::new(), "o", Index(0), Index(10)).is_err());
        assert!(since("1.5").start(&HeaderMap::new(), "o", Index(0), Index(10)).is_err());
    }
}
