//! `gesta-replay explain`: one decision as a person needs it.

use gesta_log_format::Index;
use gesta_log_format::json::canonical;
use gesta_replay::decide::{Comparison, compare};
use gesta_replay::policy::PolicyRule;
use gesta_replay::verify::{Asked, Replay};
use gesta_replay::verify::{Derived, Finding, Taken};
use serde::Serialize;
use serde_json::Value;

use super::report::json::pretty;
use super::source::{Source, Step};
use super::whatif::codes;
use super::{Done, Failure, args, output};

#[derive(Debug, Serialize)]
struct Explained {
    decision_index: Option<u64>,
    verdict: &'static str,
    difference: Option<String>,
    intent: Intent,
    answer: Answer,
    decided_by: Vec<Line>,
    policy_saw: Option<Saw>,
    policy_did_not_see: Vec<String>,
    references: Value,
    pinned: Pinned,
    model_messages: Value,
}

#[derive(Debug, Serialize)]
struct Intent {
    index: u64,
    recorded_at: String,
    stream_id: String,
    lane: String,
    actor: String,
    intent_type: String,
    thread_id: String,
    turn_id: String,
    parent_turn_id: Option<String>,
    correlation_id: String,
    payload: Value,
    declared_refs: Value,
}

#[derive(Debug, Serialize)]
struct Answer {
    result: Value,
    reasons: Value,
    transforms: Value,
}

#[derive(Debug, Serialize)]
struct Line {
    file: String,
    line: usize,
    policy: String,
    reason: Value,
    obligations: Vec<Value>,
}

#[derive(Debug, Serialize)]
struct Saw {
    principal: String,
    action: String,
    resource: String,
    context: String,
}

#[derive(Debug, Serialize)]
struct Pinned {
    event_digest: String,
    context_digest: Value,
    policy: Value,
    boundary: Value,
    engine: Value,
    normative_input_digests: Value,
}

pub(super) fn run(arguments: &args::Explain) -> Done {
    let source = Source::open(&arguments.input)?;
    let explained = find(&source, Index(arguments.index), arguments.input.jobs())?;
    let text = if arguments.json { pretty(&explained) } else { text(&explained) };
    output::print(&text)?;
    Ok(0)
}

fn find(source: &Source, index: Index, jobs: usize) -> Result<Explained, Failure> {
    let mut replay = Replay::new(source.files(), jobs);
    let mut found = None;
    source.walk(jobs, &mut |step| {
        match step {
            Step::Records(chunk) => {
                let records = chunk.records();
                let folded = replay.fold(&records, &mut |_, _, _| {}, &mut |_: Finding| {});
                let mut jobs = folded.map_err(Failure::new)?;
                jobs.retain(|job| job.intent_index == index || job.decision_index == Some(index));
                jobs.truncate(1);
                let derived = replay.derive(&jobs, None, |taken| explain(&taken)).map_err(Failure::new)?;
                found = derived.into_iter().next();
            }
            Step::Skip(to) => replay.skip(to),
            Step::Found(_) | Step::Seal(..) | Step::NotChecked(_) | Step::EndsEarly => {}
        }
        Ok(found.is_none())
    })?;
    if found.is_none()
        && let Some(job) = replay.job(index, &mut |_| {}).map_err(Failure::new)?
    {
        found = replay.derive(&[job], None, |taken| explain(&taken)).map_err(Failure::new)?.pop();
    }
    match found {
        Some(Derived::Decision(explained)) => Ok(explained),
        Some(Derived::Not(finding)) => Err(Failure::new(finding.message)),
        None => {
            let error = format!("there is no decision to explain at index {index}");
            let hint = "give the index of an INTENT or of a DECISION in front of which no record is absent; \
                        `gesta-replay dump` lists them";
            Err(Failure::new(error).hint(hint))
        }
    }
}

fn member<'a>(object: &'a [u8], name: &str) -> &'a [u8] {
    canonical::member(object, name).unwrap_or(b"null")
}

fn value(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_default()
}

fn explain(taken: &Taken<'_>) -> Explained {
    let (job, view, payload) = (taken.job, taken.intent.view(), &taken.decision.payload[..]);
    let (verdict, difference) = match job.decision_index.map(|_| compare(job.recorded, payload)) {
        None => ("undecided: this is what it would be", None),
        Some(Comparison::Same) => ("same", None),
        Some(Comparison::EngineDiffers(difference)) => ("engine differs", Some(difference.to_string())),
        Some(Comparison::Diverged(difference)) => ("diverged", Some(difference.to_string())),
    };
    let (spec, assembled) = (member(payload, "context_spec"), member(payload, "assembled_context"));
    let references = value(member(member(spec, "retrieval"), "resolved_refs"));
    Explained {
        decision_index: job.decision_index.map(|index| index.0),
        verdict,
        difference,
        intent: intent(taken),
        answer: Answer {
            result: value(member(payload, "result")),
            reasons: value(member(payload, "reasons")),
            transforms: value(member(payload, "transforms")),
        },
        decided_by: taken.decision.determining.iter().map(|rule| line(rule)).collect(),
        policy_saw: taken.asked().map(saw),
        policy_did_not_see: unseen(view.payload, &references),
        references,
        pinned: Pinned {
            event_digest: String::from_utf8_lossy(view.digest).into_owned(),
            context_digest: value(member(payload, "context_digest")),
            policy: value(member(payload, "policy")),
            boundary: value(member(payload, "boundary")),
            engine: value(member(payload, "engine")),
            normative_input_digests: value(member(assembled, "normative_input_digests")),
        },
        model_messages: value(member(assembled, "model_messages")),
    }
}

