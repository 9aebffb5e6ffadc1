//! Deadlines by simulated clocks.

use gesta_log_format::{Index, Timestamp};
use gesta_replay::event::{ExecutionId, HandlerKind, TaskLimits, TimeLimit};
use gesta_replay::projections::leases::Lease;
use gesta_replay::projections::tasks::{HandlerPin, Open};
use gesta_replay::task_lifecycle::{Standing, State};

use super::*;

const LEASE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(600);

/// The first index that was not in the log when the process started.
const HEAD: Index = Index(100);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A moment; the wall clock began at a million seconds.
fn at(running: u64) -> Now {
    Now { running: seconds(running), wall: wall(running) }
}

fn wall(running: u64) -> Timestamp {
    Timestamp::from_micros((1_000_000 + running) * 1_000_000)
}

/// A running task whose claim was recorded at `claimed`, and extended at `extended`.
fn running(id: u128, claim_index: Index, claimed: u64, extended: u64) -> Open {
    let task_id = ExecutionId(id);
    let lease = Lease {
        attempt: 1,
        worker_id: "w".to_owned(),
        nonce: [0; 16],
        claim_index,
        claimed_at: wall(claimed),
        lease_ms: 60_000,
        expires_at: after(wall(extended), LEASE),
    };
    let pin = HandlerPin { intent_type: "t".to_owned(), handler_name: "h".to_owned(), index: Index(1) };
    Open {
        task_id,
        standing: Standing { state: State::Running, attempt: 1, max_attempts: 3, cancel_requested: false },
        kind: HandlerKind::Worker,
        pool: "p".to_owned(),
        priority: 5,
        intent_index: Index(2),
        handler: pin,
        limits: TaskLimits { lease_ms: 60_000, heartbeat_ms: 20_000, timeout_ms: 600_000, max_attempts: 3 },
        grants: "{}".to_owned(),
        first_index: Index(4),
        queued_index: Index(4),
        queued_at: wall(claimed),
        last_index: claim_index,
        next_retry_at: None,
        lease: Some(lease),
        cancel_requested: None,
        outcome: None,
        intent_type: "t".to_owned(),
        stream_id: "default".to_owned(),
        lane: "l".to_owned(),
        correlation_id: "c".to_owned(),
        thread_id: "t".to_owned(),
        turn_id: "u".to_owned(),
        parent_turn_id: None,
    }
}

/// A task whose retry was scheduled for `due`.
fn retrying(id: u128, due: u64) -> Open {
    let open = running(id, Index(200), 0, 0);
    let standing = Standing { state: State::RetryScheduled, ..open.standing };
    Open { standing, next_retry_at: Some(wall(due)), ..open }
}

/// When what is seen at `seen` is due, to the second.
#[track_caller]
fn check_due(open: &Open, seen: Now, expected: Duration, due: Due) {
    let mut timers = Timers::new(HEAD);
    timers.see(open, seen);
    assert_eq!(timers.next(), Some(expected));
    let just_before = Now { running: expected.saturating_sub(Duration::from_micros(1)), ..seen };
    assert!(timers.take_due(just_before, 9).is_empty() && timers.due(open, just_before).is_none());
    let then = Now { running: expected, ..seen };
    assert_eq!(timers.take_due(then, 9), [open.task_id]);
    assert_eq!(timers.due(open, then), Some(due));
    assert!(timers.take_due(then, 9).is_empty(), "it is told once");
}

#[test]
fn a_lease_runs_out_a_period_after_it_was_seen() {
    let lease = Due::Expired(TimeLimit::Lease);
    check_due(&running(1, Index(100), 10, 10), at(10), seconds(70), lease);
}

#[test]
fn a_wall_clock_that_jumps_neither_ends_a_lease_nor_keeps_it() {
    let lease = Due::Expired(TimeLimit::Lease);
    for jumped in [wall(10 + 86_400), Timestamp::from_micros(wall(10).micros() - 3_600_000_000)] {
        check_due(&running(1, Index(100), 10, 10), Now { wall: jumped, ..at(10) }, seconds(70), lease);
    }
    // In the middle of a lease nothing is asked of it.
    let mut timers = Timers::new(HEAD);
    let open = running(1, Index(100), 10, 10);
    timers.see(&open, at(10));
    timers.see(&open, Now { running: seconds(20), wall: wall(90_000) });
    assert_eq!(timers.next(), Some(seconds(70)));
}

#[test]
fn an_extended_lease_runs_from_its_extension_and_never_beyond_the_absolute_limit() {
    let mut timers = Timers::new(HEAD);
    timers.see(&running(1, Index(100), 10, 10), at(10));
    let mut heard = 10;
    while heard < 600 {
        heard += 50;
        let open = running(1, Index(100), 10, heard);
        timers.see(&open, at(heard));
        assert_eq!(timers.next(), Some((seconds(heard) + LEASE).min(seconds(10) + TIMEOUT)));
        let left = timers.left(&open, at(heard)).unwrap();
        assert_eq!((left.lease, left.by_grace), (LEASE, false));
    }
    let open = running(1, Index(100), 10, heard);
    assert_eq!(timers.due(&open, at(610)), Some(Due::Expired(TimeLimit::Absolute)));
}

#[test]
fn what_has_changed_since_is_not_due() {
    let mut timers = Timers::new(HEAD);
    timers.see(&running(1, Index(100), 10, 10), at(10));
    assert_eq!(timers.due(&running(1, Index(100), 10, 40), at(80)), None, "it was extended");
    assert_eq!(timers.due(&running(1, Index(120), 75, 75), at(80)), None, "it was claimed again");
    timers.forget(ExecutionId(1));
    assert_eq!((timers.next(), timers.len()), (None, 0));
}

