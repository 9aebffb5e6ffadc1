//! The crate eventsource-client: it comes back by itself. One JSON line for each event on standard output.

use std::error::Error;
use std::time::Duration;

use eventsource_client::{Client as _, ClientBuilder, ReconnectOptions, SSE};
use futures::StreamExt as _;
use launchdarkly_sdk_transport::HyperTransport;
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: gesta-tests-client URL")?;
    let transport = HyperTransport::builder()
        .connect_timeout(Duration::from_secs(5))
        .read_timeout(Duration::from_secs(60))
        .build_http()?;
    let delay = Duration::from_millis(300);
    let reconnect = ReconnectOptions::reconnect(true)
        .retry_initial(true)
        .delay(delay)
        .delay_max(delay)
        .backoff_factor(1)
        .build();
    let mut events =
        ClientBuilder::for_url(&url)?.reconnect(reconnect).build_with_transport(transport).stream();
    // An error is no end: the next poll reconnects.
    while let Some(event) = events.next().await {
        let line = match event {
            Ok(SSE::Event(event)) => json!({ "event": event.event_type, "id": event.id, "data": event.data }),
            Ok(SSE::Comment(comment)) => json!({ "comment": comment }),
            Ok(SSE::Connected(_)) => json!({ "opened": true }),
            Err(error) => json!({ "broken": error.to_string() }),
        };
        println!("{line}");
    }
    Ok(())
}
