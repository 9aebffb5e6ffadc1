//! When the projections are written down.
//!
//! A snapshot holds a whole state, whose size has no bound but that of the log: 35 MB for a million threads. So the
//! larger the snapshots are, the rarer: the next ones are due once the log has grown by [`Pace::snapshot_records_min`]
//! records and by as many bytes as the last ones took, times [`Pace::snapshot_spacing`]. Hence
//!
//! - what is written for snapshots is at most about what is written for the log, however large the states are;
//! - a start, which has to read the snapshots, folds behind them at most about as many bytes again, or the least
//!   number of records where that is more;
//! - states that have become small are written as often as small ones.

use gesta_log_format::Index;

use super::Pace;

/// What was written, and what was folded since.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: Pace,
    /// The index of the newest snapshots.
    at: Index,
    /// What these take together.
    bytes: u64,
    /// Bytes of the log that were folded since.
    folded: u64,
}

impl Schedule {
    /// A start from snapshots at `at` that take so many bytes.
    pub(super) fn new(pace: Pace, at: Index, bytes: u64) -> Self {
        Self { pace, at, bytes, folded: 0 }
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// So many bytes of the log are folded.
    pub(super) fn folded(&mut self, bytes: usize) {
        self.folded += bytes as u64;
    }

    /// Whether anything was folded that the newest snapshots do not have.
    pub(super) fn is_behind(&self, next: Index) -> bool {
        next > self.at
    }

    /// Whether snapshots are to be written, all below `next` being folded.
    pub(super) fn is_due(&self, next: Index) -> bool {
        self.is_behind(next)
            && next.since(self.at) >= self.pace.snapshot_records_min
            && self.folded >= self.bytes.saturating_mul(self.pace.snapshot_spacing)
    }

    /// Snapshots of the state below `at` were written, or could not be.
    pub(super) fn written(&mut self, at: Index, bytes: u64) {
        (self.at, self.bytes, self.folded) = (at, bytes, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { chunk_bytes: 1, snapshot_records_min: 10, snapshot_spacing: 1 };

    #[track_caller]
    fn check(schedule: &Schedule, next: u64, due: bool) {
        assert_eq!(schedule.is_due(Index(next)), due, "{schedule:?}");
    }

    #[test]
    fn small_snapshots_are_due_after_so_many_records_and_large_ones_after_so_many_bytes() {
        let mut schedule = Schedule::new(PACE, Index(5), 0);
        check(&schedule, 14, false);
        check(&schedule, 15, true);
        schedule.written(Index(15), 1_000);
        schedule.folded(999);
        check(&schedule, 500, false);
        schedule.folded(1);
        check(&schedule, 24, false);
        check(&schedule, 25, true);
        schedule.written(Index(25), 0);
        check(&schedule, 25, false);
        check(&schedule, 35, true);
    }

    #[test]
    fn a_start_goes_on_by_the_size_of_what_it_restored() {
        let mut schedule = Schedule::new(PACE, Index(100), 5_000);
        schedule.folded(4_999);
        check(&schedule, 1_000, false);
        assert!(schedule.is_behind(Index(101)) && !schedule.is_behind(Index(100)));
        schedule.folded(1);
        check(&schedule, 1_000, true);
    }
}