#[test]
fn after_a_restart_a_lease_has_a_period_but_never_more_than_three_beyond_its_deadline() {
    let lease = Due::Expired(TimeLimit::Lease);
    // Claimed before the start, at 10; the process was down until the wall clock's `back`.
    let table = [(20, 60), (71, 60), (130, 60), (190, 60), (200, 50), (249, 1), (250, 0), (90_000, 0)];
    for (back, left) in table {
        let seen = Now { running: seconds(3), wall: wall(back) };
        let mut timers = Timers::new(HEAD);
        let open = running(1, Index(50), 10, 10);
        timers.see(&open, seen);
        assert_eq!(timers.next(), Some(seconds(3 + left)), "back at {back}");
        assert!(timers.left(&open, seen).unwrap().by_grace);
    }
    // A clock that fell back gives a period, and no more.
    let fallen = Now { running: seconds(3), wall: Timestamp::from_micros(wall(10).micros() - 3_600_000_000) };
    check_due(&running(1, Index(50), 10, 10), fallen, seconds(63), lease);
}

#[test]
fn the_absolute_limit_counts_the_time_before_a_restart() {
    let seen = Now { running: seconds(3), wall: wall(500) };
    let mut timers = Timers::new(HEAD);
    let open = running(1, Index(50), 10, 480);
    timers.see(&open, seen);
    let left = timers.left(&open, seen).unwrap();
    assert_eq!((left.lease, left.absolute), (LEASE, seconds(110)));
    // Extended here: the lease is anew, the limit stays.
    let later = Now { running: seconds(13), wall: wall(510) };
    let open = running(1, Index(50), 10, 510);
    timers.see(&open, later);
    let left = timers.left(&open, later).unwrap();
    assert_eq!((left.lease, left.absolute, left.by_grace), (LEASE, seconds(100), false));
}

#[test]
fn a_retry_is_due_by_its_record_and_never_later_than_the_longest_delay() {
    check_due(&retrying(1, 40), at(10), seconds(40), Due::Retry);
    check_due(&retrying(1, 5), at(10), seconds(10), Due::Retry);
    check_due(&retrying(1, 90_000), at(10), seconds(10 + 900), Due::Retry);
}

#[test]
fn a_hundred_thousand_leases_are_told_in_the_order_of_their_deadlines() {
    let mut timers = Timers::new(HEAD);
    for id in 0..100_000_u64 {
        let heard = id.wrapping_mul(7919) % 60;
        timers.see(&running(u128::from(id), Index(100 + id), heard, heard), at(heard));
    }
    assert_eq!(timers.len(), 100_000);
    let (mut told, mut now) = (0, 59);
    while told < 100_000 {
        now += 1;
        let due = timers.take_due(at(now), usize::MAX);
        assert!(due.iter().all(|id| id.0 as u64 * 7919 % 60 == now - 60), "at {now}");
        told += due.len();
    }
    assert_eq!(now, 119);
}

#[test]
fn a_lease_runs_from_its_beginning_however_late_its_record_is_seen() {
    let mut timers = Timers::new(HEAD);
    let (claimed, extended) = (running(1, Index(100), 10, 10), running(1, Index(100), 10, 40));
    timers.begin(claimed.task_id, claimed.lease.as_ref().unwrap().expires_at, seconds(10));
    timers.see(&claimed, at(14));
    assert_eq!(timers.next(), Some(seconds(10) + LEASE));
    // Before the next record is seen, this one is seen again.
    timers.begin(claimed.task_id, extended.lease.as_ref().unwrap().expires_at, seconds(40));
    timers.see(&claimed, at(41));
    assert_eq!(timers.next(), Some(seconds(10) + LEASE));
    timers.see(&extended, at(45));
    assert_eq!(timers.next(), Some(seconds(40) + LEASE));
    // What was said of a record that another was faster than counts for no other.
    timers.begin(claimed.task_id, wall(500), seconds(60));
    timers.see(&running(1, Index(100), 10, 70), at(75));
    assert_eq!(timers.next(), Some(seconds(75) + LEASE));
}

#[test]
fn asking_what_is_left_sets_nothing() {
    let mut timers = Timers::new(HEAD);
    let (claimed, extended) = (running(1, Index(100), 10, 10), running(1, Index(100), 10, 60));
    assert_eq!(timers.left(&claimed, at(12)).unwrap().lease, LEASE);
    assert_eq!(timers.next(), None, "it may have ended since");
    timers.see(&extended, at(60));
    timers.left(&claimed, at(70)).unwrap();
    assert_eq!(timers.next(), Some(seconds(60) + LEASE), "it is known as it stands now");
}

#[test]
fn what_could_not_be_recorded_is_looked_at_again() {
    let mut timers = Timers::new(HEAD);
    let open = running(1, Index(100), 10, 10);
    timers.see(&open, at(10));
    assert_eq!(timers.take_due(at(70), 9), [open.task_id]);
    assert_eq!((timers.take_due(at(70), 9), timers.next()), (vec![], None), "each is told once");
    timers.look_again(open.task_id, seconds(100));
    timers.look_again(open.task_id, seconds(101));
    assert_eq!(timers.next(), Some(seconds(100)));
    assert!(timers.take_due(at(99), 9).is_empty());
    assert_eq!(timers.take_due(at(100), 9), [open.task_id]);
    assert_eq!(timers.next(), None, "it is looked at once, however often that was asked for");
    assert_eq!(timers.due(&open, at(100)), Some(Due::Expired(TimeLimit::Lease)), "it is due as before");
}
