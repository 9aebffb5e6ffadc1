//! Tasks, leases, the outbox and the datasets over random legal logs, against the model that made the logs.

use std::collections::BTreeMap;

use gesta_log_format::{Index, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::folds::{audit, check_changed, check_refused};
use super::history::tasks::{Held, Work};
use super::history::{History, histories, sample};
use super::{check_snapshot, fold};
use crate::Projection;
use crate::event::{BatchName, HandlerKind};
use crate::projections::datasets::Datasets;
use crate::projections::leases::{Lease, Leases};
use crate::projections::outbox::Outbox;
use crate::projections::tasks::{Open, Tasks};
use crate::task_lifecycle::{Standing, State, Transition};

fn check_lease(found: Option<&Lease>, held: Option<&Held>, attempt: u64) {
    let found = found.map(|lease| (lease.worker_id.as_str(), lease.claim_index.0, lease.expires_at.micros()));
    assert_eq!(found, held.map(|held| (held.worker.as_str(), held.claim, held.expires)), "{attempt}");
}

fn check_task(history: &History, open: &Open, work: &Work) {
    let state = State::ALL.into_iter().find(|state| state.text() == work.state).unwrap();
    let cancel_requested = work.cancel.is_some();
    let (attempt, max_attempts) = (work.attempt, work.attempts_max);
    assert_eq!(open.standing, Standing { state, attempt, max_attempts, cancel_requested });
    let indexes = (open.first_index, open.queued_index, open.last_index);
    assert_eq!(indexes, (Index(work.first), Index(work.queued), Index(work.last)));
    assert_eq!(open.cancel_requested, work.cancel.map(Index));
    assert_eq!(open.outcome, work.outcome.map(Index));
    assert_eq!(open.next_retry_at, work.retry_at.map(Timestamp::from_micros));
    check_lease(open.lease.as_ref(), work.lease.as_ref(), attempt);
    assert_eq!(open.live_lease().is_some(), work.state == "running");
    let intent = &history.records[history.intents[work.nth].index as usize];
    assert_eq!((&open.stream_id, &open.thread_id), (&intent.stream, &intent.thread));
    assert_eq!((&open.turn_id, &open.parent_turn_id), (&intent.turn, &intent.parent));
    assert_eq!(open.queued_at.micros(), history.records[work.queued as usize].micros);
    assert_eq!((open.kind, open.pool.as_str(), open.priority), (HandlerKind::Worker, "p", 7));
    assert_eq!(Some(open.handler.index.0), history.worker);
}

fn check_tasks(history: &History, tasks: &Tasks) {
    for work in &history.works {
        match tasks.task(work.task_id) {
            Some(open) => check_task(history, open, work),
            None => assert!(work.gone),
        }
        assert_eq!(tasks.task(work.task_id).is_none(), work.gone);
    }
    let mut by_change: Vec<_> =
        history.works.iter().filter(|work| !work.gone).map(|work| Index(work.last)).collect();
    by_change.sort_unstable();
    assert_eq!((tasks.count(), tasks.all().count()), (by_change.len(), by_change.len()));
    for since in [0, 5, 20, 60, history.records.len() as u64].map(Index) {
        let found: Vec<_> = tasks.changed_since(since).map(|open| open.last_index).collect();
        assert!(found.iter().eq(by_change.iter().filter(|change| **change >= since)));
    }
}

fn check_leases(history: &History, leases: &Leases) {
    let live: Vec<_> = history.works.iter().filter(|work| work.state == "running").collect();
    assert_eq!(leases.count(), live.len());
    let mut workers = BTreeMap::<&str, usize>::new();
    for work in live {
        check_lease(leases.of_task(work.task_id), work.lease.as_ref(), work.attempt);
        *workers.entry(work.lease.as_ref().unwrap().worker.as_str()).or_default() += 1;
    }
    assert!(leases.workers().eq(workers.clone()));
    for (worker, count) in workers {
        assert_eq!(leases.of_worker(worker).filter(|(_, lease)| lease.worker_id == worker).count(), count);
    }
    assert!(leases.by_expiry().map(|(_, lease)| lease.expires_at).is_sorted());
    assert_eq!(leases.by_expiry().count(), leases.count());
}

fn check_outbox(history: &History, outbox: &Outbox) {
    let found: Vec<_> = outbox.all().map(|batch| batch.index.0).collect();
    assert_eq!(found, history.waiting.iter().map(|one| one.index).collect::<Vec<_>>());
    for one in &history.waiting {
        let work = &history.works[one.work];
        let name = BatchName { batch_uri: one.uri.as_str().into(), attempt: Some(one.attempt) };
        let batch = outbox.batch(work.task_id, &name).unwrap();
        assert_eq!((batch.index.0, batch.dedupe_scope.as_str()), (one.index, one.scope));
        assert_eq!(outbox.last_index(work.task_id), Some(Index(work.last)));
        assert!(outbox.of_scope(&batch.stream_id, one.scope).any(|found| found == batch));
    }
    for (stream_id, scope, next) in outbox.next_of_each() {
        assert_eq!(outbox.of_scope(stream_id, scope).next(), Some(next));
    }
    assert!(outbox.published_since(Index(30)).all(|batch| batch.index >= Index(30)));
}

fn check_datasets(history: &History, datasets: &Datasets) {
    for ((stream, uuid, version), (registered, events, last)) in &history.versions {
        let dataset = datasets.dataset(stream, uuid).unwrap();
        let found = dataset.version(version).unwrap();
        let first = found.registered.as_ref().map(|registered| registered.index.0);
        assert_eq!((first, found.events, found.last_index.0), (*registered, *events, *last));
        assert_eq!(found.last_event.is_some(), *events > 0);
        let of_dataset =
            history.versions.iter().filter(|((other, one, _), _)| (other, one) == (stream, uuid));
        let newest = of_dataset.filter_map(|((.., version), (index, ..))| Some(((*index)?, *version))).max();
        assert_eq!(dataset.current().map(|(version, _)| version), newest.map(|(_, version)| version));
    }
    let count: usize = datasets.all().map(|(.., dataset)| dataset.versions().len()).sum();
    assert_eq!(count, history.versions.len());
}

proptest! {
    #[test]
    fn tasks_fold_with_a_snapshot_anywhere_as_in_one_go_and_as_the_model_says(
        history in histories(), cut in any::<prop::sample::Index>(),
    ) {
        let log = history.log();
        let cut = cut.index(log.len() + 1);
        check_snapshot(Tasks::default, &log, cut);
        check_snapshot(Leases::default, &log, cut);
        check_snapshot(Outbox::default, &log, cut);
        check_snapshot(Datasets::default, &log, cut);
        check_tasks(&history, &fold(Tasks::default(), &log));
        check_leases(&history, &fold(Leases::default(), &log));
        check_outbox(&history, &fold(Outbox::default(), &log));
        check_datasets(&history, &fold(Datasets::default(), &log));
        prop_assert_eq!(audit(&log), []);
    }

    #[test]
    fn a_changed_snapshot_of_tasks_is_refused_or_is_another_state(
        history in histories(), at in any::<prop::sample::Index>(), bit in 0..7_u8,
    ) {
        let log = history.log();
        check_changed(&fold(Tasks::default(), &log), at, bit);
        check_changed(&fold(Leases::default(), &log), at, bit);
        check_changed(&fold(Outbox::default(), &log), at, bit);
        check_changed(&fold(Datasets::default(), &log), at, bit);
    }
}

/// Two tasks: one that is running its second attempt and has a batch that waits, one whose retry is scheduled.
pub(super) fn worked() -> History {
    let mut history = sample();
    history.decide(1, "ALLOW");
    let (one, other) = (history.queue(0, 3), history.queue(1, 2));
    for what in
        ["claimed", "extended", "timed_out", "retry_scheduled", "queued", "claimed", "buffer_published"]
    {
        history.work(one, what);
    }
    for what in ["claimed", "failed", "retry_scheduled"] {
        history.work(other, what);
    }
    history.dataset(0, true);
    history.dataset(0, false);
    history
}

#[test]
fn the_random_logs_have_tasks_in_every_state() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut seen, mut gone) = (BTreeMap::<&str, u64>::new(), 0);
    for _ in 0..200 {
        let history = histories().new_tree(&mut runner).unwrap().current();
        history.works.iter().for_each(|work| *seen.entry(work.state).or_default() += 1);
        gone += history.works.iter().filter(|work| work.gone).count();
    }
    assert_eq!(seen.len(), State::ALL.len(), "{seen:?}");
    assert!(gone > 0 && seen.values().all(|count| *count > 2), "{seen:?}, {gone} gone");
}

