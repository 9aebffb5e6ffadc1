//! Reads the body of `POST /execution/event`, and makes its payload that of a record.

use std::borrow::Cow;

use gesta_log_format::envelope::OBSERVATIONAL;
use gesta_log_format::json::{self, ErrorKind, Reader, canonical};
use gesta_log_format::{Digest, blob};
use gesta_replay::event::{Execution, Failure};
use gesta_replay::lifecycle::{Standing, Transition};

use crate::ingress::request::{DEFAULT_STREAM, Secrets, read_stream_id, refused, rejected};
use crate::limits;
use crate::problem::{Problem, ReasonCode};

/// A report whose shape is right.
#[derive(Debug, PartialEq, Eq)]
pub struct Report<'a> {
    pub stream_id: Cow<'a, str>,
    pub correlation_id: Cow<'a, str>,
    /// Never `state_set`, which has another subject.
    pub execution: Execution,
    /// One canonical JSON object.
    pub payload: Vec<u8>,
    /// Which delivery a `running` says that it is.
    delivery: Option<u64>,
}

/// Reads a report.
///
/// # Errors
/// `INVALID_JSON`, `INVALID_INPUT`, `SECRETS_PRESENT`, each with the pointer of the first thing that is wrong.
pub fn parse(body: &[u8]) -> Result<Report<'_>, Problem> {
    let mut secrets = Secrets::default();
    let mut report = read(body, &mut secrets).map_err(|error| refused(body, &secrets, &error))?;
    report.delivery = check(&report)?;
    Ok(report)
}

fn read<'a>(body: &'a [u8], secrets: &mut Secrets) -> Result<Report<'a>, json::Error> {
    let mut reader = Reader::new(body)?.with_depth_max(limits::JSON_DEPTH_MAX);
    let (mut stream_id, mut correlation_id, mut execution) = (Cow::Borrowed(DEFAULT_STREAM), None, None);
    let mut payload = None;
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        match &*key {
            "stream_id" => stream_id = read_stream_id(&mut reader)?,
            "correlation_id" => correlation_id = Some(read_correlation_id(&mut reader)?),
            "type" => execution = Some(read_type(&mut reader)?),
            "payload" => {
                if reader.peek()? != json::Kind::Object {
                    reader.begin_object()?;
                }
                let mut text = Vec::new();
                reader.canonical_value(&mut text, secrets)?;
                payload = Some(text);
            }
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        }
    }
    let missing = |field| reader.fail_at(whole, ErrorKind::MissingField { field });
    let correlation_id = correlation_id.ok_or_else(|| missing("correlation_id"))?;
    let execution = execution.ok_or_else(|| missing("type"))?;
    let payload = payload.ok_or_else(|| missing("payload"))?;
    reader.finish()?;
    Ok(Report { stream_id, correlation_id, execution, payload, delivery: None })
}

/// Also one that only the server gives: its intents are reported on too.
fn read_correlation_id<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, json::Error> {
    let id = reader.string()?;
    let length = 1..=limits::CORRELATION_ID_BYTES_MAX;
    if length.contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(id);
    }
    Err(reader.fail(rejected("give 1 to 128 visible ASCII characters")))
}

fn read_type(reader: &mut Reader<'_>) -> Result<Execution, json::Error> {
    let name = reader.string()?;
    let found = Execution::parse(&name).filter(|found| *found != Execution::StateSet);
    found.ok_or_else(|| {
        let types = "give running, event, step_completed, step_failed, completed, failed or cancelled";
        reader.fail(rejected(types))
    })
}

