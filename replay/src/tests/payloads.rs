//! The typed payloads: what each says of a record that a server writes, and of one that it does not.

use std::borrow::Cow;

use gesta_log_format::{Digest, Index};
use proptest::prelude::*;

use super::history::{History, Record, histories, sample};
use crate::event::{
    Artifact, Body, Boundary, CancelRequested, Content, Control, DeclaredRef, Elements, Engine, Event,
    EventError, Execution, Failure, Fault, HandlerKind, Happened, Intent, Job, PolicyPin, Principal, Publish,
    RegisteredLimits, Session, Task, TaskPayload, Verdict,
};

/// Reads the payload of a record as its kind and type ask.
fn read(event: &Event<'_>) -> Result<(), EventError> {
    match event.body() {
        Body::Intent(Intent::Submitted) => event.submitted().map(|_| ()),
        Body::Intent(Intent::CancelRequested) => event.cancel_requested().map(|_| ()),
        Body::Decision(_) => event.decided().map(|_| ()),
        Body::Execution(execution) => {
            event.writer()?;
            if execution != Execution::StateSet {
                event.execution_subject()?;
            }
            event.happened(execution).map(|_| ())
        }
        Body::Control(Control::PolicyActivated) => event.policy_activated().map(|_| ()),
        Body::Control(Control::ContextActivated) => event.context_activated().map(|_| ()),
        Body::Control(Control::HandlerRemoved) => event.handler_removed().map(|_| ()),
        Body::Control(Control::HandlerRegistered) => event.registration().map(|_| ()),
        Body::Task(task) => {
            event.task_subject()?;
            event.datasets_published()?;
            event.task_payload(task).map(|_| ())
        }
        Body::Artifact(Artifact::DatasetRegistered) => event.dataset_registered().map(|_| ()),
        Body::Artifact(Artifact::DatasetEvent) => event.dataset_event().map(|_| ()),
        Body::Artifact(Artifact::Registered) | Body::Session(Session::StateSet) => event.writer().map(|_| ()),
        other => panic!("{other:?} is in no history"),
    }
}

proptest! {
    #[test]
    fn what_is_legal_reads_as_its_type_and_what_is_changed_never_panics(
        history in histories(), at in any::<prop::sample::Index>(), bit in 0..8_u8,
    ) {
        for data in history.log() {
            prop_assert_eq!(read(&Event::parse(&data).unwrap()), Ok(()));
            let mut changed = data.clone();
            changed[at.index(data.len())] ^= 1 << bit;
            let _ = Event::parse(&changed).and_then(|event| read(&event));
        }
    }
}

