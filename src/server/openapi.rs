//! What the handlers' descriptions cannot say each for itself, said once for the whole OpenAPI document.

use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Content, OpenApi, PathItem, Ref, RefOr, Response};

use super::listeners::Surface;

const JSON: &str = "application/json";
const PROBLEM_JSON: &str = "application/problem+json";
const PROBLEM: &str = "#/components/schemas/Problem";

/// Media types whose bytes are no text.
const BINARY: [&str; 2] = ["application/octet-stream", "application/x-tar"];

/// Completes the document that the handlers' descriptions make up.
pub(super) fn complete(mut document: OpenApi, surface: Surface) -> OpenApi {
    if let Some(components) = document.components.as_mut() {
        for (name, scheme) in schemes(surface) {
            components.add_security_scheme(name, scheme);
        }
    }
    // How the router writes a path that goes on to its end.
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    for item in document.paths.paths.values_mut() {
        if let Some(head) = item.head.as_mut() {
            // Described together with GET, whose name it would bear.
            head.operation_id = head.operation_id.take().map(|id| format!("{id}_head"));
        }
        operations(item).for_each(|operation| complete_operation(operation, surface));
    }
    document
}

/// What each listener accepts as a caller's token, by the names under which operations refer to it.
fn schemes(surface: Surface) -> Vec<(&'static str, SecurityScheme)> {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let header = |name: &str| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(name)));
    let ticket = ApiKeyValue::with_description("ticket", "From `POST /tail/ticket`");
    let own = match surface {
        Surface::Public => {
            vec![("api_key", header("X-API-Key")), ("ticket", SecurityScheme::ApiKey(ApiKey::Query(ticket)))]
        }
        Surface::Task => vec![("capability", header("X-Trace-Task-Capability"))],
        Surface::Internal => vec![("worker", header("X-Trace-Worker-Token"))],
    };
    std::iter::once(("bearer", SecurityScheme::Http(bearer))).chain(own).collect()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.head, &mut item.post, &mut item.put, &mut item.delete].into_iter().flatten()
}

fn complete_operation(operation: &mut Operation, surface: Surface) {
    if operation.responses.responses.contains_key("401") {
        operation.security = Some(security(operation, surface));
    }
    if let Some(RefOr::T(body)) = operation.request_body.as_mut() {
        body.content.iter_mut().for_each(|(media_type, content)| complete_content(media_type, content));
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            complete_response(response);
        }
    }
}

/// One of these: a token in either header, the ticket of a tail, or, on the public listener, nothing where no token is
/// configured.
fn security(operation: &Operation, surface: Surface) -> Vec<SecurityRequirement> {
    const NO_SCOPES: [&str; 0] = [];
    let takes_tickets = operation.operation_id.as_deref() == Some("tail");
    let names: &[&str] = match surface {
        Surface::Public if takes_tickets => &["bearer", "api_key", "ticket"],
        Surface::Public => &["bearer", "api_key"],
        Surface::Task => &["bearer", "capability"],
        Surface::Internal => &["bearer", "worker"],
    };
    let mut any: Vec<_> = names.iter().map(|name| SecurityRequirement::new(*name, NO_SCOPES)).collect();
    if surface == Surface::Public {
        any.push(SecurityRequirement::default());
    }
    any
}

fn complete_response(response: &mut Response) {
    if response.content.get(JSON).is_some_and(is_problem)
        && let Some(content) = response.content.swap_remove(JSON)
    {
        response.content.insert(PROBLEM_JSON.to_owned(), content);
    }
    response.content.iter_mut().for_each(|(media_type, content)| complete_content(media_type, content));
}

fn is_problem(content: &RefOr<Content>) -> bool {
    let problem = RefOr::Ref(Ref::new(PROBLEM));
    matches!(content, RefOr::T(content) if content.schema.as_ref() == Some(&problem))
}

fn complete_content(media_type: &str, content: &mut RefOr<Content>) {
    if let RefOr::T(content) = content
        && BINARY.contains(&media_type)
    {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        let bytes = ObjectBuilder::new().schema_type(Type::String).format(Some(format));
        content.schema = Some(RefOr::T(bytes.build().into()));
    }
}
