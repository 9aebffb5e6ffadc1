//! The first events of a lane, and which of them may be posted now: of each execution the oldest alone. Pure: time is a
//! parameter.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use gesta_log_format::Index;

use super::waiting::Event;

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Until(Duration),
    Busy,
}

#[derive(Debug)]
struct Item {
    execution_id: String,
    stage: Stage,
    /// How often it was posted in vain.
    sent: u32,
}

/// The first events of a lane.
#[derive(Debug, Default)]
pub(super) struct Window {
    items: BTreeMap<Index, Item>,
    /// The last event that was taken from the store.
    pub(super) taken: Option<Index>,
}

impl Window {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Takes an event behind all others.
    pub(super) fn push(&mut self, event: Event) {
        self.taken = Some(event.index);
        let item = Item { execution_id: event.execution_id, stage: Stage::Until(Duration::ZERO), sent: 0 };
        self.items.insert(event.index, item);
    }

    /// An event that may be posted now, and how often it was in vain. It is busy until [`Window::done`] or
    /// [`Window::later`].
    pub(super) fn next(&mut self, now: Duration) -> Option<(Index, u32)> {
        let mut behind = HashSet::new();
        let is_next = |item: &Item| matches!(item.stage, Stage::Until(at) if at <= now);
        let found =
            self.items.iter().find(|(_, item)| behind.insert(item.execution_id.as_str()) && is_next(item));
        let index = *found?.0;
        let item = self.items.get_mut(&index)?;
        item.stage = Stage::Busy;
        Some((index, item.sent))
    }

    /// When the next one is due of those that wait for a time, behind `now`.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        let due = self.items.values().filter_map(|item| match item.stage {
            Stage::Until(at) => Some(at),
            Stage::Busy => None,
        });
        due.filter(|at| *at > now).min()
    }

    pub(super) fn done(&mut self, index: Index) {
        self.items.remove(&index);
    }

    pub(super) fn later(&mut self, index: Index, at: Duration, sent: u32) {
        if let Some(item) = self.items.get_mut(&index) {
            (item.stage, item.sent) = (Stage::Until(at), sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_execution_has_one_event_on_its_way_and_others_do_not_wait_for_it() {
        let mut window = Window::default();
        for (index, execution) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
            window.push(Event { index: Index(index), execution_id: execution.to_owned() });
        }
        assert_eq!(window.next(at(0)), Some((Index(1), 0)));
        assert_eq!(window.next(at(0)), Some((Index(3), 0)));
        assert_eq!(window.next(at(0)), None);
        window.later(Index(1), at(5), 1);
        window.done(Index(3));
        assert_eq!((window.next(at(4)), window.due(at(4))), (None, Some(at(5))));
        assert_eq!(window.next(at(5)), Some((Index(1), 1)));
        window.done(Index(1));
        assert_eq!(window.next(at(5)), Some((Index(2), 0)));
        assert_eq!((window.len(), window.due(at(5)), window.taken), (2, None, Some(Index(4))));
    }
}
