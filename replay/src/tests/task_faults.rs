//! Each way to break a rule of tasks, one at a time: which projection says so of the record, and for what.

use gesta_log_format::Kind;
use gesta_log_format::envelope::Expectation;

use super::folds::audit;
use super::history::{History, Record};
use super::tasks::worked;

/// Everything that is wrong with a log whose last record alone is wrong.
#[track_caller]
fn check(history: &History, expected: &[(&str, &str)]) {
    let last = history.records.len() as u64 - 1;
    let found = audit(&history.log());
    let expected: Vec<_> = expected.iter().map(|(projection, rule)| (last, *projection, *rule)).collect();
    assert_eq!(found, expected);
}

/// After the work, the task of the running attempt 2 gets one more record.
#[track_caller]
fn check_running(type_name: &'static str, payload: &str, expected: &str) {
    let mut history = worked();
    history.task(0, type_name, payload);
    check(&history, &[("tasks", expected)]);
}

/// After the work, the task whose retry is scheduled after attempt 1 of 2 gets one more record.
#[track_caller]
fn check_scheduled(type_name: &'static str, payload: &str, expected: &str) {
    let mut history = worked();
    history.task(1, type_name, payload);
    check(&history, &[("tasks", expected)]);
}

fn claim(attempt: u64) -> String {
    let nonce = "0".repeat(32);
    format!(
        "{{\"attempt\":{attempt},\"lease_expires_at\":\"2026-11-02T04:10:33.123456Z\",\"lease_ms\":9,\
         \"nonce\":\"{nonce}\",\"worker_id\":\"w\"}}"
    )
}

const EXTENDED: &str = "\"lease_expires_at\":\"2026-11-02T04:10:33.123456Z\"";
const RETRY: &str = "\"delay_ms\":1,\"next_retry_at\":\"2026-11-02T04:10:33.123456Z\"";

#[test]
fn at_most_one_attempt_is_live() {
    for attempt in [1, 2, 3, 4] {
        check_running("claimed", &claim(attempt), "TASK_SECOND_LIVE_ATTEMPT");
    }
}

#[test]
fn attempts_grow_by_one() {
    for attempt in [0, 1, 3] {
        let mut history = worked();
        history.work(1, "queued");
        history.task(1, "claimed", &claim(attempt));
        check(&history, &[("tasks", "TASK_ATTEMPT")]);
    }
    check_running("completed", "{\"attempt\":3}", "TASK_ATTEMPT");
    check_running("failed", "{\"attempt\":9,\"retryable\":true}", "TASK_ATTEMPT");
}

#[test]
fn a_stale_attempt_has_no_effect() {
    check_running("completed", "{\"attempt\":1}", "TASK_STALE_ATTEMPT");
    check_running("failed", "{\"attempt\":1,\"retryable\":false}", "TASK_STALE_ATTEMPT");
    check_running("extended", &format!("{{\"attempt\":1,{EXTENDED}}}"), "TASK_STALE_ATTEMPT");
    check_running("timed_out", "{\"attempt\":1,\"limit\":\"lease\"}", "TASK_STALE_ATTEMPT");
    check_running("canceled", "{\"attempt\":0,\"by\":\"ann\"}", "TASK_STALE_ATTEMPT");
    check_running("event", "{\"attempt\":1,\"events\":[]}", "TASK_STALE_ATTEMPT");
}

/// What an attempt may write that is no TASK.
const WRITTEN: [(Kind, &str); 3] =
    [(Kind::Execution, "state_set"), (Kind::Session, "state_set"), (Kind::Artifact, "registered")];

#[test]
fn only_the_live_attempt_writes_state_and_artifacts() {
    for (kind, type_name) in WRITTEN {
        let written = |work: usize, attempt: u64| {
            let mut history = worked();
            history.write(work, kind, type_name, attempt);
            history
        };
        check(&written(0, 2), &[]);
        check(&written(0, 1), &[("tasks", "TASK_STALE_ATTEMPT")]);
        check(&written(0, 3), &[("tasks", "TASK_ATTEMPT")]);
        check(&written(1, 1), &[("tasks", "TASK_ATTEMPT_NOT_LIVE")]);
        for end in ["timed_out", "completed", "canceled"] {
            let mut late = worked();
            late.work(0, end);
            late.write(0, kind, type_name, 2);
            check(&late, &[("tasks", "TASK_ATTEMPT_NOT_LIVE")]);
        }
    }
}

