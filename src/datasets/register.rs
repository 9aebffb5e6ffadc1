//! `POST /api/dataset`: an operator says what a version of a dataset is, and what its rows look like.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gesta_log_format::envelope::{Draft, Expectation};
use gesta_log_format::json;
use gesta_log_format::{Digest, Index, Kind};
use gesta_replay::event::{DatasetMetadata, DatasetVersion};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ulid::Ulid;
use utoipa::ToSchema;

use super::name::Version;
use super::schema::RowSchema;
use crate::append::AppendError;
use crate::auth::{Caller, Role};
use crate::ingress::request::DEFAULT_STREAM;
use crate::keys::Fingerprint;
use crate::limits::DATASET_CONFLICTS_MAX;
use crate::problem::{Problem, ProblemBody, ReasonCode, demand_json, read_body};
use crate::server::App;
use crate::store::blocking;

/// A version of a dataset, as an operator registers it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewDataset {
    /// `default` where it is left out.
    stream_id: Option<String>,
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$")]
    dataset_uuid: String,
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$")]
    dataset_version: String,
    /// Where its content is; `gesta:dataset/{uuid}/{version}`, the rows here, where it is left out.
    storage_ref: Option<String>,
    /// The configuration that made it; with a `row_schema` the server fills in the digest of that.
    config_hash: Option<String>,
    /// The first value that it covers.
    #[schema(value_type = Option<Object>)]
    range_start: Option<Box<RawValue>>,
    /// The first value behind those that it covers.
    #[schema(value_type = Option<Object>)]
    range_end: Option<Box<RawValue>>,
    /// What its rows look like: `{column: type}`, a type being `string`, `integer`, `number`, `boolean`, `object`, `array` or
    /// `any`, with a closing `?` where the column may be missing or null. Without it tasks cannot publish batches.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    row_schema: Option<Box<RawValue>>,
}

/// A version that is registered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DatasetRegistered {
    /// Always true.
    ok: bool,
    /// The record that registered it first.
    index: u64,
}

/// Registers a version of a dataset.
///
/// Takes the role `operator`. The version that is registered last is the dataset's current one. The same again is 200 and
/// appends nothing; anything else under the same name is 409.
#[utoipa::path(
    post,
    path = "/api/dataset",
    tag = "datasets",
    request_body = NewDataset,
    responses(
        (status = 201, description = "Durable", body = DatasetRegistered),
        (status = 200, description = "Was durable before", body = DatasetRegistered),
        (status = 400, description = "`INVALID_JSON`, `INVALID_INPUT`", body = ProblemBody),
        (status = 401, description = "`MISSING_TOKEN`, `BAD_TOKEN`", body = ProblemBody),
        (status = 403, description = "`FORBIDDEN`", body = ProblemBody),
        (status = 404, description = "`NOT_FOUND`: the server runs without a decider", body = ProblemBody),
        (status = 408, description = "`REQUEST_TIMEOUT`", body = ProblemBody),
        (status = 409, description = "`DATASET_VERSION_CONFLICT`, `SUBJECT_CONFLICT`", body = ProblemBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ProblemBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ProblemBody),
        (status = 500, description = "`OUTCOME_UNKNOWN`: register it again", body = ProblemBody),
        (status = 503, description = "`QUEUE_FULL`, `DRAINING`, `DISK_FULL`, `RECOVERING`, `INDEX_NOT_APPLIED`", body = ProblemBody),
    )
)]
pub(super) async fn register_dataset(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = Caller(app.auth.authenticate(&parts.headers)?);
    caller.require(Role::Operator)?;
    demand_json(&parts.headers)?;
    app.demand_running()?;
    if !app.config.decider.enabled {
        // Nothing is folded then that would tell what is registered.
        return Err(Problem::new(ReasonCode::NotFound).detail("There are no datasets without a decider."));
    }
    let body = read_body(body, app.config.limits.body_bytes_max, app.body_patience()).await?;
    let asked = Asked::read(&body)?;
    if asked.version.stream_id == crate::control::STREAM || !caller.streams.matches(&asked.version.stream_id)
    {
        let detail = format!("The token does not cover the stream {}.", asked.version.stream_id);
        return Err(Problem::new(ReasonCode::Forbidden).detail(detail));
    }
    let (status, index) = asked.register(&app, &caller.name).await?;
    Ok((status, Json(DatasetRegistered { ok: true, index: index.0 })).into_response())
}

