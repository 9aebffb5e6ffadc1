//! The entries of a DECISION's `reasons` and `transforms`, as canonical JSON.
//!
//! Both are sets: sorted by the bytes of their canonical text, each entry once.

use gesta_log_format::{Index, json};

/// One entry of `transforms`: `{"op","params","target"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transform(Box<[u8]>);

/// One entry of `reasons`: `{"code","params"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason(Box<[u8]>);

impl Transform {
    /// An entry of which `params` is a canonical object.
    #[must_use]
    pub fn new(op: &str, target: &str, params: &str) -> Self {
        let mut text = Vec::with_capacity(32 + op.len() + target.len() + params.len());
        text.extend_from_slice(b"{\"op\":");
        json::write_string(&mut text, op);
        text.extend_from_slice(b",\"params\":");
        text.extend_from_slice(params.as_bytes());
        text.extend_from_slice(b",\"target\":");
        json::write_string(&mut text, target);
        text.push(b'}');
        Self(text.into_boxed_slice())
    }

    /// INTENTs stand in for references that were not declared.
    pub(super) fn expanded(indexes: &[Index], count_max: usize) -> Self {
        let indexes: Vec<_> = indexes.iter().map(Index::to_string).collect();
        let params = format!("{{\"event_indexes\":[{}],\"n\":{count_max}}}", indexes.join(","));
        Self::new("EXPAND_LAST_N", "resolved_refs", &params)
    }

    /// An EXECUTION is left out of the resolved references.
    pub(super) fn filtered(index: Index) -> Self {
        Self::new("FILTER_INTENT_ONLY", &format!("event/{index}"), "{}")
    }

    /// All references to an event but the first are left out.
    pub(super) fn deduped(index: Index, count: usize) -> Self {
        Self::new("DEDUPE_REFS", &format!("event/{index}"), &format!("{{\"dropped\":{count}}}"))
    }

    /// Its canonical text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.0
    }
}

impl Reason {
    /// An entry of which `params` is a canonical object.
    #[must_use]
    pub fn new(code: &str, params: &str) -> Self {
        let mut text = Vec::with_capacity(24 + code.len() + params.len());
        text.extend_from_slice(b"{\"code\":");
        json::write_string(&mut text, code);
        text.extend_from_slice(b",\"params\":");
        text.extend_from_slice(params.as_bytes());
        text.push(b'}');
        Self(text.into_boxed_slice())
    }

    /// An entry with one parameter, a string.
    #[must_use]
    pub fn with(code: &str, name: &str, value: &str) -> Self {
        let mut params = b"{".to_vec();
        json::write_string(&mut params, name);
        params.push(b':');
        json::write_string(&mut params, value);
        params.push(b'}');
        Self::new(code, &String::from_utf8_lossy(&params))
    }

    /// Its canonical text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.0
    }
}
