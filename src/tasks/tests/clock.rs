//! A clock whose hands the test moves: the time that passes, and the wall clock, which may be set to anything.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use gesta_log_format::Timestamp;
use tokio::sync::watch;

use crate::sequencer;
use crate::tasks::{Clock, Now};

/// 2026-11-02T04:10:33Z, in microseconds.
const BEGINNING: u64 = 1_793_592_633_000_000;

/// One moment, as nobody but the test sees it whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Since the test began; never jumps, whatever ends or begins meanwhile.
    pub(super) time: Duration,
    pub(super) wall: Timestamp,
}

/// Where the hands of all clocks are.
#[derive(Clone, Debug)]
pub(super) struct Hands(Arc<watch::Sender<Moment>>);

impl Hands {
    pub(super) fn new() -> Self {
        let wall = Timestamp::from_micros(BEGINNING);
        Self(Arc::new(watch::Sender::new(Moment { time: Duration::ZERO, wall })))
    }

    pub(super) fn read(&self) -> Moment {
        *self.0.borrow()
    }

    /// Lets time pass.
    pub(super) fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap();
        self.0.send_modify(|moment| {
            moment.time += by;
            moment.wall = set(moment.wall, micros);
        });
    }

    /// Sets the wall clock forward, or back, while no time passes.
    pub(super) fn jump(&self, micros: i64) {
        self.0.send_modify(|moment| moment.wall = set(moment.wall, micros));
    }

    /// The clock of a process that starts now.
    pub(super) fn start(&self) -> ProcessClock {
        ProcessClock { hands: self.clone(), started: self.read().time }
    }
}

fn set(wall: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(wall.micros().checked_add_signed(micros).unwrap())
}

impl sequencer::Clock for Hands {
    fn now(&self) -> Timestamp {
        self.read().wall
    }
}

/// The clock of one process, which counts from its start.
pub(super) struct ProcessClock {
    hands: Hands,
    started: Duration,
}

impl Clock for ProcessClock {
    fn now(&self) -> Now {
        let Moment { time, wall } = self.hands.read();
        Now { running: time - self.started, wall }
    }

    fn until(&self, running: Duration) -> BoxFuture<'static, ()> {
        let (mut moved, at) = (self.hands.0.subscribe(), self.started.saturating_add(running));
        Box::pin(async move {
            // The hands outlive every process.
            let _ = moved.wait_for(|moment| moment.time >= at).await;
        })
    }
}
