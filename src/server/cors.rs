//! Pages of other origins: those that `server.cors_origins` names may call, all others get what they always get.
//!
//! A browser asks before a request that a form could not make (a preflight) and hides an answer that does not name the
//! page's origin. Tokens travel in headers and never in cookies, so credentials are not allowed for any origin. Without
//! configured origins the layer is left out altogether.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

/// The methods of our routes, but for those that a browser needs no leave for.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT");

/// The headers that our routes look at.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, cache-control, content-type, idempotency-key, last-event-id, range, traceparent, \
     x-api-key, x-correlation-id",
);

/// The headers of our answers that a page could not read otherwise.
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "accept-ranges, allow, content-range, etag, gesta-applied-index, idempotent-replayed, location, retry-after, \
     www-authenticate, x-backoff-ms, x-correlation-id",
);

/// Seconds for which a browser need not ask again.
const ANSWER_SECONDS: HeaderValue = HeaderValue::from_static("600");

/// Puts the layer around a router, if any origin is configured.
pub(super) fn around(router: Router, origins: &[String]) -> Router {
    let origins: HashSet<Box<str>> = origins.iter().map(|origin| normal(origin).into()).collect();
    if origins.is_empty() {
        router
    } else {
        router.layer(middleware::from_fn_with_state(Arc::new(origins), cors))
    }
}

/// As browsers write an origin: lower case, without a slash at the end and without the port that its scheme implies.
fn normal(origin: &str) -> String {
    let origin = origin.trim_end_matches('/').to_ascii_lowercase();
    let implied = if origin.starts_with("https://") { ":443" } else { ":80" };
    origin.strip_suffix(implied).map(str::to_owned).unwrap_or(origin)
}

async fn cors(State(origins): State<Arc<HashSet<Box<str>>>>, request: Request, next: Next) -> Response {
    let origin = allowed(&origins, request.headers()).cloned();
    let asks =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &origin {
        Some(_) if asks => preflight(),
        Some(_) | None => next.run(request).await,
    };
    // Also where the origin is not allowed: a cache must not show this answer to a page that is.
    response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
    }
    response
}

fn allowed<'a>(origins: &HashSet<Box<str>>, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    headers.get(ORIGIN).filter(|origin| origin.to_str().is_ok_and(|origin| origins.contains(origin)))
}

fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
        (ACCESS_CONTROL_MAX_AGE, ANSWER_SECONDS),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::*;

    const PAGE: &str = "https://app.example";

    /// Status, allowed origin and allowed methods.
    type Seen = (u16, Option<String>, Option<String>);

    async fn seen(origins: &[&str], method: Method, origin: Option<&str>, asks_for: Option<&str>) -> Seen {
        let origins: Vec<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
        let router = around(Router::new().route("/", post(|| async { "done" })), &origins);
        let mut request = Request::builder().method(method).uri("/");
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        if let Some(asks_for) = asks_for {
            request = request.header(ACCESS_CONTROL_REQUEST_METHOD, asks_for);
        }
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let allowed = (header(ACCESS_CONTROL_ALLOW_ORIGIN), header(ACCESS_CONTROL_ALLOW_METHODS));
        (response.status().as_u16(), allowed.0, allowed.1)
    }

    #[tokio::test]
    async fn a_configured_origin_may_call_and_is_told_so_before_it_does() {
        let told = (204, Some(PAGE.to_owned()), Some("GET, HEAD, POST, PUT".to_owned()));
        assert_eq!(seen(&[PAGE], Method::OPTIONS, Some(PAGE), Some("POST")).await, told);
        let called = (200, Some(PAGE.to_owned()), None);
        assert_eq!(seen(&[PAGE], Method::POST, Some(PAGE), None).await, called);
        assert_eq!(seen(&["HTTPS://App.Example:443/"], Method::POST, Some(PAGE), None).await, called);
    }

    #[tokio::test]
    async fn no_other_origin_may() {
        for other in
            ["https://evil.example", "http://app.example", "https://app.example.evil.example", "null"]
        {
            assert_eq!(seen(&[PAGE], Method::POST, Some(other), None).await, (200, None, None), "{other}");
            let refused = seen(&[PAGE], Method::OPTIONS, Some(other), Some("POST")).await;
            assert_eq!(refused, (405, None, None), "{other}");
        }
        assert_eq!(seen(&[], Method::OPTIONS, Some(PAGE), Some("POST")).await, (405, None, None));
    }

    #[tokio::test]
    async fn a_request_without_an_origin_is_none_of_its_business() {
        assert_eq!(seen(&[PAGE], Method::POST, None, None).await, (200, None, None));
        assert_eq!(seen(&[PAGE], Method::OPTIONS, None, Some("POST")).await, (405, None, None));
    }
}
