//! Bundles: reading, checking, testing, asking.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use gesta_log_format::{Digest, json};
use gesta_replay::event::Verdict;
use gesta_replay::policy::{self, Bundle, Counts, Fault, Files, Input, default_files};

use crate::files;

/// The files below a directory.
pub(crate) fn directory(name: &str) -> Files {
    fn walk(root: &Path, at: &Path, files: &mut Files) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, files);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(name);
    let mut files = Files::new();
    walk(&root, &root, &mut files);
    files
}

#[test]
fn the_bundles_that_ship_pass_their_own_check_and_cases() {
    for name in ["default", "example"] {
        let files = directory(name);
        let checked = policy::check(&files).unwrap_or_else(|faults| panic!("{faults:?}"));
        assert_eq!(checked.warnings, []);
        let report = policy::test(&files).unwrap();
        assert!(report.cases.len() > 1);
        let failures: String = report.failures().map(|failure| format!("{failure}\n")).collect();
        assert!(failures.is_empty(), "{failures}");
    }
    assert_eq!(default_files(), directory("default"));
}

#[test]
fn the_digest_is_that_of_the_canonical_object_of_paths_and_digests() {
    let files = default_files();
    let members: Vec<_> =
        files.iter().map(|(path, text)| format!("\"{path}\":\"{}\"", Digest::of(text))).collect();
    let text = format!("{{{}}}", members.join(","));
    assert!(json::is_canonical(text.as_bytes()));
    let bundle = Bundle::read(&files).unwrap();
    assert_eq!(bundle.digest(), Digest::of(text.as_bytes()));
    assert_eq!(bundle.digest(), policy::digest(&files));
    assert_eq!(Bundle::none().digest(), Digest::of(b"{}"));
    let mut changed = files;
    changed.get_mut("policies/default.cedar").unwrap().push(b'\n');
    assert_ne!(Bundle::read(&changed).unwrap().digest(), bundle.digest());
}

#[track_caller]
fn check_faults(files: &Files, expected: &[&str]) {
    let faults: Vec<_> = policy::check(files).unwrap_err().iter().map(Fault::to_string).collect();
    let fits =
        faults.len() == expected.len() && faults.iter().zip(expected).all(|(got, part)| got.contains(part));
    assert!(fits, "expected {expected:#?}, got {faults:#?}");
}

fn with(path: &str, text: &str) -> Files {
    let mut files = default_files();
    files.insert(path.into(), text.into());
    files
}

fn without(path: &str) -> Files {
    let mut files = default_files();
    files.remove(path);
    files
}

#[test]
fn a_policy_that_cannot_be_read_is_named_by_file_line_and_column() {
    check_faults(
        &files("@reason(\"A\")\npermit (principal, action resource);"),
        &["policies/test.cedar:2:27: unexpected token"],
    );
    let two = "@reason(\"A\")\npermit (principal, action, resource) when { principal.x + };\n// é\n@reason(\"B\") forbid";
    let faults = policy::check(&files(two)).unwrap_err();
    assert!(faults[0].to_string().starts_with("policies/test.cedar:2:"), "{faults:?}");
    check_faults(
        &files("// é\n\n  permit (principal, action, resource);"),
        &["policies/test.cedar:3:3: the policy has no @reason"],
    );
    let annotated = "@reason(\"A\") @reasn(\"B\") permit (principal, action, resource);";
    check_faults(&files(annotated), &["policies/test.cedar:1:1: the annotation @reasn is unknown"]);
    let bad = "@reason(\"A\")\npermit (principal, action, resource);\n@reason(\"no\")\npermit (principal, action, resource);";
    check_faults(&files(bad), &["policies/test.cedar:3:1: @reason has the code \"no\""]);
    let bad = "@reason(\"A\")@obligation(\"x\")\npermit (principal, action, resource);";
    check_faults(&files(bad), &["policies/test.cedar:1:1: @obligation has \"x\": write op:target"]);
    let template = "@reason(\"A\") permit (principal == ?principal, action, resource);";
    check_faults(&files(template), &["has no templates"]);
    check_faults(&with("policies/default.cedar", ""), &["the bundle has no policy"]);
    check_faults(&with("policies/a.cedar", "\u{0}"), &["policies/a.cedar:1:1:"]);
}

