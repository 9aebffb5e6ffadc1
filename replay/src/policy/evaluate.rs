//! Asks the policies of a bundle, and turns their answer into result, reasons and obligations.

use std::sync::LazyLock;

use cedar_policy::{AuthorizationError, Authorizer, Decision, PolicyId};

use super::bundle::{Bundle, Compiled, PolicyRule};
use super::request::{Ambiguous, Input, build};
use crate::context::{Reason, Transform};
use crate::event::Verdict;

/// The engine's name, as DECISIONs bear it.
pub const ENGINE_NAME: &str = "cedar-policy";

static VERSION: LazyLock<String> = LazyLock::new(|| cedar_policy::get_sdk_version().to_string());

/// The engine's version.
#[must_use]
pub fn engine_version() -> &'static str {
    &VERSION
}

/// The written form of a result.
pub(crate) const fn result_text(result: Verdict) -> &'static str {
    match result {
        Verdict::Allow => "ALLOW",
        Verdict::Deny => "DENY",
    }
}

/// Reads the written form of a result.
pub(crate) fn parse_result(text: &[u8]) -> Option<Verdict> {
    [Verdict::Allow, Verdict::Deny].into_iter().find(|result| result_text(*result).as_bytes() == text)
}

/// What the policies of a bundle say of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'b> {
    /// Their answer.
    pub result: Verdict,
    /// Why, sorted, each once.
    pub reasons: Vec<Reason>,
    /// What the determining policies demand, sorted, each once.
    pub obligations: Vec<Transform>,
    /// The policies that determined the answer, by file and place: the permits of an ALLOW, the forbids of a DENY; the
    /// ones that failed where evaluation did.
    pub determining: Vec<&'b PolicyRule>,
}

impl Bundle {
    /// Asks the policies. Total: what cannot be evaluated is a DENY that says so.
    #[must_use]
    pub fn evaluate(&self, input: &Input<'_>) -> Outcome<'_> {
        match &self.compiled {
            None => failed("bundle"),
            Some(compiled) => match build(input) {
                Ok(request) => compiled.ask(&request),
                Err(Ambiguous) => failed("payload"),
            },
        }
    }
}

/// An `EVALUATION_ERROR` before any policy was asked.
fn failed(input: &str) -> Outcome<'static> {
    Outcome {
        result: Verdict::Deny,
        reasons: vec![Reason::with("EVALUATION_ERROR", "input", input)],
        obligations: Vec::new(),
        determining: Vec::new(),
    }
}

impl Compiled {
    fn ask(&self, request: &cedar_policy::Request) -> Outcome<'_> {
        let response = Authorizer::new().is_authorized(request, &self.policies, &self.entities);
        let diagnostics = response.diagnostics();
        // Cedar leaves a policy out that fails, which would let a broken `forbid` permit.
        let erring =
            diagnostics.errors().map(|AuthorizationError::PolicyEvaluationError(error)| error.policy_id());
        let erring = self.rules_of(erring);
        if !erring.is_empty() {
            let mut reasons: Vec<_> =
                erring.iter().map(|rule| Reason::with("EVALUATION_ERROR", "policy", &rule.id)).collect();
            reasons.sort_unstable();
            let (result, obligations) = (Verdict::Deny, Vec::new());
            return Outcome { result, reasons, obligations, determining: erring };
        }
        let determining = self.rules_of(diagnostics.reason());
        let result = match response.decision() {
            Decision::Allow => Verdict::Allow,
            Decision::Deny => Verdict::Deny,
        };
        let mut reasons: Vec<_> = determining.iter().map(|rule| rule.reason.clone()).collect();
        if reasons.is_empty() {
            reasons.push(Reason::new("NO_PERMIT", "{}"));
        }
        let mut obligations: Vec<_> = determining.iter().flat_map(|rule| rule.obligations.clone()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        obligations.sort_unstable();
        obligations.dedup();
        Outcome { result, reasons, obligations, determining }
    }

    /// The policies of these ids, by file and place.
    fn rules_of<'a>(&self, ids: impl Iterator<Item = &'a PolicyId>) -> Vec<&PolicyRule> {
        let rule = |id| self.rules.get(id).expect("only the bundle's own policies are evaluated");
        let mut rules: Vec<_> = ids.map(rule).collect();
        rules.sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
        rules
    }
}
