//! Declared references, normalisation, values in blobs.

use gesta_log_format::{Digest, json};
use gesta_replay::context::{
    Config, ContextError, RESOLVED_INTENTS_MAX, RefCode, RefFault, Scope, check, refs,
};
use gesta_replay::decide::Recorded;
use gesta_replay::event::Verdict;
use serde_json::{Value, json};

use crate::log::{Log, said};
use crate::{allow_all, config};

const SCOPE: Scope<'static> = Scope { stream_id: "default", thread_id: "t-1", surface: "wire" };

/// Turn u-1: c-1 executed, c-1b not; u-2: c-2 executing; u-3 in another thread; then whatever is asked.
fn log() -> Log {
    let mut log = Log::default();
    let first = said(1);
    let index = log.intent(&first);
    log.execution(index, &first, "running", "{}");
    log.execution(index, &first, "completed", r#"{"output":"text of a model"}"#);
    let mut again = said(1);
    again.correlation = "c-1b".into();
    log.intent(&again);
    let second = said(2);
    let index = log.intent(&second);
    log.execution(index, &second, "running", "{}");
    log.intent(&said(3).thread("t-2"));
    let mut elsewhere = said(4);
    elsewhere.stream = "other".into();
    log.intent(&elsewhere);
    assert_eq!(log.records.len(), 8);
    log
}

/// `context_spec.retrieval.resolved_refs` as `index:admitted_for:ref_id`.
fn resolved(payload: &Value) -> Vec<String> {
    let refs = payload["context_spec"]["retrieval"]["resolved_refs"].as_array().unwrap();
    let each = refs.iter().map(|one| {
        assert_eq!(one["ref_type"], "event");
        let text = |name: &str| one[name].as_str().unwrap().to_owned();
        format!("{}:{}:{}", one["event_index"], text("admitted_for"), text("ref_id"))
    });
    each.collect()
}

fn messages(payload: &Value) -> Vec<&str> {
    let messages = payload["assembled_context"]["model_messages"].as_array().unwrap();
    messages.iter().map(|message| message["content"].as_str().unwrap()).collect()
}

/// The payload that is decided for an intent that declares events of these ids.
#[track_caller]
fn decided(config: &Config, ids: &[&str]) -> Value {
    let mut log = log();
    let index = log.intent(&said(9).refs(ids));
    let payload = log.decide(index, config, allow_all()).payload;
    assert!(json::is_canonical(&payload));
    Recorded::parse(&payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[track_caller]
fn check_resolved(ids: &[&str], expected: &[&str]) {
    let payload = decided(&Config::default(), ids);
    assert_eq!(payload["result"], "ALLOW");
    assert_eq!(resolved(&payload), expected);
}

#[test]
fn a_correlation_id_is_its_intent_and_its_terminal_execution() {
    check_resolved(&["c-1"], &["0:governance:c-1", "2:execution_only:c-1"]);
    check_resolved(&["c-1b"], &["3:governance:c-1b"]);
}

#[test]
fn an_execution_that_has_not_ended_is_not_there() {
    check_resolved(&["c-2"], &["4:governance:c-2"]);
}

#[test]
fn a_turn_is_its_intents_and_their_terminal_executions() {
    check_resolved(&["u-1"], &["0:governance:u-1", "2:execution_only:u-1", "3:governance:u-1"]);
}

#[test]
fn a_correlation_id_decides_alone_where_it_hits() {
    let mut log = log();
    log.intent(&said(5).turn("c-2"));
    let index = log.intent(&said(9).refs(&["c-2"]));
    let payload = log.decide(index, &Config::default(), allow_all()).payload;
    assert_eq!(resolved(&serde_json::from_slice(&payload).unwrap()), ["4:governance:c-2"]);
}

#[test]
fn references_are_in_the_order_of_their_events() {
    let expected = ["0:governance:c-1", "2:execution_only:c-1", "3:governance:c-1b", "4:governance:c-2"];
    check_resolved(&["c-2", "c-1b", "c-1"], &expected);
    let payload = decided(&Config::default(), &["c-2", "c-1b", "c-1"]);
    assert_eq!(messages(&payload), ["hello 1", "hello 1", "hello 2", "hello 9"]);
    let digests = payload["assembled_context"]["normative_input_digests"].as_array().unwrap();
    assert_eq!(digests.len(), 3);
    assert!(digests.is_sorted_by_key(|digest| digest.as_str().unwrap()));
}

#[track_caller]
fn check_fault(config: &Config, ids: &[&str], code: RefCode, place: Option<usize>) {
    let log = log();
    let list = said(9).refs(ids).refs;
    let declared = refs::read(list.as_bytes()).unwrap();
    let found = check(&log.prefix(8), &SCOPE, &declared, config.settings()).unwrap();
    assert_eq!(found, Err(RefFault { code, place }));
    let payload = decided(config, ids);
    assert_eq!(payload["result"], "DENY");
    assert_eq!(payload["reasons"][0]["code"], code.text());
    assert_eq!(resolved(&payload), [""; 0]);
    assert_eq!(messages(&payload), ["hello 9"]);
}

#[test]
fn what_cannot_be_resolved_is_refused_at_ingress_and_denied_by_the_decider() {
    let config = Config::default();
    check_fault(&config, &["c-1", "no"], RefCode::RefNotFound, Some(1));
    check_fault(&config, &["c-4"], RefCode::RefNotFound, Some(0));
    check_fault(&config, &["u-4"], RefCode::RefNotFound, Some(0));
    check_fault(&config, &["c-3"], RefCode::CrossThreadRef, Some(0));
    check_fault(&config, &["u-3"], RefCode::CrossThreadRef, Some(0));
    // Its own ids are not in the prefix.
    check_fault(&config, &["c-9"], RefCode::RefNotFound, Some(0));
    check_fault(&config, &["u-9"], RefCode::RefNotFound, Some(0));
    let two = self::config(r#"{"context":{"max_refs":2}}"#);
    check_fault(&two, &["c-1", "c-1", "c-1"], RefCode::MaxRefsExceeded, None);
    check_resolved(
        &["u-1", "c-2"],
        &["0:governance:u-1", "2:execution_only:u-1", "3:governance:u-1", "4:governance:c-2"],
    );
    let deny = self::config(r#"{"context":{"empty_refs_policy":"DENY"}}"#);
    check_fault(&deny, &[], RefCode::EmptyRefsDenied, None);
}

#[test]
fn a_fault_names_the_reference_by_its_pointer() {
    let fault = RefFault { code: RefCode::RefNotFound, place: Some(3) };
    assert_eq!(fault.pointer("/payload/declared_refs"), "/payload/declared_refs/3");
    assert_eq!(RefFault { place: None, ..fault }.pointer("/payload/declared_refs"), "/payload/declared_refs");
    let payload = decided(&Config::default(), &["zz", "c-1", "no"]);
    // Positions are those of the sorted list that the DECISION shows.
    assert_eq!(
        payload["reasons"],
        json!([
            {"code": "REF_NOT_FOUND", "params": {"pointer": "/context_spec/retrieval/declared_refs/1"}},
            {"code": "REF_NOT_FOUND", "params": {"pointer": "/context_spec/retrieval/declared_refs/2"}},
        ])
    );
}

#[test]
fn a_turn_with_too_many_intents_is_refused() {
    let mut log = Log::default();
    for nth in 0..=RESOLVED_INTENTS_MAX as u64 {
        log.intent(&said(nth).turn("u"));
    }
    let declared = refs::read(br#"[{"ref_id":"u","ref_type":"event"}]"#).unwrap();
    let config = Config::default();
    let asked = |end: usize| check(&log.prefix(end as u64), &SCOPE, &declared, config.settings()).unwrap();
    assert_eq!(asked(RESOLVED_INTENTS_MAX), Ok(()));
    let fault = RefFault { code: RefCode::MaxRefsExceeded, place: None };
    assert_eq!(asked(RESOLVED_INTENTS_MAX + 1), Err(fault));
}

#[test]
fn documents_and_others_are_passed_on_unresolved() {
    let mut log = log();
    let mut intent = said(9);
    intent.refs = r#"[{"ref_id":"x","ref_type":"external","version":"2"},{"ref_id":"d","ref_type":"document"},{"ref_id":"c-2","ref_type":"event"}]"#.into();
    let index = log.intent(&intent);
    let payload = log.decide(index, &Config::default(), allow_all()).payload;
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(resolved(&payload), ["4:governance:c-2"]);
    let expected = json!([
        {"ref_id": "d", "ref_type": "document"},
        {"ref_id": "c-2", "ref_type": "event"},
        {"ref_id": "x", "ref_type": "external", "version": "2"},
    ]);
    assert_eq!(payload["context_spec"]["retrieval"]["declared_refs"], expected);
}

#[test]
fn deduplication_keeps_the_first_and_says_what_it_dropped() {
    check_resolved(
        &["u-1", "c-1", "c-1"],
        &[
            "0:governance:c-1",
            "0:governance:c-1",
            "0:governance:u-1",
            "2:execution_only:c-1",
            "2:execution_only:c-1",
            "2:execution_only:u-1",
            "3:governance:u-1",
        ],
    );
    let dedupe = config(
        r#"{"normalization":{"rules":["DEDUPE_REFS","FILTER_INTENT_ONLY","SCOPE_BOUND","SORT_CANONICAL"]}}"#,
    );
    let payload = decided(&dedupe, &["u-1", "c-1", "c-1"]);
    assert_eq!(resolved(&payload), ["0:governance:c-1", "2:execution_only:c-1", "3:governance:u-1"]);
    let expected = json!([
        {"op": "DEDUPE_REFS", "params": {"dropped": 2}, "target": "event/0"},
        {"op": "DEDUPE_REFS", "params": {"dropped": 2}, "target": "event/2"},
    ]);
    assert_eq!(payload["transforms"], expected);
    assert_eq!(messages(&payload), ["hello 1", "hello 1", "hello 9"]);
}

#[test]
fn executions_can_be_kept_out_altogether() {
    let without = config(r#"{"context":{"allow_execution_refs_for_prompt":false}}"#);
    let payload = decided(&without, &["c-1", "u-1"]);
    assert_eq!(resolved(&payload), ["0:governance:c-1", "0:governance:u-1", "3:governance:u-1"]);
    let expected = json!([{"op": "FILTER_INTENT_ONLY", "params": {}, "target": "event/2"}]);
    assert_eq!(payload["transforms"], expected);
}

#[test]
fn the_last_intents_stand_in_for_references_that_are_not_there() {
    let expand = config(r#"{"context":{"empty_refs_policy":"EXPAND_LAST_N","expand_last_n":2}}"#);
    let payload = decided(&expand, &[]);
    assert_eq!(resolved(&payload), ["3:governance:c-1b", "4:governance:c-2"]);
    let expected = json!([{"op": "EXPAND_LAST_N", "params": {"event_indexes": [3, 4], "n": 2}, "target": "resolved_refs"}]);
    assert_eq!(payload["transforms"], expected);
    assert_eq!(payload["context_spec"]["retrieval"]["declared_refs"], json!([]));
    // Declared ones are enough.
    assert_eq!(resolved(&decided(&expand, &["c-2"])), ["4:governance:c-2"]);
    // In an empty thread nothing changes.
    let mut log = Log::default();
    let index = log.intent(&said(1));
    let payload = log.decide(index, &expand, allow_all()).payload;
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!((&payload["transforms"], messages(&payload)), (&json!([]), vec!["hello 1"]));
}

#[test]
fn what_empty_references_mean_concerns_wire_intents_alone() {
    for policy in ["DENY", "EXPAND_LAST_N"] {
        let config = config(&format!(r#"{{"context":{{"empty_refs_policy":"{policy}"}}}}"#));
        let mut log = log();
        let mut intent = said(9);
        intent.surface = "runtime".into();
        let index = log.intent(&intent);
        let decision = log.decide(index, &config, allow_all());
        assert_eq!(decision.result, Verdict::Allow);
        assert_eq!(resolved(&serde_json::from_slice(&decision.payload).unwrap()), [""; 0]);
    }
}

#[test]
fn the_digest_covers_values_and_the_record_keeps_the_reference() {
    let content = r#"{"message":"  a long text "}"#;
    let mut inline = Log::default();
    inline.intent(&said(1).payload(content));
    let by_value = inline.intent(&said(2).payload(content).refs(&["c-1"]));
    let whole = inline.decide(by_value, &Config::default(), allow_all());

    // The same, but both payloads and the references are in blobs. Digests of records differ, so those are put back.
    let mut spilled = Log::default();
    let reference = spilled.blob(content, "application/json");
    let list = said(1).refs(&["c-1"]).refs;
    let (mut first, mut second) = (said(1), said(2));
    first.payload = reference.clone();
    second.payload = reference.clone();
    second.refs = spilled.blob(&list, "application/json");
    spilled.intent(&first);
    let by_reference = spilled.intent(&second);
    let parts = spilled.decide(by_reference, &Config::default(), allow_all());

    let text = |decision: &[u8], log: &Log| {
        let event_digest = log.event(0).view().digest().unwrap().to_string();
        String::from_utf8(decision.to_vec()).unwrap().replace(&event_digest, "DIGEST")
    };
    let (whole_text, parts_text) = (text(&whole.payload, &inline), text(&parts.payload, &spilled));
    assert!(!parts_text.contains("long text"), "{parts_text}");
    let back = parts_text.replace(&reference, "\"a long text\"").replace(&second.refs, &list);
    let without_digest = |text: &str, digest: Digest| text.replace(&digest.to_string(), "CONTEXT");
    assert_eq!(
        without_digest(&back, parts.context_digest),
        without_digest(&whole_text, whole.context_digest)
    );

    // The digest is that of the text with the values in it.
    let payload: Value = serde_json::from_slice(&parts.payload).unwrap();
    let mut value =
        json!({"assembled_context": payload["assembled_context"], "context_spec": payload["context_spec"]});
    value["assembled_context"]["model_messages"] =
        json!([{"content": "a long text", "role": "user"}, {"content": "a long text", "role": "user"}]);
    value["context_spec"]["intent"]["user_input"] = json!("a long text");
    value["context_spec"]["retrieval"]["declared_refs"] = serde_json::from_str(&list).unwrap();
    let canonical = json::canonicalize(value.to_string().as_bytes()).unwrap();
    assert_eq!(parts.context_digest, Digest::of(&canonical));
}

#[test]
fn a_missing_blob_is_an_error_of_its_own_and_a_changed_one_too() {
    let mut log = Log::default();
    let mut intent = said(1);
    intent.payload = log.blob(r#"{"message":"x"}"#, "application/json");
    let index = log.intent(&intent);
    let digest = *log.blobs.keys().next().unwrap();
    log.blobs.insert(digest, b"{}".to_vec());
    let found = log.try_decide(index, &Config::default(), allow_all()).map(|_| ());
    assert_eq!(found, Err(ContextError::BlobDiffers { digest }));
    log.blobs.clear();
    let found = log.try_decide(index, &Config::default(), allow_all()).map(|_| ());
    assert_eq!(found, Err(ContextError::BlobMissing { digest }));
}

#[test]
fn erased_content_is_a_denial_that_names_the_intent() {
    let mut log = Log::default();
    let mut first = said(1);
    first.payload = log.blob(r#"{"message":"x"}"#, "application/json");
    log.intent(&first);
    let second = log.intent(&said(2).refs(&["c-1"]));
    let bundle = allow_all();
    let before = log.decide(second, &Config::default(), bundle);
    assert_eq!(before.result, Verdict::Allow);
    log.erased.extend(log.blobs.keys().copied().collect::<Vec<_>>());
    for (index, erased) in [(0, 0), (second, 0)] {
        let decision = log.decide(index, &Config::default(), bundle);
        let payload: Value = serde_json::from_slice(&decision.payload).unwrap();
        let expected = json!([{"code": "CONTENT_ERASED", "params": {"event_index": erased}}]);
        assert_eq!((&payload["result"], &payload["reasons"]), (&json!("DENY"), &expected));
        let content = &payload["assembled_context"]["model_messages"][0]["content"];
        assert_eq!(content.to_string(), first.payload);
    }
}

#[test]
fn what_a_client_refers_to_stays_a_reference() {
    let mut log = Log::default();
    let image = log.blob("\u{1}not json", "image/png");
    let json = log.blob(r#"{"a":1}"#, "application/json");
    let text = log.blob("not canonical", "application/json");
    log.blobs.retain(|digest, _| *digest == Digest::of(b"not canonical"));
    for payload in [image, format!("{{\"message\":{json}}}"), text] {
        let mut intent = said(1);
        intent.payload.clone_from(&payload);
        let index = log.intent(&intent);
        let decided = log.decide(index, &Config::default(), allow_all()).payload;
        assert_eq!(messages(&serde_json::from_slice(&decided).unwrap()), [payload]);
    }
}

#[test]
fn an_intent_of_another_form_is_denied_and_stops_nothing() {
    for payload in [
        r#"{"payload":5}"#,
        r#"{"declared_refs":{},"payload":{}}"#,
        r#"{"declared_refs":[{"ref_type":"event"}],"payload":{}}"#,
        r#"{"payload":{},"principal":{"roles":[1]}}"#,
        r#"{"payload":{},"surface":1}"#,
    ] {
        let mut log = Log::default();
        let kind = (gesta_log_format::Kind::Intent, "submitted");
        let index = log.append(&said(1), kind, "intent/c-1", payload);
        let decided = log.decide(index, &Config::default(), allow_all()).payload;
        let decided: Value = serde_json::from_slice(&decided).unwrap();
        let expected = json!([{"code": "EVALUATION_ERROR", "params": {"input": "intent"}}]);
        assert_eq!((&decided["result"], &decided["reasons"]), (&json!("DENY"), &expected), "{payload}");
    }
    let mut log = Log::default();
    let index = log.append(&said(1), (gesta_log_format::Kind::Intent, "submitted"), "intent/c-1", "{}");
    assert_eq!(log.decide(index, &Config::default(), allow_all()).result, Verdict::Allow);
}