#[test]
fn other_files_that_cannot_be_read_are_named_with_the_remedy() {
    check_faults(&without("bundle.json"), &["bundle.json: is missing: write"]);
    check_faults(&with("bundle.json", "{\"policy_id\": \"\"}"), &["bundle.json:1:15: give 1 to 128 bytes"]);
    check_faults(
        &with("bundle.json", "{\"policy_id\": \"a\"}"),
        &["\"policy_version\" is missing; at /policy_version"],
    );
    check_faults(&with("bundle.json", "{\n \"name\": 1}"), &["bundle.json:2:2: this field is unknown"]);
    check_faults(&with("notes.md", ""), &["notes.md: a bundle has no such file"]);
    check_faults(&with("policies/a/b.cedar", ""), &["policies/a/b.cedar: a bundle has no such file"]);
    check_faults(&with("entities.json", "[\n1,]"), &["entities.json:2:3:"]);
    check_faults(&with("entities.json", "[{\"uid\": 1}]"), &["entities.json: "]);
    check_faults(&without("schema.cedarschema"), &["schema.cedarschema: is missing"]);
    check_faults(&with("schema.cedarschema", "entity A;\nentity"), &["schema.cedarschema:2:"]);
    let faults = policy::test(&with("cases.json", "{\"cases\":[{}]}")).unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "cases.json:1:11: the required field \"expected\" is missing; at /cases/0/expected"
    );
}

#[test]
fn the_check_holds_policies_and_entities_to_the_schema() {
    let misspelled =
        "@reason(\"A\")\npermit (principal, action, resource)\nwhen { context.lanes == \"user\" };";
    check_faults(&files(misspelled), &["policies/test.cedar:3:8: "]);
    assert!(Bundle::read(&files(misspelled)).is_ok(), "a decision does without the schema");
    let group = r#"[{"uid": {"type": "Gesta::Group", "id": "x"}, "attrs": {}, "parents": []}]"#;
    check_faults(&with("entities.json", group), &["entities.json: "]);
}

#[test]
fn a_failing_case_shows_what_was_expected_and_what_came() {
    let cases = r#"{"cases": [
        {"name": "wrong", "intent": {"intent_type": "a"}, "expected": {"result": "DENY", "reasons": ["X"],
            "transforms": [{"target": "b", "op": "a", "params": {}}]}},
        {"name": "right", "intent": {"intent_type": "a"}, "expected": {"result": "ALLOW", "reasons": ["DEFAULT_ALLOW"]}}
    ]}"#;
    let report = policy::test(&with("cases.json", cases)).unwrap();
    assert_eq!((report.cases.len(), report.failures().count()), (2, 1));
    let expected = "case \"wrong\":
  result: expected DENY, got ALLOW
  - {\"code\":\"X\",\"params\":{}}
  - {\"op\":\"a\",\"params\":{},\"target\":\"b\"}
  + {\"code\":\"DEFAULT_ALLOW\",\"params\":{}}";
    assert_eq!(report.failures().next().unwrap().to_string(), expected);
}

fn input<'a>(payload: &'a str, roles: &'a [Cow<'a, str>]) -> Input<'a> {
    Input {
        actor: "ann",
        stream_id: "default",
        lane: "user",
        intent_type: "chat.message",
        thread_id: "t-1",
        roles,
        payload: payload.as_bytes(),
        counts: Counts { prior_intents_thread: 3, prior_intents_actor: 4 },
        governance_refs: 5,
    }
}