/// What `read` makes of the record at `index` of the sample with this payload.
#[track_caller]
fn with_payload<T>(
    index: usize,
    payload: &str,
    read: impl FnOnce(&Event<'_>) -> Result<T, EventError>,
) -> Result<T, Fault> {
    let record = Record { payload: payload.to_owned(), ..sample().records[index].clone() };
    let data = record.data(7);
    read(&Event::parse(&data).unwrap()).map_err(|error| {
        assert_eq!(error.index, Some(Index(7)));
        error.fault
    })
}

#[track_caller]
fn check_fault<T: std::fmt::Debug>(found: Result<T, Fault>, expected: &str) {
    match found.unwrap_err() {
        Fault::Payload { member, .. } => assert_eq!(member, expected),
        other => panic!("{other}"),
    }
}

#[test]
fn an_intent_says_who_asks_for_what() {
    let log = sample().log();
    let submitted = Event::parse(&log[4]).unwrap().submitted().unwrap();
    assert_eq!((submitted.surface.as_ref(), submitted.request_digest), ("wire", Digest::of(b"request")));
    assert_eq!(submitted.execution_id.0, 1 << 100);
    let roles = vec![Cow::Borrowed("intent.write")];
    assert_eq!(submitted.principal, Principal { name: "local".into(), roles });
    assert_eq!(submitted.payload, Content::Inline(b"{\"message\":\"hi\"}"));
    assert_eq!(submitted.declared_refs, Content::Inline(b"[]"));
    let digest = Digest::of(b"large");
    let blob = format!("{{\"$blob\":\"{digest}\",\"media_type\":\"application/json\",\"size_bytes\":70000}}");
    let spilled = sample().records[4].payload.replace("{\"message\":\"hi\"}", &blob);
    with_payload(4, &spilled, |event| {
        assert!(matches!(event.submitted()?.payload, Content::Blob(blob) if blob.size_bytes == 70_000));
        Ok(())
    })
    .unwrap();
    for (from, to, member) in [
        ("\"surface\":\"wire\"", "\"surface\":1", "surface"),
        ("\"roles\":[\"", "\"roles\":[1,\"", "principal.roles"),
        ("{\"name\":\"local\"", "{\"names\":\"local\"", "principal.name"),
        ("\"sha256:", "\"sha257:", "request_digest"),
        ("\"execution_id\":\"0", "\"execution_id\":\"9", "execution_id"),
        ("\"declared_refs\"", "\"declared\"", "declared_refs"),
    ] {
        let payload = sample().records[4].payload.replace(from, to);
        check_fault(with_payload(4, &payload, |event| event.submitted().map(|_| ())), member);
    }
}

#[test]
fn declared_refs_are_read_one_by_one() {
    let list =
        b"[{\"ref_id\":\"c-\\\"1\",\"ref_type\":\"event\"},{\"ref_id\":\"d\",\"ref_type\":\"document\",\
                 \"version\":\"2\"},{\"ref_id\":\"x\"}]";
    let found: Vec<_> = DeclaredRef::list(list).collect();
    let first = DeclaredRef { ref_type: "event".into(), ref_id: "c-\"1".into(), version: None };
    let version = Some("2".into());
    let second = DeclaredRef { ref_type: "document".into(), ref_id: "d".into(), version };
    assert_eq!(found, [Some(first), Some(second), None]);
}

#[test]
fn a_request_to_cancel_says_who_and_perhaps_why() {
    let read = |payload: &str| {
        with_payload(9, payload, |event| {
            let CancelRequested { by, reason } = event.cancel_requested()?;
            Ok((by.into_owned(), reason.map(Cow::into_owned)))
        })
    };
    assert_eq!(read("{\"by\":\"ann\"}"), Ok(("ann".to_owned(), None)));
    assert_eq!(read("{\"by\":\"ann\",\"reason\":null}"), Ok(("ann".to_owned(), None)));
    assert_eq!(read("{\"by\":\"a\",\"reason\":\"r\"}"), Ok(("a".to_owned(), Some("r".to_owned()))));
    check_fault(read("{\"reason\":\"r\"}"), "by");
    check_fault(read("{\"by\":\"a\",\"reason\":1}"), "reason");
}

#[test]
fn a_decision_pins_what_it_was_made_by() {
    let digest = Digest::of(b"d");
    let payload = format!(
        "{{\"assembled_context\":{{\"model_messages\":[]}},\"boundary\":{{\"boundary_version\":\"1\",\
         \"context_config_digest\":\"{digest}\"}},\"context_digest\":\"{digest}\",\"context_spec\":{{}},\
         \"engine\":{{\"name\":\"cedar\",\"version\":\"4\"}},\"intent_index\":4,\"later\":true,\
         \"policy\":{{\"policy_digest\":\"{digest}\",\"policy_id\":\"p\",\"policy_version\":\"1\"}},\
         \"reasons\":[{{\"code\":\"A\"}},{{\"code\":\"B\"}}],\"result\":\"DENY\",\"transforms\":[]}}"
    );
    with_payload(6, &payload, |event| {
        let decided = event.decided()?;
        assert_eq!((decided.intent_index, decided.result), (Index(4), Verdict::Deny));
        let policy_pin =
            PolicyPin { policy_id: "p".into(), policy_version: "1".into(), policy_digest: digest };
        assert_eq!((&decided.policy, decided.context_digest), (&policy_pin, digest));
        let boundary = Boundary { context_config_digest: digest, boundary_version: "1".into() };
        assert_eq!(decided.boundary, Some(boundary));
        assert_eq!(decided.engine, Some(Engine { name: "cedar".into(), version: "4".into() }));
        assert_eq!(decided.transforms, Some(Content::Inline(b"[]")));
        let Content::Inline(reasons) = decided.reasons else { panic!("inline") };
        assert_eq!(Elements::new(reasons).flatten().count(), 2);
        assert_eq!(decided.assembled_context, Some(Content::Inline(b"{\"model_messages\":[]}")));
        Ok(())
    })
    .unwrap();
    for (from, to, member) in [
        ("\"intent_index\":4", "\"intent_index\":-4", "intent_index"),
        ("\"policy_id\":\"p\"", "\"policy_id\":7", "policy.policy_id"),
        ("\"engine\":{\"name\":\"cedar\",", "\"engine\":{", "engine.name"),
        ("\"context_digest\":\"sha256", "\"context_digest\":\"sha512", "context_digest"),
        ("\"reasons\"", "\"reason\"", "reasons"),
    ] {
        let found = with_payload(6, &payload.replace(from, to), |event| event.decided().map(|_| ()));
        check_fault(found, member);
    }
    let members =
        with_payload(6, "{\"intent_index\":1,\"result\":\"ALLOW\"}", |event| event.decided().map(|_| ()));
    check_fault(members, "policy");
}

#[test]
fn an_execution_says_what_happened() {
    let check = |execution, payload: &str, expected: &Happened<'_>| {
        with_payload(8, payload, |event| {
            assert_eq!(&event.happened(execution)?, expected);
            Ok(())
        })
        .unwrap();
    };
    let running = Happened::Running { delivery: 2, context_digest: None };
    check(Execution::Running, "{\"delivery\":2}", &running);
    check(Execution::Event, "{\"a\":1}", &Happened::Event(b"{\"a\":1}"));
    check(Execution::StateSet, "{\"value\":{}}", &Happened::StateSet { value: Content::Inline(b"{}") });
    let output = Some(Content::Inline(b"[1]"));
    let done = Happened::StepCompleted { step: "s".into(), output };
    check(Execution::StepCompleted, "{\"output\":[1],\"step\":\"s\"}", &done);
    check(Execution::StepFailed, "{\"step\":\"s\"}", &Happened::StepFailed { step: "s".into(), error: None });
    let completed = Happened::Completed { output, delivery: Some(1) };
    check(Execution::Completed, "{\"delivery\":1,\"output\":[1]}", &completed);
    let error = b"{\"code\":\"NO_HANDLER\",\"message\":\"none\"}";
    let failed = Happened::Failed { error: Content::Inline(error), delivery: None };
    check(Execution::Failed, "{\"error\":{\"code\":\"NO_HANDLER\",\"message\":\"none\"}}", &failed);
    let failure = Failure { code: "NO_HANDLER".into(), message: "none".into() };
    assert_eq!((Failure::parse(error), Failure::parse(b"{}")), (Some(failure), None));
    let cancelled = Happened::Cancelled { by: "ann".into(), reason: None };
    check(Execution::Cancelled, "{\"by\":\"ann\"}", &cancelled);
    let fault = |execution, payload: &str, member| {
        check_fault(with_payload(8, payload, |event| event.happened(execution).map(|_| ())), member);
    };
    fault(Execution::Running, "{\"delivery\":\"2\"}", "delivery");
    fault(Execution::StepFailed, "{}", "step");
    fault(Execution::Failed, "{}", "error");
    fault(Execution::Cancelled, "{}", "by");
}