#[test]
fn what_is_there_after_some_work() {
    let history = worked();
    let log = history.log();
    assert_eq!(audit(&log), []);
    let tasks = fold(Tasks::default(), &log);
    let id = history.works[0].task_id;
    assert_eq!(tasks.may(id, Transition::Completed { attempt: 2 }).unwrap().state, State::Completed);
    assert_eq!(tasks.may(id, Transition::Completed { attempt: 1 }).unwrap_err().name(), "TASK_STALE_ATTEMPT");
    let unknown = crate::event::ExecutionId(5);
    assert_eq!(tasks.may(unknown, Transition::CancelRequested).unwrap_err().name(), "TASK_NOT_OPEN");
    let leases = fold(Leases::default(), &log);
    assert_eq!(leases.all().map(|(task_id, lease)| (task_id, lease.attempt)).collect::<Vec<_>>(), [(id, 2)]);
}

#[test]
fn a_task_that_has_ended_stays_until_its_execution_ends() {
    let mut history = worked();
    history.work(0, "completed");
    let (before, id) = (fold(Tasks::default(), &history.log()), history.works[0].task_id);
    let ended = before.task(id).unwrap();
    assert_eq!((ended.outcome, ended.standing.state), (Some(history.last_of(0)), State::Completed));
    assert_eq!(fold(Leases::default(), &history.log()).count(), 0);
    history.end_execution(0);
    assert_eq!(fold(Tasks::default(), &history.log()).task(id), None);
    // A sink may be late.
    let uri = history.waiting[0].uri.clone();
    history.task(0, "buffer_committed", &format!("{{\"batch_uri\":\"{uri}\",\"row_count\":1}}"));
    assert_eq!(audit(&history.log()), []);
    assert_eq!(fold(Outbox::default(), &history.log()).all().len(), 0);
}

