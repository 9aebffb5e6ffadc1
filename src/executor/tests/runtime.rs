//! What handlers in Rust are written against: registration, context, state, the log.

use std::time::Duration;

use serde_json::{Value, json};

use super::handlers::Odd;
use super::world::World;
use super::{bounds, course, run, step};
use crate::runtime::{
    ExecutionContext, Handled, Handler, HandlerError, IntentService, Output, PublicWorks, StateError,
    StateSurface, WalError,
};

fn gives(value: &'static str) -> impl Handler {
    move |_context: ExecutionContext| async move { Output::new(&json!({ "gives": value }), &[]) }
}

/// Runs one intent to its end, and gives its EXECUTION records.
async fn ran(world: &World, correlation: &str, intent_type: &str, count: usize) -> Vec<(String, Value)> {
    let intent = world.intent(correlation, intent_type, json!({ "message": correlation })).await;
    world.allow(intent).await;
    world.ended(count).await;
    course(&world.records(), correlation)
}

#[test]
fn a_pair_is_replaced_in_place_and_the_first_of_a_type_is_used() {
    run(async |world| {
        let registry = world.registry(|registry| {
            assert!(!registry.register_intent("", "a", Odd, json!({})));
            assert!(!registry.register_intent("t", "", Odd, json!({})));
            assert!(registry.register_intent("t", "a", gives("old"), json!({})));
            assert!(registry.register_intent("t", "b", gives("second"), json!({})));
            assert!(registry.register_intent("t", "a", gives("new"), json!({})));
            let names: Vec<_> = registry.names().into_iter().collect();
            assert_eq!(names, ["a", "b"]);
        });
        let executor = world.executor(registry, bounds());
        let first = ran(world, "first", "t", 1).await;
        assert_eq!(first[1], step("completed", json!({ "delivery": 1, "output": { "gives": "new" } })));
        // What an operator registers comes first, and names a handler of the program by its name.
        world.register("t", "b", "builtin").await;
        world.register("other", "b", "builtin").await;
        for (nth, intent_type) in (2..).zip(["t", "other"]) {
            let course = ran(world, intent_type, intent_type, nth).await;
            assert_eq!(course[1].1["output"], json!({ "gives": "second" }), "{intent_type}");
        }
        executor.stop(Duration::from_secs(60)).await;
    });
}

/// Looks at all of its context, and tells on the way.
struct Curious {
    works: PublicWorks,
    state: StateSurface,
}

impl IntentService for Curious {
    fn new(works: PublicWorks, state: StateSurface) -> Self {
        Self { works, state }
    }
}

impl Handler for Curious {
    fn invoke(&self, context: ExecutionContext) -> Handled {
        let (works, state) = (self.works.clone(), self.state.clone());
        Box::pin(async move {
            let unkept = |error: &dyn std::fmt::Display| HandlerError::new("ODD", error.to_string());
            let ids = [&context.tenant_id, &context.session_id, &context.solution_id];
            let of_intent =
                [&context.intent.tenant_id, &context.intent.session_id, &context.intent.solution_id];
            assert_eq!(ids, of_intent);
            assert_eq!((ids[0].as_str(), ids[1].as_str()), ("default", "thread"));
            assert_eq!((context.delivery(), &context.metadata["handler"]), (1, &json!({ "owner": "ann" })));
            assert_ne!(works.new_id(), works.new_id());
            works.telemetry().count("odd_total", 1);
            let wal = context.wal.clone().expect("the server gives one");
            wal.step_completed("look", &json!({ "n": 1 })).await.map_err(|error| unkept(&error))?;
            wal.step_failed("smell", &json!({ "code": "NO_NOSE" })).await.map_err(|error| unkept(&error))?;
            wal.event(&json!({ "name": "seen" })).await.map_err(|error| unkept(&error))?;
            assert!(matches!(wal.event(&json!(1)).await, Err(WalError::Invalid(_))));
            let digest = works.blobs().put(b"kept".to_vec()).await.map_err(|error| unkept(&error))?;
            let kept = works.blobs().get(digest).await.map_err(|error| unkept(&error))?;
            assert_eq!(kept, b"kept");
            let parameters = context.parameters().await?;
            // A service's own surface belongs to no execution.
            let alone = state.set_session_state(ids[1], ids[0], &json!({})).await;
            assert!(matches!(alone, Err(StateError::NotOwn)), "{alone:?}");
            Output::new(&json!({ "said": parameters["message"] }), &[json!({ "name": "last" })])
        })
    }
}

