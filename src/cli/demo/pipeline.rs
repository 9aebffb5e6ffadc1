//! The second part: tasks that real programs work on, each stage in a pool of its own.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::follower::PATIENCE;
use super::home::Served;
use super::say::Say;
use super::steps::check;
use crate::auth::{Role, TokenDigest, random};
use crate::cli::{Exit, Failure, remote};
use crate::client::{Body, Caller, Outage, Server, Submitter};

const TEXTS: [&str; 3] = ["to be or not to be", "the quick brown fox jumps", "ship it"];

/// Words in all of them.
const WORDS: u64 = 6 + 5 + 2;

/// Counts the words of a text: sed and wc, as they come with every system.
const COUNT: &str =
    r#"sh -c 'words=$(sed "s/.*\"text\":\"\([^\"]*\)\".*/\1/" | wc -w); echo "{\"words\": $words}"'"#;

/// Adds up numbers, but not on its first attempt.
const SUM: &str = r#"sh -c 'read -r task
case $task in *"\"attempt\":1,"*) echo "no luck today" >&2; exit 75;; esac
sum=$(echo "$task" | sed "s/.*\"numbers\":\[\([0-9,]*\)\].*/\1/" | tr , +); echo "{\"sum\": $(($sum))}"'"#;

/// # Errors
/// A step that did not come out as it should.
pub(super) async fn run(data: &Path, say: &mut Say) -> Result<(), Failure> {
    let (mine, workers) = (token()?, token()?);
    let served = start(data, &[("demo", &mine, &PEOPLE), ("worker", &workers, &[Role::Worker])], say)?;
    let caller = Caller::new(remote::server_at(&served.url, Some(&mine), None)?);
    let mut stage = Stage { caller, served, workers };
    stage.register(say).await?;
    stage.submit_texts(say).await?;
    let numbers = stage.count(say).await?;
    stage.sum(say, &numbers).await?;
    stage.retry(say).await?;
    stage.show(say).await
}

/// What the demo itself may do: submit, look, operate.
const PEOPLE: [Role; 3] = [Role::IntentWrite, Role::LogRead, Role::Operator];

