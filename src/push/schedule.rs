//! Whose turn it is: the tasks that wait to be posted, and the attempts that wait to be posted again.
//!
//! One lane for each registration of a handler. Lanes take turns, so that no handler waits for another; within a lane
//! what is to be sent again comes first, then the higher priority, then the oldest. A lane is busy with only so many at
//! once, and has only so many attempts that nobody has accepted: a host that does not answer holds up its own tasks, in the
//! log and not in memory. Pure: time is a
//! parameter, and nothing here knows what a call is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use gesta_log_format::Index;
use gesta_replay::event::{PRIORITY_MAX, TaskId};
use gesta_replay::projections::tasks::{HandlerPin, Open};

use crate::outbound::target::Host;

/// A registration of a handler.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HandlerKey {
    intent_type: String,
    handler_name: String,
    index: Index,
}

impl HandlerKey {
    pub(super) fn of(pin: &HandlerPin) -> Self {
        let HandlerPin { intent_type, handler_name, index } = pin.clone();
        Self { intent_type, handler_name, index }
    }
}

/// Where a task stands among those of its lane: the lower the sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// 0 is the highest priority.
    urgency: u8,
    /// The newest `queued`.
    queued_index: Index,
}

impl Rank {
    fn of(open: &Open) -> Self {
        Self { urgency: PRIORITY_MAX.saturating_sub(open.priority), queued_index: open.queued_index }
    }
}

/// What is to be done for a task next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is to be claimed, then posted.
    Claim,
    /// Its attempt is to be posted once more, behind so many times.
    Send { sent: u32 },
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) task_id: TaskId,
    pub(super) step: Step,
    pub(super) handler: HandlerKey,
    /// Whom it calls, if that is known.
    pub(super) host: Option<Host>,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// Nothing more is to be done.
    Over,
    /// The same once more, from that time on.
    Later { at: Duration, step: Step },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits for its turn: to be claimed by its rank, else before those.
    Ready,
    /// Waits for a time.
    Until(Duration),
    /// Is being done.
    Busy,
    /// Is being done, and is not there any more.
    Gone,
}

#[derive(Clone, Debug)]
struct Entry {
    handler: HandlerKey,
    rank: Rank,
    step: Step,
    stage: Stage,
    /// It was queued again while it was busy.
    next: Option<Rank>,
}

#[derive(Debug, Default)]
struct Lane {
    /// To be claimed.
    fresh: BTreeSet<(Rank, TaskId)>,
    /// To be sent again.
    again: BTreeSet<(Rank, TaskId)>,
    /// Not accepted, in whatever stage: all that are not to be claimed.
    unaccepted: usize,
    /// Being done.
    busy: usize,
    /// All entries.
    entries: usize,
    /// Whom it calls, once that is known.
    host: Option<Host>,
}

/// What waits.
#[derive(Debug)]
pub(super) struct Schedule {
    lanes: BTreeMap<HandlerKey, Lane>,
    entries: HashMap<TaskId, Entry>,
    due: BTreeSet<(Duration, TaskId)>,
    /// Who had the last turn.
    last: Option<HandlerKey>,
    share: Share,
}

/// What one handler may have at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Most that are being done.
    pub(super) busy_max: usize,
    /// Most attempts that nobody has accepted, being done or not.
    pub(super) unaccepted_max: usize,
}

impl Schedule {
    pub(super) fn new(share: Share) -> Self {
        Self { lanes: BTreeMap::new(), entries: HashMap::new(), due: BTreeSet::new(), last: None, share }
    }

    /// Takes a task that waits to be claimed. Seeing it again changes nothing.
    pub(super) fn queued(&mut self, open: &Open) {
        let rank = Rank::of(open);
        match self.entries.get_mut(&open.task_id) {
            Some(entry) if entry.rank == rank => return,
            Some(entry) if entry.is_busy() => {
                entry.next = Some(rank);
                return;
            }
            Some(_) => self.remove(open.task_id),
            None => {}
        }
        self.insert(open.task_id, HandlerKey::of(&open.handler), rank, Step::Claim);
    }

    /// Takes an attempt that was claimed before the process started, and may not have been posted.
    pub(super) fn claimed_before(&mut self, open: &Open) {
        if !self.entries.contains_key(&open.task_id) {
            let (handler, rank) = (HandlerKey::of(&open.handler), Rank::of(open));
            self.insert(open.task_id, handler, rank, Step::Send { sent: 0 });
        }
    }

    /// Drops a task that is not to be posted any more.
    pub(super) fn gone(&mut self, task_id: TaskId) {
        match self.entries.get_mut(&task_id) {
            Some(entry) if entry.is_busy() => (entry.stage, entry.next) = (Stage::Gone, None),
            Some(_) => self.remove(task_id),
            None => {}
        }
    }

    /// Whether tasks of a handler wait of which it is not known whom they go to.
    pub(super) fn is_unknown(&self, handler: &HandlerKey) -> bool {
        self.lanes.get(handler).is_some_and(|lane| lane.host.is_none())
    }

    /// Says whom a handler's tasks go to.
    pub(super) fn learn(&mut self, handler: &HandlerKey, host: &Host) {
        if let Some(lane) = self.lanes.get_mut(handler).filter(|lane| lane.host.as_ref() != Some(host)) {
            lane.host = Some(host.clone());
        }
    }