#[test]
fn control_records_say_what_is_in_force() {
    let log = sample().log();
    let activated = Event::parse(&log[0]).unwrap();
    let policy = activated.policy_activated().unwrap();
    assert_eq!((policy.policy_id.as_ref(), policy.policy_digest), ("p", Digest::of(&[1])));
    assert!(matches!(policy.bundle, Content::Blob(_)));
    let registered = Event::parse(&log[2]).unwrap();
    let handler = registered.handler_registered().unwrap();
    assert_eq!((handler.intent_type.as_ref(), handler.kind), ("chat.message", HandlerKind::Builtin));
    assert_eq!(handler.registration, registered.view().payload);

    let mut history = History::default();
    let key = "{\"algorithm\":\"ed25519\",\"public_key\":\"AAAA\",\"use\":\"checkpoint\"}";
    history.control("key_rotated", "key/k-1".to_owned(), key.to_owned());
    let base = "{\"generation\":1,\"origin\":\"gesta.local/x\",\"root\":\"ab\",\"size\":9}";
    history.control("log_base", "log".to_owned(), base.to_owned());
    let log = history.log();
    let key = Event::parse(&log[0]).unwrap().key_rotated().unwrap();
    assert_eq!(
        (key.kid.as_ref(), key.purpose.as_ref(), key.algorithm.as_ref()),
        ("k-1", "checkpoint", "ed25519")
    );
    let base = Event::parse(&log[1]).unwrap().log_base().unwrap();
    assert_eq!((base.origin.as_ref(), base.generation, base.size), ("gesta.local/x", 1, 9));
    assert!(Event::parse(&log[1]).unwrap().key_rotated().is_err());
}

