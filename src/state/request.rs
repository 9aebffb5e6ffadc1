//! Reads states, artifacts and steps as clients send them: shape, bounds and secrets, never whether they may be.

use std::collections::BTreeSet;

use gesta_log_format::blob::is_reference;
use gesta_log_format::json::{self, ErrorKind, Kind, Reader};
use gesta_log_format::{Digest, Index};
use gesta_replay::event::ExecutionId;

use super::artifact::{Artifact, Materialization};
use super::step::{Step, StepKind};
use crate::capability::prefix::Object;
use crate::ingress::request::{Secrets, is_name, read_name, read_text_id, rejected};
use crate::limits;

/// How URIs of this server's objects begin.
const OWN_SCHEME: &str = "blob://";

/// Reads an object into its canonical text.
fn object(reader: &mut Reader<'_>, secrets: &mut Secrets) -> Result<Vec<u8>, json::Error> {
    if reader.peek()? != Kind::Object {
        reader.begin_object()?;
    }
    let mut out = Vec::new();
    reader.canonical_value(&mut out, secrets)?;
    Ok(out)
}

/// Reads a state: an object, which is not itself a reference, since what is large becomes a blob by itself.
pub(crate) fn read_state(reader: &mut Reader<'_>, secrets: &mut Secrets) -> Result<Vec<u8>, json::Error> {
    let value = object(reader, secrets)?;
    match is_reference(&value) {
        true => Err(reader.fail(rejected("give the state itself: what is large becomes a blob by itself"))),
        false => Ok(value),
    }
}

/// Reads `{type, name, payload?}`.
pub(crate) fn read_step(reader: &mut Reader<'_>, secrets: &mut Secrets) -> Result<Step, json::Error> {
    let (mut kind, mut name, mut payload) = (None, None, None);
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        match &*key {
            "type" => {
                let found = StepKind::parse(&reader.string()?);
                let wanted = "give step_completed, step_failed or event";
                kind = Some(found.ok_or_else(|| reader.fail(rejected(wanted)))?);
            }
            "name" => name = Some(read_text_id(reader)?.into_owned()),
            "payload" => {
                let mut out = Vec::new();
                reader.canonical_value(&mut out, secrets)?;
                payload = Some(out);
            }
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        }
    }
    let missing = |field| reader.fail_at(whole, ErrorKind::MissingField { field });
    Ok(Step {
        kind: kind.ok_or_else(|| missing("type"))?,
        name: name.ok_or_else(|| missing("name"))?,
        payload,
    })
}

/// Reads an artifact that is to be registered.
pub(crate) fn read_artifact(reader: &mut Reader<'_>, secrets: &mut Secrets) -> Result<Artifact, json::Error> {
    let (mut id, mut artifact_type, mut is_ready, mut descriptor) = (None, None, false, None);
    let (mut parents, mut materializations) = (Vec::new(), Vec::new());
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        match &*key {
            "artifact_id" => id = Some(artifact_id(reader)?),
            "artifact_type" => artifact_type = Some(read_name(reader)?.into_owned()),
            "lifecycle_state" => {
                is_ready = match &*reader.string()? {
                    "PENDING" => false,
                    "READY" => true,
                    _ => return Err(reader.fail(rejected("give PENDING or READY"))),
                }
            }
            "parent_artifacts" => parents = parent_artifacts(reader)?,
            "semantic_descriptor" => descriptor = Some(object(reader, secrets)?),
            "materializations" => {
                materializations = elements(reader, limits::ARTIFACT_MATERIALIZATIONS_MAX, materialization)?;
            }
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        }
    }
    if let Some((_, at)) = parents.iter().find(|(parent, _)| Some(parent) == id.as_ref()) {
        return Err(reader.fail_at(*at, rejected("an artifact is no parent of itself")));
    }
    let missing = |field| reader.fail_at(whole, ErrorKind::MissingField { field });
    Ok(Artifact {
        id,
        artifact_type: artifact_type.ok_or_else(|| missing("artifact_type"))?,
        parents: parents.into_iter().map(|(parent, _)| parent).collect(),
        is_ready,
        descriptor: descriptor.unwrap_or_else(|| b"{}".to_vec()),
        materializations,
    })
}

