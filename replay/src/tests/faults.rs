//! Each way to break a rule, one at a time: which record is named, by which projection, and for what.

use gesta_log_format::Index;
use gesta_log_format::envelope::Expectation;

use super::folds::audit;
use super::history::{History, Record, sample};
use crate::event::{Event, ExecutionId, Fault};
use crate::lifecycle::{IllegalTransition, Status};
use crate::projections::audit::Audit;
use crate::projections::counts::Counts;
use crate::projections::decisions::Decisions;
use crate::projections::executions::Executions;
use crate::projections::handlers::Handlers;
use crate::{FoldError, Projection, Rule};

/// The sample with one more record, which is wrong: what `projection` says of it, and that it has changed nothing.
fn refused<P: Projection + Default + PartialEq + Clone + std::fmt::Debug>(
    history: &History,
) -> Option<FoldError> {
    let log = history.log();
    let (last, before) = log.split_last().unwrap();
    let mut state = P::default();
    for data in before {
        state.apply(&Event::parse(data).unwrap()).unwrap();
    }
    let kept = state.clone();
    let error = state.apply(&Event::parse(last).unwrap()).err();
    if error.is_some() {
        assert_eq!((&state, state.digest()), (&kept, kept.digest()), "an error changes nothing");
    }
    error
}

#[track_caller]
fn check<P: Projection + Default + PartialEq + Clone + std::fmt::Debug>(history: &History, expected: Rule) {
    let index = Index(history.records.len() as u64 - 1);
    let error = refused::<P>(history).expect("a broken rule");
    assert_eq!(error, FoldError::Broken { index, rule: expected });
    assert_eq!(error.index(), Some(index));
}

/// The sample and one record more, changed.
fn with(more: impl FnOnce(&mut History) -> u64, change: impl FnOnce(&mut Record)) -> History {
    let mut history = sample();
    let index = more(&mut history);
    assert_eq!(index + 1, history.records.len() as u64);
    change(history.records.last_mut().unwrap());
    history
}

fn id(nth: u128) -> ExecutionId {
    ExecutionId(1 << 100 | nth)
}

#[test]
fn an_intent_is_decided_once() {
    let second = with(|history| history.decide(0, "DENY"), |_| {});
    let rule = Rule::SecondDecision { intent_index: Index(4), first: Index(6) };
    check::<Decisions>(&second, rule.clone());
    check::<Executions>(&second, rule.clone());
    check::<Audit>(&second, rule);
    let forged = with(|history| history.decide(0, "DENY"), |record| record.subjects[0].expected = None);
    check::<Decisions>(&forged, Rule::NotAwaiting { intent_index: Index(4) });
    let subject = "decision/4".to_owned();
    check::<Audit>(&forged, Rule::Expected { subject, expected: None, previous: Some(Index(6)) });
}

#[test]
fn what_is_decided_is_an_intent_that_was_submitted_before() {
    for (index, expected) in [(0, None), (8, None), (9, None), (12, None), (13, None), (9_999, None)] {
        let decided = with(
            |history| history.decide(1, "ALLOW"),
            |record| {
                record.payload =
                    record.payload.replace("\"intent_index\":5", &format!("\"intent_index\":{index}"));
                record.subjects = vec![Expectation { subject: format!("decision/{index}"), expected }];
            },
        );
        check::<Decisions>(&decided, Rule::NotAwaiting { intent_index: Index(index) });
        check::<Executions>(&decided, Rule::NotAwaiting { intent_index: Index(index) });
    }
}

#[test]
fn nothing_is_executed_without_an_allow() {
    let undecided = with(
        |history| history.execution(1, "running"),
        |record| {
            record.payload = "{\"delivery\":1}".to_owned();
        },
    );
    check::<Executions>(&undecided, Rule::NotAllowed { execution_id: id(1), intent_index: Index(5) });
    let mut denied = sample();
    denied.decide(1, "DENY");
    denied.execution(1, "failed");
    check::<Executions>(&denied, Rule::NotOpen { execution_id: id(1) });
    let unknown = with(
        |history| history.execution(0, "event"),
        |record| {
            record.subjects[0].subject = format!("execution/{}", id(77));
        },
    );
    check::<Executions>(&unknown, Rule::NotOpen { execution_id: id(77) });
}

#[test]
fn nothing_follows_the_end_of_an_execution() {
    for end in ["completed", "failed", "cancelled"] {
        for late in ["running", "event", "step_failed", "completed", "cancelled"] {
            let mut history = sample();
            history.execution(0, end);
            assert_eq!(audit(&history.log()), []);
            history.execution(0, late);
            let last = history.records.last_mut().unwrap();
            last.payload = "{\"delivery\":2}".to_owned();
            check::<Executions>(&history, Rule::NotOpen { execution_id: id(0) });
        }
    }
}

