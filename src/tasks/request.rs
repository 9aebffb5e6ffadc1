//! Reads the bodies of workers' requests: shape and bounds, never whether the attempt is the latest.

use std::borrow::Cow;

use gesta_log_format::blob::is_reference;
use gesta_log_format::json::{self, ErrorKind, Kind, Reader};
use gesta_replay::event::TaskId;

use super::complete::{Report, Status};
use super::fence::Fence;
use super::items::{self, Item};
use crate::ingress::request::{Secrets, refused, rejected};
use crate::limits;
use crate::problem::{Problem, ReasonCode};

/// A claim by name or by pools.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) worker_id: String,
    pub(super) wanted: Wanted,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Task(TaskId),
    Pools { pools: Vec<String>, max: usize, wait_ms: u64 },
}

/// Reads the object of a body: `member` takes each member, or says that there is none of this name.
pub(super) fn object<'a>(
    body: &'a [u8],
    mut member: impl FnMut(&str, &mut Reader<'a>, &mut Secrets) -> Result<bool, json::Error>,
) -> Result<(), Problem> {
    let mut secrets = Secrets::default();
    let mut read = |secrets: &mut Secrets| {
        let mut reader = Reader::new(body)?.with_depth_max(limits::JSON_DEPTH_MAX);
        reader.begin_object()?;
        while let Some(key) = reader.next_member()? {
            if !member(&key, &mut reader, secrets)? {
                return Err(reader.fail(ErrorKind::UnknownField));
            }
        }
        reader.finish()
    };
    read(&mut secrets).map_err(|error| refused(body, &secrets, &error))
}

/// What a body lacks, or has in the wrong place.
pub(super) fn wrong(pointer: &str, detail: impl std::fmt::Display) -> Problem {
    Problem::new(ReasonCode::InvalidInput).detail(format!("{pointer}: {detail}.")).pointer(pointer)
}

pub(super) fn missing(pointer: &'static str) -> impl FnOnce() -> Problem {
    move || wrong(pointer, "is missing")
}

fn task_id(reader: &mut Reader<'_>) -> Result<TaskId, json::Error> {
    let text = reader.string()?;
    TaskId::parse(text.as_bytes()).ok_or_else(|| reader.fail(rejected("give a task's id, a ULID")))
}

pub(super) fn text(reader: &mut Reader<'_>, bytes_max: usize) -> Result<String, json::Error> {
    let text = reader.string()?;
    let is_fit = (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control);
    match is_fit {
        true => Ok(text.into_owned()),
        false => {
            Err(reader.fail(rejected(format!("give 1 to {bytes_max} bytes without control characters"))))
        }
    }
}

pub(super) fn number(reader: &mut Reader<'_>, min: u64, max: u64) -> Result<u64, json::Error> {
    let number = u64::try_from(reader.integer()?).ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| reader.fail(rejected(format!("give a whole number from {min} to {max}"))))
}