/// What is to be registered, each value canonical.
struct Asked {
    version: Version,
    storage_ref: Vec<u8>,
    config_hash: Option<Vec<u8>>,
    range_start: Option<Vec<u8>>,
    range_end: Option<Vec<u8>>,
    row_schema: Option<Vec<u8>>,
}

fn invalid(pointer: &str, detail: impl std::fmt::Display) -> Problem {
    Problem::new(ReasonCode::InvalidInput).detail(format!("{pointer}: {detail}.")).pointer(pointer)
}

fn text(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    json::write_string(&mut out, text);
    out
}

impl Asked {
    fn read(body: &[u8]) -> Result<Self, Problem> {
        let canonical = json::canonicalize(body).map_err(|error| {
            Problem::new(ReasonCode::InvalidJson)
                .detail(format!("{}: {}.", error.pointer, error.kind))
                .pointer(error.pointer)
        })?;
        let said: NewDataset = serde_json::from_slice(&canonical).map_err(|error| {
            Problem::new(ReasonCode::InvalidInput)
                .detail(format!("The body does not fit: {error}."))
                .pointer("")
        })?;
        let stream_id = said.stream_id.as_deref().unwrap_or(DEFAULT_STREAM);
        let version = Version::checked(stream_id, &said.dataset_uuid, &said.dataset_version)?;
        // Null is as if it were left out.
        let raw = |value: Option<Box<RawValue>>| {
            value.map(|value| value.get().as_bytes().to_vec()).filter(|value| value != b"null")
        };
        let row_schema = raw(said.row_schema);
        if let Some(schema) = &row_schema {
            RowSchema::parse(schema).map_err(|fault| {
                let pointer = fault.member.map_or_else(String::new, |member| format!("/{member}"));
                invalid(&format!("/row_schema{pointer}"), fault.message)
            })?;
            if said.config_hash.is_some() {
                return Err(invalid("/config_hash", "with a row_schema it is filled in: leave it out"));
            }
        }
        let own = || format!("gesta:{}", version.subject());
        let hash = row_schema.as_deref().map(|schema| Digest::of(schema).to_string());
        Ok(Self {
            storage_ref: text(&said.storage_ref.unwrap_or_else(own)),
            config_hash: said.config_hash.or(hash).map(|hash| text(&hash)),
            range_start: raw(said.range_start),
            range_end: raw(said.range_end),
            row_schema,
            version,
        })
    }

