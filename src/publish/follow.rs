//! Follows the log for EXECUTION `event` records: logs those that are to be, and keeps those that are to be posted.
//!
//! Reads what is applied, so that the registrations before an event are known. A piece of the log is done with the mark
//! behind it, in one write with what was found in it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;
use gesta_log_format::{Index, Kind};
use gesta_replay::event::{Execution, Publish as How};
use memchr::memmem::Finder;

use super::waiting::{Event, Lane};
use super::{Publish, how};
use crate::limits::{PUBLISH_CHUNK_BYTES, PUBLISH_MARK_RECORDS_MAX, PUBLISH_PAUSE_MS, PUBLISH_RETRY_MS};
use crate::store::{Interest, RecordBytes, Walk};

/// What every such record holds. It may stand elsewhere in another one, which is then looked at in vain.
static MEMBERS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"\"kind\":\"EXECUTION\""), Finder::new(b"\"type\":\"event\"")]);

const OF_INTEREST: Interest =
    Interest { may_be: |bytes| MEMBERS.iter().all(|finder| finder.find(bytes).is_some()), is: is_event };

/// Longest name of an event that is logged, in bytes.
const NAME_BYTES_MAX: usize = 128;

impl Publish {
    pub(super) async fn follow(self: Arc<Self>) {
        // Closed at the end of the process only.
        let Ok(_permit) = self.working.acquire().await else { return };
        let taken_up = self.waiting.mark().and_then(|mark| Ok((mark, self.waiting.lanes()?)));
        let (mark, lanes) = match taken_up {
            Ok(taken_up) => taken_up,
            Err(error) => return tracing::error!(%error, "no events are published: the derived store fails"),
        };
        lanes.iter().for_each(|lane| self.wake(lane));
        let next = mark.max(self.store.reader.first());
        let mut walk = Walk::from(next);
        let (mut applied, mut stopped) = (self.projector.watch(), self.stop.subscribe());
        while !self.is_stopped() {
            let end = *applied.borrow_and_update();
            let mut from = None;
            // Where nothing was read, the next head tells more.
            while walk.next() < end && from != Some(walk.next()) && !self.is_stopped() {
                from = Some(walk.next());
                let is_read;
                (walk, is_read) = match Arc::clone(&self).walk(walk, end).await {
                    Some(walked) => walked,
                    None => return,
                };
                from = from.filter(|_| is_read);
            }
            tokio::select! {
                moved = applied.changed() => if moved.is_err() { break },
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
            // Under load a look serves many records.
            self.pause(Duration::from_millis(PUBLISH_PAUSE_MS)).await;
        }
        if let Err(error) = self.waiting.add(&[], walk.next()) {
            tracing::warn!(%error, "the next start looks at some events again");
        }
    }

    /// Looks at one piece of the log, and says whether it could be read. `None` where the server ends.
    async fn walk(self: Arc<Self>, mut walk: Walk, end: Index) -> Option<(Walk, bool)> {
        let this = Arc::clone(&self);
        let read = tokio::task::spawn_blocking(move || {
            let found = walk.read(&this.store, end, PUBLISH_CHUNK_BYTES, &OF_INTEREST);
            (walk, found)
        });
        let (mut walk, found) = match read.await {
            Ok((walk, Ok(found))) => (walk, found),
            Ok((walk, Err(error))) => {
                // A damaged record stops the projector too; until then it is tried again.
                tracing::error!(%error, "the log cannot be followed");
                self.pause(Duration::from_millis(PUBLISH_RETRY_MS)).await;
                return Some((walk, false));
            }
            Err(_panicked) => return None,
        };
        let found: Vec<_> = found.iter().filter_map(|(_, record)| self.look_at(record)).collect();
        if !found.is_empty() || walk.is_unmarked_for(PUBLISH_MARK_RECORDS_MAX) {
            while let Err(error) = self.waiting.add(&found, walk.next()) {
                tracing::error!(%error, "events that are to be posted cannot be kept; it is tried again");
                self.pause(Duration::from_millis(PUBLISH_RETRY_MS)).await;
                if self.is_stopped() {
                    return None;
                }
            }
            walk.note_marked();
            found.iter().for_each(|(lane, _)| self.wake(lane));
        }
        Some((walk, true))
    }

    /// Logs an event if it is to be; gives it if it is to be posted.
    fn look_at(&self, record: &RecordBytes) -> Option<(Lane, Event)> {
        let view = View::parse(record.data())?;
        let intent_type = canonical::unescape(view.intent_type)?.into_owned();
        let (handler_name, how) = self.projector.look(|state| {
            let handler = state.handlers.first(&intent_type)?;
            Some((handler.handler_name.clone(), how(handler).0))
        })?;
        let execution_id = execution_id(&view)?;
        match how {
            How::None => None,
            How::Log => {
                // Never what it holds: that may be large, secret or elsewhere.
                let (index, digest) = (view.index.0, view.digest()?);
                let name = name(&view);
                tracing::info!(target: "gesta::events", intent_type, handler_name, execution_id, index, %digest, name, "an event of a handler");
                self.metrics.logged();
                None
            }
            How::Webhook => {
                let event = Event { index: view.index, execution_id };
                Some((Lane { intent_type, handler_name }, event))
            }
        }
    }
}

fn is_event(data: &[u8]) -> bool {
    let is =
        |view: View<'_>| view.kind == Kind::Execution && view.type_name == Execution::text(Execution::Event);
    View::parse(data).is_some_and(is)
}

fn execution_id(view: &View<'_>) -> Option<String> {
    let mut subjects = view.subjects().flatten();
    let subject = subjects.find_map(|subject| {
        canonical::unescape(subject.subject)?.strip_prefix("execution/").map(str::to_owned)
    });
    subject.filter(|id| !id.is_empty())
}

/// What the event calls itself, if that is a plain name.
fn name(view: &View<'_>) -> Option<String> {
    let named =
        ["name", "type"].into_iter().find_map(|member| canonical::string(view.payload_member(member)?));
    let is_plain = |name: &str| {
        name.len() <= NAME_BYTES_MAX
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-/".contains(&byte))
    };
    named.filter(|name| is_plain(name)).map(|name| name.into_owned())
}
