//! Logs with tasks: one that is sound, and what somebody might append to it who lies.

use super::prefix::said;
use super::{Maker, example};

const AT: &str = "2026-11-02T04:12:33.000000Z";

/// A step of a task: its type and payload. The index of the record.
pub fn step(maker: &mut Maker, intent: u64, type_name: &'static str, payload: &str) -> u64 {
    maker.task(intent, type_name, &payload.replace("AT", AT), &[])
}

pub fn claim(maker: &mut Maker, intent: u64, attempt: u64) -> u64 {
    let payload = format!(
        r#"{{"attempt":{attempt},"worker_id":"w-1","nonce":"{}","lease_ms":120000,"lease_expires_at":"AT"}}"#,
        "5".repeat(32)
    );
    step(maker, intent, "claimed", &payload)
}

pub fn queue(maker: &mut Maker, intent: u64, handler: u64) -> u64 {
    let payload = format!(
        r#"{{"attempt":0,"kind":"worker","pool":"p","priority":5,"intent_index":{intent},"handler":{{
        "intent_type":"chat.message","handler_name":"work","index":{handler}}},"limits":{{"lease_ms":120000,
        "heartbeat_ms":30000,"timeout_ms":600000,"max_attempts":2}},"grants":{{"datasets":[]}}}}"#
    );
    step(maker, intent, "queued", &payload)
}

