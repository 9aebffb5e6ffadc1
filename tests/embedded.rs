//! A program that embeds the server with handlers of its own, as README, "Handlers in Rust", shows it.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::sync::Arc;

use gesta::auth::{Auth, TicketBounds};
use gesta::config::Config;
use gesta::runtime::types::Method;
use gesta::runtime::{
    ExecutionContext, Handled, Handler, HttpError, HttpRequest, IntentRegistry, IntentService, Output,
    PublicWorks, Solution, StateSurface,
};
use gesta::server::{Ended, serve};
use serde_json::{Value, json};
use support::{Client, Intent, until};
use tokio::sync::oneshot;

/// Counts the rows that an intent brings, and how many its session has brought so far.
struct Counter {
    works: PublicWorks,
}

impl IntentService for Counter {
    fn new(works: PublicWorks, _state: StateSurface) -> Self {
        Self { works }
    }
}

impl Handler for Counter {
    fn invoke(&self, context: ExecutionContext) -> Handled {
        let works = self.works.clone();
        Box::pin(async move {
            let parameters = context.parameters().await?;
            let count = parameters["rows"].as_array().map_or(0, Vec::len) as u64;
            let (session, tenant) = (context.session_id.clone(), context.tenant_id.clone());
            let so_far = |state: Option<Value>| json!({ "rows": state.map_or(0, |state| state["rows"].as_u64().unwrap_or(0)) + count });
            context.state_surface.update_session_state(&session, &tenant, so_far).await.unwrap();
            let state = context.state_surface.get_session_state(&session, &tenant).await.unwrap();
            works.telemetry().count("rows_counted_total", count);
            // Nothing is allowed to be called here.
            let request = HttpRequest {
                method: Method::GET,
                url: "https://a.example/".to_owned(),
                ..HttpRequest::default()
            };
            let called = works.http().send(request).await;
            assert!(matches!(called, Err(HttpError::Refused { .. })), "{called:?}");
            Output::new(
                &json!({ "count": count, "state": state }),
                &[json!({ "name": "counted", "count": count })],
            )
        })
    }
}

struct Reports;

impl Solution for Reports {
    fn register(&self, registry: &mut IntentRegistry) {
        assert!(registry.register_service::<Counter>(
            "report.count",
            "counter",
            json!({ "owner": "reports" })
        ));
        let hello =
            async |context: ExecutionContext| Output::new(&json!({ "hello": context.intent.actor }), &[]);
        assert!(registry.register_intent("report.hello", "hello", hello, json!({})));
    }
}

/// What the execution of an intent gave, once it has ended.
fn output(client: &mut Client, correlation: &str) -> Value {
    until(&format!("{correlation} has ended"), || {
        let page = client.get(&format!("/events?kinds=EXECUTION&correlation_id={correlation}")).json();
        let last = page["events"].as_array().unwrap().last()?.clone();
        (last["type"] == "completed").then(|| last["payload"]["output"].clone())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_solution_handles_its_intents_through_the_same_door() {
    gesta::capability::install_provider();
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.server.data = data.path().to_owned();
    config.server.listen = "127.0.0.1:0".parse().unwrap();
    config.log.fill_ahead = false;
    let auth = Auth::new(&[], config.server.listen, TicketBounds::from(&config.auth)).unwrap();
    let (ready, address) = oneshot::channel();
    let (tell, told) = oneshot::channel::<()>();
    let ready = move |endpoints: &[gesta::server::Endpoint]| ready.send(endpoints[0].address).unwrap();
    let serving = tokio::spawn(serve(config, Arc::new(auth), vec![Box::new(Reports)], ready, async {
        told.await.unwrap();
    }));
    let address = address.await.unwrap();
    let asked = tokio::task::spawn_blocking(move || {
        let mut client = Client::new(address);
        for (correlation, rows, so_far) in [("a", json!([1, 2]), 2), ("b", json!([1]), 3)] {
            client.submit(&Intent {
                intent_type: "report.count".to_owned(),
                payload: json!({ "rows": rows }),
                ..Intent::new(correlation)
            });
            let count = rows.as_array().unwrap().len();
            let expected = json!({ "count": count, "state": { "rows": so_far } });
            assert_eq!(output(&mut client, correlation), expected);
        }
        client.submit(&Intent { intent_type: "report.hello".to_owned(), ..Intent::new("c") });
        assert_eq!(output(&mut client, "c"), json!({ "hello": "agent-1" }));
        let shown = client.get("/api/intent/handlers").json();
        let names: Vec<_> =
            shown["handlers"].as_array().unwrap().iter().map(|one| &one["handler_name"]).collect();
        assert_eq!(names, ["echo", "assemble_prompt", "counter", "hello"]);
        assert_eq!(shown["handlers"][2]["metadata"], json!({ "owner": "reports" }));
        // An operator gives it a schema, by its type and name.
        let registration = json!({
            "intent_type": "report.count", "handler_name": "counter", "kind": "builtin",
            "params_schema": { "required": ["rows"] },
        });
        let headers = [("Content-Type", "application/json")];
        let body = registration.to_string();
        let registered = client.request("POST", "/api/intent/handlers", &headers, body.as_bytes());
        assert_eq!(registered.status, 201, "{}", registered.text());
        client.submit(&Intent { intent_type: "report.count".to_owned(), ..Intent::new("d") });
        until("it is refused", || {
            let page = client.get("/events?kinds=EXECUTION&correlation_id=d").json();
            (page["events"][0]["payload"]["error"]["code"] == "PARAMS_INVALID").then_some(())
        });
        let metrics = client.get("/metrics").text();
        assert!(metrics.contains("handler_rows_counted_total 3"), "{metrics}");
    });
    asked.await.unwrap();
    tell.send(()).unwrap();
    assert!(matches!(serving.await.unwrap().unwrap(), Ended::Told));
}