fn any_id(reader: &mut Reader<'_>) -> Result<String, json::Error> {
    let id = reader.string()?;
    match is_name(&id, b"._-", 128) {
        true => Ok(id.into_owned()),
        false => Err(reader.fail(rejected(
            "give a letter or digit, then up to 127 letters, digits, dots, underscores or hyphens",
        ))),
    }
}

/// An id that a client gives. Those of objects and of what the server makes have the form of ULIDs and are derived: who
/// could take one first could keep a name from its object.
fn artifact_id(reader: &mut Reader<'_>) -> Result<String, json::Error> {
    let id = any_id(reader)?;
    match ExecutionId::parse(id.as_bytes()) {
        Some(_) => Err(reader.fail(rejected("ULIDs are given by the server: leave it out, or give another"))),
        None => Ok(id),
    }
}

fn elements<'a, T>(
    reader: &mut Reader<'a>,
    count_max: usize,
    mut element: impl FnMut(&mut Reader<'a>) -> Result<T, json::Error>,
) -> Result<Vec<T>, json::Error> {
    let mut found = Vec::new();
    reader.begin_array()?;
    let whole = reader.mark();
    while reader.next_element()? {
        if found.len() == count_max {
            return Err(reader.fail_at(whole, rejected(format!("give at most {count_max}"))));
        }
        found.push(element(reader)?);
    }
    Ok(found)
}

/// The ids of parents, each once, with where they stand.
fn parent_artifacts(reader: &mut Reader<'_>) -> Result<Vec<(String, json::Mark)>, json::Error> {
    let mut seen = BTreeSet::new();
    elements(reader, limits::ARTIFACT_PARENTS_MAX, |reader| {
        let id = any_id(reader)?;
        match seen.insert(id.clone()) {
            true => Ok((id, reader.mark())),
            false => Err(reader.fail(rejected("it is named before"))),
        }
    })
}

fn materialization(reader: &mut Reader<'_>) -> Result<Materialization, json::Error> {
    let (mut id, mut storage_type, mut uri, mut format) = (None, None, None, None);
    let (mut sha256, mut size_bytes, mut compression) = (None, None, None);
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        match &*key {
            "materialization_id" => id = Some(any_id(reader)?),
            "storage_type" => storage_type = Some(read_name(reader)?.into_owned()),
            "uri" => uri = Some(read_uri(reader)?),
            "format" => format = Some(read_text_id(reader)?.into_owned()),
            "sha256" => {
                let digest = Digest::parse(&reader.string()?);
                sha256 = Some(digest.ok_or_else(|| reader.fail(rejected("give sha256: and 64 digits")))?);
            }
            "size_bytes" => {
                let size = u64::try_from(reader.integer()?).ok().filter(|size| *size <= Index::MAX.0);
                size_bytes = Some(size.ok_or_else(|| reader.fail(rejected("give a number of bytes")))?);
            }
            "compression" => compression = Some(read_name(reader)?.into_owned()),
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        }
    }
    let missing = |field| reader.fail_at(whole, ErrorKind::MissingField { field });
    let (uri, object) = uri.ok_or_else(|| missing("uri"))?;
    let object = match object {
        Some(object) => Some((object, sha256.ok_or_else(|| missing("sha256"))?)),
        None => None,
    };
    Ok(Materialization {
        id,
        storage_type: storage_type.ok_or_else(|| missing("storage_type"))?,
        uri,
        object,
        format: format.ok_or_else(|| missing("format"))?,
        sha256,
        size_bytes,
        compression,
    })
}