#[test]
fn a_service_gets_its_context_and_tells_what_happens_on_the_way() {
    run(async |world| {
        let registry = world.registry(|registry| {
            assert!(registry.register_service::<Curious>("t", "curious", json!({ "owner": "ann" })));
        });
        let executor = world.executor(registry, bounds());
        let course = ran(world, "c", "t", 1).await;
        let expected = [
            step("running", json!({ "delivery": 1 })),
            step("step_completed", json!({ "step": "look", "output": { "n": 1 } })),
            step("step_failed", json!({ "step": "smell", "error": { "code": "NO_NOSE" } })),
            step("event", json!({ "name": "seen" })),
            step("event", json!({ "name": "last" })),
            step("completed", json!({ "delivery": 1, "output": { "said": "c" } })),
        ];
        assert_eq!(course, expected);
        executor.stop(Duration::from_secs(60)).await;
    });
}

#[test]
fn a_state_is_set_by_swap_against_what_its_context_has_read() {
    run(async |world| {
        let handler = async |context: ExecutionContext| {
            let unkept = |error: StateError| HandlerError::new("ODD", error.to_string());
            let (surface, session, tenant) = (&context.state_surface, "thread", "default");
            let read = surface.get_session_state(session, tenant).await.map_err(unkept)?;
            let count = read.as_ref().map_or(0, |state| state["count"].as_u64().unwrap_or(0));
            if context.intent.correlation_id == "late" {
                // Who has read nothing says that there is none; and who has, is told by the next change.
                let unread = surface.of_nobody_else();
                let conflict = unread.set_session_state(session, tenant, &json!({})).await;
                assert!(
                    matches!(conflict, Err(StateError::StateConflict { newest: Some(_) })),
                    "{conflict:?}"
                );
                let counted = |state: Option<Value>| json!({ "count": state.map_or(0, |state| state["count"].as_u64().unwrap_or(0)) + 1 });
                unread.update_session_state(session, tenant, counted).await.map_err(unkept)?;
                let stale = surface.set_session_state(session, tenant, &json!({ "count": 99 })).await;
                assert!(matches!(stale, Err(StateError::StateConflict { .. })), "{stale:?}");
            } else {
                surface
                    .set_session_state(session, tenant, &json!({ "count": count + 1 }))
                    .await
                    .map_err(unkept)?;
            }
            for (session, tenant) in [("another", tenant), (session, "another")] {
                let refused = surface.set_session_state(session, tenant, &json!({})).await;
                assert!(matches!(refused, Err(StateError::NotOwn)), "{refused:?}");
            }
            let id = context.execution_id;
            assert_eq!(surface.get_execution_state(id).await.map_err(unkept)?, None);
            surface.set_execution_state(id, &json!({ "step": 1 })).await.map_err(unkept)?;
            surface.update_execution_state(id, |state| json!({ "was": state })).await.map_err(unkept)?;
            let own = surface.get_execution_state(id).await.map_err(unkept)?;
            let state = surface.get_session_state(session, tenant).await.map_err(unkept)?;
            Output::new(&json!({ "own": own, "session": state }), &[])
        };
        let registry = world.registry(|registry| {
            registry.register_intent("t", "h", handler, json!({}));
        });
        let executor = world.executor(registry, bounds());
        for (nth, (correlation, count)) in (1..).zip([("a", 1), ("b", 2), ("late", 3)]) {
            let course = ran(world, correlation, "t", nth).await;
            let output = json!({ "own": { "was": { "step": 1 } }, "session": { "count": count } });
            let end = course.last().unwrap();
            assert_eq!(*end, step("completed", json!({ "delivery": 1, "output": output })), "{correlation}");
        }
        executor.stop(Duration::from_secs(60)).await;
    });
}
