//! Handlers that misbehave.

use std::sync::Arc;

use futures::FutureExt as _;
use gesta_log_format::json::canonical;
use tokio::sync::Semaphore;

use crate::runtime::{ExecutionContext, Handled, Handler, HandlerError, Output};

/// Does what the payload's `message` says.
pub(super) struct Odd;

impl Handler for Odd {
    fn invoke(&self, context: ExecutionContext) -> Handled {
        let message = canonical::Members::new(&context.intent.parameters).flatten().next().unwrap().1;
        let message = canonical::string(message).unwrap().into_owned();
        if message == "panic" {
            panic!("as it was told");
        }
        async move {
            let output = |value: &str, events: &[&str]| Output {
                artifacts: value.into(),
                events: events.iter().map(|event| event.as_bytes().to_vec()).collect(),
            };
            match message.as_str() {
                "fail" => Err(HandlerError::new("ODD", "as it was told")),
                "hang" => std::future::pending().await,
                "nonsense" => Ok(output("{\"b\":1,\"a\":2}", &[])),
                "event-that-is-no-object" => Ok(output("null", &["1"])),
                "events" => {
                    Ok(output(&format!("\"{}\"", "x".repeat(70_000)), &["{\"nth\":1}", "{\"nth\":2}"]))
                }
                _ => Ok(output("null", &[])),
            }
        }
        .boxed()
    }
}

/// Ends only when it is let go.
#[derive(Clone)]
pub(super) struct Stuck {
    gate: Arc<Semaphore>,
    /// A permit for each of its tokens that was told.
    told: Arc<Semaphore>,
}

impl Default for Stuck {
    fn default() -> Self {
        Self { gate: Arc::new(Semaphore::new(0)), told: Arc::new(Semaphore::new(0)) }
    }
}

impl Stuck {
    pub(super) fn let_go(&self) {
        self.gate.add_permits(1);
    }

    /// Waits until one of its tokens is told.
    pub(super) async fn told(&self) {
        self.told.acquire().await.expect("it is never closed").forget();
    }
}

impl Handler for Stuck {
    fn invoke(&self, context: ExecutionContext) -> Handled {
        let (gate, told) = (Arc::clone(&self.gate), Arc::clone(&self.told));
        tokio::spawn(async move {
            context.cancel.requested().await;
            told.add_permits(1);
        });
        async move {
            gate.acquire().await.expect("it is never closed").forget();
            Ok(Output { artifacts: b"null".to_vec(), events: Vec::new() })
        }
        .boxed()
    }
}