const REGISTRATION: &str = "{\"bundle_sha256\":\"ab\",\"config\":{\"a\":1},\"grants\":{\"datasets\":[]},\
    \"handler_name\":\"h\",\"heartbeat_seconds\":30,\"intent_type\":\"x\",\"job\":{\"dag_name\":\"d\",\"name\":\"n\"},\
    \"kind\":\"push\",\"lease_seconds\":120,\"max_attempts\":2,\"metadata\":{},\"params_schema\":null,\"pool\":\"p\",\
    \"priority\":9,\"publish\":\"webhook\",\"subscribe\":[\"d\"],\"timeout_seconds\":600,\"url\":\"https://a.test/\"}";

#[test]
fn a_registration_is_read_whole_and_what_is_left_out_is_none() {
    with_payload(2, REGISTRATION, |event| {
        let whole = event.registration()?;
        assert_eq!(
            (whole.kind, whole.pool.as_deref(), whole.priority),
            (HandlerKind::Push, Some("p"), Some(9))
        );
        assert_eq!(
            (whole.url.as_deref(), whole.bundle_sha256.as_deref()),
            (Some("https://a.test/"), Some("ab"))
        );
        assert_eq!(whole.job, Some(Job { dag_name: "d".into(), name: "n".into() }));
        let limits = whole.limits;
        assert_eq!((limits.timeout_seconds, limits.max_attempts), (Some(600), Some(2)));
        assert_eq!((limits.lease_seconds, limits.heartbeat_seconds), (Some(120), Some(30)));
        assert_eq!((whole.publish, whole.subscribe), (Some(Publish::Webhook), Some(&b"[\"d\"]"[..])));
        assert_eq!((whole.config, whole.params_schema), (Some(Content::Inline(b"{\"a\":1}")), None));
        assert_eq!(whole.grants, Some(Content::Inline(b"{\"datasets\":[]}")));
        Ok(())
    })
    .unwrap();
    let least = "{\"handler_name\":\"h\",\"intent_type\":\"x\",\"kind\":\"worker\"}";
    with_payload(2, least, |event| {
        let least = event.registration()?;
        assert_eq!((least.pool, least.priority, least.limits), (None, None, RegisteredLimits::default()));
        Ok(())
    })
    .unwrap();
    for (from, to, member) in [
        ("\"priority\":9", "\"priority\":10", "priority"),
        ("\"max_attempts\":2", "\"max_attempts\":0", "max_attempts"),
        ("\"dag_name\":\"d\"", "\"dag_name\":1", "job.dag_name"),
        ("\"publish\":\"webhook\"", "\"publish\":\"all\"", "publish"),
        ("\"kind\":\"push\"", "\"kind\":\"lambda\"", "kind"),
    ] {
        let payload = REGISTRATION.replace(from, to);
        check_fault(with_payload(2, &payload, |event| event.registration().map(|_| ())), member);
    }
}

