//! The digest of the request that an INTENT came from, computed again: FORMAT.md, "INTENT `submitted`".
//!
//! The record holds all that the client sent, but for what its author moved into blobs. A reference in place of the
//! client's payload may be either's: the client's own, which the digest covers as it stands, or the author's, whose
//! content it covers. So both are tried. References are never declared by a reference: there it is the author's.

use std::collections::BTreeMap;

use gesta_log_format::Digest;
use gesta_log_format::blob::Reference;
use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical::{self, Members};
use sha2::Digest as _;

use super::finding::{Class, Finding};
use super::report::RequestCounts;
use super::{BLOB_DIFFERS, Store};
use crate::context::VALUE_BYTES_MAX;

/// The surface whose requests are known here, and the version of its interface, which the digest covers.
const SURFACE: &[u8] = b"\"wire\"";
const INTERFACE_VERSION: u8 = 2;

/// The media type of what an author moved out of a record.
const MEDIA_TYPE: &str = "application/json";

/// What became of one request's digest.
pub(super) enum Outcome {
    Same,
    /// It came in by a surface whose requests have another form.
    OtherSurface,
    Not(Box<Finding>),
}

/// All of a log's requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    counts: RequestCounts,
    /// How many lack each blob that is missing.
    lacking: BTreeMap<Digest, u64>,
}

impl Requests {
    /// Counts one, and reports what is wrong with it.
    pub(super) fn take(&mut self, outcome: &Outcome, report: &mut dyn FnMut(Finding)) {
        match outcome {
            Outcome::Same => self.counts.same += 1,
            Outcome::OtherSurface => self.counts.other_surface += 1,
            Outcome::Not(finding) => {
                match finding.blob {
                    Some(blob) => {
                        self.counts.not_replayable += 1;
                        *self.lacking.entry(blob).or_default() += 1;
                    }
                    None => self.counts.differ += 1,
                }
                report((**finding).clone());
            }
        }
    }

    /// How many there were of each, once it is known what was erased.
    pub(super) fn counts(&self, is_erased: impl Fn(&Digest) -> bool) -> RequestCounts {
        let erased = self.lacking.iter().filter(|(blob, _)| is_erased(blob)).map(|(_, count)| count).sum();
        let not_replayable = self.counts.not_replayable - erased;
        RequestCounts { erased, not_replayable, ..self.counts }
    }
}

/// Compares the digest of the request of an INTENT `submitted`.
///
/// # Errors
/// As [`Store`].
pub(super) fn check<S: Store>(view: &View<'_>, store: &S) -> Result<Outcome, S::Error> {
    let Some(written) = Written::of(view) else {
        let is_other = view.payload_member("surface").is_some_and(|surface| surface != SURFACE);
        let nothing = "it has no digest of its request, or what that covers is not there";
        return Ok(if is_other { Outcome::OtherSurface } else { differs(view, nothing) });
    };
    if written.surface != SURFACE {
        return Ok(Outcome::OtherSurface);
    }
    let content;
    let declared_refs = match moved(written.declared_refs) {
        None => written.declared_refs,
        Some(reference) => match fetch(view, store, &reference)? {
            Ok(found) => {
                content = found;
                &content
            }
            Err(outcome) => return Ok(outcome),
        },
    };
    if digest(view, declared_refs, written.payload) == written.digest {
        return Ok(Outcome::Same);
    }
    if let Some(reference) = moved(written.payload) {
        match fetch(view, store, &reference)? {
            Ok(payload) if digest(view, declared_refs, &payload) == written.digest => {
                return Ok(Outcome::Same);
            }
            Ok(_) => {}
            Err(outcome) => return Ok(outcome),
        }
    }
    Ok(differs(view, "its request_digest is not that of the request that it holds"))
}

/// The members that a request's digest is about, as they stand in the record.
struct Written<'a> {
    surface: &'a [u8],
    payload: &'a [u8],
    declared_refs: &'a [u8],
    digest: Digest,
}