/// The attempt took too long, and another one may be claimed.
fn retry(maker: &mut Maker, intent: u64, attempt: u64) {
    step(maker, intent, "timed_out", &format!(r#"{{"attempt":{attempt},"limit":"lease"}}"#));
    let scheduled = format!(r#"{{"attempt":{attempt},"delay_ms":1000,"next_retry_at":"AT"}}"#);
    step(maker, intent, "retry_scheduled", &scheduled);
    step(maker, intent, "queued", &format!(r#"{{"attempt":{attempt}}}"#));
}

/// A task that timed out once and completed late in its second attempt, one that is running, and the work between.
/// Also the INTENT of the running one.
pub fn worked() -> (Maker, u64) {
    let mut maker = Maker::new(&example());
    let payload = r#"{"intent_type":"chat.message","handler_name":"work","kind":"worker","pool":"p"}"#;
    let handler = maker.control("handler_registered", "handler/chat.message/work", payload);
    let one = maker.intent(&said(1));
    maker.decide(one);
    queue(&mut maker, one, handler);
    claim(&mut maker, one, 1);
    maker.execution(one, "running", r#"{"delivery":1}"#);
    retry(&mut maker, one, 1);
    let other = maker.intent(&said(2));
    maker.decide(other);
    queue(&mut maker, other, handler);
    claim(&mut maker, one, 2);
    claim(&mut maker, other, 1);
    let batch = r#"{"attempt":2,"batch_uri":"s3://b/1","content_type":"application/jsonl","batch_size_bytes":5,
        "dedupe_scope":"rows"}"#;
    step(&mut maker, one, "buffer_published", batch);
    let published = r#"{"attempt":2,"result":{},"datasets_published":[{"dataset_uuid":"d","dataset_version":"1",
        "storage_ref":"s3://b/d/"}]}"#;
    maker.task(one, "completed", published, &["dataset/d/1"]);
    maker.execution(one, "completed", r#"{"delivery":1,"output":{}}"#);
    step(&mut maker, one, "buffer_committed", r#"{"attempt":2,"batch_uri":"s3://b/1","row_count":1}"#);
    (maker, other)
}

/// Everything that a task may live through: events, extensions, a cancellation, a failure for good, a late completion, a
/// version that is published twice as the same.
pub fn lived() -> Maker {
    let (mut maker, running) = worked();
    maker.execution(running, "running", r#"{"delivery":1}"#);
    step(&mut maker, running, "extended", r#"{"attempt":1,"lease_expires_at":"AT"}"#);
    let event = r#"{"attempt":1,"events":[{"dataset_uuid":"d","dataset_version":"1","cursor":7}]}"#;
    step(&mut maker, running, "event", event);
    retry(&mut maker, running, 1);
    maker.task(running, "completed", &published(1, "s3://b/d/"), &["dataset/d/1"]);
    maker.execution(running, "completed", r#"{"delivery":1,"output":null}"#);
    let (failed, _) = running_task(&mut maker, 3);
    step(&mut maker, failed, "failed", r#"{"attempt":1,"error_message":"no","retryable":false}"#);
    maker.execution(failed, "failed", r#"{"delivery":1,"error":{"code":"TASK_FAILED","message":"no"}}"#);
    let (cancelled, _) = running_task(&mut maker, 4);
    step(&mut maker, cancelled, "cancel_requested", r#"{"by":"ann"}"#);
    step(&mut maker, cancelled, "canceled", r#"{"attempt":1,"by":"ann"}"#);
    maker.execution(cancelled, "cancelled", r#"{"by":"ann"}"#);
    maker
}

/// One more task, claimed and running; its INTENT, and the index of its claim.
fn running_task(maker: &mut Maker, nth: u64) -> (u64, u64) {
    let intent = maker.intent(&said(nth));
    maker.decide(intent);
    queue(maker, intent, 2);
    let claimed = claim(maker, intent, 1);
    maker.execution(intent, "running", r#"{"delivery":1}"#);
    (intent, claimed)
}

fn published(attempt: u64, storage_ref: &str) -> String {
    format!(
        r#"{{"attempt":{attempt},"datasets_published":[{{"dataset_uuid":"d","dataset_version":"1",
        "storage_ref":"{storage_ref}"}}]}}"#
    )
}

/// A record that no server appends, behind [`worked`]: the name of its log, and what has to be said of it.
pub struct Planted {
    pub name: &'static str,
    pub rules: &'static [&'static str],
    /// Appends it, last of all. Given the INTENT of the running task.
    pub append: fn(&mut Maker, u64) -> u64,
}

const fn planted(
    name: &'static str,
    rules: &'static [&'static str],
    append: fn(&mut Maker, u64) -> u64,
) -> Planted {
    Planted { name, rules, append }
}

/// A batch of an attempt.
const BATCH: &str = r#"{"attempt":1,"batch_uri":"s3://b/2","content_type":"application/jsonl","batch_size_bytes":5,
    "dedupe_scope":"rows"}"#;

/// One for each promise.
pub const PLANTED: [Planted; 14] = [
    planted("two-live-attempts", &["TASK_SECOND_LIVE_ATTEMPT"], |maker, task| claim(maker, task, 2)),
    planted("attempt-skipped", &["TASK_ATTEMPT"], |maker, task| {
        retry(maker, task, 1);
        claim(maker, task, 3)
    }),
    planted("attempt-again", &["TASK_ATTEMPT"], |maker, task| {
        retry(maker, task, 1);
        claim(maker, task, 1)
    }),
    planted("retry-without-attempts", &["TASK_NO_ATTEMPT_LEFT"], |maker, task| {
        retry(maker, task, 1);
        claim(maker, task, 2);
        step(maker, task, "timed_out", r#"{"attempt":2,"limit":"absolute"}"#);
        let scheduled = r#"{"attempt":2,"delay_ms":1000,"next_retry_at":"AT"}"#;
        step(maker, task, "retry_scheduled", scheduled)
    }),
    planted("stale-completion", &["TASK_STALE_ATTEMPT"], |maker, task| {
        retry(maker, task, 1);
        claim(maker, task, 2);
        step(maker, task, "completed", r#"{"attempt":1,"result":{}}"#)
    }),
    planted("completed-twice", &["TASK_COMPLETED_TWICE"], |maker, task| {
        step(maker, task, "completed", r#"{"attempt":1,"result":{}}"#);
        step(maker, task, "completed", r#"{"attempt":1,"result":{}}"#)
    }),
    planted("illegal-step", &["TASK_TRANSITION"], |maker, task| {
        step(maker, task, "queued", r#"{"attempt":1}"#)
    }),
    planted("event-after-timeout", &["TASK_TRANSITION"], |maker, task| {
        step(maker, task, "timed_out", r#"{"attempt":1,"limit":"lease"}"#);
        step(maker, task, "event", r#"{"attempt":1,"events":[]}"#)
    }),
    planted("batch-after-timeout", &["TASK_TRANSITION"], |maker, task| {
        step(maker, task, "timed_out", r#"{"attempt":1,"limit":"lease"}"#);
        step(maker, task, "buffer_published", BATCH)
    }),
    planted("extended-after-timeout", &["TASK_TRANSITION"], |maker, task| {
        step(maker, task, "timed_out", r#"{"attempt":1,"limit":"lease"}"#);
        step(maker, task, "extended", r#"{"attempt":1,"lease_expires_at":"AT"}"#)
    }),
    planted("dataset-of-another", &["DATASET_CONFLICT"], |maker, task| {
        maker.task(task, "completed", &published(1, "s3://b/other/"), &["dataset/d/1"])
    }),
    planted("claimed-after-end", &["TASK_TRANSITION"], |maker, task| {
        step(maker, task, "failed", r#"{"attempt":1,"retryable":false}"#);
        claim(maker, task, 2)
    }),
    planted("claimed-after-execution", &["EXECUTION_NOT_OPEN", "TASK_NOT_OPEN"], |maker, task| {
        maker.execution(task, "running", r#"{"delivery":1}"#);
        step(maker, task, "failed", r#"{"attempt":1,"retryable":false}"#);
        maker.execution(task, "failed", r#"{"delivery":1,"error":{}}"#);
        claim(maker, task, 2)
    }),
    planted("execution-ends-otherwise", &["TASK_OUTCOME"], |maker, task| {
        maker.execution(task, "running", r#"{"delivery":1}"#);
        step(maker, task, "failed", r#"{"attempt":1,"retryable":false}"#);
        maker.execution(task, "completed", r#"{"delivery":1,"output":{}}"#)
    }),
];
