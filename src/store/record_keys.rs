//! The keys under which a record is found: one function for records that come in and for records that are read again.

use std::borrow::Cow;

use gesta_log_format::Digest;
use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;

use crate::blobs;
use crate::keys::Fingerprint;

/// What a record is found by, but for its subjects and blobs.
#[derive(Debug)]
pub struct KeyParts<'a> {
    pub stream_id: &'a str,
    pub correlation_id: &'a str,
    pub thread_id: &'a str,
    pub turn_id: &'a str,
    /// The envelope's own digest.
    pub digest: Digest,
}

impl KeyParts<'_> {
    /// Appends the keys.
    pub fn push(&self, keys: &mut Vec<Fingerprint>) {
        keys.push(Fingerprint::correlation(self.stream_id, self.correlation_id));
        keys.push(Fingerprint::thread(self.stream_id, self.thread_id));
        keys.push(Fingerprint::turn(self.stream_id, self.thread_id, self.turn_id));
        keys.push(Fingerprint::turn_anywhere(self.stream_id, self.turn_id));
        keys.push(Fingerprint::digest(&self.digest));
    }

    /// All keys of a record whose envelope is `text` but for what the sequencer gives: those of its subjects first.
    pub fn keys(&self, subjects: impl Iterator<Item = Fingerprint>, text: &[u8]) -> Vec<Fingerprint> {
        let mut keys = Vec::with_capacity(6);
        keys.extend(subjects);
        self.push(&mut keys);
        keys.extend(blobs::references(text).map(|digest| Fingerprint::digest(&digest)));
        keys
    }
}

/// Appends the keys of a written envelope. `None` where it is not one.
pub(super) fn of_envelope(data: &[u8], keys: &mut Vec<Fingerprint>) -> Option<()> {
    let view = View::parse(data)?;
    let text = |raw| -> Option<Cow<'_, str>> { canonical::unescape(raw) };
    let stream_id = text(view.stream_id)?;
    for subject in view.subjects() {
        keys.push(Fingerprint::subject(&stream_id, &text(subject?.subject)?));
    }
    let parts = KeyParts {
        stream_id: &stream_id,
        correlation_id: &text(view.correlation_id)?,
        thread_id: &text(view.thread_id)?,
        turn_id: &text(view.turn_id)?,
        digest: Digest::parse(std::str::from_utf8(view.digest).ok()?)?,
    };
    parts.push(keys);
    for digest in blobs::references(data) {
        keys.push(Fingerprint::digest(&digest));
    }
    Some(())
}