#[test]
fn what_an_attempt_writes_follows_from_its_task_and_is_about_its_own() {
    let written = |kind, type_name, change: &dyn Fn(&mut Record)| {
        let mut history = worked();
        history.write(0, kind, type_name, 2);
        change(history.records.last_mut().unwrap());
        history
    };
    for (kind, type_name) in WRITTEN {
        let cause = written(kind, type_name, &|record| record.cause = Some(1));
        check(&cause, &[("audit", "TASK_CAUSE")]);
        let turn = written(kind, type_name, &|record| record.turn.push('x'));
        check(&turn, &[("executions", "ANCHORS")]);
    }
    for (kind, subject) in [(Kind::Execution, "execution-state/x"), (Kind::Session, "session-state/x")] {
        let other = written(kind, "state_set", &|record| record.subjects[0].subject = subject.to_owned());
        check(&other, &[("executions", "SUBJECT")]);
    }
    let unnamed = written(Kind::Session, "state_set", &|record| _ = record.subjects.remove(0));
    check(&unnamed, &[("audit", "SUBJECT"), ("executions", "SUBJECT")]);
    let mute = written(Kind::Artifact, "registered", &|record| record.payload = "{}".to_owned());
    let data = mute.log().pop().unwrap();
    assert!(crate::Event::parse(&data).unwrap().check().is_err(), "which attempt it is has to be said");
}

#[test]
fn a_task_is_completed_once_and_nothing_follows_its_end() {
    let ended = |end| {
        let mut history = worked();
        history.work(0, end);
        history
    };
    let mut twice = ended("completed");
    twice.task(0, "completed", "{\"attempt\":2}");
    check(&twice, &[("tasks", "TASK_COMPLETED_TWICE")]);
    for end in ["completed", "failed_for_good", "canceled"] {
        let mut late = ended(end);
        late.task(0, "failed", "{\"attempt\":2,\"retryable\":true}");
        check(&late, &[("tasks", "TASK_TRANSITION")]);
        let mut again = ended(end);
        again.task(0, "claimed", &claim(3));
        check(&again, &[("tasks", "TASK_TRANSITION")]);
    }
    let mut gone = ended("completed");
    gone.end_execution(0);
    gone.task(0, "completed", "{\"attempt\":2}");
    check(&gone, &[("executions", "EXECUTION_NOT_OPEN"), ("tasks", "TASK_NOT_OPEN")]);
}

#[test]
fn a_task_goes_the_way_that_it_may_go() {
    check_running("queued", "{\"attempt\":2}", "TASK_TRANSITION");
    check_running("retry_scheduled", &format!("{{\"attempt\":2,{RETRY}}}"), "TASK_TRANSITION");
    check_scheduled("claimed", &claim(2), "TASK_TRANSITION");
    check_scheduled("extended", &format!("{{\"attempt\":1,{EXTENDED}}}"), "TASK_TRANSITION");
    check_scheduled("timed_out", "{\"attempt\":1,\"limit\":\"absolute\"}", "TASK_TRANSITION");
    check_scheduled("cancel_requested", "{\"by\":\"ann\"}", "TASK_TRANSITION");
    check_scheduled("event", "{\"attempt\":1,\"events\":[]}", "TASK_TRANSITION");
    check_scheduled("retry_scheduled", &format!("{{\"attempt\":1,{RETRY}}}"), "TASK_TRANSITION");
}

#[test]
fn a_task_is_claimed_as_often_as_it_may_be() {
    let mut history = worked();
    for what in ["queued", "claimed", "timed_out"] {
        history.work(1, what);
    }
    history.task(1, "retry_scheduled", &format!("{{\"attempt\":2,{RETRY}}}"));
    check(&history, &[("tasks", "TASK_NO_ATTEMPT_LEFT")]);
}

