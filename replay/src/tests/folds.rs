//! The live states and the audit over random legal logs, against plain walks over the records.

use gesta_log_format::{Digest, Index, Kind};
use proptest::prelude::*;

use super::history::{History, State, histories, sample};
use super::{check_snapshot, fold};
use crate::event::{Content, Event, HandlerKind};
use crate::lifecycle::{Standing, Status, Transition};
use crate::projections::audit::Audit;
use crate::projections::counts::{Counts, PriorIntents};
use crate::projections::datasets::Datasets;
use crate::projections::decisions::Decisions;
use crate::projections::executions::Executions;
use crate::projections::handlers::Handlers;
use crate::projections::head::Head;
use crate::projections::leases::Leases;
use crate::projections::outbox::Outbox;
use crate::projections::tasks::Tasks;
use crate::{Fold, Projection, RestoreError, Rule};

/// How many INTENTs lie before the record at `index`, in its thread and of its actor.
fn prior(history: &History, index: u64) -> PriorIntents {
    let one = &history.records[index as usize];
    let before = || {
        history.records[..index as usize]
            .iter()
            .filter(|record| record.kind == Kind::Intent && record.type_name == "submitted")
            .filter(|record| record.stream == one.stream)
    };
    PriorIntents {
        thread: before().filter(|record| record.thread == one.thread).count() as u64,
        actor: before().filter(|record| record.actor == one.actor).count() as u64,
    }
}

/// The last record of this type below `index`.
fn last_of(history: &History, type_name: &str, index: u64) -> Option<Index> {
    let before = (0..index).zip(&history.records);
    before.filter(|(_, record)| record.type_name == type_name).last().map(|(index, _)| Index(index))
}

fn check_decisions(history: &History, decisions: &Decisions, counts: &Counts) {
    let undecided: Vec<_> = history
        .intents
        .iter()
        .filter(|asked| asked.state == State::Undecided)
        .map(|asked| asked.index)
        .collect();
    assert_eq!(decisions.undecided().map(|index| index.0).collect::<Vec<_>>(), undecided);
    assert_eq!(decisions.lag(), undecided.len());
    let next = history.records.len() as u64;
    for index in undecided.iter().copied().chain([next]) {
        let policy = decisions.policy_at(Index(index)).map(|active| active.index);
        assert_eq!(policy, last_of(history, "policy_activated", index), "at {index}");
        let context = decisions.context_at(Index(index)).map(|active| active.index);
        assert_eq!(context, last_of(history, "context_activated", index), "at {index}");
    }
    for asked in &history.intents {
        let expected = (asked.state == State::Undecided).then(|| prior(history, asked.index));
        assert_eq!(counts.before(Index(asked.index)), expected);
    }
}

fn check_executions(history: &History, executions: &Executions) {
    for asked in &history.intents {
        let open = executions.open(asked.execution_id);
        let State::Open { deliveries } = asked.state else {
            assert_eq!(open, None);
            let undecided = executions.undecided(Index(asked.index));
            assert_eq!(undecided.is_some(), asked.state == State::Undecided);
            continue;
        };
        let open = open.unwrap();
        let status = if deliveries == 0 { Status::Created } else { Status::Running };
        assert_eq!(open.standing, Standing { status, deliveries });
        let subject = format!("execution/{}", asked.execution_id);
        let of_subject = (0..)
            .map(Index)
            .zip(&history.records)
            .filter(|(_, record)| record.subjects[0].subject == subject);
        assert_eq!(open.last_index, of_subject.last().map(|(index, _)| index));
        let record = &history.records[asked.index as usize];
        assert_eq!(
            (open.intent_index.0, &open.stream_id, &open.thread_id, &open.turn_id),
            (asked.index, &record.stream, &record.thread, &record.turn)
        );
        assert_eq!((&open.correlation_id, &open.parent_turn_id), (&record.correlation, &record.parent));
        let cancel = (0..).map(Index).zip(&history.records).find(|(_, record)| {
            (record.kind, record.type_name) == (Kind::Intent, "cancel_requested")
                && record.correlation == open.correlation_id
        });
        assert_eq!(open.cancel_requested, cancel.map(|(index, _)| index));
        let completed = executions.may(asked.execution_id, Transition::Completed);
        assert_eq!(completed.is_ok(), deliveries > 0);
        let next = Transition::Running { delivery: deliveries + 1 };
        assert!(executions.may(asked.execution_id, next).is_ok());
    }
    let open = history.intents.iter().filter(|asked| matches!(asked.state, State::Open { .. }));
    assert!(executions.all_open().map(|open| open.intent_index.0).eq(open.map(|asked| asked.index)));
    let mut by_decision: Vec<_> = executions.all_open().map(|open| open.decision_index).collect();
    by_decision.sort_unstable();
    for since in by_decision.iter().copied().chain([Index::ZERO]) {
        let found: Vec<_> = executions.allowed_since(since).map(|open| open.decision_index).collect();
        assert!(found.iter().eq(by_decision.iter().filter(|decision| **decision >= since)));
    }
}

