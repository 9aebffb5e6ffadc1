//! `gesta submit`: one message, or every line of a file.

mod ledger;
mod line;
mod lines;
mod many;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use ulid::Ulid;

use super::{Failure, args, output, remote};
use crate::client::{SubmitError, Submitter};

/// # Errors
/// A server that cannot be reached, a refusal, a file that cannot be read.
pub fn run(arguments: args::Submit) -> Result<(), Failure> {
    match &arguments.source.ndjson {
        Some(path) => many::run(&arguments, path),
        None => one(&arguments),
    }
}

fn one(arguments: &args::Submit) -> Result<(), Failure> {
    let server = remote::server(&arguments.target)?;
    let outage = Arc::new(remote::outage(None));
    let patience = Duration::from_secs(arguments.retry_seconds);
    let envelope = envelope(arguments);
    let acknowledged = remote::runtime()?.block_on(async {
        Submitter::new(server, patience, outage).submit(envelope).await.map_err(|error| failure(&error))
    })?;
    output::write(|out| {
        use std::io::Write as _;
        out.write_all(acknowledged.body.trim_ascii())?;
        out.write_all(b"\n")
    })
}

fn envelope(arguments: &args::Submit) -> Bytes {
    let message = &arguments.message_fields;
    let ulid = || Ulid::generate().to_string();
    let or_new = |given: &Option<String>| given.clone().unwrap_or_else(ulid);
    let envelope = json!({
        "interface_version": 2,
        "correlation_id": or_new(&message.correlation_id),
        "payload": {
            "stream_id": message.stream,
            "lane": message.lane,
            "actor": message.actor,
            "intent_type": message.intent_type,
            "thread_id": message.thread,
            "turn_id": or_new(&message.turn),
            "parent_turn_id": message.parent_turn,
            "payload": { "message": arguments.source.message },
        },
    });
    envelope.to_string().into()
}

/// A single intent's failure.
fn failure(error: &SubmitError) -> Failure {
    match error {
        SubmitError::Refused(refusal) => remote::refused(refusal),
        SubmitError::GaveUp { .. } => {
            Failure::new(super::Exit::Failed, error.to_string()).hint(remote::UNREACHABLE)
        }
    }
}