#[test]
fn what_is_to_be_cancelled_gets_no_more_time() {
    let mut history = worked();
    history.work(0, "cancel_requested");
    for (type_name, more) in [("extended", EXTENDED), ("cancel_requested", "\"by\":\"ann\"")] {
        let mut history = history.clone();
        history.task(0, type_name, &format!("{{\"attempt\":2,{more}}}"));
        check(&history, &[("tasks", "TASK_CANCEL_REQUESTED")]);
    }
    history.work(0, "timed_out");
    history.task(0, "retry_scheduled", &format!("{{\"attempt\":2,{RETRY}}}"));
    check(&history, &[("tasks", "TASK_CANCEL_REQUESTED")]);
}

#[test]
fn an_execution_does_not_end_before_its_task() {
    for end in ["completed", "failed", "cancelled"] {
        let mut history = worked();
        history.execution(0, end);
        check(&history, &[("tasks", "TASK_LEFT_OPEN")]);
    }
}

#[test]
fn an_execution_ends_as_its_task_has() {
    let ends = ["completed", "failed", "cancelled"];
    for (type_name, payload, end) in [
        ("completed", "{\"attempt\":2}", "completed"),
        ("failed", "{\"attempt\":2,\"retryable\":false}", "failed"),
        ("canceled", "{\"attempt\":2,\"by\":\"ann\"}", "cancelled"),
    ] {
        let mut history = worked();
        history.task(0, type_name, payload);
        for other in ends {
            let mut history = history.clone();
            history.execution(0, other);
            let expected: &[_] = if other == end { &[] } else { &[("tasks", "TASK_OUTCOME")] };
            check(&history, expected);
        }
    }
}

#[test]
fn a_task_is_that_of_an_allowed_execution() {
    let mut undecided = worked();
    undecided.intents[2].decided_at = 10;
    undecided.queue(2, 3);
    check(&undecided, &[("executions", "EXECUTION_WITHOUT_ALLOW")]);
    let mut denied = worked();
    denied.decide(2, "DENY");
    denied.queue(2, 3);
    check(&denied, &[("executions", "EXECUTION_NOT_OPEN")]);
    let mut unqueued = worked();
    unqueued.decide(2, "ALLOW");
    unqueued.queue(2, 3);
    unqueued.records.last_mut().unwrap().type_name = "claimed";
    unqueued.records.last_mut().unwrap().payload = claim(1);
    check(&unqueued, &[("tasks", "TASK_NOT_OPEN")]);
}

/// A third task, changed.
fn queued(change: impl FnOnce(&mut Record)) -> History {
    let mut history = worked();
    history.decide(2, "ALLOW");
    history.queue(2, 3);
    change(history.records.last_mut().unwrap());
    history
}

fn replace(record: &mut Record, from: &str, to: &str) {
    assert!(record.payload.contains(from), "{from} in {}", record.payload);
    record.payload = record.payload.replace(from, to);
}

#[test]
fn a_task_names_its_intent_its_cause_and_its_handler() {
    check(&queued(|_| {}), &[]);
    let intent = queued(|record| replace(record, "\"intent_index\":10", "\"intent_index\":4"));
    check(&intent, &[("executions", "TASK_INTENT")]);
    let other = queued(|record| replace(record, "\"intent_type\":\"chat.message\"", "\"intent_type\":\"x\""));
    check(&other, &[("audit", "TASK_HANDLER"), ("executions", "TASK_INTENT")]);
    check(&queued(|record| record.cause = Some(10)), &[("executions", "TASK_CAUSE")]);
    let mut later = worked();
    later.work(0, "timed_out");
    later.records.last_mut().unwrap().cause = Some(12);
    check(&later, &[("audit", "TASK_CAUSE")]);
    let handler = |name: &str, index: u64| {
        let to = format!("\"handler_name\":\"{name}\",\"index\":{index}");
        queued(|record| replace(record, "\"handler_name\":\"work\",\"index\":13", &to))
    };
    check(&handler("echo", 2), &[("handlers", "TASK_HANDLER")]);
    check(&handler("work", 12), &[]);
    check(&handler("work", 14), &[("audit", "TASK_HANDLER"), ("handlers", "TASK_HANDLER")]);
    check(&handler("nobody", 2), &[("audit", "TASK_HANDLER")]);
    let pool = queued(|record| replace(record, "\"pool\":\"p\"", "\"pool\":\"q\""));
    check(&pool, &[("handlers", "TASK_HANDLER")]);
    let push = queued(|record| replace(record, "\"kind\":\"worker\"", "\"kind\":\"push\""));
    check(&push, &[("handlers", "TASK_HANDLER")]);
}

