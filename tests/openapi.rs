//! The OpenAPI document of each listener is checked in, complete and true: `GESTA_BLESS=1 cargo test --test openapi` writes it anew.
//!
//! Whoever changes it for its clients raises the package's version, which is the document's `info.version`: the minor
//! one where a client that was written against the former document could break, the patch where it could not.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use gesta::problem::ReasonCode;
use gesta::server::{Surface, document};
use serde_json::Value;
use support::Server;

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/openapi");

const SURFACES: [Surface; 3] = [Surface::Public, Surface::Task, Surface::Internal];

/// The document's file.
fn file(surface: Surface) -> String {
    let name = match surface {
        Surface::Public => "wire",
        Surface::Task => "task",
        Surface::Internal => "internal",
    };
    format!("{DIRECTORY}/{name}.yaml")
}

/// Every route of the contract, by listener. A route that is added to the server is added here, and so to the document.
fn routes(surface: Surface) -> &'static [&'static str] {
    match surface {
        Surface::Public => PUBLIC_ROUTES,
        Surface::Task => TASK_ROUTES,
        Surface::Internal => INTERNAL_ROUTES,
    }
}

const TASK_ROUTES: &[&str] = &[
    "GET /objects/{bucket}/{key}",
    "HEAD /objects/{bucket}/{key}",
    "PUT /objects/{bucket}/{key}",
    "POST /v1/task/artifacts",
    "PUT /v1/task/blob/sha256/{hex}",
    "POST /v1/task/buffer-publish",
    "POST /v1/task/complete",
    "GET /v1/task/control",
    "POST /v1/task/credentials",
    "POST /v1/task/events",
    "POST /v1/task/heartbeat",
    "POST /v1/task/state",
    "POST /v1/task/wal",
];

const INTERNAL_ROUTES: &[&str] = &[
    "GET /internal/jwks/task",
    "POST /internal/task-claim",
    "GET /internal/task-fetch",
    "GET /internal/wakeups",
];

const PUBLIC_ROUTES: &[&str] = &[
    "GET /",
    "GET /api/blob/sha256/{hex}",
    "HEAD /api/blob/sha256/{hex}",
    "PUT /api/blob/sha256/{hex}",
    "GET /api/dataset",
    "POST /api/dataset",
    "GET /api/dataset/{uuid}/{version}/dead-letters",
    "GET /api/dataset/{uuid}/{version}/rows",
    "POST /api/execution/{id}/cancel",
    "GET /api/intent/handlers",
    "POST /api/intent/handlers",
    "DELETE /api/intent/handlers/{intent_type}/{handler_name}",
    "GET /api/task",
    "GET /api/task/{id}",
    "POST /api/task/{id}/cancel",
    "POST /api/task/{id}/retry",
    "GET /blobs/bundle",
    "GET /checkpoint",
    "GET /checkpoint/keys",
    "POST /checkpoint/keys",
    "GET /control/context",
    "GET /control/keys/task",
    "POST /control/keys/task",
    "POST /control/context",
    "GET /control/policy",
    "POST /control/policy",
    "GET /errors",
    "GET /events",
    "GET /events/by-digest/{digest}",
    "GET /events/{index}",
    "GET /events/{index}/proof",
    "POST /execution/event",
    "GET /healthz",
    "POST /ingress/intent",
    "GET /metrics",
    "GET /openapi.json",
    "GET /proof/consistency",
    "GET /proof/inclusion",
    "GET /readyz",
    "GET /snapshot",
    "GET /status",
    "GET /tail",
    "POST /tail/ticket",
    "GET /threads/{id}/timeline",
    "GET /tile/{path}",
];

/// Statuses that a code has beside the catalogue's, as its cause says.
const OTHER_STATUSES: &[(&str, u16)] = &[("BLOB_NOT_FOUND", 400)];

struct Operation {
    /// `GET /tail`.
    route: String,
    value: Value,
}

impl Operation {
    fn responses(&self) -> impl Iterator<Item = (u16, &Value)> {
        let responses = self.value["responses"].as_object().unwrap();
        responses.iter().map(|(status, response)| (status.parse().unwrap(), response))
    }
}

fn value(surface: Surface) -> Value {
    serde_json::to_value(document(surface)).unwrap()
}

fn operations_of(surface: Surface) -> Vec<Operation> {
    let document = value(surface);
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, value) in methods.as_object().unwrap() {
            let route = format!("{} {path}", method.to_uppercase());
            operations.push(Operation { route, value: value.clone() });
        }
    }
    operations
}

/// Those of all listeners.
fn operations() -> Vec<Operation> {
    SURFACES.into_iter().flat_map(operations_of).collect()
}

