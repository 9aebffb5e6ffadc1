//! Follows the projections, and gives turns as there is room, time and a host that may be asked.

use std::sync::Arc;
use std::time::Duration;

use gesta_log_format::Index;
use gesta_log_format::json::canonical;
use gesta_replay::event::HandlerKind;
use gesta_replay::projections::tasks::Open;
use gesta_replay::task_lifecycle::State as Stage;
use tokio::time::sleep;

use super::Push;
use super::schedule::HandlerKey;
use crate::limits::TASKS_LOOKED_AT_MAX;
use crate::projector::State;
use crate::tasks::Unheard;

/// A task that changed, and the URL that its handler is registered with, if it still is.
struct Changed {
    open: Open,
    url: Option<String>,
}

impl Push {
    pub(super) async fn dispatch(self: Arc<Self>) {
        let (mut applied, mut stopped) = (self.projector.watch(), self.stop.subscribe());
        // What had ended before the start must be seen as ended.
        let reached = tokio::select! {
            reached = applied.wait_for(|applied| *applied >= self.head_at_start) => reached.is_ok(),
            _ = stopped.wait_for(|stopped| *stopped) => false,
        };
        if !reached {
            return;
        }
        let mut seen = Index::ZERO;
        loop {
            applied.borrow_and_update();
            while self.look(&mut seen) {
                tokio::task::yield_now().await;
            }
            if *self.stop.borrow() {
                return;
            }
            self.give_turns();
            let wake = async {
                match self.wake() {
                    Some(wait) => sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                moved = applied.changed() => if moved.is_err() { return },
                () = self.moved.notified() => {}
                () = self.outbound.ended() => {}
                () = wake => {}
            }
        }
    }

    /// One look at what changed since the last; says whether there may be more.
    fn look(&self, seen: &mut Index) -> bool {
        let (changed, looked_at) = self.projector.look(|state| {
            let (mut changed, mut looked_at) = (Vec::new(), 0);
            for open in state.tasks.changed_since(*seen).take(TASKS_LOOKED_AT_MAX) {
                looked_at += 1;
                *seen = open.last_index.next();
                if open.kind == HandlerKind::Push {
                    changed.push(Changed { open: open.clone(), url: url(state, open) });
                }
            }
            (changed, looked_at)
        });
        for changed in changed {
            self.see(&changed);
        }
        looked_at == TASKS_LOOKED_AT_MAX
    }

    fn see(&self, changed: &Changed) {
        let Changed { open, url } = changed;
        let mut schedule = self.schedule();
        match Unheard::of(open) {
            _ if open.standing.state == Stage::Queued => schedule.queued(open),
            Some(unheard) if unheard.claim_index() < self.head_at_start => schedule.claimed_before(open),
            // Whoever claimed it here is busy with it.
            Some(_) => {}
            None => {
                schedule.gone(open.task_id);
                self.tasks.listen_no_more(open.task_id);
            }
        }
        let handler = HandlerKey::of(&open.handler);
        if schedule.is_unknown(&handler)
            && let Some(target) = url.as_ref().and_then(|url| self.outbound.target(url).ok())
        {
            schedule.learn(&handler, &target.host);
        }
    }

    fn give_turns(self: &Arc<Self>) {
        while let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            let now = self.now();
            let turn = {
                let mut schedule = self.schedule();
                let mut circuits = self.outbound.circuits();
                let turn = schedule.next(now, |host| circuits.admits(host, now));
                // At once, so that of many who wait for an open circuit one asks.
                turn.map(|turn| {
                    let host = turn.host.clone().filter(|host| circuits.begin(host, now));
                    (turn, host)
                })
            };
            let Some((turn, host)) = turn else { return };
            self.work(turn, host, permit);
        }
    }

    /// How long nothing happens by itself. Where there is no room, whoever makes some says so.
    fn wake(&self) -> Option<Duration> {
        if self.permits.available_permits() == 0 {
            return None;
        }
        let now = self.now();
        let due = self.schedule().due();
        let next = [due, self.outbound.circuits().next(now)].into_iter().flatten().min()?;
        Some(next.saturating_sub(now))
    }
}

fn url(state: &State, open: &Open) -> Option<String> {
    let mut handlers = state.handlers.of(&open.handler.intent_type).iter();
    let handler = handlers.find(|handler| handler.index == open.handler.index)?;
    Some(canonical::string(canonical::member(handler.registration.as_bytes(), "url")?)?.into_owned())
}