/// Whether the payload has what its type asks for, so that whoever reads the log finds it; gives the delivery.
fn check(report: &Report<'_>) -> Result<Option<u64>, Problem> {
    let member = |name| canonical::member(&report.payload, name);
    if member(OBSERVATIONAL).is_some() {
        return Err(wrong(OBSERVATIONAL, "is the server's own: leave it out"));
    }
    let text = |name, required| match member(name) {
        Some(value) if canonical::string(value).is_none() => Err(wrong(name, "has to be a text")),
        None if required => Err(wrong(name, "is missing: give a text")),
        Some(_) | None => Ok(()),
    };
    let delivery = || match member("delivery") {
        Some(value) => whole_number(value).map(Some).ok_or_else(|| {
            wrong("delivery", "has to be a whole number from 1: leave it out to have it filled in")
        }),
        None => Ok(None),
    };
    match report.execution {
        Execution::Running => {
            if let Some(digest) = member("context_digest")
                && canonical::string(digest).and_then(|text| Digest::parse(&text)).is_none()
            {
                return Err(wrong("context_digest", "has to be sha256: and 64 digits"));
            }
            return delivery();
        }
        Execution::StepCompleted | Execution::StepFailed => text("step", true)?,
        Execution::Completed => drop(delivery()?),
        Execution::Failed => {
            delivery()?;
            let error = member("error");
            if !error.is_some_and(|error| Failure::parse(error).is_some() || blob::is_reference(error)) {
                return Err(wrong("error", "has to be an object with the texts code and message"));
            }
        }
        Execution::Cancelled => {
            text("by", false)?;
            text("reason", false)?;
        }
        Execution::Event | Execution::StateSet => {}
    }
    Ok(None)
}

fn wrong(member: &str, what: &str) -> Problem {
    let pointer = format!("/payload/{member}");
    Problem::new(ReasonCode::InvalidInput).detail(format!("{pointer}: it {what}.")).pointer(pointer)
}

fn whole_number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok().filter(|number| *number > 0)
}

impl Report<'_> {
    /// What decides whether another report is the same: SHA-256 of the canonical `{payload, type}`.
    pub fn digest(&self) -> Digest {
        let mut text = b"{\"payload\":".to_vec();
        text.extend_from_slice(&self.payload);
        text.extend_from_slice(format!(",\"type\":\"{}\"}}", self.execution.text()).as_bytes());
        Digest::of(&text)
    }

    /// What it makes happen to an execution that stands there.
    pub fn transition(&self, standing: Standing) -> Transition {
        match self.execution {
            Execution::Running => {
                let next = standing.deliveries.saturating_add(1);
                Transition::Running { delivery: self.delivery.unwrap_or(next) }
            }
            Execution::Event | Execution::StateSet => Transition::Event,
            Execution::StepCompleted => Transition::StepCompleted,
            Execution::StepFailed => Transition::StepFailed,
            Execution::Completed => Transition::Completed,
            Execution::Failed => Transition::Failed,
            Execution::Cancelled => Transition::Cancelled,
        }
    }

    /// The record's payload: what was sent, with what was left out filled in, and who sent it.
    pub fn record_payload(&self, transition: Transition, principal: &str) -> Vec<u8> {
        let mut by = Vec::new();
        json::write_string(&mut by, principal);
        let mut observed = b"{\"reported_by\":".to_vec();
        observed.extend_from_slice(&by);
        observed.extend_from_slice(format!(",\"request_digest\":\"{}\"}}", self.digest()).as_bytes());
        let mut added = vec![(OBSERVATIONAL, observed)];
        match transition {
            Transition::Running { delivery } => added.push(("delivery", delivery.to_string().into_bytes())),
            Transition::Cancelled => added.push(("by", by)),
            Transition::Event
            | Transition::StepCompleted
            | Transition::StepFailed
            | Transition::Completed
            | Transition::Failed => {}
        }
        added.retain(|(name, _)| canonical::member(&self.payload, name).is_none());
        added.sort();
        with_members(&self.payload, &added)
    }
}