/// The codes that a description names: upper-case words in backticks.
fn codes(description: &str) -> Vec<&str> {
    let quoted = description.split('`').skip(1).step_by(2);
    quoted.filter(|word| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')).collect()
}

#[test]
fn the_documents_that_are_checked_in_are_those_of_the_code() {
    for surface in SURFACES {
        let head = format!(
            "# The {} listener. Made from the code: GESTA_BLESS=1 cargo test --test openapi\n",
            surface.name()
        );
        let made = format!("{head}{}", yaml_serde::to_string(&document(surface)).unwrap());
        let file = file(surface);
        if std::env::var_os("GESTA_BLESS").is_some() {
            std::fs::write(file, made).unwrap();
            continue;
        }
        let written = std::fs::read_to_string(&file).unwrap();
        let differs = made.lines().zip(written.lines()).position(|(made, written)| made != written);
        assert!(
            made == written,
            "line {} of {file} differs: GESTA_BLESS=1 cargo test --test openapi writes it",
            differs.unwrap_or(made.lines().count().min(written.lines().count())) + 1
        );
    }
}

#[test]
fn each_document_has_the_routes_of_the_contract_and_no_others() {
    for surface in SURFACES {
        let documented: BTreeSet<String> =
            operations_of(surface).into_iter().map(|operation| operation.route).collect();
        let wanted: BTreeSet<String> = routes(surface).iter().map(|&route| route.to_owned()).collect();
        assert_eq!(documented, wanted);
    }
}

#[test]
fn each_listener_has_only_paths_of_its_own_by_whole_segment() {
    for surface in SURFACES {
        for operation in operations_of(surface) {
            let path = operation.route.split_once(' ').unwrap().1;
            let segments: Vec<&str> = path.split('/').skip(1).collect();
            let owner = match segments[..] {
                ["v1", "task", _, ..] | ["objects", _, ..] => Surface::Task,
                ["internal", _, ..] => Surface::Internal,
                _ => Surface::Public,
            };
            assert_eq!(owner, surface, "{path}");
        }
    }
}

#[test]
fn the_router_has_each_documented_route_for_its_documented_methods_alone() {
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for operation in operations_of(Surface::Public) {
        let (method, path) = operation.route.split_once(' ').unwrap();
        let allowed = methods.entry(path.replace(['{', '}'], "")).or_default();
        allowed.insert(method.to_owned());
        if method == "GET" {
            allowed.insert("HEAD".to_owned());
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let mut client = server.client();
    for (path, documented) in methods {
        // A method that no route has.
        let response = client.request("TRACE", &path, &[], b"");
        assert_eq!(response.status, 405, "{path}: {}", response.text());
        let allowed: BTreeSet<String> =
            response.header("allow").unwrap().split(',').map(|method| method.trim().to_owned()).collect();
        assert_eq!(allowed, documented, "{path}");
    }
    let response = client.get("/openapi.json");
    assert_eq!(response.json(), value(Surface::Public));
    server.stop();
}

#[test]
fn every_operation_says_what_it_is_and_every_error_which_code_it_has() {
    let mut ids = HashSet::new();
    for Operation { route, value } in operations() {
        assert!(
            value["summary"].as_str().is_some_and(|summary| summary.ends_with('.')),
            "{route}: no summary"
        );
        assert!(value["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{route}: not one tag");
        assert!(ids.insert(value["operationId"].as_str().unwrap().to_owned()), "{route}: not its own id");
    }
    for operation in operations() {
        for (status, response) in operation.responses() {
            let description = response["description"].as_str().unwrap();
            let route = &operation.route;
            for (media_type, content) in response["content"].as_object().into_iter().flatten() {
                let problem = content["schema"]["$ref"] == "#/components/schemas/Problem";
                assert_eq!(problem, media_type == "application/problem+json", "{route}: {status}");
                assert_eq!(problem, !codes(description).is_empty(), "{route}: {status}: {description}");
                assert!(!problem || status >= 400, "{route}: {status} is no error");
            }
        }
    }
}

#[test]
fn every_documented_code_is_in_the_catalogue_with_its_status() {
    for operation in operations() {
        for (status, response) in operation.responses() {
            for name in codes(response["description"].as_str().unwrap()) {
                let found = ReasonCode::ALL.iter().find(|code| code.name() == name);
                let code = found.unwrap_or_else(|| panic!("{}: there is no {name}", operation.route));
                let fits = code.status() == status || OTHER_STATUSES.contains(&(name, status));
                assert!(fits, "{}: {name} is {}, not {status}", operation.route, code.status());
            }
        }
    }
}

#[test]
fn every_schema_that_is_referred_to_is_there() {
    for surface in SURFACES {
        let document = value(surface);
        let text = document.to_string();
        let names: BTreeSet<&str> = text.split("\"#/components/schemas/").skip(1).map(before_quote).collect();
        assert!(surface != Surface::Public || names.contains("Problem"));
        for name in names {
            assert!(document["components"]["schemas"].get(name).is_some(), "there is no schema {name}");
        }
        let tags: Vec<&str> =
            document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
        for operation in operations_of(surface) {
            let tag = operation.value["tags"][0].as_str().unwrap();
            assert!(tags.contains(&tag), "{}: there is no tag {tag}", operation.route);
        }
    }
}

fn before_quote(text: &str) -> &str {
    text.split('"').next().unwrap_or_default()
}
