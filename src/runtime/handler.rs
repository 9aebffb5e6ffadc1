//! What runs executions in this process, and what it gives: artifacts and events, or a failure.

use std::borrow::Cow;

use futures::future::BoxFuture;
use gesta_log_format::json;
use serde_json::Value;

use super::ExecutionContext;
use crate::limits::EXECUTION_EVENTS_MAX;

/// What an invocation becomes.
pub type Handled = BoxFuture<'static, Result<Output, HandlerError>>;

/// Something that runs executions in this process. A function from a context to a future of an output is one.
pub trait Handler: Send + Sync + 'static {
    /// Runs one execution. May be called again for the same one, if the process ended before its end was recorded.
    ///
    /// One that computes without end keeps a thread, and its deadline is seen late: it has to wait now and then.
    fn invoke(&self, context: ExecutionContext) -> Handled;
}

impl<F, O> Handler for F
where
    F: Fn(ExecutionContext) -> O + Send + Sync + 'static,
    O: Future<Output = Result<Output, HandlerError>> + Send + 'static,
{
    fn invoke(&self, context: ExecutionContext) -> Handled {
        Box::pin(self(context))
    }
}

/// What came of an execution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Canonical JSON, by convention of an object: the `output` of the EXECUTION `completed`.
    pub artifacts: Vec<u8>,
    /// Canonical JSON objects, each of which becomes an EXECUTION `event`, in this order.
    pub events: Vec<Vec<u8>>,
}

impl Output {
    /// Artifacts, an object, and events, each an object.
    ///
    /// # Errors
    /// `HANDLER_OUTPUT_INVALID`: one is no object, or holds what no record can, such as a number beyond 2^53.
    pub fn new(artifacts: &Value, events: &[Value]) -> Result<Self, HandlerError> {
        let events = events.iter().map(object).collect::<Result<_, _>>()?;
        Ok(Self { artifacts: object(artifacts)?, events })
    }

    /// Whether records may hold it.
    pub(crate) fn is_sound(&self) -> bool {
        self.events.len() <= EXECUTION_EVENTS_MAX
            && json::is_canonical(&self.artifacts)
            && self.events.iter().all(|event| event.first() == Some(&b'{') && json::is_canonical(event))
    }
}

fn object(value: &Value) -> Result<Vec<u8>, HandlerError> {
    let invalid = |why: &dyn std::fmt::Display| {
        HandlerError::new("HANDLER_OUTPUT_INVALID", format!("what the handler gave cannot be kept: {why}"))
    };
    if !value.is_object() {
        return Err(invalid(&"it is no object"));
    }
    let text = serde_json::to_vec(value).map_err(|error| invalid(&error))?;
    json::canonicalize(&text).map_err(|error| invalid(&error.kind))
}

/// Why an execution failed: what its EXECUTION `failed` says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct HandlerError {
    /// Stable, UPPER_SNAKE.
    pub code: &'static str,
    /// For a person.
    pub message: Cow<'static, str>,
    /// RFC 6901 pointer into the intent's payload, where something of it is to blame.
    pub pointer: Option<String>,
}

impl HandlerError {
    /// A failure with this code.
    pub fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), pointer: None }
    }

    /// The member `error` of an EXECUTION `failed`: canonical.
    pub(crate) fn object(&self) -> Vec<u8> {
        let mut out = b"{\"code\":".to_vec();
        json::write_string(&mut out, self.code);
        out.extend_from_slice(b",\"message\":");
        json::write_string(&mut out, &self.message);
        if let Some(pointer) = &self.pointer {
            out.extend_from_slice(b",\"pointer\":");
            json::write_string(&mut out, pointer);
        }
        out.push(b'}');
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_output_is_made_of_objects_that_records_can_hold() {
        let output = Output::new(&json!({ "b": 1, "a": 2.5 }), &[json!({ "name": "e" })]).unwrap();
        assert_eq!(output.artifacts, b"{\"a\":2.5,\"b\":1}");
        assert_eq!(output.events, [b"{\"name\":\"e\"}"]);
        assert!(output.is_sound());
        for (artifacts, event) in [
            (json!(null), json!({})),
            (json!({}), json!(1)),
            (json!({ "n": 1_u64 << 60 }), json!({})),
            (json!({}), json!({ "n": 1e300 })),
        ] {
            let refused = Output::new(&artifacts, std::slice::from_ref(&event));
            let code = refused.err().map(|error| error.code);
            assert_eq!(code, Some("HANDLER_OUTPUT_INVALID"), "{artifacts} {event}");
        }
    }
}
