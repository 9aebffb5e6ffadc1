//! A circuit breaker for each host: one that has failed again and again is left alone for a while, then asked once.
//!
//! It bounds what an unreachable host costs, its own tasks first: while a circuit is open nothing is claimed for it, so
//! that no lease runs while nobody can be reached. Time is a parameter.

use std::collections::BTreeMap;
use std::time::Duration;

use super::target::Host;

/// When a circuit opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    /// Failures in a row.
    pub(crate) failures_max: u32,
    /// Time until it is asked again.
    pub(crate) open: Duration,
}

/// The circuits of all hosts that have failed: a host without one is closed.
#[derive(Debug)]
pub(crate) struct Circuits {
    tolerance: Tolerance,
    circuits: BTreeMap<Host, Circuit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Circuit {
    Closed {
        failures: u32,
    },
    Open {
        until: Duration,
    },
    /// Somebody asks.
    Probing,
}

impl Circuits {
    pub(crate) fn new(tolerance: Tolerance) -> Self {
        Self { tolerance, circuits: BTreeMap::new() }
    }

    /// Whether a call may be made now.
    pub(crate) fn admits(&self, host: &Host, now: Duration) -> bool {
        match self.circuits.get(host) {
            None | Some(Circuit::Closed { .. }) => true,
            Some(Circuit::Open { until }) => *until <= now,
            Some(Circuit::Probing) => false,
        }
    }

    /// Says that a call begins; false where it may not. Each that may is ended by [`Circuits::end`] or
    /// [`Circuits::abandon`].
    pub(crate) fn begin(&mut self, host: &Host, now: Duration) -> bool {
        let admits = self.admits(host, now);
        if let Some(circuit @ Circuit::Open { .. }) = self.circuits.get_mut(host).filter(|_| admits) {
            *circuit = Circuit::Probing;
        }
        admits
    }

    /// Says how a call ended. True where that opened a circuit that was not.
    pub(crate) fn end(&mut self, host: &Host, reached: bool, now: Duration) -> bool {
        if reached {
            self.circuits.remove(host);
            return false;
        }
        let Tolerance { failures_max, open } = self.tolerance;
        let circuit = self.circuits.entry(host.clone()).or_insert(Circuit::Closed { failures: 0 });
        let before = *circuit;
        *circuit = match before {
            Circuit::Closed { failures } if failures + 1 < failures_max => {
                Circuit::Closed { failures: failures + 1 }
            }
            Circuit::Closed { .. } | Circuit::Probing => Circuit::Open { until: now + open },
            // It was begun before the circuit opened.
            still @ Circuit::Open { .. } => still,
        };
        matches!((before, *circuit), (Circuit::Closed { .. }, Circuit::Open { .. }))
    }

    /// Says that nobody knows how a call ended. A probe is to be made again.
    pub(crate) fn abandon(&mut self, host: &Host, now: Duration) {
        if let Some(circuit @ Circuit::Probing) = self.circuits.get_mut(host) {
            *circuit = Circuit::Open { until: now };
        }
    }

    /// When the next circuit may be asked again, behind `now`.
    pub(crate) fn next(&self, now: Duration) -> Option<Duration> {
        let open = self.circuits.values().filter_map(|circuit| match circuit {
            Circuit::Open { until } => Some(*until),
            Circuit::Closed { .. } | Circuit::Probing => None,
        });
        open.filter(|until| *until > now).min()
    }

    /// When a host may be asked, if that is not now: of one that somebody asks, unknown.
    pub(crate) fn until(&self, host: &Host, now: Duration) -> Duration {
        match self.circuits.get(host) {
            Some(Circuit::Open { until }) => (*until).max(now),
            Some(Circuit::Probing | Circuit::Closed { .. }) | None => now,
        }
    }

    /// How many are not closed.
    pub(crate) fn open(&self) -> usize {
        self.circuits.values().filter(|circuit| !matches!(circuit, Circuit::Closed { .. })).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::target::Target;
    use super::*;

    const OPEN: Duration = Duration::from_secs(30);

    fn host(name: &str) -> Host {
        Target::parse(&format!("https://{name}/")).unwrap().host
    }

    fn circuits() -> Circuits {
        Circuits::new(Tolerance { failures_max: 3, open: OPEN })
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Fails `times` times at a moment; says whether the last one opened the circuit.
    fn fail(circuits: &mut Circuits, times: u32, now: Duration) -> bool {
        (0..times)
            .map(|_| circuits.begin(&host("a"), now) && circuits.end(&host("a"), false, now))
            .last()
            .unwrap()
    }

    #[test]
    fn a_circuit_opens_after_so_many_failures_in_a_row() {
        let mut circuits = circuits();
        assert!(!fail(&mut circuits, 2, at(0)));
        assert!(circuits.begin(&host("a"), at(0)) && !circuits.end(&host("a"), true, at(0)));
        assert!(!fail(&mut circuits, 2, at(0)), "one that is reached counts from the beginning");
        assert!(fail(&mut circuits, 1, at(1)));
        assert!(!circuits.admits(&host("a"), at(30)) && circuits.admits(&host("b"), at(30)));
        assert_eq!((circuits.next(at(1)), circuits.open()), (Some(at(31)), 1));
        assert_eq!(circuits.until(&host("a"), at(2)), at(31));
    }

    #[test]
    fn an_open_circuit_is_asked_once_at_a_time() {
        let mut circuits = circuits();
        fail(&mut circuits, 3, at(0));
        assert!(!circuits.begin(&host("a"), at(29)));
        assert!(circuits.begin(&host("a"), at(30)), "the probe");
        assert!(!circuits.admits(&host("a"), at(31)) && !circuits.begin(&host("a"), at(99)));
        assert!(!circuits.end(&host("a"), false, at(32)), "it was open before");
        assert!(!circuits.admits(&host("a"), at(61)) && circuits.begin(&host("a"), at(62)));
        circuits.end(&host("a"), true, at(63));
        assert!(circuits.begin(&host("a"), at(63)) && circuits.begin(&host("a"), at(63)));
        assert_eq!((circuits.open(), circuits.next(at(0))), (0, None));
    }

    #[test]
    fn a_probe_of_which_nothing_is_known_is_made_again() {
        let mut circuits = circuits();
        fail(&mut circuits, 3, at(0));
        assert!(circuits.begin(&host("a"), at(30)));
        circuits.abandon(&host("a"), at(31));
        assert!(circuits.begin(&host("a"), at(31)));
    }

    #[test]
    fn a_call_that_was_under_way_when_the_circuit_opened_changes_nothing() {
        let mut circuits = circuits();
        for _ in 0..5 {
            assert!(circuits.begin(&host("a"), at(0)));
        }
        for nth in 0..5 {
            assert_eq!(circuits.end(&host("a"), false, at(nth)), nth == 2, "{nth}");
        }
        assert_eq!(circuits.next(at(4)), Some(at(32)));
    }
}
