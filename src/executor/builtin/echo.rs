//! `echo`: the output is what the client sent.

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};

use crate::executor::handler::{ExecutionContext, Handler, HandlerError, Output};

pub(crate) struct Echo;

impl Handler for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    /// A payload that stands in a blob is given back as the reference to it.
    fn invoke(&self, context: ExecutionContext) -> BoxFuture<'static, Result<Output, HandlerError>> {
        ready(Ok(Output { value: context.payload, events: Vec::new() })).boxed()
    }
}