#[test]
fn a_task_of_any_end_may_name_the_blob_of_standard_error() {
    let digest = Digest::of(b"said");
    let blob = format!("{{\"$blob\":\"{digest}\",\"media_type\":\"text/plain\",\"size_bytes\":4}}");
    for (task, members) in [
        (Task::Completed, "\"result\":{}"),
        (Task::Failed, "\"retryable\":true"),
        (Task::Canceled, "\"by\":\"w-1\""),
    ] {
        for named in [true, false] {
            let more = if named { format!(",\"stderr\":{blob}") } else { String::new() };
            let payload = format!("{{\"attempt\":1,{members}{more}}}");
            with_payload(8, &payload, |event| {
                let stderr = match event.task_payload(task)? {
                    TaskPayload::Completed(completed) => completed.stderr,
                    TaskPayload::Failed(failed) => failed.stderr,
                    TaskPayload::Canceled { stderr, .. } => stderr,
                    other => panic!("{other:?}"),
                };
                assert_eq!(stderr, named.then_some(Content::of(blob.as_bytes())));
                assert!(stderr.is_none_or(|stderr| matches!(stderr, Content::Blob(_))));
                Ok(())
            })
            .unwrap();
        }
    }
}

#[test]
fn a_task_says_which_member_is_wrong() {
    let check = |task: Task, payload: &str, member| {
        check_fault(with_payload(8, payload, |event| event.task_payload(task).map(|_| ())), member);
    };
    check(Task::Queued, "{\"attempt\":0}", "handler");
    check(Task::Claimed, "{\"attempt\":1,\"nonce\":\"55\",\"worker_id\":\"w\"}", "nonce");
    check(Task::Extended, "{\"attempt\":1,\"lease_expires_at\":\"2026-11-02\"}", "lease_expires_at");
    check(Task::CancelRequested, "{\"reason\":\"x\"}", "by");
    check(Task::Failed, "{\"attempt\":1,\"retryable\":\"yes\"}", "retryable");
    check(Task::TimedOut, "{\"attempt\":1,\"limit\":\"other\"}", "limit");
    check(Task::RetryScheduled, "{\"attempt\":1,\"delay_ms\":-1}", "delay_ms");
    check(Task::Event, "{\"events\":[]}", "attempt");
    check(Task::BufferPublished, "{\"attempt\":1,\"batch_uri\":1}", "batch_uri");
    check(Task::BufferCommitted, "{\"batch_uri\":\"u\",\"row_count\":\"3\"}", "row_count");
    check(Task::BufferDeadLettered, "{\"batch_uri\":\"u\",\"error\":{}}", "original");
    let digest = Digest::of(b"d");
    let spilled = format!(
        "{{\"attempt\":1,\"datasets_published\":{{\"$blob\":\"{digest}\",\"media_type\":\"application/json\",\
         \"size_bytes\":9}}}}"
    );
    check(Task::Completed, &spilled, "datasets_published");
    let of = |payload: &str| with_payload(8, payload, |event| event.datasets_published().map(|_| ()));
    assert_eq!(of("{\"attempt\":1}"), Ok(()));
    check_fault(of("{\"datasets_published\":[1]}"), "datasets_published");
    check_fault(of("{\"datasets_published\":[{}]}"), "datasets_published.dataset_uuid");
    let numbered =
        "{\"datasets_published\":[{\"dataset_uuid\":\"d\",\"dataset_version\":2,\"storage_ref\":{}}]}";
    with_payload(8, numbered, |event| {
        let published = event.datasets_published()?;
        assert_eq!(published[0].name.subject(), "dataset/d/2");
        Ok(())
    })
    .unwrap();
}
