//! A part of the platform with a service token, which the server's own key has signed.

use std::process::Command;

use serde_json::json;

use crate::support::Intent;
use crate::support::problem::check as check_problem;
use crate::support::process::PROGRAM;
use crate::world::World;

/// What `gesta token service` prints.
fn minted(world: &World, more: &[&str]) -> String {
    let origin = world.get("/status").json()["origin"].as_str().unwrap().to_owned();
    let mut gesta = Command::new(PROGRAM);
    gesta.args(["token", "service", "--name", "platform", "--issuer", &origin]).args(more);
    let made = gesta.arg("--key").arg(world.data().join("keys/task/current.pem")).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    format!("Bearer {}", String::from_utf8(made.stdout).unwrap().trim())
}

#[test]
fn a_service_does_what_operators_do_in_its_own_name_and_no_more() {
    let world = World::start();
    world.register("work", &json!({}));
    world.submit("c", "work");
    let task_id = world.task_of("c");
    let bearer = minted(&world, &[]);
    let service = ("Authorization", bearer.as_str());
    let shown = world.public_with(service, "GET", &format!("/api/task/{task_id}"), "");
    assert_eq!(shown.json()["state"], "queued", "{}", shown.text());
    let cancel = format!("/api/task/{task_id}/cancel");
    let cancelled = world.public_with(service, "POST", &cancel, r#"{"reason":"no room"}"#);
    assert_eq!(cancelled.status, 202, "{}", cancelled.text());
    let payload = &world.record("c", "TASK", "canceled")["payload"];
    assert_eq!((&payload["by"], &payload["reason"]), (&json!("platform"), &json!("no room")));
    check_problem(&world.public_with(service, "GET", "/events", ""), 403, "FORBIDDEN", None);
    let intent = Intent::new("d").body();
    check_problem(&world.public_with(service, "POST", "/ingress/intent", &intent), 403, "FORBIDDEN", None);
    let token = ("X-Trace-Worker-Token", bearer.trim_start_matches("Bearer "));
    let refused = world.claim_with(token, &json!({ "worker_id": "w-1", "pools": ["p"] }));
    check_problem(&refused, 401, "BAD_TOKEN", None);
}