proptest! {
    #[test]
    fn a_legal_log_folds_with_a_snapshot_anywhere_as_in_one_go(
        history in histories(), cut in any::<prop::sample::Index>(),
    ) {
        let log = history.log();
        let cut = cut.index(log.len() + 1);
        check_snapshot(Decisions::default, &log, cut);
        check_snapshot(Counts::default, &log, cut);
        check_snapshot(Executions::default, &log, cut);
        check_snapshot(Handlers::default, &log, cut);
        check_snapshot(Audit::default, &log, cut);
        check_snapshot(Head::default, &log, cut);
    }

    #[test]
    fn the_live_states_say_what_a_walk_over_the_records_says(history in histories()) {
        let log = history.log();
        check_decisions(&history, &fold(Decisions::default(), &log), &fold(Counts::default(), &log));
        check_executions(&history, &fold(Executions::default(), &log));
        let handlers = fold(Handlers::default(), &log);
        let found: Vec<_> = handlers.types()
            .flat_map(|(intent_type, of)| of.iter().map(move |one| (intent_type, one.handler_name.as_str())))
            .collect();
        let mut expected = history.handlers.clone();
        expected.sort_by_key(|(intent_type, _)| *intent_type);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_changed_snapshot_is_refused_or_is_another_state(
        history in histories(), at in any::<prop::sample::Index>(), bit in 0..7_u8,
    ) {
        let log = history.log();
        check_changed(&fold(Decisions::default(), &log), at, bit);
        check_changed(&fold(Counts::default(), &log), at, bit);
        check_changed(&fold(Executions::default(), &log), at, bit);
        check_changed(&fold(Handlers::default(), &log), at, bit);
        check_changed(&fold(Audit::default(), &log), at, bit);
    }

    #[test]
    fn a_record_that_is_left_out_comes_twice_or_changes_places_is_found(
        history in histories(), at in any::<prop::sample::Index>(), how in 0..3_u8,
    ) {
        prop_assume!(history.records.len() > 1);
        let at = at.index(history.records.len() - 1);
        let mut changed = history.clone();
        match how {
            0 => _ = changed.records.remove(at),
            1 => changed.records.insert(at, changed.records[at].clone()),
            _ => changed.records.swap(at, at + 1),
        }
        // Only the tree proves the order of records of different subjects, and that the last one of a subject is there.
        let faults = audit(&changed.log());
        let touched = |record: &super::history::Record| {
            (record.stream.clone(), record.subjects[0].subject.clone())
        };
        let related = match how {
            0 => history.records[at + 1..].iter().any(|later| touched(later) == touched(&history.records[at])),
            1 => true,
            _ => touched(&history.records[at]) == touched(&history.records[at + 1]),
        };
        prop_assert!(!related || !faults.is_empty());
    }
}

pub(super) fn check_changed<P: Projection>(state: &P, at: prop::sample::Index, bit: u8) {
    let mut changed = state.snapshot();
    let at = at.index(changed.len());
    changed[at] ^= 1 << bit;
    if let Ok(restored) = P::restore(&changed) {
        assert_eq!(restored.snapshot(), changed);
    }
}

/// Everything that is wrong with a log, by index and name of the rule.
pub(super) fn audit(log: &[Vec<u8>]) -> Vec<(u64, &'static str, &'static str)> {
    let (mut decisions, mut counts) = (Decisions::default(), Counts::default());
    let (mut executions, mut handlers) = (Executions::default(), Handlers::default());
    let (mut audit, mut head) = (Audit::default(), Head::default());
    let (mut tasks, mut leases) = (Tasks::default(), Leases::default());
    let (mut outbox, mut datasets) = (Outbox::default(), Datasets::default());
    let mut fold = Fold::new(vec![
        &mut head,
        &mut audit,
        &mut decisions,
        &mut counts,
        &mut executions,
        &mut handlers,
        &mut tasks,
        &mut leases,
        &mut outbox,
        &mut datasets,
    ]);
    let mut found = Vec::new();
    for data in log {
        let event = Event::parse(data).unwrap();
        let mut report = |projection, error| match error {
            crate::FoldError::Broken { index, rule } => found.push((index.0, projection, rule.name())),
            other => panic!("{other}"),
        };
        fold.audit(&event, &mut report).unwrap();
    }
    found
}

#[test]
fn what_is_live_after_one_of_everything() {
    let log = sample().log();
    assert_eq!(audit(&log), []);
    let decisions = fold(Decisions::default(), &log);
    assert_eq!(decisions.undecided().collect::<Vec<_>>(), [Index(5), Index(10)]);
    let first = decisions.policy_at(Index(5)).unwrap();
    assert_eq!((first.index, first.policy_version.as_str()), (Index(0), "1"));
    assert!(matches!(first.bundle(), Content::Blob(blob) if blob.digest == Digest::of(&[1])));
    let second = decisions.policy_at(Index(10)).unwrap();
    assert_eq!((second.index, second.policy_id.as_str()), (Index(7), "p"));
    assert!(matches!(second.bundle(), Content::Inline(text) if text.starts_with(b"{\"policies/a.cedar\"")));
    assert_eq!(decisions.policy(), Some(second));
    assert_eq!(decisions.context().unwrap().config(), Content::Inline(b"{\"schema_version\":\"1\"}"));
    assert_eq!(decisions.policy_at(Index(0)), None);

    let counts = fold(Counts::default(), &log);
    assert_eq!(counts.before(Index(5)), Some(PriorIntents { thread: 1, actor: 0 }));
    assert_eq!(counts.before(Index(10)), Some(PriorIntents::default()));
    assert_eq!(counts.before(Index(4)), None, "decided");
    assert_eq!(counts.now("default", "t", "ann"), PriorIntents { thread: 2, actor: 1 });

    let executions = fold(Executions::default(), &log);
    let open = executions.all_open().next().unwrap();
    assert_eq!(
        (open.intent_index, open.decision_index, open.last_index),
        (Index(4), Index(6), Some(Index(8)))
    );
    assert_eq!((open.cancel_requested, open.intent_type.as_str()), (Some(Index(9)), "chat.message"));
    assert_eq!(executions.lag(), 2);

    let handlers = fold(Handlers::default(), &log);
    let first = handlers.first("chat.message").unwrap();
    assert_eq!(
        (first.handler_name.as_str(), first.kind, first.index),
        ("echo", HandlerKind::Builtin, Index(2))
    );
    assert_eq!((handlers.of("chat.message").len(), handlers.first("x")), (2, None));
}

#[test]
fn an_allow_after_a_request_to_cancel_knows_of_it() {
    let mut history = sample();
    history.decide(1, "ALLOW");
    let executions = fold(Executions::default(), &history.log());
    let open = executions.all_open().nth(1).unwrap();
    assert_eq!((open.intent_index, open.cancel_requested), (Index(5), Some(Index(11))));
}

#[test]
fn a_policy_that_no_intent_needs_any_more_is_let_go() {
    let mut history = sample();
    history.decide(1, "DENY");
    history.decide(2, "DENY");
    let decisions = fold(Decisions::default(), &history.log());
    assert_eq!(decisions.policy_at(Index(5)), None);
    assert_eq!(decisions.policy_at(Index(99)).map(|active| active.index), Some(Index(7)));
}

/// Each state of the sample, as it is written.
#[test]
fn the_states_are_written_as_documented() {
    let log = sample().log();
    let written = |snapshot: Vec<u8>| String::from_utf8(snapshot).unwrap();
    let decisions = written(fold(Decisions::default(), &log).snapshot());
    let context = "\"contexts\":[{\"config\":\"{\\\"schema_version\\\":\\\"1\\\"}\",\"context_config_digest\":\"sha256:";
    assert!(decisions.starts_with("{\"projection\":\"decisions\",\"state\":{\"applied\":12,"), "{decisions}");
    assert!(decisions.contains(context), "{decisions}");
    assert!(decisions.ends_with("\"undecided\":[5,10]},\"version\":1}"), "{decisions}");
    let counts = written(fold(Counts::default(), &log).snapshot());
    assert!(counts.ends_with("\"undecided\":[[5,1,0],[10,0,0]]},\"version\":1}"), "{counts}");
    let executions = written(fold(Executions::default(), &log).snapshot());
    for part in
        ["\"deliveries\":1,", "\"last_index\":8,", "\"status\":\"running\",", "\"cancel_requested\":11,"]
    {
        assert!(executions.contains(part), "{executions}");
    }
    let handlers = written(fold(Handlers::default(), &log).snapshot());
    let first =
        "{\"handlers\":[{\"handler_name\":\"echo\",\"index\":2,\"kind\":\"builtin\",\"registration\":\"{";
    assert!(handlers.contains(first), "{handlers}");
    let audit = written(fold(Audit::default(), &log).snapshot());
    assert!(audit.contains("\"applied\":12,\"recorded_at\":\"1970-01-01T00:00:01.000005Z\""), "{audit}");
    let digests = [
        fold(Decisions::default(), &log).digest(),
        fold(Counts::default(), &log).digest(),
        fold(Executions::default(), &log).digest(),
        fold(Handlers::default(), &log).digest(),
        fold(Audit::default(), &log).digest(),
    ];
    assert_eq!(digests.map(|digest| digest.hex()[..16].to_owned()), EXPECTED_DIGESTS);
}

/// The first digits; another form needs another version.
const EXPECTED_DIGESTS: [&str; 5] =
    ["2e336397ec20cd39", "d7e8a09cd6f92b43", "09be11cb77c453ad", "90a78670e76fa48a", "3f1d8a88345ea845"];

#[test]
fn states_that_contradict_themselves_are_refused() {
    let log = sample().log();
    check_refused(&fold(Decisions::default(), &log), "[5,10]", "[10,5]");
    check_refused(&fold(Decisions::default(), &log), "[5,10]", "[5,12]");
    check_refused(&fold(Decisions::default(), &log), "[5,10]", "[10]");
    check_refused(&fold(Decisions::default(), &log), "\"index\":7", "\"index\":12");
    check_refused(&fold(Decisions::default(), &log), "sha256:", "sha255:");
    check_refused(&fold(Counts::default(), &log), "[5,1,0]", "[5,6,0]");
    check_refused(&fold(Counts::default(), &log), "[5,1,0]", "[11,1,0]");
    check_refused(&fold(Counts::default(), &log), "=2", "=13");
    check_refused(&fold(Executions::default(), &log), "\"running\"", "\"completed\"");
    check_refused(&fold(Executions::default(), &log), "\"deliveries\":1", "\"deliveries\":0");
    check_refused(&fold(Executions::default(), &log), "\"last_index\":8", "\"last_index\":12");
    check_refused(&fold(Executions::default(), &log), "\"decision_index\":6", "\"decision_index\":3");
    check_refused(&fold(Executions::default(), &log), "\"intent_index\":5", "\"intent_index\":4");
    check_refused(&fold(Handlers::default(), &log), "\"builtin\"", "\"built in\"");
    check_refused(&fold(Handlers::default(), &log), "\"other\",\"index\"", "\"echo\",\"index\"");
    check_refused(&fold(Audit::default(), &log), "=8", "=12");
    check_refused(&fold(Audit::default(), &log), "1970-01-01", "1970-01-32");
}

#[track_caller]
pub(super) fn check_refused<P: Projection>(state: &P, from: &str, to: &str) {
    let text = String::from_utf8(state.snapshot()).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    let refused = P::restore(text.replace(from, to).as_bytes()).err();
    assert!(matches!(refused, Some(RestoreError::Contradiction { .. })), "{from} -> {to}: {refused:?}");
}

#[test]
fn every_rule_has_a_name_of_its_own_and_a_text() {
    let rule = Rule::Expected { subject: "policy".to_owned(), expected: Some(Index(3)), previous: None };
    assert_eq!(rule.name(), "EXPECTED");
    assert_eq!(rule.to_string(), "it expected index 3 as the previous record of policy, which is none");
}
