//! Whether what an intent brings, and what a worker reports, is what the handler's registration asks for. Schemas are
//! compiled once, and nothing that they refer to is fetched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gesta_log_format::Index;
use gesta_replay::EventError;
use gesta_replay::event::{Content, Registration};
use gesta_replay::projections::handlers::Handler;
use jsonschema::Validator;
use serde_json::Value;

use super::works::{Works, WorksError};
use crate::limits::{PARAMS_BYTES_MAX, SCHEMA_BYTES_MAX, SCHEMAS_KEPT_MAX};
use crate::runtime::HandlerError;

/// Which schema of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Which {
    /// `params_schema`: of an intent's payload.
    Params,
    /// `result_schema`: of a worker's result.
    Result,
}

/// The schemas that were compiled, by the registration that they stand in.
#[derive(Default)]
pub(crate) struct Schemas(Mutex<HashMap<(Index, Which), Compiled>>);

/// None where the registration has no such schema.
type Compiled = Option<Arc<Validator>>;

/// Why a schema cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaError {
    #[error(transparent)]
    Registration(#[from] EventError),
    #[error(transparent)]
    Works(#[from] WorksError),
    #[error("the schema of the registration at index {index} does not compile any more: {why}")]
    Compile { index: Index, why: String },
    #[error("what was read as JSON is none: {0}")]
    Json(#[from] serde_json::Error),
}

/// Compiles a schema; what it says is wrong with it otherwise.
///
/// # Errors
/// For a person.
pub(crate) fn compile(schema: &[u8]) -> Result<Validator, String> {
    if schema.len() > SCHEMA_BYTES_MAX {
        return Err(format!("it has more than {SCHEMA_BYTES_MAX} bytes"));
    }
    let schema: Value = serde_json::from_slice(schema).map_err(|error| error.to_string())?;
    jsonschema::validator_for(&schema).map_err(|error| error.to_string())
}

impl Schemas {
    /// The schema of a registration, given as the record at `index` has it.
    ///
    /// # Errors
    /// [`SchemaError`].
    pub(crate) async fn of(
        &self,
        works: &Works,
        which: Which,
        index: Index,
        registration: &str,
    ) -> Result<Option<Arc<Validator>>, SchemaError> {
        if let Some(known) = self.known(index, which) {
            return Ok(known);
        }
        let registration = Registration::parse(registration.as_bytes(), index)?;
        let schema = match which {
            Which::Params => registration.params_schema,
            Which::Result => registration.result_schema,
        };
        let compiled = match schema {
            None => None,
            Some(Content::Inline(schema)) => Some(compile(schema)),
            Some(Content::Blob(blob)) => {
                Some(compile(&works.blob(blob.digest, SCHEMA_BYTES_MAX as u64).await?))
            }
        };
        let compiled = compiled.transpose().map_err(|why| SchemaError::Compile { index, why })?;
        let compiled = compiled.map(Arc::new);
        self.keep(index, which, compiled.clone());
        Ok(compiled)
    }

    /// What fails an execution whose intent has this payload, canonical, before its handler is given it; none where the
    /// handler asks for nothing else.
    ///
    /// # Errors
    /// [`SchemaError`]: it cannot be said.
    pub(crate) async fn refuse_params(
        &self,
        works: &Works,
        handler: &Handler,
        payload: &[u8],
    ) -> Result<Option<HandlerError>, SchemaError> {
        let schema = self.of(works, Which::Params, handler.index, &handler.registration).await?;
        let Some(schema) = schema else { return Ok(None) };
        let params: Value = match Content::of(payload) {
            Content::Inline(payload) => serde_json::from_slice(payload)?,
            Content::Blob(blob) => match works.blob(blob.digest, PARAMS_BYTES_MAX).await {
                Ok(content) => match serde_json::from_slice(&content) {
                    Ok(params) => params,
                    Err(error) => {
                        let message =
                            format!("the payload cannot be compared with the params_schema: {error}");
                        return Ok(Some(invalid(message, None)));
                    }
                },
                Err(error @ (WorksError::NoBlob { .. } | WorksError::BlobTooLarge { .. })) => {
                    let message = format!("the payload cannot be compared with the params_schema: {error}");
                    return Ok(Some(invalid(message, None)));
                }
                Err(error) => return Err(error.into()),
            },
        };
        let fault = schema.iter_errors(&params).next();
        Ok(fault.map(|fault| {
            let (pointer, name) = (fault.instance_path().to_string(), &handler.handler_name);
            let message = format!(
                "the payload is not what the params_schema of {name} asks for: {pointer:?}: {}",
                fault.masked()
            );
            invalid(message, Some(pointer))
        }))
    }

    fn known(&self, registration: Index, which: Which) -> Option<Compiled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(registration, which)).cloned()
    }

    fn keep(&self, registration: Index, which: Which, schema: Compiled) {
        let mut schemas = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if schemas.len() >= SCHEMAS_KEPT_MAX {
            // Old registrations are not asked for again: all go, and those in use come back.
            schemas.clear();
        }
        schemas.insert((registration, which), schema);
    }
}

/// Of an intent that is not what its handler asks for.
fn invalid(message: String, pointer: Option<String>) -> HandlerError {
    HandlerError { pointer, ..HandlerError::new("PARAMS_INVALID", message) }
}
