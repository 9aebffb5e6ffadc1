//! Which lines are done: so that an interrupted run can go on, and a line can wait for those before it.

use std::collections::BTreeSet;

use tokio::sync::watch;

/// What became of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing stood there.
    Blank,
    Appended,
    Replayed,
    /// It was not sent, was refused or given up.
    Failed(String),
}

/// The outcomes of all lines, told as they come, in any order.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Lines up to this one are done; told to whoever waits.
    done: watch::Sender<u64>,
    /// Lines above that are done.
    above: BTreeSet<u64>,
    pub appended: u64,
    pub replayed: u64,
    pub failed: u64,
    /// The lowest line that failed, and why.
    pub first_failed: Option<(u64, String)>,
}

impl Ledger {
    /// Lines up to `skip` are done.
    pub(super) fn new(skip: u64) -> Self {
        Self {
            done: watch::Sender::new(skip),
            above: BTreeSet::new(),
            appended: 0,
            replayed: 0,
            failed: 0,
            first_failed: None,
        }
    }

    /// Notes a line that is done.
    pub(super) fn note(&mut self, line: u64, outcome: Outcome) {
        match outcome {
            Outcome::Blank => {}
            Outcome::Appended => self.appended += 1,
            Outcome::Replayed => self.replayed += 1,
            Outcome::Failed(why) => {
                self.failed += 1;
                if self.first_failed.as_ref().is_none_or(|(first, _)| line < *first) {
                    self.first_failed = Some((line, why));
                }
            }
        }
        self.above.insert(line);
        let mut done = *self.done.borrow();
        while self.above.remove(&(done + 1)) {
            done += 1;
        }
        self.done.send_if_modified(|told| std::mem::replace(told, done) != done);
    }

    /// Tells up to which line all are done, well or badly.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.done.subscribe()
    }

    /// How many lines a later run may pass over: all before it were accepted.
    pub(super) fn resume_at(&self) -> u64 {
        let done = *self.done.borrow();
        self.first_failed.as_ref().map_or(done, |(line, _)| done.min(line - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_resumes_behind_the_lines_that_were_all_accepted() {
        let mut ledger = Ledger::new(2);
        ledger.note(5, Outcome::Appended);
        assert_eq!(ledger.resume_at(), 2);
        ledger.note(3, Outcome::Replayed);
        ledger.note(4, Outcome::Blank);
        assert_eq!(ledger.resume_at(), 5);
        ledger.note(7, Outcome::Failed("later".to_owned()));
        ledger.note(6, Outcome::Failed("first".to_owned()));
        assert_eq!((ledger.resume_at(), *ledger.watch().borrow()), (5, 7));
        assert_eq!(ledger.first_failed, Some((6, "first".to_owned())));
        assert_eq!((ledger.appended, ledger.replayed, ledger.failed), (1, 1, 2));
    }
}
