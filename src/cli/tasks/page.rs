//! Lists of tasks, page by page.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::{Failure, remote};
use crate::client::{Caller, query_text};

/// Most tasks that one page may have: the server's bound.
const PAGE_MAX: u64 = 500;

/// Which tasks are asked for.
pub(super) struct Query<'a> {
    pub(super) state: Option<&'a str>,
    pub(super) pool: Option<&'a str>,
    pub(super) stream_id: Option<&'a str>,
}

/// What was found, each as the server wrote it.
pub(super) struct Found {
    pub(super) found: Vec<Box<RawValue>>,
    /// Whether there are more than were asked for.
    pub(super) more: bool,
}

#[derive(Deserialize)]
struct Page {
    tasks: Vec<Box<RawValue>>,
    next: Option<String>,
}

/// The first `limit` tasks.
///
/// # Errors
/// A server that cannot be reached, a refusal, an answer of another shape.
pub(super) async fn pages(caller: &mut Caller, query: &Query<'_>, limit: u64) -> Result<Found, Failure> {
    let mut found: Vec<Box<RawValue>> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let left = limit.saturating_sub(found.len() as u64);
        let answer = remote::get(caller, &query.path(left.min(PAGE_MAX), after.as_deref())).await?;
        if !answer.status.is_success() {
            return Err(remote::refusal(&answer));
        }
        let page: Page = remote::json(&answer)?;
        found.extend(page.tasks);
        after = page.next;
        if after.is_none() || found.len() as u64 >= limit {
            return Ok(Found { found, more: after.is_some() });
        }
    }
}

impl Query<'_> {
    fn path(&self, limit: u64, after: Option<&str>) -> String {
        let mut path = format!("/api/task?limit={limit}");
        let given =
            [("state", self.state), ("pool", self.pool), ("stream_id", self.stream_id), ("after", after)];
        for (name, value) in given {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", query_text(value)));
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_what_is_given_and_encodes_it() {
        let query = Query { state: Some("queued"), pool: None, stream_id: Some("a&b") };
        assert_eq!(query.path(7, Some("ID")), "/api/task?limit=7&state=queued&stream_id=a%26b&after=ID");
    }
}
