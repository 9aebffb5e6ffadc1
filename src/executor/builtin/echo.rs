//! `echo`: the output is what the client sent.

use crate::runtime::{ExecutionContext, HandlerError, Output};

/// A payload that stands in a blob is given back as the reference to it.
pub(super) async fn echo(context: ExecutionContext) -> Result<Output, HandlerError> {
    Ok(Output { artifacts: context.intent.parameters, events: Vec::new() })
}
