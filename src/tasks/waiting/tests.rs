//! Who gets which task, in which order.

use gesta_replay::event::{ExecutionId, TaskLimits};
use gesta_replay::projections::tasks::HandlerPin;
use gesta_replay::task_lifecycle::Standing;

use super::*;

fn open(id: u64, pool: &str, stream: &str, priority: u8) -> Open {
    let pin = HandlerPin { intent_type: "t".to_owned(), handler_name: "h".to_owned(), index: Index(1) };
    Open {
        task_id: ExecutionId(u128::from(id)),
        standing: Standing::queued(3),
        kind: HandlerKind::Worker,
        pool: pool.to_owned(),
        priority,
        intent_index: Index(2),
        handler: pin,
        limits: TaskLimits { lease_ms: 1, heartbeat_ms: 1, timeout_ms: 1, max_attempts: 3 },
        grants: "{}".to_owned(),
        first_index: Index(id),
        queued_index: Index(id),
        queued_at: Timestamp::from_micros(id * 1_000_000),
        last_index: Index(id),
        next_retry_at: None,
        lease: None,
        cancel_requested: None,
        outcome: None,
        intent_type: "t".to_owned(),
        stream_id: stream.to_owned(),
        lane: "l".to_owned(),
        correlation_id: "c".to_owned(),
        thread_id: "t".to_owned(),
        turn_id: "u".to_owned(),
        parent_turn_id: None,
    }
}

fn running(open: &Open) -> Open {
    Open { standing: Standing { state: State::Running, attempt: 1, ..open.standing }, ..open.clone() }
}

/// All streams of these pools.
fn pools(names: &[&str]) -> Reach {
    reach(names, &["*"])
}

fn reach(pools: &[&str], streams: &[&str]) -> Reach {
    let pools = pools.iter().map(|name| (HandlerKind::Worker, (*name).to_owned())).collect();
    Reach { pools, streams: Patterns::parse(streams.iter().copied()).unwrap() }
}

fn id(handed: &Handed) -> u128 {
    handed.task_id().unwrap().0
}

/// The order in which all are taken.
fn order(waiting: &Arc<Waiting>, names: &[&str]) -> Vec<u128> {
    let mut taken = Vec::new();
    while let Some(handed) = waiting.take(&pools(names)) {
        taken.push(id(&handed));
        handed.use_up();
    }
    taken
}

#[test]
fn the_higher_priority_comes_first_then_the_streams_in_turn_then_the_oldest() {
    let waiting = Waiting::new(9);
    for (id, stream, priority) in
        [(1, "a", 5), (2, "a", 5), (3, "a", 5), (4, "b", 5), (5, "a", 9), (6, "c", 0), (7, "b", 5)]
    {
        waiting.see(&open(id, "p", stream, priority));
    }
    assert_eq!(order(&waiting, &["p"]), [5, 1, 4, 2, 7, 3, 6]);
}

#[test]
fn a_stream_with_one_task_at_a_time_does_not_come_before_one_with_many() {
    let waiting = Waiting::new(9);
    (1..=4).for_each(|id| waiting.see(&open(id, "p", "many", 5)));
    let mut taken = Vec::new();
    for id in 10..14 {
        waiting.see(&open(id, "p", "one", 5));
        for _ in 0..2 {
            let handed = waiting.take(&pools(&["p"])).unwrap();
            taken.push(self::id(&handed));
            handed.use_up();
        }
    }
    let of_many = taken.iter().filter(|id| **id < 10).count();
    assert_eq!((taken.len(), of_many), (8, 4), "{taken:?}");
}

#[test]
fn of_several_pools_the_higher_priority_and_then_the_older_comes_first() {
    let waiting = Waiting::new(9);
    waiting.see(&open(1, "p", "a", 5));
    waiting.see(&open(2, "q", "a", 5));
    waiting.see(&open(3, "q", "a", 6));
    waiting.see(&open(4, "r", "a", 9));
    assert_eq!(order(&waiting, &["p", "q"]), [3, 1, 2]);
    assert_eq!(
        waiting.depths(Timestamp::from_micros(10_000_000)),
        [Depth {
            pool: (HandlerKind::Worker, "r".to_owned()),
            tasks: 1,
            oldest: Duration::from_secs(6),
            workers: 0,
        }]
    );
}

