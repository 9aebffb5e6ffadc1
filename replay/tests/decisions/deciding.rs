//! From an intent to the payload of its DECISION, and back: determinism, what nothing depends on, comparison.

use gesta_log_format::blob::{Reference, spill};
use gesta_log_format::{Digest, Index, json};
use gesta_replay::context::Config;
use gesta_replay::decide::{Comparison, Decision, Difference, Member, PayloadError, Recorded, compare};
use gesta_replay::event::Verdict;
use gesta_replay::policy::Bundle;
use proptest::prelude::*;

use crate::log::{Log, Said, said};
use crate::policies::directory;
use crate::{allow_all, config, files};

/// A thread of intents with executions, and one intent that refers to some of them; its index.
fn thread(refs: &[&str], output: &str, status: &'static str) -> (Log, u64) {
    let mut log = Log::default();
    for nth in 1..=4 {
        let intent = said(nth);
        let index = log.intent(&intent);
        log.execution(index, &intent, "running", "{}");
        if nth < 4 {
            log.execution(index, &intent, status, output);
        }
    }
    let index = log.intent(&said(9).refs(refs));
    (log, index)
}

fn text(decision: &Decision<'_>) -> String {
    assert!(json::is_canonical(&decision.payload));
    String::from_utf8(decision.payload.clone()).unwrap()
}

#[test]
fn a_decision_is_a_function_of_its_inputs() {
    let (log, index) = thread(&["c-1", "u-2"], "{}", "completed");
    let files = directory("example");
    let bundle = Bundle::read(&files).unwrap();
    let first = text(&log.decide(index, &Config::default(), &bundle));
    for _ in 0..3 {
        // Read again, so that tables which hash by a seed have another one.
        let again = Bundle::read(&files).unwrap();
        assert_eq!(text(&log.decide(index, &Config::default(), &again)), first);
    }
    let mut longer = log.clone();
    longer.intent(&said(10));
    assert_eq!(text(&longer.decide(index, &Config::default(), &bundle)), first);
}

