//! Reads the bodies by which an attempt asks for states, and writes states, artifacts and steps.

use gesta_log_format::Index;
use gesta_log_format::json::{self, Kind, Reader};

use super::super::fence::Fence;
use super::super::request::{FenceMembers, missing, number, object, wrong};
use crate::ingress::request::rejected;
use crate::limits::STATE_BYTES_MAX;
use crate::problem::{Problem, ReasonCode};
use crate::state::{Artifact, Scope, Step, read_artifact, read_state, read_step};

/// What is asked of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tasks) enum Op {
    Get,
    Set {
        /// The last change that the attempt knows of; none where there should be no state.
        expected: Option<Index>,
        /// Canonical JSON of an object.
        value: Vec<u8>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OpName {
    Get,
    Set,
}

fn op_name(reader: &mut Reader<'_>) -> Result<OpName, json::Error> {
    match &*reader.string()? {
        "get" => Ok(OpName::Get),
        "set" => Ok(OpName::Set),
        _ => Err(reader.fail(rejected("give get or set"))),
    }
}

/// Reads what an attempt asks of a state.
///
/// # Errors
/// `INVALID_JSON`, `INVALID_INPUT`, `SECRETS_PRESENT`, as for each of those below; `BODY_TOO_LARGE`.
pub(in crate::tasks) fn state(body: &[u8]) -> Result<(Fence, Scope, Op), Problem> {
    let (mut members, mut op, mut scope) = (FenceMembers::default(), None, None);
    let (mut expected, mut value) = (None, None);
    object(body, |key, reader, secrets| {
        match key {
            "op" => op = Some(op_name(reader)?),
            "scope" => {
                let found = Scope::parse(&reader.string()?);
                scope = Some(found.ok_or_else(|| reader.fail(rejected("give session or execution")))?);
            }
            "expected" if reader.peek()? == Kind::Null => reader.null()?,
            "expected" => expected = Some(Index(number(reader, 0, Index::MAX.0)?)),
            "value" => value = Some(read_state(reader, secrets)?),
            _ => return members.member(key, reader),
        }
        Ok(true)
    })?;
    let scope = scope.ok_or_else(missing("/scope"))?;
    let op = match op.ok_or_else(missing("/op"))? {
        OpName::Get if value.is_some() => return Err(wrong("/value", "goes with the op set only")),
        OpName::Get if expected.is_some() => return Err(wrong("/expected", "goes with the op set only")),
        OpName::Get => Op::Get,
        OpName::Set => Op::Set { expected, value: value.ok_or_else(missing("/value"))? },
    };
    if let Op::Set { value, .. } = &op
        && value.len() > STATE_BYTES_MAX
    {
        let detail = format!(
            "Nothing was appended: a state has at most {STATE_BYTES_MAX} bytes. Put what is large as a blob."
        );
        return Err(Problem::new(ReasonCode::BodyTooLarge).pointer("/value").detail(detail));
    }
    Ok((members.fence()?, scope, op))
}

/// Reads an artifact that an attempt registers.
pub(in crate::tasks) fn artifact(body: &[u8]) -> Result<(Fence, Artifact), Problem> {
    let (mut members, mut artifact) = (FenceMembers::default(), None);
    object(body, |key, reader, secrets| {
        if key == "artifact" {
            artifact = Some(read_artifact(reader, secrets)?);
            return Ok(true);
        }
        members.member(key, reader)
    })?;
    Ok((members.fence()?, artifact.ok_or_else(missing("/artifact"))?))
}

/// Reads a step that an attempt tells.
pub(in crate::tasks) fn step(body: &[u8]) -> Result<(Fence, Step), Problem> {
    let (mut members, mut step) = (FenceMembers::default(), None);
    object(body, |key, reader, secrets| {
        if key == "record" {
            step = Some(read_step(reader, secrets)?);
            return Ok(true);
        }
        members.member(key, reader)
    })?;
    Ok((members.fence()?, step.ok_or_else(missing("/record"))?))
}