/// A canonical object with more members, which it does not have; their names are ASCII and in order.
fn with_members(object: &[u8], added: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len() + 192);
    let mut push = |key: &[u8], value: &[u8]| {
        out.extend_from_slice(if out.is_empty() { b"{\"" } else { b",\"" });
        out.extend_from_slice(key);
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    };
    let mut added = added.iter().peekable();
    for (key, value) in canonical::Members::new(object).map_while(Result::ok) {
        let name = canonical::unescape(key).unwrap_or_default();
        // Canonical order is that of UTF-16; against a name in ASCII that of bytes is the same.
        while let Some((first, text)) = added.next_if(|(added, _)| *added < &*name) {
            push(first.as_bytes(), text);
        }
        push(key, value);
    }
    for (name, text) in added {
        push(name.as_bytes(), text);
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(body: &str, code: ReasonCode, pointer: &str) {
        let problem = parse(body.as_bytes()).unwrap_err();
        let shown = serde_json::to_value(problem.body()).unwrap();
        assert_eq!((problem.code(), shown["pointer"].as_str()), (code, Some(pointer)), "{body}");
    }

    #[test]
    fn what_is_wrong_with_a_report_is_pointed_at() {
        use ReasonCode::{InvalidInput, InvalidJson, SecretsPresent};
        let report = |type_name: &str, payload: &str| {
            format!("{{\"correlation_id\":\"c\",\"type\":\"{type_name}\",\"payload\":{payload}}}")
        };
        check_refused("{", InvalidJson, "");
        check_refused("[]", InvalidInput, "");
        check_refused("{\"type\":\"event\",\"payload\":{}}", InvalidInput, "/correlation_id");
        check_refused("{\"correlation_id\":\"c\",\"payload\":{}}", InvalidInput, "/type");
        check_refused("{\"correlation_id\":\"c\",\"type\":\"event\"}", InvalidInput, "/payload");
        check_refused(&report("event", "[]"), InvalidInput, "/payload");
        check_refused(&report("state_set", "{}"), InvalidInput, "/type");
        check_refused(&report("done", "{}"), InvalidInput, "/type");
        check_refused(
            &report("event", "{\"a\":[{\"api-key\":\"x\"}]}"),
            SecretsPresent,
            "/payload/a/0/api-key",
        );
        check_refused(&report("event", "{\"_obs\":{}}"), InvalidInput, "/payload/_obs");
        check_refused(&report("running", "{\"delivery\":0}"), InvalidInput, "/payload/delivery");
        check_refused(
            &report("running", "{\"context_digest\":\"x\"}"),
            InvalidInput,
            "/payload/context_digest",
        );
        check_refused(&report("step_completed", "{}"), InvalidInput, "/payload/step");
        check_refused(&report("failed", "{\"error\":{\"code\":\"X\"}}"), InvalidInput, "/payload/error");
        check_refused(&report("cancelled", "{\"by\":1}"), InvalidInput, "/payload/by");
        check_refused(
            "{\"correlation_id\":\"c\",\"type\":\"event\",\"payload\":{},\"x\":1}",
            InvalidInput,
            "/x",
        );
        check_refused(
            "{\"correlation_id\":\"c\",\"type\":\"event\",\"payload\":{},\"stream_id\":\"_system\"}",
            InvalidInput,
            "/stream_id",
        );
    }

    #[track_caller]
    fn check_payload(type_name: &str, payload: &str, expected: &str) {
        let body = format!("{{\"correlation_id\":\"rt:c\",\"type\":\"{type_name}\",\"payload\":{payload}}}");
        let report = parse(body.as_bytes()).unwrap();
        let transition = report.transition(Standing::default());
        let written = String::from_utf8(report.record_payload(transition, "agent")).unwrap();
        assert!(json::is_canonical(written.as_bytes()), "{written}");
        let observed =
            format!("\"_obs\":{{\"reported_by\":\"agent\",\"request_digest\":\"{}\"}}", report.digest());
        assert_eq!(written.replace(&observed, "OBS"), expected);
    }

    #[test]
    fn what_was_left_out_is_filled_in_where_it_belongs() {
        check_payload("running", "{}", "{OBS,\"delivery\":1}");
        check_payload("running", "{\"delivery\":3}", "{OBS,\"delivery\":3}");
        check_payload("running", "{\"A\":1,\"z\":2}", "{\"A\":1,OBS,\"delivery\":1,\"z\":2}");
        check_payload("running", "{\"\u{e9}\":1}", "{OBS,\"delivery\":1,\"\u{e9}\":1}");
        check_payload("event", "{\"\\u0001\":1}", "{\"\\u0001\":1,OBS}");
        check_payload("cancelled", "{\"reason\":\"r\"}", "{OBS,\"by\":\"agent\",\"reason\":\"r\"}");
        check_payload("cancelled", "{\"by\":\"me\"}", "{OBS,\"by\":\"me\"}");
        check_payload("completed", "{\"output\":{\"x\":1}}", "{OBS,\"output\":{\"x\":1}}");
    }
}
