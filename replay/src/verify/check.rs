//! What a record says of itself: its form, its index, its digest, and of an INTENT that of its request. Asked of each
//! record alone, so on any thread.

use gesta_log_format::envelope;
use gesta_log_format::json;

use super::finding::{Class, Finding};
use super::request::{self, Outcome};
use super::{Record, Store, folds};
use crate::event::{Body, Event, Intent};

/// A record with its envelope's members.
pub(super) struct Checked<'c> {
    pub(super) record: Record<'c>,
    /// None where it has no envelope that can be understood.
    pub(super) event: Option<Event<'c>>,
    pub(super) fault: Option<Box<Finding>>,
    /// Of an INTENT `submitted`.
    pub(super) request: Option<Outcome>,
}

impl Checked<'_> {
    /// Whether no record is absent between the two.
    pub(super) fn is_followed_by(&self, next: &Self) -> bool {
        next.record.index == self.record.index.next()
    }
}

/// # Errors
/// As [`Store`]: a blob that cannot be read.
pub(super) fn check<'c, S: Store>(record: &Record<'c>, store: &S) -> Result<Checked<'c>, S::Error> {
    let record = *record;
    let tampered =
        |rule, message: &str| Some(Box::new(Finding::at(Class::Tampered, rule, record.index, message)));
    let event = match Event::parse(record.data) {
        Ok(event) => event,
        Err(error) => {
            let fault = Some(Box::new(folds::envelope(record.index, &error.fault)));
            return Ok(Checked { record, event: None, fault, request: None });
        }
    };
    if event.index() != record.index {
        let fault = tampered("INDEX", "its envelope bears another index than its frame");
        return Ok(Checked { record, event: None, fault, request: None });
    }
    let fault = if envelope::digest_of(record.data) != event.view().digest() {
        tampered("DIGEST", "its envelope's own digest is not right")
    } else if !json::is_canonical(record.data) {
        tampered("CANONICAL", "its envelope is not canonical JSON")
    } else {
        None
    };
    let request = match event.body() {
        Body::Intent(Intent::Submitted) => Some(request::check(event.view(), store)?),
        Body::Intent(Intent::CancelRequested)
        | Body::Decision(_)
        | Body::Execution(_)
        | Body::Task(_)
        | Body::Artifact(_)
        | Body::Session(_)
        | Body::Control(_)
        | Body::Ledger(_) => None,
    };
    Ok(Checked { record, event: Some(event), fault, request })
}
