//! Whether a result is what its handler's registration asks for.

use gesta_replay::projections::tasks::Open;
use serde_json::Value;

use super::complete::{Report, Status};
use super::{Tasks, returned};
use crate::executor::Which;
use crate::limits::RESULT_FAULTS_MAX;
use crate::problem::{Problem, ReasonCode};

impl Tasks {
    /// Demands that a result is what the registration asks for.
    ///
    /// # Errors
    /// `RESULT_INVALID`: the task stays as it is.
    pub(super) async fn demand_result(&self, report: &Report, open: &Open) -> Result<(), Problem> {
        if report.status != Status::Completed {
            return Ok(());
        }
        let result = report.result.as_deref().unwrap_or(b"null");
        returned::demand(result)?;
        let (executor, index) = (&self.executor, open.handler.index);
        let registration = self.registration(open).await?;
        let schema = executor.schemas().of(executor.works(), Which::Result, index, &registration).await;
        let schema = schema.map_err(|error| {
            tracing::error!(%error, index = index.0, "the result schema of a registration cannot be used");
            Problem::new(ReasonCode::Internal)
        })?;
        let Some(schema) = schema else { return Ok(()) };
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
}
