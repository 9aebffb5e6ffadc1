//! The events that are to be posted, in the derived store, and how far the log was looked at.
//!
//! One tree. Keys are `w`, type, 0, name, 0 and the record's index (the id of its execution), so that a handler's events
//! stand together in the order of the log. Neither types nor names hold a 0. There is one writer for each key.

use std::sync::atomic::{AtomicUsize, Ordering};

use gesta_log_format::Index;
use sled::{Batch, Tree};
use tracing::warn;

use crate::projector::Origin;

const TREE: &str = "publications";

/// What these keys and values are, and of which log: the version of this form first.
const LABEL: &[u8] = b"label";
const MARK: &[u8] = b"mark";
const FORM: &str = "gesta publications 1";

const WAITING: u8 = b'w';

/// Whose events are posted one behind the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    pub(super) intent_type: String,
    pub(super) handler_name: String,
}

impl Lane {
    fn prefix(&self) -> Vec<u8> {
        [&[WAITING], self.intent_type.as_bytes(), &[0], self.handler_name.as_bytes(), &[0]].concat()
    }

    fn key(&self, index: Index) -> Vec<u8> {
        [self.prefix(), index.0.to_be_bytes().to_vec()].concat()
    }

    /// Of a key; none where it is no such key.
    fn of(key: &[u8]) -> Option<Self> {
        let names = key.strip_prefix(&[WAITING])?;
        let names = names.get(..names.len().checked_sub(9)?)?;
        let (intent_type, handler_name) = std::str::from_utf8(names).ok()?.split_once('\0')?;
        Some(Self { intent_type: intent_type.to_owned(), handler_name: handler_name.to_owned() })
    }
}

/// An event that is to be posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) index: Index,
    pub(super) execution_id: String,
}

/// What waits.
pub(super) struct Waiting {
    tree: Tree,
    /// How many wait, for the gauge.
    count: AtomicUsize,
}

impl Waiting {
    /// What waits of the log with this origin, which ends at `head`.
    ///
    /// # Errors
    /// Where sled or the disk below it fails.
    pub(super) fn open(db: &sled::Db, origin: &Origin, head: Index) -> Result<Self, sled::Error> {
        let tree = db.open_tree(TREE)?;
        let label = format!("{FORM}\n{}", origin.0);
        let mark = tree.get(MARK)?.and_then(|mark| number(&mark));
        let is_own = tree.get(LABEL)?.is_some_and(|found| found == label.as_bytes());
        if !is_own || mark.is_none_or(|mark| mark > head) {
            if !tree.is_empty() {
                warn!(
                    "the events to be posted in the derived store are not this log's: all are looked at again"
                );
            }
            tree.clear()?;
            let mut batch = Batch::default();
            batch.insert(LABEL, label.as_bytes());
            batch.insert(MARK, &0_u64.to_be_bytes());
            tree.apply_batch(batch)?;
        }
        let count = AtomicUsize::new(tree.scan_prefix([WAITING]).count());
        Ok(Self { tree, count })
    }

    /// All records below were looked at.
    pub(super) fn mark(&self) -> Result<Index, sled::Error> {
        Ok(self.tree.get(MARK)?.and_then(|mark| number(&mark)).unwrap_or(Index::ZERO))
    }

    /// Adds events, and notes that all records below `mark` were looked at: both or neither.
    pub(super) fn add(&self, found: &[(Lane, Event)], mark: Index) -> Result<(), sled::Error> {
        let mut batch = Batch::default();
        for (lane, event) in found {
            batch.insert(lane.key(event.index), event.execution_id.as_bytes());
        }
        batch.insert(MARK, &mark.0.to_be_bytes());
        self.tree.apply_batch(batch)?;
        self.count.fetch_add(found.len(), Ordering::Relaxed);
        Ok(())
    }

    /// The first events of a lane behind an index, in the order of the log.
    pub(super) fn of(
        &self,
        lane: &Lane,
        behind: Option<Index>,
        count_max: usize,
    ) -> Result<Vec<Event>, sled::Error> {
        let first = lane.key(behind.map_or(Index::ZERO, Index::next));
        let events = self.tree.range(first..=lane.key(Index(u64::MAX))).take(count_max).map(|entry| {
            let (key, execution_id) = entry?;
            let index = key.len().checked_sub(8).and_then(|at| number(key.get(at..)?));
            let execution_id = String::from_utf8_lossy(&execution_id).into_owned();
            Ok(index.map(|index| Event { index, execution_id }))
        });
        events.filter_map(Result::transpose).collect()
    }

    /// Somebody has it, or nobody is to have it any more.
    pub(super) fn done(&self, lane: &Lane, index: Index) -> Result<(), sled::Error> {
        if self.tree.remove(lane.key(index))?.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The lanes that something waits in.
    pub(super) fn lanes(&self) -> Result<Vec<Lane>, sled::Error> {
        let (mut lanes, mut from) = (Vec::new(), vec![WAITING]);
        while let Some(entry) = self.tree.range(from..vec![WAITING + 1]).next() {
            let (key, _) = entry?;
            let Some(lane) = Lane::of(&key) else { break };
            from = [lane.key(Index(u64::MAX)), vec![0]].concat();
            lanes.push(lane);
        }
        Ok(lanes)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

fn number(bytes: &[u8]) -> Option<Index> {
    bytes.try_into().ok().map(u64::from_be_bytes).map(Index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(intent_type: &str, handler_name: &str) -> Lane {
        Lane { intent_type: intent_type.to_owned(), handler_name: handler_name.to_owned() }
    }

    fn event(index: u64) -> Event {
        Event { index: Index(index), execution_id: format!("E{index}") }
    }

    #[test]
    fn what_waits_survives_a_start_and_is_dropped_with_another_log() {
        let directory = tempfile::tempdir().unwrap();
        let db = sled::open(directory.path()).unwrap();
        let open = |origin: &str, head| Waiting::open(&db, &Origin(origin.to_owned()), Index(head)).unwrap();
        let waiting = open("a", 0);
        let (a, b) = (lane("t", "a"), lane("t.more", "b"));
        let found = [3, 500, 70_000].map(|index| (a.clone(), event(index)));
        waiting.add(&found, Index(70_001)).unwrap();
        waiting.add(&[(b.clone(), event(70_001))], Index(70_002)).unwrap();
        drop(waiting);
        let waiting = open("a", 70_002);
        assert_eq!((waiting.mark().unwrap(), waiting.len()), (Index(70_002), 4));
        assert_eq!(waiting.lanes().unwrap(), [a.clone(), b.clone()]);
        assert_eq!(waiting.of(&a, None, 2).unwrap(), [event(3), event(500)]);
        waiting.done(&a, Index(3)).unwrap();
        waiting.done(&a, Index(3)).unwrap();
        assert_eq!(waiting.of(&a, Some(Index(500)), 9).unwrap(), [event(70_000)]);
        assert_eq!((waiting.of(&a, None, 9).unwrap().len(), waiting.len()), (2, 3));
        drop(waiting);
        let other = open("b", 70_002);
        assert_eq!((other.mark().unwrap(), other.lanes().unwrap(), other.len()), (Index::ZERO, vec![], 0));
        assert_eq!(open("b", 70_002).mark().unwrap(), Index::ZERO);
    }
}