/// A message for people: cut to what a record holds, at a character.
fn message(reader: &mut Reader<'_>) -> Result<String, json::Error> {
    let text = reader.string()?;
    let mut end = text.len().min(limits::TASK_MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Ok(text.get(..end).unwrap_or_default().to_owned())
}

/// Reads the body of a claim.
///
/// # Errors
/// `INVALID_JSON`, `INVALID_INPUT`, as for each of those below.
pub(super) fn claim(body: &[u8]) -> Result<Claim, Problem> {
    let (mut task, mut worker, mut pools, mut max, mut wait_ms) = (None, None, None, None, None);
    object(body, |key, reader, _| {
        match key {
            "task_id" => task = Some(task_id(reader)?),
            "worker_id" => worker = Some(text(reader, limits::TEXT_ID_BYTES_MAX)?),
            "pools" => pools = Some(pool_names(reader)?),
            "max" => max = Some(number(reader, 1, limits::TASK_CLAIM_TASKS_MAX as u64)?),
            "wait_ms" => wait_ms = Some(number(reader, 0, limits::TASK_CLAIM_WAIT_MS_MAX)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let worker_id = worker.ok_or_else(missing("/worker_id"))?;
    let wanted = match (task, pools) {
        (Some(task), None) if max.is_none() && wait_ms.is_none() => Wanted::Task(task),
        (None, Some(pools)) => Wanted::Pools {
            pools,
            max: usize::try_from(max.unwrap_or(1)).unwrap_or(1),
            wait_ms: wait_ms.unwrap_or(0),
        },
        (Some(_), Some(_) | None) => {
            return Err(wrong("/task_id", "goes alone: with it there are no pools, max or wait_ms"));
        }
        (None, None) => return Err(wrong("/pools", "is missing: give pools, or a task_id")),
    };
    Ok(Claim { worker_id, wanted })
}

fn pool_names(reader: &mut Reader<'_>) -> Result<Vec<String>, json::Error> {
    let mut names = Vec::new();
    reader.begin_array()?;
    let whole = reader.mark();
    while reader.next_element()? {
        names.push(text(reader, limits::TEXT_ID_BYTES_MAX)?);
        if names.len() > limits::TASK_CLAIM_POOLS_MAX {
            let most = limits::TASK_CLAIM_POOLS_MAX;
            return Err(reader.fail_at(whole, rejected(format!("give at most {most} pools"))));
        }
    }
    if names.is_empty() {
        return Err(reader.fail_at(whole, rejected("give at least one pool")));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The members of a fence, as they come.
#[derive(Default)]
pub(super) struct FenceMembers {
    task_id: Option<TaskId>,
    attempt: Option<u64>,
    lease_token: Option<String>,
}

impl FenceMembers {
    pub(super) fn member(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<bool, json::Error> {
        match key {
            "task_id" => self.task_id = Some(task_id(reader)?),
            "attempt" => self.attempt = Some(number(reader, 1, u64::from(u32::MAX))?),
            "lease_token" => self.lease_token = Some(text(reader, limits::TEXT_ID_BYTES_MAX)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn fence(self) -> Result<Fence, Problem> {
        Ok(Fence {
            task_id: self.task_id.ok_or_else(missing("/task_id"))?,
            attempt: self.attempt.ok_or_else(missing("/attempt"))?,
            lease_token: self.lease_token.ok_or_else(missing("/lease_token"))?,
        })
    }
}

/// Reads a body that is nothing but a fence.
pub(crate) fn fence(body: &[u8]) -> Result<Fence, Problem> {
    let mut members = FenceMembers::default();
    object(body, |key, reader, _| members.member(key, reader))?;
    members.fence()
}

/// Reads a fence and a list of dataset events.
pub(super) fn events(body: &[u8]) -> Result<(Fence, Vec<u8>), Problem> {
    let (mut members, mut events) = (FenceMembers::default(), None);
    object(body, |key, reader, secrets| {
        if key == "events" {
            events = Some(list(reader, secrets)?);
            return Ok(true);
        }
        members.member(key, reader)
    })?;
    let events = events.ok_or_else(missing("/events"))?;
    items::check(&events, Item::Event, "/events")?;
    Ok((members.fence()?, events))
}

fn list(reader: &mut Reader<'_>, secrets: &mut Secrets) -> Result<Vec<u8>, json::Error> {
    if reader.peek()? != Kind::Array {
        reader.begin_array()?;
    }
    let mut out = Vec::new();
    reader.canonical_value(&mut out, secrets)?;
    Ok(out)
}

/// Reads the report of an attempt's end.
pub(super) fn report(body: &[u8]) -> Result<Report, Problem> {
    let (mut members, mut status, mut retryable) = (FenceMembers::default(), None, None);
    let (mut result, mut error_message, mut code) = (None, None, None);
    let (mut events, mut outputs, mut datasets, mut stderr) = (None, None, None, None);
    object(body, |key, reader, secrets| {
        match key {
            "status" => {
                let name = reader.string()?;
                let found = Status::parse(&name);
                let wanted = "give Completed, Failed or Canceled";
                status = Some(found.ok_or_else(|| reader.fail(rejected(wanted)))?);
            }
            "result" => result = object_or_null(reader, secrets)?,
            "retryable" => retryable = Some(reader.boolean()?),
            "error_message" => error_message = Some(message(reader)?),
            "code" => code = Some(error_code(reader)?),
            "events" => events = Some(list(reader, secrets)?),
            "outputs" => outputs = Some(list(reader, secrets)?),
            "datasets_published" => datasets = Some(list(reader, secrets)?),
            "stderr" => stderr = Some(blob(reader, secrets)?),
            _ => return members.member(key, reader),
        }
        Ok(true)
    })?;
    let status = status.ok_or_else(missing("/status"))?;
    for (given, item, pointer) in [
        (&events, Item::Event, "/events"),
        (&outputs, Item::Output, "/outputs"),
        (&datasets, Item::Dataset, "/datasets_published"),
    ] {
        let Some(given) = given else { continue };
        if status != Status::Completed && given.as_slice() != b"[]" {
            return Err(wrong(pointer, "goes with the status Completed only"));
        }
        items::check(given, item, pointer)?;
    }
    if result.as_deref().is_some_and(is_reference) {
        return Err(wrong("/result", "is no reference as a whole: let its members refer to blobs"));
    }
    if status != Status::Completed && result.is_some() {
        return Err(wrong("/result", "goes with the status Completed only"));
    }
    if status != Status::Failed && (retryable.is_some() || code.is_some()) {
        let pointer = if code.is_some() { "/code" } else { "/retryable" };
        return Err(wrong(pointer, "goes with the status Failed only"));
    }
    let some = |list: Option<Vec<u8>>| list.filter(|list| list.as_slice() != b"[]");
    Ok(Report {
        fence: members.fence()?,
        status,
        result,
        retryable: retryable.unwrap_or(true),
        error_message,
        code: code.map(Cow::into_owned),
        events: some(events),
        outputs: some(outputs),
        datasets: some(datasets),
        stderr,
    })
}

/// A reference to a blob, and nothing else.
fn blob(reader: &mut Reader<'_>, secrets: &mut Secrets) -> Result<Vec<u8>, json::Error> {
    if reader.peek()? != Kind::Object {
        reader.begin_object()?;
    }
    let whole = reader.mark();
    let mut out = Vec::new();
    reader.canonical_value(&mut out, secrets)?;
    match is_reference(&out) {
        true => Ok(out),
        false => {
            let wanted = "give a blob: {\"$blob\": \"sha256:…\", \"media_type\": \"…\", \"size_bytes\": n}";
            Err(reader.fail_at(whole, rejected(wanted)))
        }
    }
}

/// None for null, which says what a member that is left out says.
fn object_or_null(reader: &mut Reader<'_>, secrets: &mut Secrets) -> Result<Option<Vec<u8>>, json::Error> {
    let kind = reader.peek()?;
    if !matches!(kind, Kind::Object | Kind::Null) {
        reader.begin_object()?;
    }
    let mut out = Vec::new();
    reader.canonical_value(&mut out, secrets)?;
    Ok((kind == Kind::Object).then_some(out))
}

fn error_code<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, json::Error> {
    let code = reader.string()?;
    let is_code = (1..=64).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    match is_code {
        true => Ok(code),
        false => Err(reader.fail(rejected("give 1 to 64 upper-case letters, digits and underscores"))),
    }
}

/// Reads who cancels why: nothing, or `{reason?}`.
pub(super) fn reason(body: &[u8]) -> Result<Option<String>, Problem> {
    let mut reason = None;
    if body.is_empty() {
        return Ok(None);
    }
    object(body, |key, reader, _| {
        if key == "reason" {
            reason = Some(message(reader)?);
        }
        Ok(key == "reason")
    })?;
    Ok(reason)
}
