//! What happens beside the writer: filling ahead, the frontier, flushing the keys of sealed segments.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gesta_log_format::disk::Disk;
use gesta_log_format::disk::real::RealDisk;
use gesta_log_format::log::{Cursor, Dead, FillStep, Filler, Frontier, FrontierFile};
use tracing::{error, info, warn};

use crate::store::Store;

/// How long the filler waits before it tries a full disk again.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// Bytes that the scrub reads at once, and how long it rests between: 10 MiB/s.
const SCRUB_PIECE_BYTES: usize = 1 << 20;
const SCRUB_PAUSE: Duration = Duration::from_millis(100);

/// How long the filler waits at most before it looks whether it should end.
const FILL_PATIENCE: Duration = Duration::from_secs(1);

/// Fills ahead of the writer until the writer is gone.
///
/// # Errors
/// [`Dead`] at the first failed write or sync.
pub(super) fn fill(mut filler: Filler<RealDisk>) -> Result<(), Dead> {
    let mut told = false;
    loop {
        match filler.step()? {
            FillStep::Filled => told = false,
            FillStep::Idle => filler.wait(FILL_PATIENCE),
            FillStep::NoSpace => {
                if !told {
                    warn!("the disk is full: appends are rejected until there is space, reads go on");
                    told = true;
                }
                std::thread::sleep(FULL_PAUSE);
            }
            FillStep::Stopped => return Ok(()),
        }
    }
}

/// Reads every segment again, with its checksums, once in `period`, in pieces so far apart that nobody notices. Damage is
/// logged and counted; the records that it hits are refused to whoever asks for them.
pub(super) fn scrub(store: &Store, period: Duration, ended: &Signals, damaged: &metrics::Gauge) {
    while ended.sleep(period) {
        let mut found = 0_u32;
        for segment in store.reader.segments().iter().filter(|segment| segment.is_sealed()) {
            store.reader.forget_verified(segment.id());
            let mut cursor = Cursor::at(segment.id().0);
            let mut buffer = Vec::new();
            while cursor.next() < segment.next() {
                match store.reader.read(&mut cursor, segment.next(), &mut buffer, SCRUB_PIECE_BYTES) {
                    Ok(_) => {}
                    Err(error) => {
                        error!(%error, "the scrub has found damage");
                        found += 1;
                        break;
                    }
                }
                if !ended.sleep(SCRUB_PAUSE) {
                    return;
                }
            }
        }
        damaged.set(f64::from(found));
    }
}

/// Wakes the background thread.
#[derive(Debug, Default)]
pub(super) struct Signals {
    state: Mutex<State>,
    some: Condvar,
}

#[derive(Debug, Default)]
struct State {
    appended: bool,
    rolled: bool,
    ended: bool,
}

impl Signals {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self, set: impl FnOnce(&mut State) -> &mut bool) {
        let mut state = self.lock();
        let was = std::mem::replace(set(&mut state), true);
        drop(state);
        if !was {
            self.some.notify_all();
        }
    }

    /// Waits; false where the server ends meanwhile.
    fn sleep(&self, time: Duration) -> bool {
        let waited = self.some.wait_timeout_while(self.lock(), time, |state| !state.ended);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.ended
    }

    pub(super) fn appended(&self) {
        self.raise(|state| &mut state.appended);
    }

    pub(super) fn rolled(&self) {
        self.raise(|state| &mut state.rolled);
    }

    pub(super) fn ended(&self) {
        self.raise(|state| &mut state.ended);
    }
}

/// The background thread's state.
pub(super) struct Background {
    pub(super) store: Arc<Store>,
    pub(super) frontier: FrontierFile<<RealDisk as Disk>::File>,
    pub(super) signals: Arc<Signals>,
    /// The frontier is written once nothing was appended for so long.
    pub(super) idle: Duration,
}

impl Background {
    /// Works until told to end; the last frontier is then durable.
    ///
    /// # Errors
    /// [`Dead`] where the frontier cannot be written.
    pub(super) fn run(mut self) -> Result<(), Dead> {
        loop {
            let signals = Arc::clone(&self.signals);
            let waits = |state: &mut State| !(state.appended || state.rolled || state.ended);
            let mut state =
                signals.some.wait_while(signals.lock(), waits).unwrap_or_else(PoisonError::into_inner);
            let (rolled, ended) = (std::mem::take(&mut state.rolled), state.ended);
            drop(state);
            if rolled {
                self.write_frontier()?;
                self.flush_keys();
            }
            if ended {
                return self.write_frontier();
            }
            if self.is_idle() {
                self.write_frontier()?;
                self.store.keys.release_flushed();
            }
        }
    }

    /// Waits for `idle`; true where nothing was appended meanwhile. The signal is taken back then.
    fn is_idle(&self) -> bool {
        let head = self.store.reader.head();
        let waits = |state: &mut State| !(state.rolled || state.ended);
        let waited = self.signals.some.wait_timeout_while(self.signals.lock(), self.idle, waits);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let idle = timeout.timed_out() && self.store.reader.head() == head;
        if idle {
            state.appended = false;
        }
        // What is appended from here on raises the signal again.
        idle
    }

    fn write_frontier(&mut self) -> Result<(), Dead> {
        let Some((index, segment, byte)) = self.store.reader.durable_end() else { return Ok(()) };
        self.frontier.write(Frontier { index, segment, byte }).map_err(|cause| Dead {
            doing: "write",
            file: "frontier".to_owned(),
            cause,
        })
    }

    fn flush_keys(&self) {
        match self.store.keys.flush_sealed() {
            Ok(0) => {}
            Ok(segments) => info!(segments, "the keys of sealed segments are flushed"),
            // They stay in memory, and the next roll tries again.
            Err(error) => error!(%error, "cannot flush the keys of a sealed segment"),
        }
    }
}
