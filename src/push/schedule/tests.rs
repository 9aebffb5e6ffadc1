//! Turns by a simulated clock.

use gesta_log_format::Timestamp;
use gesta_replay::event::{ExecutionId, HandlerKind, TaskLimits};
use gesta_replay::task_lifecycle::{Standing, State};

use super::*;
use crate::outbound::target::Target;

const SHARE: Share = Share { busy_max: 100, unaccepted_max: 100 };

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn host(name: &str) -> Host {
    Target::parse(&format!("https://{name}/")).unwrap().host
}

/// A task of the handler `h{handler}` that was queued by the record at `queued`.
fn task(id: u128, handler: u64, priority: u8, queued: u64) -> Open {
    let handler_name = format!("h{handler}");
    let time = Timestamp::from_micros(1_000_000);
    Open {
        task_id: ExecutionId(id),
        standing: Standing { state: State::Queued, attempt: 0, max_attempts: 3, cancel_requested: false },
        kind: HandlerKind::Push,
        pool: "default".to_owned(),
        priority,
        intent_index: Index(2),
        handler: HandlerPin { intent_type: "t".to_owned(), handler_name, index: Index(handler) },
        limits: TaskLimits { lease_ms: 60_000, heartbeat_ms: 20_000, timeout_ms: 600_000, max_attempts: 3 },
        grants: "{}".to_owned(),
        first_index: Index(queued),
        queued_index: Index(queued),
        queued_at: time,
        last_index: Index(queued),
        next_retry_at: None,
        lease: None,
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

fn schedule_of(share: Share, tasks: &[Open]) -> Schedule {
    let mut schedule = Schedule::new(share);
    tasks.iter().for_each(|task| schedule.queued(task));
    schedule
}

/// The tasks that get turns at a moment, as long as there are any.
fn turns(schedule: &mut Schedule, now: Duration) -> Vec<u128> {
    std::iter::from_fn(|| schedule.next(now, |_| true)).map(|turn| turn.task_id.0).collect()
}

fn again(schedule: &mut Schedule, id: u128, seconds: u64) {
    schedule.finish(ExecutionId(id), Finish::Later { at: at(seconds), step: Step::Send { sent: 1 } });
}

#[test]
fn handlers_take_turns_and_within_one_priority_then_age_decides() {
    let tasks = [
        task(1, 1, 5, 10),
        task(2, 1, 5, 11),
        task(3, 1, 9, 12),
        task(4, 1, 0, 9),
        task(5, 2, 0, 13),
        task(6, 3, 5, 14),
        task(7, 3, 5, 15),
    ];
    let mut schedule = schedule_of(SHARE, &tasks);
    assert_eq!(turns(&mut schedule, at(0)), [3, 5, 6, 1, 7, 2, 4]);
    assert_eq!(schedule.counts(), (0, 7));
}

#[test]
fn one_handler_is_busy_with_its_share_only() {
    let tasks: Vec<Open> = (0..10).map(|id| task(id, 1, 5, 10 + id as u64)).collect();
    let mut schedule = schedule_of(Share { busy_max: 3, unaccepted_max: 5 }, &tasks);
    assert_eq!(turns(&mut schedule, at(0)), [0, 1, 2]);
    // Another handler still gets its turn.
    schedule.queued(&task(20, 2, 5, 30));
    assert_eq!(turns(&mut schedule, at(0)), [20]);
    // Nobody answers: those attempts wait, and only so many are made.
    for id in 0..3 {
        again(&mut schedule, id, 60);
    }
    assert_eq!(turns(&mut schedule, at(1)), [3, 4], "five are unaccepted");
    schedule.finish(ExecutionId(3), Finish::Over);
    assert_eq!(turns(&mut schedule, at(1)), [5]);
    assert_eq!(schedule.counts(), (4, 6));
}

#[test]
fn what_is_to_be_sent_again_waits_for_its_time_and_then_comes_first() {
    let mut schedule = schedule_of(SHARE, &[task(1, 1, 0, 10), task(2, 1, 9, 11)]);
    assert_eq!(turns(&mut schedule, at(0)), [2, 1]);
    again(&mut schedule, 1, 5);
    schedule.queued(&task(3, 1, 9, 12));
    assert_eq!(schedule.due(), Some(at(5)));
    let turn = schedule.next(at(5), |_| true).unwrap();
    assert_eq!((turn.task_id, turn.step), (ExecutionId(1), Step::Send { sent: 1 }));
    assert_eq!(turns(&mut schedule, at(5)), [3]);
    assert_eq!(schedule.due(), None);
}

#[test]
fn a_host_that_may_not_be_called_holds_up_its_own_handlers_only() {
    let mut schedule = schedule_of(SHARE, &[task(1, 1, 5, 10), task(2, 2, 5, 11)]);
    let keys = [task(1, 1, 5, 10), task(2, 2, 5, 11)].map(|task| HandlerKey::of(&task.handler));
    assert!(schedule.is_unknown(&keys[0]));
    schedule.learn(&keys[0], &host("a"));
    schedule.learn(&keys[1], &host("b"));
    assert!(!schedule.is_unknown(&keys[0]));
    let turn = schedule.next(at(0), |asked| *asked != host("a")).unwrap();
    assert_eq!((turn.task_id, turn.host), (ExecutionId(2), Some(host("b"))));
    assert_eq!(schedule.next(at(0), |asked| *asked != host("a")), None);
    assert_eq!(turns(&mut schedule, at(0)), [1]);
}

#[test]
fn a_task_has_one_turn_at_a_time_whatever_is_seen_of_it() {
    let mut schedule = schedule_of(SHARE, &[task(1, 1, 5, 10)]);
    schedule.queued(&task(1, 1, 5, 10));
    assert_eq!(turns(&mut schedule, at(0)), [1]);
    schedule.queued(&task(1, 1, 5, 10));
    schedule.claimed_before(&task(1, 1, 5, 10));
    assert_eq!(turns(&mut schedule, at(0)), [] as [u128; 0]);
    // It was queued once more, by another record, before what was done for it ended.
    schedule.queued(&task(1, 1, 5, 40));
    assert_eq!(turns(&mut schedule, at(0)), [] as [u128; 0]);
    again(&mut schedule, 1, 5);
    let turn = schedule.next(at(0), |_| true).unwrap();
    assert_eq!((turn.task_id, turn.step), (ExecutionId(1), Step::Claim));
    schedule.finish(ExecutionId(1), Finish::Over);
    assert_eq!((schedule.counts(), schedule.due()), ((0, 0), None));
    assert!(schedule.lanes.is_empty() && schedule.entries.is_empty());
}

#[test]
fn what_is_gone_gets_no_turn_and_leaves_nothing_behind() {
    let tasks: Vec<Open> = (1..=3).map(|id| task(id, 1, 5, 10 + id as u64)).collect();
    let mut schedule = schedule_of(SHARE, &tasks);
    schedule.gone(ExecutionId(1));
    assert_eq!(turns(&mut schedule, at(0)), [2, 3]);
    again(&mut schedule, 2, 5);
    schedule.gone(ExecutionId(2));
    schedule.gone(ExecutionId(3));
    again(&mut schedule, 3, 5);
    assert_eq!(turns(&mut schedule, at(9)), [] as [u128; 0]);
    assert!(schedule.lanes.is_empty() && schedule.entries.is_empty() && schedule.due.is_empty());
}

#[test]
fn what_a_restart_finds_claimed_is_sent_before_anything_is_claimed() {
    let mut schedule = schedule_of(SHARE, &[task(1, 1, 9, 10)]);
    schedule.claimed_before(&task(2, 1, 0, 5));
    let turn = schedule.next(at(0), |_| true).unwrap();
    assert_eq!((turn.task_id, turn.step), (ExecutionId(2), Step::Send { sent: 0 }));
    assert_eq!(schedule.counts(), (1, 1));
}

#[test]
fn what_there_was_no_room_for_is_claimed_later() {
    let mut schedule = schedule_of(SHARE, &[task(1, 1, 5, 10)]);
    assert_eq!(turns(&mut schedule, at(0)), [1]);
    schedule.finish(ExecutionId(1), Finish::Later { at: at(2), step: Step::Claim });
    assert_eq!((schedule.counts(), schedule.due()), ((1, 0), Some(at(2))));
    assert_eq!(schedule.next(at(2), |_| true).unwrap().step, Step::Claim);
}

/// Random schedules: counts agree with what is there, no task has two turns, and nothing is left at the end.
#[test]
fn whatever_happens_the_counts_agree_with_what_is_there() {
    for seed in 1..200_u64 {
        let mut random = seed;
        let mut draw = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut schedule = Schedule::new(Share { busy_max: 2, unaccepted_max: 3 });
        let (mut busy, mut queued) = (BTreeSet::new(), 0);
        for now in 0..300 {
            let id = u128::from(draw(12));
            match draw(5) {
                0 => {
                    queued += 1;
                    schedule.queued(&task(id, id as u64 % 3, draw(10) as u8, queued));
                }
                1 => schedule.gone(ExecutionId(id)),
                2 | 3 => {
                    if let Some(turn) = schedule.next(at(now), |_| true) {
                        assert!(busy.insert(turn.task_id), "seed {seed}: two turns");
                    }
                }
                _ => {
                    if let Some(task_id) = busy.pop_first() {
                        let later = Finish::Later { at: at(now + draw(9)), step: Step::Send { sent: 1 } };
                        schedule.finish(task_id, if draw(2) == 0 { later } else { Finish::Over });
                    }
                }
            }
            for lane in schedule.lanes.values() {
                assert!(lane.busy <= 2 && lane.unaccepted <= 3 && lane.entries > 0, "seed {seed}");
            }
            let entries: usize = schedule.lanes.values().map(|lane| lane.entries).sum();
            let in_turn: usize = schedule.lanes.values().map(|lane| lane.busy).sum();
            assert_eq!((entries, in_turn), (schedule.entries.len(), busy.len()), "seed {seed}");
        }
        for id in 0..12 {
            schedule.finish(ExecutionId(id), Finish::Over);
            schedule.gone(ExecutionId(id));
        }
        assert!(schedule.lanes.is_empty() && schedule.due.is_empty(), "seed {seed}");
    }
}