#[test]
fn the_states_of_tasks_are_written_as_documented() {
    let log = worked().log();
    let written = |snapshot: Vec<u8>| String::from_utf8(snapshot).unwrap();
    let tasks = written(fold(Tasks::default(), &log).snapshot());
    for part in [
        "\"handler\":{\"handler_name\":\"work\",\"index\":13,\"intent_type\":\"chat.message\"}",
        "\"limits\":{\"heartbeat_ms\":30000,\"lease_ms\":120000,\"max_attempts\":3,\"timeout_ms\":600000}",
        "\"state\":\"running\"",
        "\"state\":\"retry_scheduled\"",
        "\"nonce\":\"0000000000000",
    ] {
        assert!(tasks.contains(part), "{part} in {tasks}");
    }
    let datasets = written(fold(Datasets::default(), &log).snapshot());
    assert!(datasets.contains("\"last_event\":{\"cursor\":null,\"end\":\"5\","), "{datasets}");
    let digests = [
        fold(Tasks::default(), &log).digest(),
        fold(Leases::default(), &log).digest(),
        fold(Outbox::default(), &log).digest(),
        fold(Datasets::default(), &log).digest(),
    ];
    assert_eq!(digests.map(|digest| digest.hex()[..16].to_owned()), EXPECTED_DIGESTS);
}

/// The first digits; another form needs another version.
const EXPECTED_DIGESTS: [&str; 4] =
    ["da5e97e841a61876", "cb4642aa3e89cbc5", "4ef4c385ccf6e8c3", "df14b5f20865ec23"];

#[test]
fn states_of_tasks_that_contradict_themselves_are_refused() {
    let log = worked().log();
    let tasks = fold(Tasks::default(), &log);
    check_refused(&tasks, "\"state\":\"running\"", "\"state\":\"completed\"");
    check_refused(&tasks, "\"state\":\"running\"", "\"state\":\"retry_scheduled\"");
    check_refused(&tasks, "\"state\":\"retry_scheduled\"", "\"state\":\"queued\"");
    check_refused(&tasks, "\"kind\":\"worker\"", "\"kind\":\"builtin\"");
    check_refused(&tasks, "\"max_attempts\":3", "\"max_attempts\":1");
    check_refused(&tasks, "\"priority\":7", "\"priority\":10");
    check_refused(&tasks, "\"intent_index\":4", "\"intent_index\":40");
    check_refused(&tasks, "\"last_index\":22", "\"last_index\":99");
    let leases = fold(Leases::default(), &log);
    check_refused(&leases, "\"attempt\":2", "\"attempt\":0");
    check_refused(&leases, "\"claim_index\":2", "\"claim_index\":9");
    check_refused(&leases, "\"expires_at\":\"1970", "\"expires_at\":\"1870");
    let outbox = fold(Outbox::default(), &log);
    check_refused(&outbox, "\"index\":22", "\"index\":99");
    check_refused(&outbox, "\"last_index\":22", "\"last_index\":21");
    let datasets = fold(Datasets::default(), &log);
    check_refused(&datasets, "\"events\":1", "\"events\":0");
    check_refused(&datasets, "\"cursor\":null", "\"cursor\":\"1\"");
    check_refused(&datasets, "\"last_index\":27", "\"last_index\":26");
}
