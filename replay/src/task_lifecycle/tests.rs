//! Each state with each transition: what is legal, and why the rest is not.

use super::*;

const LATEST: u64 = 2;

/// One of each kind, all of the attempt that may speak.
const ALL: [Transition; 12] = [
    Transition::Queued { attempt: LATEST },
    Transition::Claimed { attempt: LATEST + 1 },
    Transition::Extended { attempt: LATEST },
    Transition::CancelRequested,
    Transition::Event { attempt: LATEST },
    Transition::BufferPublished { attempt: LATEST },
    Transition::Completed { attempt: LATEST },
    Transition::Failed { attempt: LATEST, retryable: true },
    Transition::Failed { attempt: LATEST, retryable: false },
    Transition::TimedOut { attempt: LATEST },
    Transition::RetryScheduled { attempt: LATEST },
    Transition::Canceled { attempt: LATEST },
];

fn standing(state: State) -> Standing {
    Standing { state, attempt: LATEST, max_attempts: 5, cancel_requested: false }
}

#[track_caller]
fn check(from: Standing, expected: [Option<State>; 12]) {
    for (to, expected) in ALL.into_iter().zip(expected) {
        let found = may(from, to);
        assert_eq!(found.ok().map(|standing| standing.state), expected, "{from:?}, {to:?}: {found:?}");
        let Ok(found) = found else { continue };
        let claimed = matches!(to, Transition::Claimed { .. });
        assert_eq!(found.attempt, from.attempt + u64::from(claimed));
        assert_eq!(found.max_attempts, from.max_attempts);
        let asked = from.cancel_requested || to == Transition::CancelRequested;
        assert_eq!(found.cancel_requested, asked);
    }
}

/// Of the transitions in the order of `ALL`.
fn row(states: &str) -> [Option<State>; 12] {
    let mut row = [None; 12];
    for (place, word) in row.iter_mut().zip(states.split_whitespace()) {
        *place = State::ALL.into_iter().find(|state| state.text() == word);
        assert!(place.is_some() || word == "-", "{word}");
    }
    row
}

#[test]
fn a_life_goes_one_way() {
    let check = |state, states| check(standing(state), row(states));
    check(State::Queued, "- running - - - - completed queued failed - - canceled");
    check(
        State::Running,
        "- - running running running running completed attempt_failed failed timed_out - canceled",
    );
    check(State::TimedOut, "- - - - - - completed attempt_failed failed - retry_scheduled canceled");
    check(State::AttemptFailed, "- - - - - - completed attempt_failed failed - retry_scheduled canceled");
    check(State::RetryScheduled, "queued - - - - - completed retry_scheduled failed - - canceled");
    for terminal in [State::Completed, State::Failed, State::Canceled] {
        assert!(terminal.is_terminal());
        check(terminal, "- - - - - - - - - - - -");
    }
}

#[test]
fn the_last_attempt_fails_for_good() {
    let last = |state| Standing { max_attempts: LATEST, ..standing(state) };
    check(
        last(State::Running),
        row("- - running running running running completed failed failed timed_out - canceled"),
    );
    check(last(State::TimedOut), row("- - - - - - completed failed failed - - canceled"));
    let spent = IllegalTransition::NoAttemptLeft { max_attempts: LATEST };
    let retry = may(last(State::TimedOut), Transition::RetryScheduled { attempt: LATEST });
    assert_eq!(retry, Err(spent));
    let claim = may(last(State::Queued), Transition::Claimed { attempt: LATEST + 1 });
    assert_eq!(claim, Err(spent));
}

#[test]
fn what_is_to_be_cancelled_gets_no_more_time_and_no_other_attempt() {
    let asked = |state| Standing { cancel_requested: true, ..standing(state) };
    check(asked(State::Running), row("- - - - running running completed failed failed timed_out - canceled"));
    check(asked(State::TimedOut), row("- - - - - - completed failed failed - - canceled"));
    for (state, to) in [
        (State::Running, Transition::Extended { attempt: LATEST }),
        (State::Running, Transition::CancelRequested),
        (State::TimedOut, Transition::RetryScheduled { attempt: LATEST }),
    ] {
        assert_eq!(may(asked(state), to), Err(IllegalTransition::CancelRequested { to: to.task() }));
    }
}

#[test]
fn a_task_that_was_never_claimed_is_claimed_or_canceled() {
    let new = Standing::queued(3);
    let attempt = |to: Transition| may(new, to);
    assert_eq!(attempt(Transition::Claimed { attempt: 1 }).unwrap().attempt, 1);
    assert_eq!(attempt(Transition::Canceled { attempt: 0 }).unwrap().state, State::Canceled);
    for to in [
        Transition::Queued { attempt: 0 },
        Transition::Extended { attempt: 0 },
        Transition::Completed { attempt: 0 },
        Transition::Failed { attempt: 0, retryable: false },
        Transition::TimedOut { attempt: 0 },
        Transition::RetryScheduled { attempt: 0 },
    ] {
        assert_eq!(attempt(to), Err(IllegalTransition::State { from: State::Queued, to: to.task() }));
    }
}

#[test]
fn attempts_grow_one_by_one_and_one_is_live() {
    for found in [0, 1, 2, 4] {
        let claim = may(standing(State::Queued), Transition::Claimed { attempt: found });
        assert_eq!(claim, Err(IllegalTransition::Attempt { wanted: 3, found }));
        let second = may(standing(State::Running), Transition::Claimed { attempt: found });
        assert_eq!(second, Err(IllegalTransition::SecondLiveAttempt { live: LATEST }));
    }
}

#[test]
fn only_the_latest_attempt_has_a_say() {
    let of = |to: Transition, attempt: u64| match to {
        Transition::Queued { .. } => Transition::Queued { attempt },
        Transition::Claimed { .. } | Transition::CancelRequested => to,
        Transition::Extended { .. } => Transition::Extended { attempt },
        Transition::Completed { .. } => Transition::Completed { attempt },
        Transition::Failed { retryable, .. } => Transition::Failed { attempt, retryable },
        Transition::TimedOut { .. } => Transition::TimedOut { attempt },
        Transition::RetryScheduled { .. } => Transition::RetryScheduled { attempt },
        Transition::Canceled { .. } => Transition::Canceled { attempt },
        Transition::Event { .. } => Transition::Event { attempt },
        Transition::BufferPublished { .. } => Transition::BufferPublished { attempt },
    };
    let speaks = |to: &Transition| to.attempt().is_some() && !matches!(to, Transition::Claimed { .. });
    for to in ALL.into_iter().filter(speaks) {
        for state in [State::Running, State::Queued, State::TimedOut, State::RetryScheduled, State::Failed] {
            let stale = may(standing(state), of(to, 1));
            assert_eq!(stale, Err(IllegalTransition::StaleAttempt { latest: LATEST, found: 1 }), "{to:?}");
        }
        let early = may(standing(State::Running), of(to, 3));
        assert_eq!(early, Err(IllegalTransition::Attempt { wanted: LATEST, found: 3 }), "{to:?}");
    }
}

#[test]
fn a_task_is_completed_once() {
    let completed = standing(State::Completed);
    for attempt in [1, 2, 3] {
        let again = may(completed, Transition::Completed { attempt });
        assert_eq!(again, Err(IllegalTransition::CompletedTwice));
    }
    let late = may(standing(State::Failed), Transition::Completed { attempt: LATEST });
    assert_eq!(late, Err(IllegalTransition::State { from: State::Failed, to: Task::Completed }));
}
