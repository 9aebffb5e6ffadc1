//! Old records that were read lately: an INTENT is asked for at each step of what comes of it. Records never change.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gesta_log_format::Index;

use super::RecordBytes;
use crate::limits::RECORDS_KEPT_BYTES_MAX;

/// The records, bounded by their bytes.
#[derive(Default)]
pub struct Kept(Mutex<Records>);

#[derive(Default)]
struct Records {
    records: HashMap<Index, RecordBytes>,
    /// The oldest first.
    order: VecDeque<Index>,
    bytes: usize,
}

impl Kept {
    /// A panic while the lock is held leaves a count of bytes that is too large.
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A record, if it is kept.
    #[must_use]
    pub fn record(&self, index: Index) -> Option<RecordBytes> {
        self.lock().records.get(&index).cloned()
    }

    /// Keeps these, and lets the oldest go that there is no room for.
    pub fn keep(&self, records: impl IntoIterator<Item = (Index, RecordBytes)>) {
        let mut kept = self.lock();
        for (index, record) in records {
            kept.keep(index, record);
        }
    }
}

impl Records {
    fn keep(&mut self, index: Index, record: RecordBytes) {
        let bytes = record.data().len();
        if self.records.insert(index, record).is_some() {
            return;
        }
        self.order.push_back(index);
        self.bytes += bytes;
        while self.bytes > RECORDS_KEPT_BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            let gone = self.records.remove(&oldest);
            self.bytes -= gone.map_or(0, |record| record.data().len());
        }
    }
}
