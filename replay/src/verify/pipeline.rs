//! Pieces of a log on their way through three stages, of which only the middle one depends on their order:
//!
//! ```text
//! check (any thread)  ->  fold (the caller's, piece after piece)  ->  derive (any thread)
//! ```
//!
//! While one piece is folded, the ones behind it are checked and the ones before it derived, so that all threads have
//! work as long as the fold is the smaller part. What comes out is in the order of the pieces, whatever the threads do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Pieces for each thread that may be checked ahead of the fold.
const AHEAD_PER_JOB: usize = 2;

/// The stages that any thread may do.
pub(super) struct Stages<C, D> {
    pub(super) check: C,
    pub(super) derive: D,
}

/// Brings all pieces through the three stages by `jobs` threads, the caller's included. What `derive` makes of each
/// piece comes back in the order of the pieces; the first fold that fails ends it all.
pub(super) fn run<P, K, W, R, E>(
    jobs: usize,
    pieces: &[P],
    stages: &Stages<impl Fn(&P) -> K + Sync, impl Fn(W) -> R + Sync>,
    fold: &mut dyn FnMut(K) -> Result<W, E>,
) -> Result<Vec<R>, E>
where
    P: Sync,
    K: Send,
    W: Send,
    R: Send,
{
    if jobs < 2 || pieces.len() < 2 {
        let each = |piece| fold((stages.check)(piece)).map(|work| (stages.derive)(work));
        return pieces.iter().map(each).collect();
    }
    let line = Line { pieces, ahead: jobs * AHEAD_PER_JOB, state: Mutex::default(), moved: Condvar::new() };
    thread::scope(|scope| {
        for _ in 1..jobs.min(pieces.len()) {
            scope.spawn(|| line.help(stages));
        }
        let folded = line.fold(stages, fold);
        folded.map(|()| line.finish(stages))
    })
}

/// What the threads share.
struct Line<'p, P, K, W, R> {
    pieces: &'p [P],
    ahead: usize,
    state: Mutex<State<K, W, R>>,
    moved: Condvar,
}

struct State<K, W, R> {
    /// The next piece that nobody checks yet.
    unchecked: usize,
    /// The piece that is to be folded next.
    unfolded: usize,
    checked: BTreeMap<usize, K>,
    underived: VecDeque<(usize, W)>,
    derived: BTreeMap<usize, R>,
    /// No more is wanted: all is done, the fold has failed, or a thread has panicked.
    ended: bool,
}

impl<K, W, R> Default for State<K, W, R> {
    fn default() -> Self {
        Self {
            unchecked: 0,
            unfolded: 0,
            checked: BTreeMap::new(),
            underived: VecDeque::new(),
            derived: BTreeMap::new(),
            ended: false,
        }
    }
}

/// Something that any thread may do next.
enum Task<W> {
    Check(usize),
    Derive(usize, W),
}

/// Ends the line when the thread that holds it unwinds, so that no other waits for what never comes.
struct EndOnPanic<'l, 'p, P, K, W, R>(&'l Line<'p, P, K, W, R>);

impl<P, K, W, R> Drop for EndOnPanic<'_, '_, P, K, W, R> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end();
        }
    }
}