/// A URI, and the object of this server's that it names if it is one of those.
fn read_uri(reader: &mut Reader<'_>) -> Result<(String, Option<Object>), json::Error> {
    let bytes_max = limits::ARTIFACT_URI_BYTES_MAX;
    let uri = reader.string()?;
    if !(1..=bytes_max).contains(&uri.len()) || uri.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(reader.fail(rejected(format!("give 1 to {bytes_max} bytes without white space"))));
    }
    let object = match uri.starts_with(OWN_SCHEME) {
        true => Some(Object::parse(&uri).map_err(|fault| reader.fail(rejected(fault.to_string())))?),
        false => None,
    };
    Ok((uri.into_owned(), object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_artifact(text: &str, pointer: Option<&str>) {
        let mut reader = Reader::new(text.as_bytes()).unwrap();
        let found = read_artifact(&mut reader, &mut Secrets::default()).err().map(|error| error.pointer);
        assert_eq!(found.as_deref(), pointer, "{text}");
    }

    #[test]
    fn an_artifact_has_a_type_and_what_else_is_known() {
        check_artifact(r#"{"artifact_type":"report"}"#, None);
        check_artifact("{}", Some("/artifact_type"));
        check_artifact(r#"{"artifact_type":"report","x":1}"#, Some("/x"));
        check_artifact(r#"{"artifact_type":"report","lifecycle_state":"FAILED"}"#, Some("/lifecycle_state"));
        check_artifact(
            r#"{"artifact_type":"report","semantic_descriptor":[]}"#,
            Some("/semantic_descriptor"),
        );
        check_artifact(
            r#"{"artifact_type":"r","semantic_descriptor":{"a":[{"password":"x"}]}}"#,
            Some("/semantic_descriptor/a/0/password"),
        );
    }

    #[test]
    fn an_id_is_a_name_and_no_ulid_and_no_parent_of_itself() {
        let with = |more: &str| format!(r#"{{"artifact_type":"report",{more}}}"#);
        for id in ["a", "A.b_c-9", &"x".repeat(128), "01jd000000000000000000000a"] {
            check_artifact(&with(&format!(r#""artifact_id":"{id}""#)), None);
        }
        for id in ["", "-a", "a/b", "a b", &"x".repeat(129), "01JD000000000000000000000A"] {
            check_artifact(&with(&format!(r#""artifact_id":"{id}""#)), Some("/artifact_id"));
        }
        check_artifact(&with(r#""parent_artifacts":["b","01JD000000000000000000000A"]"#), None);
        check_artifact(&with(r#""parent_artifacts":["b","b"]"#), Some("/parent_artifacts/1"));
        let own = with(r#""parent_artifacts":["b","a","c"],"artifact_id":"a""#);
        check_artifact(&own, Some("/parent_artifacts/1"));
    }

    #[test]
    fn what_is_here_has_its_digest_and_what_is_elsewhere_may() {
        let with = |one: &str| format!(r#"{{"artifact_type":"r","materializations":[{{{one}}}]}}"#);
        let digest = Digest::of(b"x");
        let at = |uri: &str| format!(r#""format":"csv","storage_type":"s","uri":"{uri}""#);
        check_artifact(&with(&at("s3://bucket/key")), None);
        check_artifact(&with(&at("gs://bucket/key")), None);
        check_artifact(&with(&at("blob://bucket/key")), Some("/materializations/0/sha256"));
        check_artifact(&with(&format!(r#"{},"sha256":"{digest}""#, at("blob://bucket/key"))), None);
        check_artifact(&with(&at("blob://bucket/../key")), Some("/materializations/0/uri"));
        check_artifact(&with(&at("")), Some("/materializations/0/uri"));
        check_artifact(
            &with(&format!(r#"{},"content":{{}}"#, at("s3://b/k"))),
            Some("/materializations/0/content"),
        );
        check_artifact(&with(r#""uri":"s3://b/k","format":"csv""#), Some("/materializations/0/storage_type"));
    }
}