#[test]
fn a_task_is_anchored_where_its_intent_is() {
    let changes: [fn(&mut Record); 5] = [
        |record| record.lane = "batch".to_owned(),
        |record| record.correlation.push('x'),
        |record| record.thread.push('x'),
        |record| record.turn.push('x'),
        |record| record.parent = Some("p".to_owned()),
    ];
    for change in changes {
        check(&queued(change), &[("executions", "ANCHORS")]);
        let mut history = worked();
        history.work(0, "completed");
        change(history.records.last_mut().unwrap());
        check(&history, &[("executions", "ANCHORS")]);
        let mut taken = worked();
        let uri = taken.waiting[0].uri.clone();
        taken.task(0, "buffer_committed", &format!("{{\"batch_uri\":\"{uri}\",\"row_count\":1}}"));
        change(taken.records.last_mut().unwrap());
        check(&taken, &[("outbox", "ANCHORS")]);
    }
}

#[test]
fn a_completion_names_each_version_that_it_publishes() {
    let mut sound = worked();
    sound.complete_with(0, 2, "d", "1");
    check(&sound, &[]);
    let mut unnamed = sound.clone();
    unnamed.records.last_mut().unwrap().subjects.pop();
    check(&unnamed, &[("audit", "SUBJECT")]);
    let mut other = sound.clone();
    replace(other.records.last_mut().unwrap(), "s3://b/p/1/", "s3://b/p/other/");
    check(&other, &[("datasets", "DATASET_CONFLICT")]);
    let mut registered = worked();
    registered.dataset(0, true);
    replace(registered.records.last_mut().unwrap(), "\"range_end\":9", "\"range_end\":10");
    check(&registered, &[("datasets", "DATASET_CONFLICT")]);
    let mut elsewhere = worked();
    elsewhere.dataset(0, false);
    let subject = Expectation { subject: "dataset/d/7".to_owned(), expected: None };
    elsewhere.records.last_mut().unwrap().subjects = vec![subject];
    check(&elsewhere, &[("audit", "SUBJECT")]);
}

#[test]
fn batches_are_published_once_and_taken_once_and_in_order() {
    let mut history = worked();
    let uri = history.waiting[0].uri.clone();
    let again = history.records[history.waiting[0].index as usize].payload.clone();
    let committed = |uri: &str| format!("{{\"batch_uri\":\"{uri}\",\"row_count\":1}}");
    let mut twice = history.clone();
    twice.task(0, "buffer_published", &again);
    check(&twice, &[("outbox", "BATCH_PUBLISHED_TWICE")]);
    let mut unknown = history.clone();
    unknown.task(0, "buffer_committed", &committed("s3://b/p/none"));
    check(&unknown, &[("outbox", "BATCH_NOT_WAITING")]);
    let mut stranger = history.clone();
    stranger.task(1, "buffer_committed", &committed(&uri));
    check(&stranger, &[("outbox", "BATCH_NOT_WAITING")]);
    history.task(0, "buffer_published", &again.replace(&uri, "s3://b/p/next"));
    let mut early = history.clone();
    early.task(0, "buffer_dead_lettered", "{\"batch_uri\":\"s3://b/p/next\",\"error\":{},\"original\":[]}");
    check(&early, &[("outbox", "BATCH_OUT_OF_ORDER")]);
    history.task(0, "buffer_committed", &committed(&uri));
    history.task(0, "buffer_committed", &committed("s3://b/p/next"));
    check(&history, &[]);
    history.task(0, "buffer_committed", &committed(&uri));
    check(&history, &[("outbox", "BATCH_NOT_WAITING")]);
}

#[test]
fn a_task_has_a_subject_of_its_own() {
    let mut history = worked();
    history.task(0, "completed", "{\"attempt\":2}");
    let last = history.records.last_mut().unwrap();
    last.subjects = vec![Expectation { subject: "task/one".to_owned(), expected: None }];
    let data = history.log().pop().unwrap();
    let event = crate::Event::parse(&data).unwrap();
    assert_eq!(event.task_subject().unwrap_err().fault, crate::event::Fault::NoTask);
}