impl<P, K, W, R> Line<'_, P, K, W, R> {
    fn state(&self) -> MutexGuard<'_, State<K, W, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State<K, W, R>>) -> MutexGuard<'s, State<K, W, R>> {
        self.moved.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.state().ended = true;
        self.moved.notify_all();
    }

    /// The fold waits for what is checked, and only the fold for nothing else: so that comes first, but not further
    /// ahead than memory should go.
    fn task(&self, state: &mut State<K, W, R>) -> Option<Task<W>> {
        if state.unchecked < self.pieces.len() && state.unchecked < state.unfolded + self.ahead {
            state.unchecked += 1;
            return Some(Task::Check(state.unchecked - 1));
        }
        state.underived.pop_front().map(|(nth, work)| Task::Derive(nth, work))
    }

    fn work(&self, task: Task<W>, stages: &Stages<impl Fn(&P) -> K, impl Fn(W) -> R>) {
        let _guard = EndOnPanic(self);
        match task {
            Task::Check(nth) => {
                if let Some(piece) = self.pieces.get(nth) {
                    let checked = (stages.check)(piece);
                    self.state().checked.insert(nth, checked);
                }
            }
            Task::Derive(nth, work) => {
                let derived = (stages.derive)(work);
                self.state().derived.insert(nth, derived);
            }
        }
        self.moved.notify_all();
    }

    /// Does what there is until all is done.
    fn help(&self, stages: &Stages<impl Fn(&P) -> K, impl Fn(W) -> R>) {
        let mut state = self.state();
        while !state.ended {
            match self.task(&mut state) {
                Some(task) => {
                    drop(state);
                    self.work(task, stages);
                    state = self.state();
                }
                None => state = self.wait(state),
            }
        }
    }

    /// Folds piece after piece, and helps while the next one is not checked.
    fn fold<E>(
        &self,
        stages: &Stages<impl Fn(&P) -> K, impl Fn(W) -> R>,
        fold: &mut dyn FnMut(K) -> Result<W, E>,
    ) -> Result<(), E> {
        let _guard = EndOnPanic(self);
        for nth in 0..self.pieces.len() {
            let Some(checked) = self.checked(nth, stages) else { return Ok(()) };
            let work = fold(checked).inspect_err(|_| self.end())?;
            let mut state = self.state();
            state.unfolded = nth + 1;
            state.underived.push_back((nth, work));
            drop(state);
            self.moved.notify_all();
        }
        Ok(())
    }

    /// The nth piece, checked; none where a thread has panicked.
    fn checked(&self, nth: usize, stages: &Stages<impl Fn(&P) -> K, impl Fn(W) -> R>) -> Option<K> {
        let mut state = self.state();
        while !state.ended {
            if let Some(checked) = state.checked.remove(&nth) {
                return Some(checked);
            }
            match self.task(&mut state) {
                Some(task) => {
                    drop(state);
                    self.work(task, stages);
                    state = self.state();
                }
                None => state = self.wait(state),
            }
        }
        None
    }

    /// Helps until all is derived.
    fn finish(&self, stages: &Stages<impl Fn(&P) -> K, impl Fn(W) -> R>) -> Vec<R> {
        let mut state = self.state();
        while !state.ended && state.derived.len() < self.pieces.len() {
            match self.task(&mut state) {
                Some(task) => {
                    drop(state);
                    self.work(task, stages);
                    state = self.state();
                }
                None => state = self.wait(state),
            }
        }
        state.ended = true;
        self.moved.notify_all();
        std::mem::take(&mut state.derived).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// Doubles, adds up in order, and negates.
    fn sums(jobs: usize, pieces: &[i64], fails_at: Option<i64>) -> Result<Vec<i64>, String> {
        let stages = Stages { check: |piece: &i64| piece * 2, derive: |sum: i64| -sum };
        let mut sum = 0;
        run(jobs, pieces, &stages, &mut |checked| {
            if fails_at == Some(checked) {
                return Err(format!("at {checked}"));
            }
            sum += checked;
            Ok(sum)
        })
    }

    #[test]
    fn what_comes_out_is_the_same_for_any_number_of_threads() {
        for count in [0, 1, 2, 3, 50, 500] {
            let pieces: Vec<i64> = (0..count).collect();
            let expected: Vec<i64> = (0..count).map(|nth| -nth * (nth + 1)).collect();
            for jobs in [0, 1, 2, 3, 8] {
                assert_eq!(sums(jobs, &pieces, None), Ok(expected.clone()), "{jobs} threads");
            }
        }
    }

    #[test]
    fn a_fold_that_fails_ends_it() {
        let pieces: Vec<i64> = (0..300).collect();
        for jobs in [1, 2, 5] {
            assert_eq!(sums(jobs, &pieces, Some(200)), Err("at 200".to_owned()));
        }
    }

    #[test]
    fn a_panic_in_any_stage_is_the_callers() {
        let pieces: Vec<i64> = (0..100).collect();
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let ended = ["check", "fold", "derive"].map(|stage| {
            let fail = |own: &str, value: i64| assert!(own != stage || value != 60, "as the test wants");
            let stages = Stages {
                check: |piece: &i64| {
                    fail("check", *piece);
                    *piece
                },
                derive: |value: i64| fail("derive", value),
            };
            let fold = &mut |value: i64| {
                fail("fold", value);
                Ok::<_, ()>(value)
            };
            catch_unwind(AssertUnwindSafe(|| run(4, &pieces, &stages, fold))).is_err()
        });
        std::panic::set_hook(quiet);
        assert_eq!(ended, [true; 3]);
    }
}