#[test]
fn an_execution_goes_the_way_that_it_may_go() {
    let mut history = sample();
    history.decide(1, "ALLOW");
    for (type_name, execution) in
        [("completed", crate::event::Execution::Completed), ("event", crate::event::Execution::Event)]
    {
        let mut history = history.clone();
        history.execution(1, type_name);
        let cause = IllegalTransition::Status { from: Status::Created, to: execution };
        check::<Executions>(&history, Rule::Transition { execution_id: id(1), cause });
    }
    for delivery in [0, 1, 3] {
        let again = with(
            |history| history.execution(0, "running"),
            |record| {
                record.payload = format!("{{\"delivery\":{delivery}}}");
            },
        );
        let cause = IllegalTransition::Delivery { wanted: 2, found: delivery };
        check::<Executions>(&again, Rule::Transition { execution_id: id(0), cause });
    }
}

#[test]
fn what_follows_from_an_intent_is_anchored_where_it_is() {
    let changes: [fn(&mut Record); 7] = [
        |record| record.stream = "other".to_owned(),
        |record| record.lane = "batch".to_owned(),
        |record| record.correlation.push('x'),
        |record| record.thread.push('x'),
        |record| record.turn.push('x'),
        |record| record.parent = Some(String::new()),
        |record| (record.thread, record.turn) = ("tt".to_owned(), "urn-0".to_owned()),
    ];
    for change in changes {
        let execution = with(|history| history.execution(0, "event"), change);
        check::<Executions>(&execution, Rule::Anchors { intent_index: Index(4) });
        let decision = with(|history| history.decide(1, "ALLOW"), change);
        check::<Executions>(&decision, Rule::Anchors { intent_index: Index(5) });
        let cancel = with(|history| history.cancel(0), change);
        check::<Executions>(&cancel, Rule::Anchors { intent_index: Index(4) });
    }
}

#[test]
fn two_open_executions_have_two_ids() {
    let mut history = sample();
    history.records[5].payload = history.records[4].payload.clone();
    history.decide(1, "ALLOW");
    check::<Executions>(&history, Rule::ExecutionIdReused { execution_id: id(0), other: Index(4) });
}

#[test]
fn each_subject_expects_its_previous_record() {
    for expected in [None, Some(Index(4)), Some(Index(9)), Some(Index(99))] {
        let changed =
            with(|history| history.execution(0, "event"), |record| record.subjects[0].expected = expected);
        let subject = format!("execution/{}", id(0));
        check::<Audit>(&changed, Rule::Expected { subject, expected, previous: Some(Index(8)) });
    }
    let twice = with(|history| history.policy(3), |record| record.subjects.push(record.subjects[0].clone()));
    let (expected, previous) = (Some(Index(7)), Some(Index(12)));
    check::<Audit>(&twice, Rule::Expected { subject: "policy".to_owned(), expected, previous });
    let other_stream =
        with(|history| history.execution(0, "event"), |record| record.stream = "other".to_owned());
    let subject = format!("execution/{}", id(0));
    check::<Audit>(&other_stream, Rule::Expected { subject, expected: Some(Index(8)), previous: None });
}

#[test]
fn a_correlation_id_is_submitted_once_in_a_stream() {
    let again = with(|history| history.cancel(0), |record| record.type_name = "submitted");
    check::<Audit>(&again, Rule::CorrelationIdReused { first: Index(9) });
    let elsewhere = with(
        |history| history.intent("third", "t", "ann"),
        |record| {
            record.correlation = "c-0".to_owned();
            record.subjects[0].subject = "intent/c-0".to_owned();
        },
    );
    assert_eq!(refused::<Audit>(&elsewhere), None, "another stream");
}

#[test]
fn what_is_to_be_cancelled_was_submitted() {
    let nothing = with(
        |history| history.intent("default", "t", "ann"),
        |record| {
            record.type_name = "cancel_requested";
        },
    );
    check::<Audit>(&nothing, Rule::NothingToCancel);
    check::<Executions>(&nothing, Rule::NothingToCancel);
}

#[test]
fn a_record_names_the_subject_of_its_kind() {
    let check_subject = |history: &History, wanted: &str| {
        check::<Audit>(history, Rule::Subject { wanted: wanted.to_owned() });
    };
    let rename = |record: &mut Record| {
        record.subjects = vec![Expectation { subject: "intent/c-05".to_owned(), expected: None }];
    };
    check_subject(&with(|history| history.intent("default", "t", "ann"), rename), "intent/c-3");
    check_subject(&with(|history| history.decide(1, "ALLOW"), rename), "decision/5");
    let other = |record: &mut Record| {
        record.subjects = vec![Expectation { subject: "decision/05".to_owned(), expected: None }];
    };
    check_subject(&with(|history| history.decide(1, "ALLOW"), other), "decision/5");
    check_subject(&with(|history| history.execution(0, "event"), rename), "execution/{id}");
    check_subject(&with(|history| history.execution(0, "state_set"), rename), "execution-state/{id}");
    check_subject(&with(|history| history.policy(3), |record| record.subjects.clear()), "given");
}