    /// Since the hash of the configuration is that of the schema, another schema is other metadata.
    fn as_registered(&self) -> DatasetVersion<'_> {
        DatasetVersion {
            name: self.version.name(),
            metadata: DatasetMetadata {
                storage_ref: &self.storage_ref,
                config_hash: self.config_hash.as_deref(),
                range_start: self.range_start.as_deref(),
                range_end: self.range_end.as_deref(),
            },
        }
    }

    /// Canonical.
    fn payload(&self) -> Vec<u8> {
        let Self { version, storage_ref, config_hash, range_start, range_end, row_schema } = self;
        let (uuid, name) = (text(&version.dataset_uuid), text(&version.dataset_version));
        let members = [
            ("config_hash", config_hash.as_deref()),
            ("dataset_uuid", Some(uuid.as_slice())),
            ("dataset_version", Some(name.as_slice())),
            ("range_end", range_end.as_deref()),
            ("range_start", range_start.as_deref()),
            ("row_schema", row_schema.as_deref()),
            ("storage_ref", Some(storage_ref.as_slice())),
        ];
        let mut out = vec![b'{'];
        for (name, value) in members {
            let Some(value) = value else { continue };
            if out.len() > 1 {
                out.push(b',');
            }
            json::write_string(&mut out, name);
            out.push(b':');
            out.extend_from_slice(value);
        }
        out.push(b'}');
        out
    }

    async fn register(&self, app: &App, actor: &str) -> Result<(StatusCode, Index), Problem> {
        let subject = self.version.subject();
        let payload = self.payload();
        for _ in 0..DATASET_CONFLICTS_MAX {
            let place = app.ingress.reserve()?;
            let (store, key) =
                (Arc::clone(&app.store), Fingerprint::subject(&self.version.stream_id, &subject));
            let expected = blocking(move || Ok(store.keys.newest(&key)?)).await?.map(Index);
            if let Some(newest) = expected {
                let patience = std::time::Duration::from_millis(crate::limits::APPLIED_WAIT_MS);
                app.projector.wait_applied(newest, patience).await?;
            }
            if let Some(index) = self.known(app)? {
                return Ok((StatusCode::OK, index));
            }
            let id = Ulid::generate().to_string();
            let draft = Draft {
                kind: Kind::Artifact,
                type_name: "dataset_registered",
                stream_id: &self.version.stream_id,
                lane: "dataset",
                actor,
                intent_type: "dataset.register",
                thread_id: &format!("dataset:{}", self.version.dataset_uuid),
                turn_id: &id,
                parent_turn_id: None,
                correlation_id: &id,
                cause: None,
                subjects: &[Expectation { subject: subject.clone(), expected }],
                payload: &payload,
            };
            match app.ingress.appender().append(&draft, place).await {
                Ok(index) => return Ok((StatusCode::CREATED, index)),
                Err(AppendError::Moved { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Problem::new(ReasonCode::SubjectConflict))
    }

    /// The record that has registered it, as far as is applied.
    fn known(&self, app: &App) -> Result<Option<Index>, Problem> {
        let Version { stream_id, .. } = &self.version;
        app.projector.look(|state| {
            let known = state.datasets.version(stream_id, &self.version.name());
            let index = known.and_then(|known| known.registered.as_ref()).map(|registered| registered.index);
            match state.datasets.may_register(stream_id, &self.as_registered()) {
                Ok(is_registered) => Ok(index.filter(|_| is_registered)),
                Err(_conflict) => {
                    let problem = Problem::new(ReasonCode::DatasetVersionConflict).detail(format!(
                        "Nothing was appended: {} is registered as something else.",
                        self.version.subject()
                    ));
                    Err(index.map_or(problem.clone(), |index| problem.index(index.0)))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use gesta_log_format::json::canonical;

    use super::*;

    #[test]
    fn a_registration_is_canonical_and_its_schema_is_part_of_what_it_is() {
        let body =
            r#"{"row_schema":{"n":"integer"},"dataset_version":"1","dataset_uuid":"d","range_end":null}"#;
        let asked = Asked::read(body.as_bytes()).unwrap();
        let payload = String::from_utf8(asked.payload()).unwrap();
        assert!(json::is_canonical(payload.as_bytes()), "{payload}");
        let hash = Digest::of(br#"{"n":"integer"}"#);
        assert_eq!(
            payload,
            format!(
                r#"{{"config_hash":"{hash}","dataset_uuid":"d","dataset_version":"1","row_schema":{{"n":"integer"}},"storage_ref":"gesta:dataset/d/1"}}"#
            )
        );
        let config_hash = asked.as_registered().metadata.config_hash.and_then(canonical::string).unwrap();
        assert_eq!(config_hash, hash.to_string());
    }

    #[test]
    fn what_is_no_registration_is_refused_by_place() {
        for (body, pointer) in [
            (r#"{"dataset_uuid":"d"}"#, ""),
            (r#"{"dataset_uuid":"d/e","dataset_version":"1"}"#, "/dataset_uuid"),
            (r#"{"dataset_uuid":"d","dataset_version":"1","row_schema":{"a":"x"}}"#, "/row_schema/a"),
            (
                r#"{"dataset_uuid":"d","dataset_version":"1","row_schema":{"a":"any"},"config_hash":"h"}"#,
                "/config_hash",
            ),
            (r#"{"dataset_uuid":"d","dataset_version":"1","other":1}"#, ""),
        ] {
            let refused = Asked::read(body.as_bytes()).map(|_| ()).unwrap_err();
            let body_of = serde_json::to_value(refused.body()).unwrap();
            assert_eq!(body_of["pointer"], pointer, "{body}");
        }
    }
}
