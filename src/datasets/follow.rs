//! Follows the log and does what has to follow: rows of commits, dataset events, INTENTs of those who subscribe.
//!
//! Reads what is applied, so that the projections know of it, and remembers how far it is; what it does is idempotent, and
//! the mark is only there to save a restart the walk.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;
use gesta_log_format::{Digest, Index};
use gesta_replay::event::{Artifact, Body, Content, Elements, Task};
use memchr::memmem::Finder;
use serde_json::{Value, json};

use super::Datasets;
use super::batch;
use super::event::Cause;
use super::name::Version;
use super::record::Trouble;
use super::sink::whole;
use crate::limits::{DATASET_CHUNK_BYTES, DATASET_MARK_RECORDS_MAX, DATASET_PAUSE_MS};
use crate::store::{Interest, RecordBytes, Walk};

/// What every record holds that is of interest here. It may stand elsewhere in another one, which is then looked at in
/// vain.
static KINDS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"\"kind\":\"TASK\""), Finder::new(b"\"kind\":\"ARTIFACT\"")]);

const OF_INTEREST: Interest =
    Interest { may_be: |bytes| KINDS.iter().any(|finder| finder.find(bytes).is_some()), is: is_of_interest };

impl Datasets {
    pub(super) async fn follow(self: Arc<Self>) {
        // Closed at the end of the process only.
        let Ok(_permit) = self.working.acquire().await else { return };
        let next = match self.rows.mark() {
            Ok(mark) => mark,
            Err(error) => {
                return tracing::error!(%error, "the rows of datasets cannot be read: none are made");
            }
        };
        let next = next.max(self.store.reader.first());
        let mut walk = Walk::from(next);
        let (mut applied, mut stopped) = (self.projector.watch(), self.stop.subscribe());
        while !self.is_stopped() {
            let end = *applied.borrow_and_update();
            let mut from = None;
            // Where nothing was read, the next head tells more.
            while walk.next() < end && from != Some(walk.next()) && !self.is_stopped() {
                from = Some(walk.next());
                walk = match Arc::clone(&self).walk(walk, end).await {
                    Some(walk) => walk,
                    None => return,
                };
            }
            tokio::select! {
                moved = applied.changed() => if moved.is_err() { break },
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
            // Under load a look serves many records.
            self.pause(Duration::from_millis(DATASET_PAUSE_MS)).await;
        }
        if let Err(error) = self.rows.set_mark(walk.next()) {
            tracing::warn!(%error, "the next start walks over some records again");
        }
    }

    /// Looks at one piece of the log. `None` where the server ends.
    async fn walk(self: Arc<Self>, mut walk: Walk, end: Index) -> Option<Walk> {
        let this = Arc::clone(&self);
        let read = tokio::task::spawn_blocking(move || {
            let found = walk.read(&this.store, end, DATASET_CHUNK_BYTES, &OF_INTEREST);
            (walk, found)
        });
        let (mut walk, found) = match read.await {
            Ok((walk, Ok(found))) => (walk, found),
            Ok((walk, Err(error))) => {
                // A damaged record stops the projector too; until then it is tried again.
                tracing::error!(%error, "the log cannot be followed");
                self.pause(Duration::from_secs(1)).await;
                return Some(walk);
            }
            Err(_panicked) => return None,
        };
        let some = !found.is_empty();
        for (index, record) in found {
            self.insist("what follows from a record cannot be done", index, || self.look_at(&record)).await?;
        }
        if some || walk.is_unmarked_for(DATASET_MARK_RECORDS_MAX) {
            self.insist("the mark cannot be stored", walk.next(), || async {
                Ok(self.rows.set_mark(walk.next())?)
            })
            .await?;
            walk.note_marked();
        }
        Some(walk)
    }

    /// Does what has to follow from a record.
    async fn look_at(&self, record: &RecordBytes) -> Result<(), Trouble> {
        let Some(view) = View::parse(record.data()) else { return Ok(()) };
        match Body::of(view.kind, view.type_name) {
            Some(Body::Task(Task::BufferCommitted)) => self.commit(&view).await,
            Some(Body::Task(Task::BufferDeadLettered)) => match version_of(&view) {
                Some(version) => Ok(self.rows.note_dead_letter(&version, view.index)?),
                None => Ok(()),
            },
            Some(Body::Task(Task::Completed | Task::Event)) => self.report(&view).await,
            Some(Body::Artifact(Artifact::DatasetEvent)) => self.tell(&view).await,
            Some(
                Body::Task(_)
                | Body::Artifact(_)
                | Body::Intent(_)
                | Body::Decision(_)
                | Body::Execution(_)
                | Body::Session(_)
                | Body::Control(_)
                | Body::Ledger(_),
            )
            | None => Ok(()),
        }
    }

    /// Adds the rows of a batch, and tells of them.
    async fn commit(&self, view: &View<'_>) -> Result<(), Trouble> {
        let content = view.payload_member("batch").map(Content::of);
        let (Some(version), Some(Content::Blob(content)), Some(cause)) =
            (version_of(view), content, Cause::of(view))
        else {
            tracing::error!(
                index = view.index.0,
                "a batch was committed by a record that does not name its rows"
            );
            return Ok(());
        };
        let (blobs, rows, digest, index) =
            (Arc::clone(&self.blobs), self.rows.clone(), content.digest, view.index);
        let own = version.clone();
        let added = self.blocking(move || {
            if rows.missing(&own)?.is_some() {
                return Ok(None);
            }
            let Some(found) = rows_of(&blobs, &digest)? else {
                rows.note_missing(&own, index)?;
                return Ok(None);
            };
            Ok(Some((rows.add(&own, index, &found)?, found.len() as u64)))
        });
        let Some((count, row_count)) = added.await? else { return Ok(()) };
        let event = json!({
            "batch_uri": text(view, "batch_uri"), "cursor": count, "dataset_uuid": version.dataset_uuid,
            "dataset_version": version.dataset_version, "row_count": row_count,
        });
        if self.add_event(&cause, 0, &version, &event).await? {
            self.metrics.rows.increment(row_count);
        }
        Ok(())
    }

    /// Makes dataset events of those that an attempt reports.
    async fn report(&self, view: &View<'_>) -> Result<(), Trouble> {
        let (Some(events), Some(cause)) = (view.payload_member("events"), Cause::of(view)) else {
            return Ok(());
        };
        let events = match Content::of(events) {
            Content::Inline(events) => events.to_vec(),
            Content::Blob(reference) => {
                let (blobs, digest) = (Arc::clone(&self.blobs), reference.digest);
                match self.blocking(move || Ok(whole(&blobs, &digest)?)).await {
                    Ok(events) => events,
                    Err(Trouble::Blob(error)) if is_lost(&error) => {
                        tracing::error!(%error, index = view.index.0, "events that were reported are lost");
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        for (nth, element) in (0..).zip(Elements::new(&events).flatten()) {
            let Ok(event) = serde_json::from_slice::<Value>(element) else { continue };
            let stream_id = &cause.anchors.stream_id;
            let Some(version) = version_of_event(stream_id, element) else {
                tracing::error!(index = view.index.0, nth, "a reported event names no dataset version");
                continue;
            };
            self.add_event(&cause, nth, &version, &event).await?;
        }
        Ok(())
    }
}

fn is_of_interest(data: &[u8]) -> bool {
    let Some(view) = View::parse(data) else { return false };
    match Body::of(view.kind, view.type_name) {
        Some(Body::Task(Task::Completed | Task::Event)) => view.payload_member("events").is_some(),
        Some(
            Body::Task(Task::BufferCommitted | Task::BufferDeadLettered)
            | Body::Artifact(Artifact::DatasetEvent),
        ) => true,
        Some(
            Body::Task(_)
            | Body::Artifact(_)
            | Body::Intent(_)
            | Body::Decision(_)
            | Body::Execution(_)
            | Body::Session(_)
            | Body::Control(_)
            | Body::Ledger(_),
        )
        | None => false,
    }
}

/// Whether a blob's content is gone for good, unless somebody restores it.
fn is_lost(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData)
}

/// The rows of a batch that was committed; none where its content is lost, which is told.
fn rows_of(blobs: &crate::blobs::Store, digest: &Digest) -> Result<Option<Vec<batch::Row>>, std::io::Error> {
    let bytes = match whole(blobs, digest) {
        Ok(bytes) => bytes,
        Err(error) if is_lost(&error) => {
            tracing::error!(%error, %digest, "rows that were committed are lost: restore the blob, delete state.sled while the server is stopped");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let rows = batch::rows(&bytes, None);
    if let Err(refusal) = &rows {
        tracing::error!(%digest, ?refusal, "a batch that was committed is none");
    }
    Ok(rows.ok())
}

fn text(view: &View<'_>, member: &str) -> Option<String> {
    view.payload_member(member).and_then(canonical::string).map(|text| text.into_owned())
}

/// Which version a batch is for.
fn version_of(view: &View<'_>) -> Option<Version> {
    let stream_id = canonical::unescape(view.stream_id)?;
    Version::of_scope(&stream_id, &text(view, "dedupe_scope")?)
}

/// Which version a reported event is about: a canonical object.
fn version_of_event(stream_id: &str, event: &[u8]) -> Option<Version> {
    let part = |name: &str| {
        let (_, value) = canonical::Members::new(event).flatten().find(|(key, _)| *key == name.as_bytes())?;
        let digits = || std::str::from_utf8(value).ok().map(str::to_owned);
        canonical::string(value).map(|text| text.into_owned()).or_else(digits)
    };
    let scope = format!("{}/{}", part("dataset_uuid")?, part("dataset_version")?);
    Version::of_scope(stream_id, &scope)
}
