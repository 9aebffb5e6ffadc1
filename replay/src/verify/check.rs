//! What a record says of itself: its form, its index, its digest. Asked of each record alone, so on any thread.

use gesta_log_format::envelope;
use gesta_log_format::json;

use super::finding::{Class, Finding};
use super::{Record, folds};
use crate::event::Event;

/// A record with its envelope's members.
pub(super) struct Checked<'c> {
    pub(super) record: Record<'c>,
    /// None where it has no envelope that can be understood.
    pub(super) event: Option<Event<'c>>,
    pub(super) fault: Option<Box<Finding>>,
}

pub(super) fn check<'c>(record: &Record<'c>) -> Checked<'c> {
    let record = *record;
    let tampered =
        |rule, message: &str| Some(Box::new(Finding::at(Class::Tampered, rule, record.index, message)));
    let event = match Event::parse(record.data) {
        Ok(event) => event,
        Err(error) => {
            let fault = Some(Box::new(folds::envelope(record.index, &error.fault)));
            return Checked { record, event: None, fault };
        }
    };
    if event.index() != record.index {
        let fault = tampered("INDEX", "its envelope bears another index than its frame");
        return Checked { record, event: None, fault };
    }
    let fault = if envelope::digest_of(record.data) != event.view().digest() {
        tampered("DIGEST", "its envelope's own digest is not right")
    } else if !json::is_canonical(record.data) {
        tampered("CANONICAL", "its envelope is not canonical JSON")
    } else {
        None
    };
    Checked { record, event: Some(event), fault }
}
