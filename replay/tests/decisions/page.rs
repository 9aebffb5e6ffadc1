//! DECISIONS.md is compared with the code: its worked examples, and its tables of codes, rules and defaults.
//!
//! An example is a fenced block whose info string ends in `example=NAME`; its text is everything between the fences.

use gesta_log_format::Digest;
use gesta_replay::context::{Config, Rule};
use gesta_replay::policy::Bundle;

use crate::log::{Log, said};
use crate::policies::directory;
use crate::{allow_all, config};

const PAGE: &str = include_str!("../../DECISIONS.md");

fn lines(records: &[&[u8]]) -> String {
    records.iter().map(|data| format!("{}\n", String::from_utf8_lossy(data))).collect()
}

/// The value form, which the payload holds where no blob is involved.
fn value_form(payload: &[u8]) -> String {
    let part = |name: &str, next: &str| {
        let text = std::str::from_utf8(payload).unwrap();
        let from = text.find(&format!("\"{name}\":")).unwrap();
        let to = text[from..].find(&format!(",\"{next}\":")).unwrap();
        text[from..from + to].to_owned()
    };
    format!("{{{},{}}}", part("assembled_context", "boundary"), part("context_spec", "engine"))
}

fn bundle_example(files: &gesta_replay::policy::Files) -> String {
    let members: Vec<_> =
        files.iter().map(|(path, text)| format!("\"{path}\":\"{}\"", Digest::of(text))).collect();
    format!("{{{}}}\n", members.join(","))
}

fn examples() -> Vec<(&'static str, String)> {
    let (default, example) = (Config::default(), directory("example"));
    let example_bundle = Bundle::read(&example).unwrap();
    let mut log = Log::default();
    let first = said(0);
    log.intent(&first);
    log.execution(0, &first, "completed", r#"{"output":"what a model said"}"#);
    let mut payment = said(2).payload(r#"{"order": {"amount": 1200}}"#).refs(&["c-0"]);
    payment.intent_type = "payment.create".into();
    log.intent(&payment);
    let mut large = said(3);
    large.intent_type = "shell.exec".into();
    large.payload = log.blob(r#"{"message":" rm -r / "}"#, "application/json");
    log.intent(&large);
    let (plain, referring, denied) = (
        log.decide(0, &default, allow_all()),
        log.decide(2, &default, &example_bundle),
        log.decide(3, &default, &example_bundle),
    );
    let text = |payload: &[u8]| format!("{}\n", String::from_utf8_lossy(payload));
    let value = value_form(&referring.payload);
    assert_eq!(Digest::of(value.as_bytes()), referring.context_digest);
    let reference = large.payload.as_str();
    let denied_value = value_form(&denied.payload).replace(reference, "\"rm -r /\"");
    assert_eq!(Digest::of(denied_value.as_bytes()), denied.context_digest);
    let digest_of = |text: &str| format!("{}\n", Digest::of(text.as_bytes()));
    let full = config(
        r#"{"context":{"empty_refs_policy":"EXPAND_LAST_N"},"normalization":{"rules":["DEDUPE_REFS","FILTER_INTENT_ONLY","SCOPE_BOUND","SORT_CANONICAL"]}}"#,
    );
    vec![
        ("config", text(default.canonical())),
        ("config-digest", format!("{}\n", default.digest())),
        ("config-other", text(full.canonical()) + &format!("{}\n", full.digest())),
        ("bundle-default", bundle_example(&gesta_replay::policy::default_files())),
        ("bundle-default-digest", format!("{}\n", allow_all().digest())),
        ("bundle-example-digest", format!("{}\n", example_bundle.digest())),
        ("log", lines(&log.records.iter().map(|data| &data[..]).collect::<Vec<_>>())),
        ("decision-0", text(&plain.payload)),
        ("value-2", format!("{value}\n")),
        ("value-2-digest", digest_of(&value)),
        ("decision-2", text(&referring.payload)),
        ("blob-3", format!("{}\n", r#"{"message":" rm -r / "}"#)),
        ("value-3", format!("{denied_value}\n")),
        ("value-3-digest", digest_of(&denied_value)),
        ("decision-3", text(&denied.payload)),
    ]
}

fn example(name: &str) -> &'static str {
    let opening = format!("```text example={name}\n");
    let Some(at) = PAGE.find(&opening) else { return "" };
    let text = &PAGE[at + opening.len()..];
    &text[..text.find("```").unwrap()]
}

#[test]
fn every_example_is_what_the_code_makes() {
    let made = examples();
    let differing: Vec<_> = made.iter().filter(|(name, text)| example(name) != text).collect();
    let texts: String =
        differing.iter().map(|(name, text)| format!("```text example={name}\n{text}```\n")).collect();
    assert!(differing.is_empty(), "these differ in DECISIONS.md:\n{texts}===\n");
    let written = PAGE.matches("```text example=").count();
    assert_eq!(written, made.len(), "each example in DECISIONS.md is made by the code");
}

/// The first cells of the rows of the table that begins with the line `head`, backticks taken off.
fn column(head: &str) -> Vec<&'static str> {
    let at = PAGE.find(head).unwrap();
    let rows = PAGE[at..].lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").next().unwrap().trim().trim_matches('`')).collect()
}

#[test]
fn the_table_of_rules_is_the_codes() {
    assert_eq!(column("| rule | what it does |"), Rule::ALL.map(Rule::text));
}

#[test]
fn the_table_of_settings_is_the_configuration_s() {
    let canonical = String::from_utf8(Config::default().canonical().to_vec()).unwrap();
    for key in column("| key | default | values |") {
        let name = key.rsplit('.').next().unwrap();
        assert!(canonical.contains(&format!("\"{name}\":")), "{key}");
    }
    assert_eq!(column("| key | default | values |").len(), 8);
}