fn intent(taken: &Taken<'_>) -> Intent {
    let (event, view) = (taken.intent, taken.intent.view());
    let text = |found: Result<std::borrow::Cow<'_, str>, _>| {
        found.map(|text| text.into_owned()).unwrap_or_else(|_: gesta_replay::EventError| String::new())
    };
    Intent {
        index: event.index().0,
        recorded_at: String::from_utf8_lossy(view.recorded_at).into_owned(),
        stream_id: text(event.stream_id()),
        lane: text(event.lane()),
        actor: text(event.actor()),
        intent_type: text(event.intent_type()),
        thread_id: text(event.thread_id()),
        turn_id: text(event.turn_id()),
        parent_turn_id: event.parent_turn_id().ok().flatten().map(|turn| turn.into_owned()),
        correlation_id: text(event.correlation_id()),
        payload: value(member(view.payload, "payload")),
        declared_refs: value(member(view.payload, "declared_refs")),
    }
}

fn line(rule: &PolicyRule) -> Line {
    Line {
        file: rule.file.clone(),
        line: rule.line,
        policy: rule.id.clone(),
        reason: value(rule.reason.text()),
        obligations: rule.obligations.iter().map(|one| value(one.text())).collect(),
    }
}

fn saw(asked: Asked) -> Saw {
    let Asked { principal, action, resource, context } = asked;
    Saw { principal, action, resource, context }
}

/// What is in the record or was referred to, and no policy sees.
fn unseen(payload: &[u8], references: &Value) -> Vec<String> {
    let mut unseen = vec!["the INTENT's index, time, turn, correlation id and request digest".to_owned()];
    if member(payload, "_obs") != b"null" {
        unseen.push("the INTENT's _obs: it is observational".to_owned());
    }
    for found in references.as_array().into_iter().flatten() {
        if found["admitted_for"] == "execution_only" {
            unseen.push(format!(
                "the EXECUTION at index {}: only its index and digest are bound",
                found["event_index"]
            ));
        } else {
            unseen.push(format!(
                "the text of the INTENT at index {}: a policy sees how many there are",
                found["event_index"]
            ));
        }
    }
    unseen
}

fn text(explained: &Explained) -> String {
    let Explained { intent, answer, pinned, .. } = explained;
    let result = answer.result.as_str().unwrap_or("?");
    let decision =
        explained.decision_index.map_or("no DECISION yet".to_owned(), |index| format!("DECISION {index}"));
    let mut out = format!("{result} {}: {decision}, {}\n", codes(&answer.reasons), explained.verdict);
    let mut add = |line: String| {
        out.push_str(&line);
        out.push('\n');
    };
    explained.difference.iter().for_each(|difference| add(format!("  {difference}")));
    add(format!("\nINTENT {} at {}", intent.index, intent.recorded_at));
    add(format!(
        "  {} by {} in stream {}, lane {}, thread {}, turn {}",
        intent.intent_type, intent.actor, intent.stream_id, intent.lane, intent.thread_id, intent.turn_id
    ));
    add(format!("  correlation id {}", intent.correlation_id));
    add(format!("  payload {}", intent.payload));
    add("\ndecided by".to_owned());
    if explained.decided_by.is_empty() {
        add("  no policy".to_owned());
    }
    for line in &explained.decided_by {
        add(format!("  {}:{} {}", line.file, line.line, line.reason));
        line.obligations.iter().for_each(|obligation| add(format!("    demands {obligation}")));
    }
    match &explained.policy_saw {
        Some(saw) => {
            add("\nthe policy saw".to_owned());
            add(format!(
                "  principal {}\n  action    {}\n  resource  {}",
                saw.principal, saw.action, saw.resource
            ));
            add(format!("  context   {}", saw.context));
        }
        None => add("\nno policy was asked".to_owned()),
    }
    add("\nit did not see".to_owned());
    explained.policy_did_not_see.iter().for_each(|what| add(format!("  {what}")));
    add("\nreferences".to_owned());
    let references = explained.references.as_array().map(Vec::as_slice).unwrap_or_default();
    if references.is_empty() {
        add("  none".to_owned());
    }
    for found in references {
        let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        let (id, admitted, digest) = (text("ref_id"), text("admitted_for"), text("event_digest"));
        add(format!("  {id} -> event {} for {admitted}, {digest}", found["event_index"]));
    }
    add("\npinned by".to_owned());
    add(format!("  event   {}", pinned.event_digest));
    for (name, value) in [
        ("context", &pinned.context_digest),
        ("policy ", &pinned.policy["policy_digest"]),
        ("config ", &pinned.boundary["context_config_digest"]),
    ] {
        add(format!("  {name} {}", value.as_str().unwrap_or_default()));
    }
    out
}
