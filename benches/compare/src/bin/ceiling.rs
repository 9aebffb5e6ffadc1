//! `ceiling`: what axum does with JSON and nothing behind it. It parses the intent into a JSON tree
//! and answers what an append would be answered; no log, no disk, no order. A durable server of
//! the same framework cannot be faster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

async fn ingress(State(next): State<Arc<AtomicU64>>, Json(intent): Json<Value>) -> (StatusCode, Json<Value>) {
    let answer = json!({
        "accepted": true,
        "stream_id": intent["payload"]["stream_id"],
        "index": next.fetch_add(1, Ordering::Relaxed),
        "correlation_id": intent["correlation_id"],
        "queued": true,
    });
    (StatusCode::ACCEPTED, Json(answer))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7071".to_owned());
    let listener = tokio::net::TcpListener::bind(addr).await?;
    let router = Router::new()
        .route("/readyz", get(|| async { "ready" }))
        .route("/ingress/intent", post(ingress))
        .with_state(Arc::new(AtomicU64::new(0)));
    axum::serve(
        axum::serve::ListenerExt::tap_io(listener, |tcp| {
            // As every server here: an answer is not held back to be sent with the next one.
            let _ = tcp.set_nodelay(true);
        }),
        router,
    )
    .await
}