impl<'a> Written<'a> {
    fn of(view: &View<'a>) -> Option<Self> {
        let (mut surface, mut payload, mut declared_refs, mut digest) = (None, None, None, None);
        for member in Members::new(view.payload) {
            let (key, value) = member.ok()?;
            let place = match key {
                b"surface" => &mut surface,
                b"payload" => &mut payload,
                b"declared_refs" => &mut declared_refs,
                b"request_digest" => &mut digest,
                _ => continue,
            };
            *place = Some(value);
        }
        let digest = Digest::parse(&canonical::string(digest?)?)?;
        Some(Self { surface: surface?, payload: payload?, declared_refs: declared_refs?, digest })
    }
}

/// The reference that an author may have put in place of this value.
fn moved(value: &[u8]) -> Option<Reference<'_>> {
    let movable =
        |found: &Reference<'_>| found.media_type == MEDIA_TYPE && found.size_bytes <= VALUE_BYTES_MAX;
    Reference::parse(value).filter(movable)
}

/// The content of a blob, or what it means that there is none.
fn fetch<S: Store>(
    view: &View<'_>,
    store: &S,
    reference: &Reference<'_>,
) -> Result<Result<Vec<u8>, Outcome>, S::Error> {
    let blob = reference.digest;
    let not = |finding| Ok(Err(Outcome::Not(Box::new(finding))));
    match store.blob(&blob)? {
        None => {
            let message = format!(
                "the digest of its request cannot be computed again: the blob {blob} is not here: give the blobs \
                 with --blobs DIR"
            );
            let finding = Finding::at(Class::Incomplete, "REQUEST_NOT_REPLAYABLE", view.index, message);
            not(Finding { blob: Some(blob), ..finding })
        }
        Some(content) if Digest::of(&content) != blob => {
            let message = format!("the blob {blob} has other content than its name says");
            not(Finding::at(Class::Tampered, BLOB_DIFFERS, view.index, message))
        }
        Some(content) if content.len() as u64 != reference.size_bytes => {
            Ok(Err(differs(view, "the blob of its request has another length than it says")))
        }
        Some(content) => Ok(Ok(content)),
    }
}

fn differs(view: &View<'_>, message: &str) -> Outcome {
    Outcome::Not(Box::new(Finding::at(Class::Tampered, "REQUEST_DIGEST", view.index, message)))
}

/// SHA-256 of the canonical request.
fn digest(view: &View<'_>, declared_refs: &[u8], payload: &[u8]) -> Digest {
    let mut text = Vec::with_capacity(384 + declared_refs.len());
    let quoted = |text: &mut Vec<u8>, name: &str, raw: &[u8]| {
        text.extend_from_slice(name.as_bytes());
        text.push(b'"');
        text.extend_from_slice(raw);
        text.push(b'"');
    };
    // Escaped strings are canonical in the envelope, and so in the request.
    quoted(&mut text, "{\"actor\":", view.actor);
    quoted(&mut text, ",\"correlation_id\":", view.correlation_id);
    text.extend_from_slice(b",\"declared_refs\":");
    text.extend_from_slice(declared_refs);
    quoted(&mut text, ",\"intent_type\":", view.intent_type);
    text.extend_from_slice(b",\"interface_version\":");
    text.push(b'0' + INTERFACE_VERSION);
    quoted(&mut text, ",\"lane\":", view.lane);
    match view.parent_turn_id {
        Some(parent) => quoted(&mut text, ",\"parent_turn_id\":", parent),
        None => text.extend_from_slice(b",\"parent_turn_id\":null"),
    }
    text.extend_from_slice(b",\"payload\":");
    let mut hasher = sha2::Sha256::new();
    hasher.update(&text);
    hasher.update(payload);
    text.clear();
    quoted(&mut text, ",\"stream_id\":", view.stream_id);
    quoted(&mut text, ",\"thread_id\":", view.thread_id);
    quoted(&mut text, ",\"turn_id\":", view.turn_id);
    text.push(b'}');
    hasher.update(&text);
    Digest(hasher.finalize().into())
}