fn token() -> Result<String, Failure> {
    random("gesta").map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

fn start(data: &Path, tokens: &[(&str, &str, &[Role])], say: &mut Say) -> Result<Served, Failure> {
    say.step("Another server starts, with a listener for workers and one for the code that they run")?;
    let entries = tokens.iter().map(|(name, token, roles)| {
        let roles: Vec<_> = roles.iter().map(|role| role.name()).collect();
        let digest = TokenDigest::of(token.as_bytes()).hex();
        format!(
            "[[auth.tokens]]\nname = {name:?}\nsha256 = {digest:?}\nroles = {roles:?}\nstreams = [\"*\"]\n"
        )
    });
    let config = data.join("gesta.toml");
    let written = fs::create_dir_all(data).and_then(|()| fs::write(&config, entries.collect::<String>()));
    written.map_err(|error| Failure::new(Exit::Failed, error))?;
    let served = Served::start_with_workers(&data.join("data"), &config)?;
    say.detail("$ gesta token new --name worker --roles worker   and its entry goes into gesta.toml")?;
    say.detail("$ gesta serve --config gesta.toml --listen-internal … --listen-task … --insecure-loopback")?;
    say.proved(&format!(
        "{}, {}, {}: none answers another's paths",
        served.url, served.internal, served.task
    ))?;
    Ok(served)
}

struct Stage {
    served: Served,
    caller: Caller,
    /// The token of workers.
    workers: String,
}

impl Stage {
    async fn register(&mut self, say: &mut Say) -> Result<(), Failure> {
        say.step("Two handlers are registered: what is allowed becomes a task in a pool")?;
        for pool in ["count", "sum"] {
            let handler = json!({
                "intent_type": format!("demo.{pool}"), "handler_name": pool, "kind": "worker", "pool": pool,
            });
            self.post("/api/intent/handlers", &handler).await?;
            say.detail(&format!(
                "POST /api/intent/handlers  demo.{pool}  ->  workers of the pool \"{pool}\""
            ))?;
        }
        Ok(())
    }

    async fn submit_texts(&mut self, say: &mut Say) -> Result<(), Failure> {
        say.step("Three texts are posted whose words are to be counted; nobody is there yet to do it")?;
        for (nth, text) in TEXTS.iter().enumerate() {
            self.submit(&format!("text-{nth}"), "demo.count", &json!({ "text": text })).await?;
            say.detail(&format!("POST /ingress/intent  demo.count  \"{text}\""))?;
        }
        Ok(())
    }

    async fn count(&mut self, say: &mut Say) -> Result<Vec<u64>, Failure> {
        say.step(
            "A worker runs a program for each: the task on standard input, its result on standard output",
        )?;
        say.detail("$ gesta worker --pool count --exec \"sh -c '… sed … | wc -w …'\" --max 3")?;
        let done = self.work("count", COUNT, TEXTS.len()).await?;
        check(done == vec!["Completed"; TEXTS.len()], "a task was not completed")?;
        let mut numbers = Vec::new();
        for nth in 0..TEXTS.len() {
            let records = self.ended(&format!("text-{nth}"), "completed").await?;
            let words = records.last().and_then(|record| record["payload"]["output"]["words"].as_u64());
            numbers.extend(words);
        }
        let told = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        say.proved(&format!("claimed, run and completed once each: {told} words"))?;
        Ok(numbers)
    }

    async fn sum(&mut self, say: &mut Say, numbers: &[u64]) -> Result<(), Failure> {
        say.step("The next stage adds up what the first has found, and its program has a bad day")?;
        self.submit("total", "demo.sum", &json!({ "numbers": numbers })).await?;
        say.detail("$ gesta worker --pool sum --exec \"sh -c '… tr , + …'\" --once")?;
        let done = self.work("sum", SUM, 1).await?;
        check(done == ["Failed"], "the first attempt should have failed")?;
        let failed = self.of("total").await?;
        let message = failed.iter().find_map(|record| record["payload"]["error_message"].as_str());
        say.blow(message.unwrap_or_default())?;
        say.proved("exit code 75 says: try again. That is in the log, with the time at which it is due")
    }

    async fn retry(&mut self, say: &mut Say) -> Result<(), Failure> {
        say.step("An operator does not want to wait")?;
        let task_id = self.of("total").await?.iter().find_map(task_of);
        let Some(task_id) = task_id else { return check(false, "there is no task") };
        self.until("total", |records| records.iter().any(|record| record["type"] == "retry_scheduled"))
            .await?;
        say.detail(&format!("$ gesta tasks retry {task_id}"))?;
        self.post(&format!("/api/task/{task_id}/retry"), &json!({})).await?;
        let done = self.work("sum", SUM, 1).await?;
        check(done == ["Completed"], "the second attempt should have been completed")?;
        say.proved("the second attempt was completed; a report of the first one would be refused")
    }

    async fn show(&mut self, say: &mut Say) -> Result<(), Failure> {
        say.step("All of it is in the log, each step behind the one that it follows from")?;
        let records = self.ended("total", "completed").await?;
        for record in &records {
            let part = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            let attempt = record["payload"]["attempt"].as_u64();
            let attempt = attempt
                .filter(|attempt| *attempt > 0)
                .map_or_else(String::new, |attempt| format!("  attempt {attempt}"));
            say.plain(&format!("     {:>3}  {}/{}{attempt}", record["index"], part("kind"), part("type")))?;
        }
        let total = records.last().map(|record| record["payload"]["output"]["sum"].clone());
        check(total == Some(WORDS.into()), "the sum is wrong")?;
        say.proved(&format!("{WORDS} words in all"))
    }

    /// Runs a worker until it has done so many tasks, and gives how each was reported.
    async fn work(&self, pool: &str, exec: &str, tasks: usize) -> Result<Vec<String>, Failure> {
        let mut command = Served::program("worker")?;
        command.args(["--exec", exec, "--pool", pool, "--max", &tasks.to_string(), "--json"]);
        command.args(["--url", &self.served.internal, "--task-url", &self.served.task]);
        command.env("GESTA_TOKEN", &self.workers);
        let mut worker = Running::start(command)?;
        let Some(mut output) = worker.0.stdout.take() else { return Ok(Vec::new()) };
        let read = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).map(|_| text)
        });
        let text = match timeout(PATIENCE, read).await {
            Ok(Ok(Ok(text))) => text,
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => {
                return Err(Failure::new(Exit::Failed, "the worker does not end"));
            }
        };
        let notes = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(notes.filter_map(|note| Some(note["status"].as_str()?.to_owned())).collect())
    }

    async fn submit(&self, correlation_id: &str, intent_type: &str, payload: &Value) -> Result<(), Failure> {
        let envelope = json!({
            "interface_version": 2,
            "correlation_id": correlation_id,
            "payload": {
                "lane": "batch", "actor": "demo", "intent_type": intent_type, "thread_id": "pipeline",
                "turn_id": correlation_id, "payload": payload,
            },
        });
        let outage = Arc::new(Outage::new(|_| {}));
        let mut submitter = Submitter::new(self.server(), PATIENCE, outage);
        let submitted = submitter.submit(envelope.to_string().into()).await;
        submitted.map(drop).map_err(|error| Failure::new(Exit::Failed, format!("an intent: {error}")))
    }

    fn server(&self) -> Server {
        self.caller.server().clone()
    }

    async fn post(&mut self, path: &str, body: &Value) -> Result<(), Failure> {
        let request = self.caller.server().post(path, Body::new(body.to_string().into()));
        let answer = self.caller.call(request).await.map_err(|error| Failure::new(Exit::Failed, error))?;
        if answer.status.is_success() { Ok(()) } else { Err(remote::refusal(&answer)) }
    }

    /// The records of an intent.
    async fn of(&mut self, correlation_id: &str) -> Result<Vec<Value>, Failure> {
        let path = format!("/events?stream_id=default&correlation_id={correlation_id}");
        let answer = remote::get(&mut self.caller, &path).await?;
        if !answer.status.is_success() {
            return Err(remote::refusal(&answer));
        }
        let mut page: Value = remote::json(&answer)?;
        Ok(page["events"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// The records of an intent, once there are those that are waited for.
    async fn until(
        &mut self,
        correlation_id: &str,
        there: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let records = self.of(correlation_id).await?;
            if there(&records) {
                return Ok(records);
            }
            check(Instant::now() < deadline, "a record that must follow does not")?;
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The records of an intent whose execution has ended so.
    async fn ended(&mut self, correlation_id: &str, how: &str) -> Result<Vec<Value>, Failure> {
        self.until(correlation_id, |records| {
            records.last().is_some_and(|last| last["kind"] == "EXECUTION" && last["type"] == how)
        })
        .await
    }
}

/// The task that a record is about.
fn task_of(record: &Value) -> Option<String> {
    let subject = record["subjects"][0]["subject"].as_str()?;
    Some(subject.strip_prefix("task/")?.to_owned())
}

/// A process that is killed where it is dropped before its end.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Result<Self, Failure> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map(Self).map_err(|error| Failure::new(Exit::Failed, error))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
