//! A request's token, as an extractor. What is not a good token is 401, whatever is wrong with it.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::{Capabilities, Claims, Refusal, unix_seconds};
use crate::auth;
use crate::problem::{Problem, ReasonCode};

/// The header of a capability token.
const X_TRACE_TASK_CAPABILITY: &str = "X-Trace-Task-Capability";

/// Where no capability opens anything, whatever it says.
const INTERNAL: &str = "/internal";

/// The good capability token of a request. As an extractor it refuses with `MISSING_TOKEN` or `BAD_TOKEN`.
#[derive(Debug, Clone)]
pub struct Capability(pub Claims);

impl Capability {
    /// Demands that the token is for this attempt of this task. Whether the attempt is the latest one, the lease says.
    ///
    /// # Errors
    /// `WRONG_TASK`, 403.
    pub fn for_task(&self, task_id: &str, attempt: u64) -> Result<(), Problem> {
        match self.0.are_for(task_id, attempt) {
            true => Ok(()),
            false => Err(Problem::new(ReasonCode::WrongTask)),
        }
    }
}

impl Deref for Capability {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.0
    }
}

impl<S> FromRequestParts<S> for Capability
where
    Arc<Capabilities>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if parts.uri.path().split('/').nth(1) == Some(&INTERNAL[1..]) {
            return Err(Problem::new(ReasonCode::BadToken).detail("A capability opens nothing here."));
        }
        let token = token(&parts.headers, Some(X_TRACE_TASK_CAPABILITY))?;
        let keys = Arc::<Capabilities>::from_ref(state).keys();
        keys.check(token, unix_seconds()).map(Self).map_err(|refusal| bad("capability", refusal))
    }
}

fn token<'a>(headers: &'a HeaderMap, own_header: Option<&str>) -> Result<&'a str, Problem> {
    let token = auth::bearer_or(headers, own_header)?;
    std::str::from_utf8(token).map_err(|_bytes| Problem::new(ReasonCode::BadToken))
}

fn bad(which: &str, refusal: Refusal) -> Problem {
    Problem::new(ReasonCode::BadToken).detail(format!("The {which} token is refused: {refusal}."))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::capability::{Grant, Issue, Prefixes, ServiceGrant};
    use axum::http::{Request, StatusCode};

    fn minted(capabilities: &Capabilities) -> String {
        let grant = Grant {
            stream_id: "default".to_owned(),
            task_id: "T1".to_owned(),
            attempt: 2,
            timeout: Duration::from_secs(60),
            datasets: Vec::new(),
            s3: Prefixes::default(),
        };
        capabilities.mint(&grant).unwrap()
    }

    async fn extracted(
        capabilities: &Arc<Capabilities>,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Capability, Problem> {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        Capability::from_request_parts(&mut parts, capabilities).await
    }

    #[tokio::test]
    async fn a_capability_is_taken_from_either_header_and_is_for_one_attempt() {
        let capabilities = Capabilities::of_a_test();
        let token = minted(&capabilities);
        for (name, value) in
            [(X_TRACE_TASK_CAPABILITY, token.clone()), ("authorization", format!("Bearer {token}"))]
        {
            let capability = extracted(&capabilities, "/v1/task/heartbeat", &[(name, &value)]).await.unwrap();
            assert!(capability.for_task("T1", 2).is_ok() && capability.org_id == "default");
            for (task, attempt) in [("T2", 2), ("T1", 1), ("T1", 3), ("", 2)] {
                let refused = capability.for_task(task, attempt).unwrap_err();
                assert_eq!(refused.code(), ReasonCode::WrongTask);
                assert_eq!(refused.code().status(), StatusCode::FORBIDDEN);
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_capability_is_401() {
        let capabilities = Capabilities::of_a_test();
        let token = minted(&capabilities);
        let issue = Issue::now();
        let grant = ServiceGrant { name: "platform".to_owned(), lifetime: Duration::from_secs(60) };
        let service = capabilities.keys().mint_service(&grant, &issue).unwrap();
        let bearer = format!("Bearer {token}");
        type Headers<'a> = &'a [(&'a str, &'a str)];
        let cases: [(&str, Headers<'_>, ReasonCode); 7] = [
            ("/v1/task/heartbeat", &[], ReasonCode::MissingToken),
            ("/v1/task/heartbeat", &[("x-api-key", &token)], ReasonCode::MissingToken),
            ("/v1/task/heartbeat", &[("authorization", &token)], ReasonCode::BadToken),
            ("/v1/task/heartbeat", &[(X_TRACE_TASK_CAPABILITY, "")], ReasonCode::BadToken),
            ("/v1/task/heartbeat", &[(X_TRACE_TASK_CAPABILITY, &service)], ReasonCode::BadToken),
            ("/internal/task-claim", &[(X_TRACE_TASK_CAPABILITY, &token)], ReasonCode::BadToken),
            ("/internal/task-claim", &[("authorization", &bearer)], ReasonCode::BadToken),
        ];
        for (path, headers, code) in cases {
            let refused = extracted(&capabilities, path, headers).await.unwrap_err();
            assert_eq!(
                (refused.code(), refused.code().status()),
                (code, StatusCode::UNAUTHORIZED),
                "{headers:?}"
            );
        }
    }
}
