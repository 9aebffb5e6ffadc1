//! The events of one handler, posted until somebody has them: of each execution one behind the other, a few executions at
//! once.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, StatusCode};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use gesta_log_format::Index;
use gesta_log_format::envelope::View;
use gesta_log_format::json::canonical;
use gesta_replay::event::Publish as How;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::metrics::Posted;
use super::waiting::Lane;
use super::window::Window;
use super::{Publish, how};
use crate::keys::Fingerprint;
use crate::limits::{PUBLISH_CALLS_OF_HANDLER_MAX, PUBLISH_RETRY_MS, PUBLISH_WINDOW_MAX};
use crate::outbound::call::{Answer, CallError, Message, TRACEPARENT, X_CORRELATION_ID};
use crate::outbound::retry;
use crate::store::{RecordBytes, blocking};

/// The record's index.
const GESTA_INDEX: HeaderName = HeaderName::from_static("gesta-index");

/// The record's digest, by which a receiver knows what it has had.
const GESTA_DIGEST: HeaderName = HeaderName::from_static("gesta-digest");

/// What became of one event.
enum Outcome {
    /// Somebody has it, or it is nobody's any more.
    Done,
    Later {
        at: Duration,
        sent: u32,
    },
}

impl Publish {
    pub(super) async fn deliver(self: Arc<Self>, lane: Lane, wake: Arc<Notify>) {
        // Closed at the end of the process only.
        let Ok(_permit) = self.working.acquire().await else { return };
        let mut stopped = self.stop.subscribe();
        let mut window = Window::default();
        let mut calls = FuturesUnordered::new();
        while !self.is_stopped() {
            let is_filled = self.fill(&lane, &mut window).await;
            // One moment for both: what is due is begun, or waited for.
            let now = self.outbound.now();
            while calls.len() < PUBLISH_CALLS_OF_HANDLER_MAX
                && let Some((index, sent)) = window.next(now)
            {
                let (this, lane) = (&self, &lane);
                calls.push(async move { (index, this.post(lane, index, sent).await) });
            }
            let retry = (!is_filled).then(|| now + Duration::from_millis(PUBLISH_RETRY_MS));
            let next = [window.due(now), retry].into_iter().flatten().min();
            let due = async {
                match next {
                    Some(at) => sleep(at.saturating_sub(now)).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                ended = calls.next(), if !calls.is_empty() => ended,
                () = wake.notified() => None,
                () = due => None,
            };
            match ended {
                Some((index, Outcome::Done)) => {
                    window.done(index);
                    self.forget(&lane, index).await;
                }
                Some((index, Outcome::Later { at, sent })) => window.later(index, at, sent),
                None => {}
            }
        }
    }

    /// Takes more events from the store, as many as there is room for. False where that has to be tried again.
    async fn fill(&self, lane: &Lane, window: &mut Window) -> bool {
        let room = PUBLISH_WINDOW_MAX.saturating_sub(window.len());
        if room == 0 {
            return true;
        }
        match self.waiting.of(lane, window.taken, room) {
            Ok(events) => {
                events.into_iter().for_each(|event| window.push(event));
                true
            }
            Err(error) => {
                tracing::error!(%error, "the events that are to be posted cannot be read; it is tried again");
                false
            }
        }
    }

    /// An event that stays in the store is posted again by the next start, which does no harm.
    async fn forget(&self, lane: &Lane, index: Index) {
        if let Err(error) = self.waiting.done(lane, index) {
            tracing::error!(%error, index = index.0, "that an event was posted cannot be kept: the next start posts it again");
            self.pause(Duration::from_millis(PUBLISH_RETRY_MS)).await;
        }
    }

    /// Posts an event once, to where its handler is registered with now.
    async fn post(&self, lane: &Lane, index: Index, sent: u32) -> Outcome {
        let Ok(_permit) = self.permits.acquire().await else { return self.again(sent, None) };
        let url = self.projector.look(|state| {
            let mut handlers = state.handlers.of(&lane.intent_type).iter();
            let handler = handlers.find(|handler| handler.handler_name == lane.handler_name)?;
            match how(handler) {
                (How::Webhook, url) => url,
                (How::None | How::Log, _) => None,
            }
        });
        let Some(url) = url else {
            tracing::warn!(
                intent_type = lane.intent_type,
                handler_name = lane.handler_name,
                index = index.0,
                "an event is not posted any more: its handler has no webhook now"
            );
            self.metrics.posted(Posted::Dropped);
            return Outcome::Done;
        };
        let target = match self.outbound.target(&url) {
            Ok(target) => target,
            Err(refused) => return self.in_vain(lane, index, sent, &refused, None),
        };
        let message = match self.message(index).await {
            Ok(message) => message,
            Err(error) => return self.in_vain(lane, index, sent, &error, None),
        };
        let begun = match self.outbound.begin(&target.host) {
            Ok(begun) => begun,
            Err(at) => {
                return Outcome::Later { at: at.max(self.outbound.now() + self.pace.base), sent };
            }
        };
        let outcome = self.outbound.caller.post(&target, &message).await;
        begun.end(&outcome);
        self.judge(lane, index, sent, &outcome)
    }

    fn judge(
        &self,
        lane: &Lane,
        index: Index,
        sent: u32,
        outcome: &Result<Answer<()>, CallError>,
    ) -> Outcome {
        let may_pass = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        match outcome {
            Ok(answer) if answer.status.is_success() => {
                self.metrics.posted(Posted::Accepted);
                Outcome::Done
            }
            Ok(answer) if answer.status.is_client_error() && !may_pass.contains(&answer.status) => {
                tracing::warn!(
                    intent_type = lane.intent_type,
                    handler_name = lane.handler_name,
                    index = index.0,
                    status = answer.status.as_u16(),
                    "an event was refused and is not posted again"
                );
                self.metrics.posted(Posted::Dropped);
                Outcome::Done
            }
            Ok(answer) => {
                let why = format!("the webhook answered {}", answer.status.as_u16());
                self.in_vain(lane, index, sent, &why, answer.retry_after)
            }
            Err(error) => self.in_vain(lane, index, sent, error, None),
        }
    }

    fn in_vain(
        &self,
        lane: &Lane,
        index: Index,
        sent: u32,
        why: &dyn std::fmt::Display,
        asked: Option<Duration>,
    ) -> Outcome {
        tracing::info!(
            intent_type = lane.intent_type,
            handler_name = lane.handler_name,
            index = index.0,
            sent,
            %why,
            "an event is posted again"
        );
        self.again(sent, asked)
    }

    fn again(&self, sent: u32, asked: Option<Duration>) -> Outcome {
        self.metrics.posted(Posted::Again);
        let sent = sent.saturating_add(1);
        let delay = retry::delay(self.pace, sent, retry::draw(), asked);
        Outcome::Later { at: self.outbound.now() + delay, sent }
    }

    /// The envelope as it stands in the log, and what says which it is.
    async fn message(&self, index: Index) -> Result<Message, String> {
        let unreadable = |error: &dyn std::fmt::Display| format!("the record cannot be read: {error}");
        let record = self.works.record(index).await.map_err(|error| unreadable(&error))?;
        let view = View::parse(record.data()).ok_or("the record cannot be read")?;
        let digest = view.digest().ok_or("the record has no digest")?;
        let mut headers = vec![(GESTA_INDEX, index.to_string()), (GESTA_DIGEST, digest.to_string())];
        headers.extend(self.traces(&view).await);
        Ok(Message { body: record.data().to_vec().into(), headers })
    }

    /// How the exchange was called in which the intent came in; else its correlation id.
    async fn traces(&self, view: &View<'_>) -> Vec<(HeaderName, String)> {
        let text = |raw| canonical::unescape(raw).map(|text| text.into_owned()).unwrap_or_default();
        let (stream_id, correlation_id) = (text(view.stream_id), text(view.correlation_id));
        let store = Arc::clone(&self.store);
        let key = Fingerprint::subject(&stream_id, &format!("intent/{correlation_id}"));
        let intent = blocking(move || Ok(store.keys.newest(&key)?)).await.ok().flatten();
        let intent = match intent {
            Some(intent) => self.works.record(Index(intent)).await.ok(),
            None => None,
        };
        let observed = |name| intent.as_ref().and_then(|intent| observed(intent, name));
        let called = observed("x_correlation_id").unwrap_or(correlation_id);
        let traceparent = observed("traceparent").map(|traceparent| (TRACEPARENT, traceparent));
        [(X_CORRELATION_ID, called)].into_iter().chain(traceparent).collect()
    }
}

/// A member of the intent's `_obs`.
fn observed(intent: &RecordBytes, name: &str) -> Option<String> {
    let view = View::parse(intent.data())?;
    let value = canonical::member(view.payload_member("_obs")?, name)?;
    Some(canonical::string(value)?.into_owned())
}
