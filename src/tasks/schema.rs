//! Whether a result is what its handler's registration asks for. Schemas are compiled once, and nothing that they refer
//! to is fetched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gesta_log_format::Index;
use gesta_replay::event::{Content, Registration};
use gesta_replay::projections::tasks::Open;
use jsonschema::Validator;
use serde_json::Value;

use super::Tasks;
use super::complete::{Report, Status};
use crate::limits::{RESULT_FAULTS_MAX, SCHEMA_BYTES_MAX, SCHEMAS_KEPT_MAX};
use crate::problem::{Problem, ReasonCode};

/// The schemas that were compiled, by the registration that they stand in. None where it has none.
#[derive(Default)]
pub(super) struct Schemas(Mutex<HashMap<Index, Option<Arc<Validator>>>>);

impl Schemas {
    fn known(&self, registration: Index) -> Option<Option<Arc<Validator>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&registration).cloned()
    }

    fn keep(&self, registration: Index, schema: Option<Arc<Validator>>) {
        let mut schemas = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if schemas.len() >= SCHEMAS_KEPT_MAX {
            // Old registrations are not asked for again: all go, and those in use come back.
            schemas.clear();
        }
        schemas.insert(registration, schema);
    }
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

impl Tasks {
    /// Demands that a result is what the registration asks for.
    ///
    /// # Errors
    /// `RESULT_INVALID`: the task stays as it is.
    pub(super) async fn demand_result(&self, report: &Report, open: &Open) -> Result<(), Problem> {
        if report.status != Status::Completed {
            return Ok(());
        }
        let Some(schema) = self.result_schema(open).await? else { return Ok(()) };
        let result = report.result.as_deref().unwrap_or(b"null");
        let result: Value = serde_json::from_slice(result).map_err(|error| {
            tracing::error!(%error, "a result that was read cannot be read again");
            Problem::new(ReasonCode::Internal)
        })?;
        let faults: Vec<String> = schema
            .iter_errors(&result)
            .take(RESULT_FAULTS_MAX)
            .map(|fault| format!("/result{}: {}", fault.instance_path(), fault.masked()))
            .collect();
        match faults.first() {
            None => Ok(()),
            Some(first) => Err(Problem::new(ReasonCode::ResultInvalid)
                .detail(format!("Nothing was appended: {first}."))
                .pointer("/result")
                .extra("faults", faults)),
        }
    }

    async fn result_schema(&self, open: &Open) -> Result<Option<Arc<Validator>>, Problem> {
        let index = open.handler.index;
        if let Some(known) = self.schemas.known(index) {
            return Ok(known);
        }
        let text = self.registration(open).await?;
        let unreadable = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, index = index.0, "the result schema of a registration cannot be used");
            Problem::new(ReasonCode::Internal)
        };
        let registration = Registration::parse(text.as_bytes(), index).map_err(|error| unreadable(&error))?;
        let schema = match registration.result_schema {
            None => None,
            Some(Content::Inline(schema)) => Some(compile(schema)),
            Some(Content::Blob(blob)) => {
                let content = self.executor.works().blob(blob.digest, SCHEMA_BYTES_MAX as u64).await;
                Some(compile(&content.map_err(|error| unreadable(&error))?))
            }
        };
        let schema = schema.transpose().map_err(|error| unreadable(&error))?.map(Arc::new);
        self.schemas.keep(index, schema.clone());
        Ok(schema)
    }
}