#[test]
fn a_payload_reads_back_typed() {
    let (log, index) = thread(&["c-1"], "{}", "failed");
    let bundle = allow_all();
    let decision = log.decide(index, &Config::default(), bundle);
    let recorded = Recorded::parse(&decision.payload).unwrap();
    assert_eq!((recorded.intent_index, recorded.result), (Index(index), Verdict::Allow));
    assert_eq!((recorded.context_digest, decision.result), (decision.context_digest, Verdict::Allow));
    assert_eq!(recorded.context_config_digest, Config::default().digest());
    assert_eq!((&*recorded.boundary_version, &*recorded.engine.name), ("1", "cedar-policy"));
    assert_eq!((&*recorded.policy.policy_id, &*recorded.policy.policy_version), ("gesta.default", "1"));
    assert_eq!(recorded.policy.policy_digest, bundle.digest());
    assert_eq!(recorded.reasons, Member::Text(br#"[{"code":"DEFAULT_ALLOW","params":{}}]"#));
    assert_eq!(recorded.transforms, Member::Text(b"[]"));
    assert_eq!(decision.determining.len(), 1);
    let without = text(&decision).replace("\"result\":\"ALLOW\",", "");
    assert_eq!(Recorded::parse(without.as_bytes()), Err(PayloadError { member: "result" }));
}

#[test]
fn the_context_digest_is_that_of_both_members_of_the_payload() {
    let (log, index) = thread(&["c-3", "c-1"], "{}", "completed");
    let decision = log.decide(index, &Config::default(), allow_all());
    let recorded = Recorded::parse(&decision.payload).unwrap();
    let (Member::Text(assembled), Member::Text(spec)) = (recorded.assembled_context, recorded.context_spec)
    else {
        panic!("both are small");
    };
    let whole = [b"{\"assembled_context\":", assembled, b",\"context_spec\":", spec, b"}"].concat();
    assert_eq!(decision.context_digest, Digest::of(&whole));
}

#[test]
fn the_counts_of_the_prefix_reach_the_policy() {
    let bundle = Bundle::read(&directory("example")).unwrap();
    let mut log = Log::default();
    let decided: Vec<_> = (0..22)
        .map(|nth| {
            let index = log.intent(&said(nth));
            log.decide(index, &Config::default(), &bundle).result
        })
        .collect();
    assert_eq!(decided.iter().position(|result| *result == Verdict::Deny), Some(20));
}

#[test]
fn a_bundle_that_cannot_be_read_denies_and_pins_what_was_activated() {
    let (log, index) = thread(&[], "{}", "completed");
    let bundle = Bundle::unreadable("broken", "7", Digest::of(b"x"));
    let decision = log.decide(index, &Config::default(), &bundle);
    let recorded = Recorded::parse(&decision.payload).unwrap();
    assert_eq!((recorded.result, &*recorded.policy.policy_id), (Verdict::Deny, "broken"));
    let none = Bundle::none();
    let decision = log.decide(index, &Config::default(), &none);
    assert_eq!(Recorded::parse(&decision.payload).unwrap().policy.policy_digest, Digest::of(b"{}"));
}

proptest! {
    #[test]
    fn the_declared_order_never_matters(
        ids in Just(vec!["c-1", "c-2", "u-2", "c-3", "u-4", "c-1", "c-7", "u-8"]).prop_shuffle(),
        len in 0_usize..8,
        dedupe in any::<bool>(),
    ) {
        let chosen: Vec<_> = ids.iter().copied().take(len).collect();
        let mut sorted = chosen.clone();
        sorted.sort_unstable();
        let rules = if dedupe { "\"DEDUPE_REFS\"," } else { "" };
        let rules = format!(r#"{{"normalization":{{"rules":[{rules}"FILTER_INTENT_ONLY","SCOPE_BOUND","SORT_CANONICAL"]}}}}"#);
        let (config, bundle) = (config(&rules), Bundle::read(&directory("example")).unwrap());
        let of = |refs: &[&str]| {
            let (log, index) = thread(refs, "{}", "completed");
            text(&log.decide(index, &config, &bundle))
        };
        prop_assert_eq!(of(&chosen), of(&sorted));
    }

    #[test]
    fn of_an_execution_nothing_but_index_and_digest_shows(output in "[a-z\"\\\\ ]{0,30}", nth in 0_usize..3) {
        let refs = ["u-1", "c-2", "u-3", "c-4"];
        let plain = thread(&refs, "{}", "completed");
        let status = ["completed", "failed", "cancelled"][nth];
        let mut output_text = b"{\"output\":".to_vec();
        json::write_string(&mut output_text, &output);
        output_text.push(b'}');
        let other = thread(&refs, std::str::from_utf8(&output_text).unwrap(), status);
        let bundle = Bundle::read(&directory("example")).unwrap();
        let mut texts = [&plain, &other].map(|(log, index)| {
            let decision = log.decide(*index, &Config::default(), &bundle);
            let mut text = text(&decision).replace(&decision.context_digest.to_string(), "CONTEXT");
            for at in [2, 5, 8] {
                let digest = log.event(at).view().digest().unwrap().to_string();
                assert_eq!(text.matches(&digest).count(), 1);
                text = text.replace(&digest, "EXECUTION");
            }
            text
        });
        prop_assert_eq!(std::mem::take(&mut texts[0]), std::mem::take(&mut texts[1]));
    }

    #[test]
    fn any_payload_is_decided_and_the_same_twice(
        keys in prop::collection::vec("[a-c.]{0,3}", 0..6),
        values in prop::collection::vec(prop::sample::select(vec![
            "1", "-0.5", "\"x\"", "null", "true", "[]", "[1,{\"a\":2}]", "{\"b\":{\"c\":1},\"a\":\"\\u0000\"}",
        ]), 6),
    ) {
        let mut members: Vec<_> = keys.iter().zip(&values).map(|(key, value)| format!("\"{key}\":{value}")).collect();
        members.sort_unstable();
        members.dedup_by_key(|member| member.split(':').next().map(str::to_owned));
        let mut log = Log::default();
        let index = log.intent(&said(1).payload(&format!("{{{}}}", members.join(","))));
        let bundle = Bundle::read(&directory("example")).unwrap();
        let first = text(&log.decide(index, &Config::default(), &bundle));
        prop_assert_eq!(first, text(&log.decide(index, &Config::default(), &bundle)));
    }
}

fn diverged(field: &str, expected: Option<&str>, got: Option<&str>) -> Comparison {
    let text = |side: Option<&str>| side.map(str::to_owned);
    Comparison::Diverged(Difference { field: field.to_owned(), expected: text(expected), got: text(got) })
}

#[test]
fn a_forged_payload_differs_at_the_first_place_that_was_changed() {
    let (log, index) = thread(&["c-1"], "{}", "completed");
    let bundle = allow_all();
    let derived = text(&log.decide(index, &Config::default(), bundle));
    let check = |from: &str, to: &str, expected: Comparison| {
        let forged = derived.replacen(from, to, 1);
        assert_ne!(forged, derived, "{from}");
        assert_eq!(compare(forged.as_bytes(), derived.as_bytes()), expected);
    };
    assert_eq!(compare(derived.as_bytes(), derived.as_bytes()), Comparison::Same);
    check("\"ALLOW\"", "\"DENY\"", diverged("/result", Some("\"ALLOW\""), Some("\"DENY\"")));
    check("DEFAULT_ALLOW", "X", diverged("/reasons/0/code", Some("\"DEFAULT_ALLOW\""), Some("\"X\"")));
    check(
        "gesta.default",
        "mine",
        diverged("/policy/policy_id", Some("\"gesta.default\""), Some("\"mine\"")),
    );
    check("\"hello 1\"", "\"bye\"", {
        diverged("/assembled_context/model_messages/0/content", Some("\"hello 1\""), Some("\"bye\""))
    });
    check("\"execution_only\"", "\"governance\"", {
        let field = "/context_spec/retrieval/resolved_refs/1/admitted_for";
        diverged(field, Some("\"execution_only\""), Some("\"governance\""))
    });
    let intent_index = format!("\"intent_index\":{index}");
    check(
        &intent_index,
        "\"intent_index\":0",
        diverged("/intent_index", Some(&index.to_string()), Some("0")),
    );
    check("\"transforms\":[]", "\"transforms\":[1]", diverged("/transforms/0", None, Some("1")));
    check(
        "\"parent_turn_id\":null,",
        "",
        diverged("/context_spec/identity/parent_turn_id", Some("null"), None),
    );
    check("\"reasons\":", "\"more/\":1,\"reasons\":", diverged("/more~1", None, Some("1")));
    assert!(matches!(compare(b"x", derived.as_bytes()), Comparison::Diverged(_)));
}

#[test]
fn another_engine_with_the_same_answer_is_a_verdict_of_its_own() {
    let (log, index) = thread(&["c-1"], "{}", "completed");
    let bundle = allow_all();
    let derived = text(&log.decide(index, &Config::default(), bundle));
    let version = format!("\"version\":\"{}\"", gesta_replay::policy::engine_version());
    let other = derived.replacen(&version, "\"version\":\"0.1.0\"", 1);
    let Comparison::EngineDiffers(difference) = compare(other.as_bytes(), derived.as_bytes()) else {
        panic!("the engine differs");
    };
    assert_eq!(
        (difference.field.as_str(), difference.got.as_deref()),
        ("/engine/version", Some("\"0.1.0\""))
    );
    let both = other.replacen("\"ALLOW\"", "\"DENY\"", 1);
    let found = compare(both.as_bytes(), derived.as_bytes());
    assert_eq!(found, diverged("/result", Some("\"ALLOW\""), Some("\"DENY\"")));
    let observed = derived.replacen('{', "{\"_obs\":{},", 1);
    assert_eq!(compare(observed.as_bytes(), derived.as_bytes()), Comparison::Same);
}

#[test]
fn a_large_decision_gives_up_members_and_stays_the_same_decision() {
    let mut log = Log::default();
    let long = format!("{{\"message\":\"{}\"}}", "x".repeat(30_000));
    for nth in 0..3 {
        log.intent(&said(nth).payload(&long));
    }
    let index = log.intent(&said(9).refs(&["c-0", "c-1", "c-2"]));
    let bundle = allow_all();
    let decision = log.decide(index, &Config::default(), bundle);
    assert!(decision.payload.len() > 65_000);
    let spilled = spill::members(&decision.payload, 64_000).unwrap();
    assert_eq!(spilled.spills.len(), 1);
    let recorded = Recorded::parse(&spilled.payload).unwrap();
    let Member::Blob(Reference { digest, .. }) = recorded.assembled_context else {
        panic!("it was the largest")
    };
    assert_eq!(digest, Digest::of(spilled.spills[0].bytes));
    assert_eq!(compare(&spilled.payload, &decision.payload), Comparison::Same);
    let text = String::from_utf8(spilled.payload.to_vec()).unwrap();
    let forged = text.replace(&digest.to_string(), &Digest::of(b"x").to_string());
    let found = compare(forged.as_bytes(), &decision.payload);
    assert!(
        matches!(found, Comparison::Diverged(ref difference) if difference.field == "/assembled_context")
    );
}

#[test]
fn what_another_stream_holds_changes_nothing() {
    let (log, _) = thread(&[], "{}", "completed");
    let mut crowded = log.clone();
    let elsewhere = |nth: u64| Said { stream: "other".into(), ..said(nth) };
    for nth in 20..25 {
        crowded.intent(&elsewhere(nth));
    }
    let policies = r#"@reason("A") permit (principal, action, resource) when { context.counts ==
        {"prior_intents_thread": 5, "prior_intents_actor": 5, "governance_refs": 1} };"#;
    let bundle = Bundle::read(&files(policies)).unwrap();
    for mut log in [log, crowded] {
        let index = log.intent(&said(9).refs(&["c-4"]));
        assert_eq!(log.decide(index, &Config::default(), &bundle).result, Verdict::Allow);
    }
}
