//! Many intents at once, and how to go on where a run ends early.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::sync::{Mutex as TaskMutex, mpsc, watch};
use tokio::task::JoinSet;

use super::ledger::{Ledger, Outcome};
use super::line::{self, Place};
use super::lines::{Line, Source};
use crate::cli::{Exit, Failure, args, output, remote};
use crate::client::{Acknowledged, SubmitError, Submitter};
use crate::limits::BODY_BYTES_MAX;

/// What the workers share.
struct Shared {
    lines: TaskMutex<mpsc::Receiver<Line>>,
    ledger: Mutex<Ledger>,
    /// True once no further line is begun.
    stop: watch::Sender<bool>,
    file: String,
    bar: ProgressBar,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a run ended.
enum Ended {
    AtTheEnd,
    Interrupted,
}

pub(super) fn run(arguments: &args::Submit, path: &Path) -> Result<(), Failure> {
    let server = remote::server(&arguments.target)?;
    let unreadable =
        |cause| Failure::new(Exit::Failed, Unreadable { path: path.display().to_string(), cause });
    let source = Source::open(path).map_err(unreadable)?;
    let bar = bar(source.lines);
    bar.set_position(arguments.skip);
    bar.reset_eta();
    let (sender, receiver) = mpsc::channel(usize::from(arguments.concurrency));
    let shared = Arc::new(Shared {
        lines: TaskMutex::new(receiver),
        ledger: Mutex::new(Ledger::new(arguments.skip)),
        stop: watch::Sender::new(false),
        file: source.name.clone(),
        bar: bar.clone(),
    });
    let skip = arguments.skip;
    let reading = thread::Builder::new()
        .name("lines".to_owned())
        .spawn(move || source.send(skip, &sender))
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    let started = Instant::now();
    let patience = Duration::from_secs(arguments.retry_seconds);
    let outage = Arc::new(remote::outage(Some(bar.clone())));
    let ended = remote::runtime()?.block_on(async {
        let mut workers = JoinSet::new();
        for _ in 0..arguments.concurrency {
            let submitter = Submitter::new(server.clone(), patience, Arc::clone(&outage));
            workers.spawn(work(Arc::clone(&shared), submitter));
        }
        tokio::select! {
            () = async { while workers.join_next().await.is_some() {} } => Ended::AtTheEnd,
            _ = tokio::signal::ctrl_c() => Ended::Interrupted,
        }
    });
    bar.finish_and_clear();
    let took = started.elapsed();
    summary(arguments, &shared.ledger(), took)?;
    verdict(arguments, &shared.ledger(), &ended)?;
    // All lines were taken, so it is done. After a failure it may wait for standard input, and ends with the process.
    match reading.join() {
        Ok(read) => read.map_err(unreadable),
        Err(_panicked) => Err(Failure::new(Exit::Failed, "reading the lines panicked, which is a bug")),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
struct Unreadable {
    path: String,
    #[source]
    cause: io::Error,
}

fn bar(lines: Option<u64>) -> ProgressBar {
    match lines {
        Some(lines) => output::progress(lines, "submitting"),
        None => {
            let style = ProgressStyle::with_template("{msg} {spinner} {human_pos} {per_sec}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::no_length().with_style(style).with_message("submitting")
        }
    }
}

/// Submits one line after the other until there is none, or one has failed.
async fn work(shared: Arc<Shared>, mut submitter: Submitter) {
    let mut stop = shared.stop.subscribe();
    loop {
        let line = async { shared.lines.lock().await.recv().await };
        let line = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            line = line => line,
        };
        let Some(Line { number, text }) = line else { return };
        let outcome = submit(&shared, &mut submitter, number, &text).await;
        if let Outcome::Failed(_) = outcome {
            shared.stop.send_replace(true);
        }
        shared.ledger().note(number, outcome);
        shared.bar.inc(1);
    }
}

async fn submit(shared: &Shared, submitter: &mut Submitter, number: u64, text: &[u8]) -> Outcome {
    if text.trim_ascii().is_empty() {
        return Outcome::Blank;
    }
    if text.len() > BODY_BYTES_MAX {
        return Outcome::Failed(format!("it has more than {BODY_BYTES_MAX} bytes"));
    }
    let envelope = match line::envelope(text, Place { file: &shared.file, number }) {
        Ok(envelope) => envelope,
        Err(error) => return Outcome::Failed(format!("not an intent in JSON: {error}")),
    };
    // What it refers to may be on its way in a line before it.
    let early = !all_before_done(shared, number);
    let mut tried = submitter.submit(envelope.clone()).await;
    if early && tried.as_ref().is_err_and(may_come_too_early) {
        let mut done = shared.ledger().watch();
        let _ = done.wait_for(|done| done + 1 >= number).await;
        tried = submitter.submit(envelope).await;
    }
    match tried {
        Ok(Acknowledged { replayed: false, .. }) => Outcome::Appended,
        Ok(Acknowledged { replayed: true, .. }) => Outcome::Replayed,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn may_come_too_early(error: &SubmitError) -> bool {
    match error {
        SubmitError::Refused(refusal) => {
            matches!(refusal.reason_code.as_str(), "INVALID_PARENT" | "REF_NOT_FOUND")
        }
        SubmitError::GaveUp { .. } => false,
    }
}

fn all_before_done(shared: &Shared, number: u64) -> bool {
    *shared.ledger().watch().borrow() + 1 >= number
}

fn summary(arguments: &args::Submit, ledger: &Ledger, took: Duration) -> Result<(), Failure> {
    use std::io::Write as _;
    let Ledger { appended, replayed, failed, .. } = ledger;
    let accepted = appended + replayed;
    let seconds = took.as_secs_f64();
    let rate = if seconds > 0.0 { accepted as f64 / seconds } else { 0.0 };
    output::write(|out| {
        if arguments.json {
            let round = |value: f64| (value * 1000.0).round() / 1000.0;
            let summary = json!({
                "accepted": accepted, "replayed": replayed, "failed": failed,
                "seconds": round(seconds), "rate": round(rate), "resume_skip": ledger.resume_at(),
            });
            return writeln!(out, "{summary}");
        }
        writeln!(
            out,
            "{accepted} accepted ({replayed} of them before), {failed} failed, {seconds:.1} s, {rate:.0}/s"
        )
    })
}

/// # Errors
/// A line failed, or the run was interrupted.
fn verdict(arguments: &args::Submit, ledger: &Ledger, ended: &Ended) -> Result<(), Failure> {
    let skip = ledger.resume_at();
    let resume = format!(
        "the first {skip} lines are accepted; go on with the same lines and --skip {skip} (a line that was accepted \
         before is recognised, and appended once)"
    );
    match (&ledger.first_failed, ended) {
        (Some((line, why)), _) => {
            let hint =
                if arguments.skip + 1 == *line { format!("line {line} is the first one") } else { resume };
            Err(Failure::new(Exit::Failed, format!("line {line}: {why}")).hint(hint))
        }
        (None, Ended::Interrupted) => Err(Failure::new(Exit::Failed, "interrupted").hint(resume)),
        (None, Ended::AtTheEnd) => Ok(()),
    }
}
