//! `GET /errors`: the catalogue, as JSON for programs and as a page for people who followed a problem's `type`.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{Html, IntoResponse, Response};

use super::catalogue::Entry;
use super::records::entries;

static JSON: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let entries: Vec<&Entry> = entries().collect();
    serde_json::to_vec(&entries).expect("the catalogue is made of text and numbers")
});

static HTML: LazyLock<String> = LazyLock::new(html);

/// Every reason code with its status, cause and remedy; also those that stand in records alone.
#[utoipa::path(
    get,
    path = "/errors",
    tag = "reference",
    responses((status = 200, description = "The catalogue; a page where `Accept` prefers HTML", body = [Entry]))
)]
pub async fn errors(headers: HeaderMap) -> Response {
    let mut response = if prefers_html(&headers) {
        Html(HTML.as_str()).into_response()
    } else {
        ([(CONTENT_TYPE, "application/json")], JSON.as_slice()).into_response()
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

/// Browsers name `text/html` first; a program that names JSON as well, at least as high, gets JSON.
fn prefers_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let quality = |wanted: &str| {
        accept.split(',').find_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let found = parts.next()?.eq_ignore_ascii_case(wanted);
            let quality =
                parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
            found.then_some(quality.unwrap_or(0.0_f32))
        })
    };
    quality("text/html").unwrap_or(0.0) > quality("application/json").unwrap_or(0.0)
}

fn html() -> String {
    const INFALLIBLE: &str = "writing to a string does not fail";
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Gesta: errors</title><style>\
         body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}\
         code{font-size:.95em}section:target{background:#fff3bf;outline:.5rem solid #fff3bf}\
         h2{margin-bottom:0}p{margin:.2rem 0}small{color:#555}</style><h1>Errors</h1>",
    );
    for entry in entries() {
        let status = entry.status.map_or_else(|| "in records".to_owned(), |status| status.to_string());
        let retriable = if entry.retriable { ", may be repeated" } else { "" };
        write!(
            out,
            "<section id=\"{code}\"><h2><a href=\"#{code}\"><code>{code}</code></a></h2>\
             <p><small>{status}, {title}{retriable}</small></p><p>{cause}</p><p>{remedy}</p></section>",
            code = entry.reason_code,
            title = escape(entry.title),
            cause = escape(entry.cause),
            remedy = escape(entry.remedy),
        )
        .expect(INFALLIBLE);
    }
    out.push_str("</html>");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