#[test]
fn a_policy_sees_exactly_what_the_page_lists() {
    let all = r#"@reason("ALL") permit (principal == Gesta::Actor::"ann", action == Gesta::Action::"submit",
        resource == Gesta::Stream::"default") when {
        context == {"lane": "user", "intent_type": "chat.message", "thread_id": "t-1", "roles": ["a", "b"],
            "payload": {"x": 1, "y.z": "1.5", "t": [true]},
            "counts": {"prior_intents_thread": 3, "prior_intents_actor": 4, "governance_refs": 5}} };"#;
    let bundle = Bundle::read(&files(all)).unwrap();
    let roles = [Cow::Borrowed("b"), Cow::Borrowed("a")];
    let outcome = bundle.evaluate(&input(r#"{"n":null,"t":[true],"x":1,"y":{"z":1.5}}"#, &roles));
    assert_eq!(outcome.result, Verdict::Allow);
    assert_eq!(
        (outcome.determining[0].file.as_str(), outcome.determining[0].line),
        ("policies/test.cedar", 1)
    );
}

#[track_caller]
fn check_outcome(policies: &str, payload: &str, result: Verdict, reasons: &[&str], obligations: &[&str]) {
    let bundle = Bundle::read(&files(policies)).unwrap();
    let outcome = bundle.evaluate(&input(payload, &[]));
    assert_eq!(outcome.result, result);
    let text = |entry: &[u8]| String::from_utf8(entry.to_vec()).unwrap();
    assert_eq!(outcome.reasons.iter().map(|one| text(one.text())).collect::<Vec<_>>(), reasons);
    assert_eq!(outcome.obligations.iter().map(|one| text(one.text())).collect::<Vec<_>>(), obligations);
}

#[test]
fn reasons_and_obligations_are_those_of_the_determining_policies_sorted_and_once() {
    let policies = r#"
        @reason("B") @obligation("z:1; a:2") permit (principal, action, resource);
        @reason("A n=1") @obligation("a:2") permit (principal, action, resource);
        @reason("B") permit (principal, action, resource);
        @reason("C") permit (principal, action, resource) when { false };
        @reason("D") @obligation("log:x") forbid (principal, action, resource) when { context.payload has "bad" };"#;
    let ops = [r#"{"op":"a","params":{},"target":"2"}"#, r#"{"op":"z","params":{},"target":"1"}"#];
    let reasons = [r#"{"code":"A","params":{"n":1}}"#, r#"{"code":"B","params":{}}"#];
    check_outcome(policies, "{}", Verdict::Allow, &reasons, &ops);
    let denied = [r#"{"code":"D","params":{}}"#];
    check_outcome(
        policies,
        r#"{"bad":1}"#,
        Verdict::Deny,
        &denied,
        &[r#"{"op":"log","params":{},"target":"x"}"#],
    );
}

#[test]
fn nothing_permits_by_itself() {
    let policies = r#"@reason("A") permit (principal, action, resource) when { context.lane == "x" };"#;
    check_outcome(policies, "{}", Verdict::Deny, &[r#"{"code":"NO_PERMIT","params":{}}"#], &[]);
    let outcome_of = |bundle: &Bundle| bundle.evaluate(&input("{}", &[])).reasons[0].text().to_vec();
    assert_eq!(outcome_of(&Bundle::none()), br#"{"code":"NO_PERMIT","params":{}}"#);
    let unreadable = Bundle::unreadable("a", "1", Digest::of(b""));
    assert_eq!(outcome_of(&unreadable), br#"{"code":"EVALUATION_ERROR","params":{"input":"bundle"}}"#);
}

#[test]
fn an_error_in_any_policy_denies_and_names_each() {
    let policies = r#"
        @reason("A") @obligation("a:2") permit (principal, action, resource);
        @reason("B") forbid (principal, action, resource) when { context.payload.missing == 1 };
        @reason("C") permit (principal, action, resource) when { context.payload["x"] > 1 };"#;
    let reasons = [
        r#"{"code":"EVALUATION_ERROR","params":{"policy":"policies/test.cedar#1"}}"#,
        r#"{"code":"EVALUATION_ERROR","params":{"policy":"policies/test.cedar#2"}}"#,
    ];
    check_outcome(policies, r#"{"x":"text"}"#, Verdict::Deny, &reasons, &[]);
    check_outcome(policies, r#"{"x":2}"#, Verdict::Deny, &reasons[..1], &[]);
}

#[test]
fn a_payload_with_two_meanings_denies() {
    let policies = r#"@reason("A") permit (principal, action, resource);"#;
    let reasons = [r#"{"code":"EVALUATION_ERROR","params":{"input":"payload"}}"#];
    check_outcome(policies, r#"{"a":{"b":1},"a.b":1}"#, Verdict::Deny, &reasons, &[]);
}

#[test]
fn policies_are_numbered_by_their_place_in_the_file() {
    let mut text = String::new();
    for nth in 0..25 {
        text.push_str(&format!("// {nth}\n@reason(\"R{nth}\")\npermit (principal, action, resource);\n"));
    }
    let bundle = Bundle::read(&files(&text)).unwrap();
    assert_eq!(bundle.rules().count(), 25);
    for rule in bundle.rules() {
        let nth: usize = rule.id.strip_prefix("policies/test.cedar#").unwrap().parse().unwrap();
        assert_eq!(
            (rule.line, rule.reason.text()),
            (nth * 3 + 2, format!("{{\"code\":\"R{nth}\",\"params\":{{}}}}").as_bytes())
        );
    }
}
