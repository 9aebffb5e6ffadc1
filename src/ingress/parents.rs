//! The chain of parent turns within a thread.

use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;
use gesta_log_format::{Index, Kind};

use crate::keys::Fingerprint;
use crate::limits;
use crate::problem::{Problem, ReasonCode};
use crate::store::{LookupError, Store};

/// Records of one turn that are looked at in search of its INTENT.
const TURN_RECORDS_MAX: usize = 64;

/// Checks that the parent is a turn that the thread already has, and not the turn itself nor one that follows from it.
///
/// # Errors
/// `INVALID_PARENT`; the inner error where the log cannot be read.
pub(super) fn check(
    store: &Store,
    stream: &str,
    thread: &str,
    turn: &str,
    parent: &str,
) -> Result<Result<(), Problem>, LookupError> {
    if parent == turn {
        return Ok(Err(invalid("a turn cannot be its own parent")));
    }
    let Some(mut ancestors) = parents_of(store, stream, thread, parent)? else {
        return Ok(Err(invalid("the thread has no such turn: submit it first, or leave the parent out")));
    };
    // Only a turn that is there already can be among the ancestors of another.
    if parents_of(store, stream, thread, turn)?.is_none() {
        return Ok(Ok(()));
    }
    let mut seen = std::collections::HashSet::from([parent.to_owned()]);
    let mut walked = 0;
    while let Some(ancestor) = ancestors.pop() {
        if ancestor == turn {
            return Ok(Err(invalid("the parent follows from this turn itself")));
        }
        walked += 1;
        if walked > limits::PARENT_WALK_MAX {
            return Ok(Err(invalid("the chain of parents is too long to be searched for a cycle")));
        }
        if seen.insert(ancestor.clone()) {
            ancestors.extend(parents_of(store, stream, thread, &ancestor)?.unwrap_or_default());
        }
    }
    Ok(Ok(()))
}

fn invalid(why: &'static str) -> Problem {
    Problem::new(ReasonCode::InvalidParent)
        .detail(format!("parent_turn_id: {why}."))
        .pointer("/payload/parent_turn_id")
}

/// The parents that the INTENTs of a turn name; none where the thread does not have the turn.
fn parents_of(
    store: &Store,
    stream: &str,
    thread: &str,
    turn: &str,
) -> Result<Option<Vec<String>>, LookupError> {
    let key = Fingerprint::turn(stream, thread, turn);
    let mut parents = None;
    store.find(&key, Index::ZERO, TURN_RECORDS_MAX, |data| {
        let Some(view) = View::parse(data) else { return false };
        let is = |raw, wanted: &str| canonical::unescape(raw).as_deref() == Some(wanted);
        if view.kind == Kind::Intent
            && is(view.stream_id, stream)
            && is(view.thread_id, thread)
            && is(view.turn_id, turn)
        {
            let parents: &mut Vec<String> = parents.get_or_insert_default();
            parents
                .extend(view.parent_turn_id.and_then(canonical::unescape).map(|parent| parent.into_owned()));
        }
        false
    })?;
    Ok(parents)
}