#[test]
fn a_cause_lies_before_its_effect_and_time_does_not_go_back() {
    for cause in [12, 13] {
        let later = with(|history| history.decide(1, "ALLOW"), |record| record.cause = Some(cause));
        check::<Audit>(&later, Rule::Cause { cause: Index(cause) });
    }
    let early = with(|history| history.decide(1, "ALLOW"), |record| record.micros = 1_000_004);
    check::<Audit>(&early, Rule::Time);
}

#[test]
fn control_records_stand_in_the_system_stream_and_no_others_do() {
    let outside = |record: &mut Record| record.stream = "default".to_owned();
    let policy = with(|history| history.policy(3), outside);
    check::<Decisions>(&policy, Rule::ControlStream);
    check::<Audit>(&policy, Rule::ControlStream);
    check::<Decisions>(&with(|history| history.context(3), outside), Rule::ControlStream);
    let register = with(|history| history.register("x", "a", "push"), outside);
    check::<Handlers>(&register, Rule::ControlStream);
    let remove = with(|history| history.remove("chat.message", "echo"), outside);
    check::<Handlers>(&remove, Rule::ControlStream);
    let inside = with(|history| history.intent("_system", "t", "ann"), |_| {});
    check::<Audit>(&inside, Rule::ControlStream);
}

#[test]
fn a_handler_that_is_removed_was_registered() {
    for (intent_type, handler_name) in [("chat.message", "third"), ("x", "echo")] {
        let removed = with(|history| history.remove(intent_type, handler_name), |_| {});
        let (intent_type, handler_name) = (intent_type.to_owned(), handler_name.to_owned());
        check::<Handlers>(&removed, Rule::HandlerUnknown { intent_type, handler_name });
    }
}

#[track_caller]
fn check_member<P: Projection + Default + PartialEq + Clone + std::fmt::Debug>(
    history: &History,
    expected: &str,
) {
    let error = refused::<P>(history).expect("a fault");
    let FoldError::Event(error) = error else { panic!("{error}") };
    assert_eq!(error.index, Some(Index(history.records.len() as u64 - 1)));
    match error.fault {
        Fault::Payload { member, .. } => assert_eq!(member, expected),
        Fault::NoExecution => assert_eq!(expected, "subjects"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_member_that_a_state_is_made_of_is_there() {
    let empty = |record: &mut Record| record.payload = "{}".to_owned();
    let decided = with(|history| history.decide(1, "ALLOW"), empty);
    check_member::<Decisions>(&decided, "intent_index");
    check_member::<Counts>(&decided, "intent_index");
    check_member::<Executions>(&decided, "intent_index");
    check_member::<Audit>(&decided, "intent_index");
    let submitted = with(|history| history.intent("default", "t", "ann"), empty);
    check_member::<Executions>(&submitted, "execution_id");
    check_member::<Executions>(&with(|history| history.execution(0, "running"), empty), "delivery");
    check_member::<Decisions>(&with(|history| history.policy(3), empty), "policy_id");
    check_member::<Decisions>(&with(|history| history.context(3), empty), "context_config_digest");
    check_member::<Handlers>(&with(|history| history.register("x", "a", "push"), empty), "intent_type");
    let unknown = with(|history| history.register("x", "a", "lambda"), |_| {});
    check_member::<Handlers>(&unknown, "kind");
    let unnamed = with(
        |history| history.execution(0, "event"),
        |record| {
            record.subjects[0].subject = "execution/one".to_owned();
        },
    );
    check_member::<Executions>(&unnamed, "subjects");
}

#[test]
fn an_audit_names_each_wrong_record_and_goes_on_behind_it() {
    let mut history = sample();
    history.decide(0, "DENY");
    history.execution(1, "failed");
    history.policy(4);
    history.records.last_mut().unwrap().subjects[0].expected = Some(Index(0));
    history.policy(5);
    history.decide(1, "ALLOW");
    history.execution(1, "running");
    history.records.last_mut().unwrap().payload = "{\"delivery\":1}".to_owned();
    history.execution(1, "completed");
    let expected = [
        (12, "audit", "SECOND_DECISION"),
        (12, "decisions", "SECOND_DECISION"),
        (12, "executions", "SECOND_DECISION"),
        (13, "executions", "EXECUTION_WITHOUT_ALLOW"),
        (14, "audit", "EXPECTED"),
    ];
    assert_eq!(audit(&history.log()), expected);
}