#[tokio::test]
async fn one_task_wakes_the_worker_that_waits_longest_and_no_other() {
    let waiting = Waiting::new(9);
    let wait = |names: &[&str]| match waiting.take_or_wait(&pools(names)) {
        Ok(Found::Later(turn)) => turn,
        found => panic!("{found:?}"),
    };
    let (mut other, mut first, mut second) = (wait(&["q"]), wait(&["p", "q"]), wait(&["p"]));
    waiting.see(&open(1, "p", "a", 5));
    let handed = first.handed().await.unwrap();
    assert_eq!(id(&handed), 1);
    for turn in [&mut other, &mut second] {
        assert!(turn.hand.try_recv().is_err());
    }
    waiting.see(&open(2, "q", "a", 5));
    let handed = (handed, other.handed().await.unwrap());
    assert_eq!(id(&handed.1), 2, "who has a task does not wait for another");
}

#[tokio::test]
async fn what_is_handed_out_and_not_used_goes_to_the_next() {
    let waiting = Waiting::new(9);
    let wait = || match waiting.take_or_wait(&pools(&["p"])) {
        Ok(Found::Later(turn)) => turn,
        found => panic!("{found:?}"),
    };
    let (first, mut second, mut third) = (wait(), wait(), wait());
    waiting.see(&open(1, "p", "a", 5));
    // It was handed a task, and its client is gone.
    drop(first);
    let handed = second.handed().await.unwrap();
    assert_eq!(id(&handed), 1);
    drop(handed);
    let handed = third.handed().await.unwrap();
    // Seen once more while it is handed out, it is not handed out twice.
    waiting.see(&open(1, "p", "a", 5));
    assert!(waiting.take(&pools(&["p"])).is_none());
    handed.use_up();
    waiting.see(&running(&open(1, "p", "a", 5)));
    assert!(waiting.depths(Timestamp::default()).is_empty());
}

#[test]
fn what_waits_no_more_is_not_given_out_and_a_retry_is() {
    let waiting = Waiting::new(9);
    let (one, two) = (open(1, "p", "a", 5), open(2, "p", "a", 5));
    for open in [&one, &two] {
        waiting.see(open);
    }
    waiting.see(&running(&one));
    assert_eq!(order(&waiting, &["p"]), [2]);
    waiting.see(&Open { queued_index: Index(9), ..one });
    waiting.forget(two.task_id);
    assert_eq!(order(&waiting, &["p"]), [1]);
}

#[test]
fn more_workers_than_may_do_not_wait() {
    let waiting = Waiting::new(1);
    let Ok(Found::Later(turn)) = waiting.take_or_wait(&pools(&["p"])) else { panic!("there is room") };
    assert_eq!(waiting.take_or_wait(&pools(&["p"])).unwrap_err(), Full { waiters_max: 1 });
    drop(turn);
    assert!(waiting.take_or_wait(&pools(&["p"])).is_ok());
}

#[tokio::test]
async fn a_worker_gets_tasks_of_its_streams_alone() {
    let waiting = Waiting::new(9);
    let of_b = reach(&["p"], &["b"]);
    waiting.see(&open(1, "p", "a", 9));
    waiting.see(&open(2, "p", "a", 5));
    waiting.see(&open(3, "p", "b", 5));
    let now = Timestamp::from_micros(9_000_000);
    let of_b_alone = waiting.depths_of(&of_b.streams, now);
    assert_eq!((of_b_alone[0].tasks, of_b_alone[0].oldest), (1, Duration::from_secs(6)));
    let handed = waiting.take(&of_b).unwrap();
    assert_eq!(id(&handed), 3, "whatever comes first of other streams");
    handed.use_up();
    assert!(waiting.depths_of(&of_b.streams, now).is_empty());
    let Ok(Found::Later(mut of_b)) = waiting.take_or_wait(&of_b) else { panic!("nothing waits for it") };
    let Ok(Found::Later(mut other)) = waiting.take_or_wait(&reach(&["p"], &["c", "d-*"])) else {
        panic!("nothing waits for it")
    };
    waiting.see(&open(4, "p", "d-1", 5));
    assert!(of_b.hand.try_recv().is_err(), "it waits longest, and for another stream");
    assert_eq!(id(&other.handed().await.unwrap()), 4);
    assert_eq!(order(&waiting, &["p"]), [1, 2, 4], "what was not used waits for anybody");
}