    /// What is to be done now, if the hosts that may be called have something. It is ended by [`Schedule::finish`].
    pub(super) fn next(&mut self, now: Duration, admits: impl Fn(&Host) -> bool) -> Option<Turn> {
        self.wake(now);
        let handler = self.whose_turn(admits)?;
        let lane = self.lanes.get_mut(&handler)?;
        let (_, task_id) = lane.again.pop_first().or_else(|| lane.fresh.pop_first())?;
        let entry = self.entries.get_mut(&task_id)?;
        entry.stage = Stage::Busy;
        let step = entry.step;
        if step == Step::Claim {
            lane.unaccepted += 1;
        }
        lane.busy += 1;
        let host = lane.host.clone();
        self.last = Some(handler.clone());
        Some(Turn { task_id, step, handler, host })
    }

    /// Takes what came of a turn.
    pub(super) fn finish(&mut self, task_id: TaskId, finish: Finish) {
        let Some(entry) = self.entries.get(&task_id).filter(|entry| entry.is_busy()).cloned() else { return };
        let is_gone = entry.stage == Stage::Gone;
        // What was done counts as sent, whatever it was: it is taken out of the lane as such.
        self.take_out(task_id, &entry, true);
        if let Some(rank) = entry.next {
            return self.insert(task_id, entry.handler, rank, Step::Claim);
        }
        match finish {
            Finish::Later { at, step } if !is_gone => {
                self.insert(task_id, entry.handler, entry.rank, step);
                self.delay(task_id, at);
            }
            Finish::Later { .. } | Finish::Over => {}
        }
    }

    /// When something that waits for its time is to be looked at.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many wait to be claimed, and how many attempts nobody has accepted.
    pub(super) fn counts(&self) -> (usize, usize) {
        let unaccepted: usize = self.lanes.values().map(|lane| lane.unaccepted).sum();
        (self.entries.len() - unaccepted, unaccepted)
    }

    fn whose_turn(&self, admits: impl Fn(&Host) -> bool) -> Option<HandlerKey> {
        let may = |lane: &Lane| {
            let Share { busy_max, unaccepted_max } = self.share;
            let has_work =
                !lane.again.is_empty() || (!lane.fresh.is_empty() && lane.unaccepted < unaccepted_max);
            has_work && lane.busy < busy_max && lane.host.as_ref().is_none_or(&admits)
        };
        let behind = |handler: &HandlerKey| self.last.as_ref().is_none_or(|last| handler > last);
        let (mut after, mut before) = (None, None);
        for (handler, lane) in &self.lanes {
            match behind(handler) {
                true if after.is_none() && may(lane) => after = Some(handler),
                false if before.is_none() && may(lane) => before = Some(handler),
                true | false => {}
            }
        }
        after.or(before).cloned()
    }

    fn wake(&mut self, now: Duration) {
        while let Some((at, task_id)) = self.due.first().copied() {
            if at > now {
                return;
            }
            self.due.pop_first();
            if let Some(entry) = self.entries.get_mut(&task_id) {
                entry.stage = Stage::Ready;
                if let Some(lane) = self.lanes.get_mut(&entry.handler) {
                    lane.row(entry.step).insert((entry.rank, task_id));
                }
            }
        }
    }

    fn insert(&mut self, task_id: TaskId, handler: HandlerKey, rank: Rank, step: Step) {
        let lane = self.lanes.entry(handler.clone()).or_default();
        lane.row(step).insert((rank, task_id));
        lane.entries += 1;
        if step != Step::Claim {
            lane.unaccepted += 1;
        }
        self.entries.insert(task_id, Entry { handler, rank, step, stage: Stage::Ready, next: None });
    }

    fn delay(&mut self, task_id: TaskId, at: Duration) {
        let Some(entry) = self.entries.get_mut(&task_id) else { return };
        entry.stage = Stage::Until(at);
        if let Some(lane) = self.lanes.get_mut(&entry.handler) {
            lane.row(entry.step).remove(&(entry.rank, task_id));
        }
        self.due.insert((at, task_id));
    }

    fn remove(&mut self, task_id: TaskId) {
        if let Some(entry) = self.entries.get(&task_id).cloned() {
            self.take_out(task_id, &entry, entry.step != Step::Claim);
        }
    }

    fn take_out(&mut self, task_id: TaskId, entry: &Entry, is_unaccepted: bool) {
        self.entries.remove(&task_id);
        if let Stage::Until(at) = entry.stage {
            self.due.remove(&(at, task_id));
        }
        let Some(lane) = self.lanes.get_mut(&entry.handler) else { return };
        lane.row(entry.step).remove(&(entry.rank, task_id));
        lane.entries -= 1;
        if entry.is_busy() {
            lane.busy -= 1;
        }
        if is_unaccepted {
            lane.unaccepted -= 1;
        }
        if lane.entries == 0 {
            self.lanes.remove(&entry.handler);
        }
    }
}

impl Entry {
    fn is_busy(&self) -> bool {
        match self.stage {
            Stage::Busy | Stage::Gone => true,
            Stage::Ready | Stage::Until(_) => false,
        }
    }
}

impl Lane {
    fn row(&mut self, step: Step) -> &mut BTreeSet<(Rank, TaskId)> {
        match step {
            Step::Claim => &mut self.fresh,
            Step::Send { .. } => &mut self.again,
        }
    }
}

#[cfg(test)]
mod tests;
