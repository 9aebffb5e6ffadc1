//! What a policy sees: the request that is built of an intent, without a schema.
//!
//! Nothing of an EXECUTION is in it, because [`Input`] has no place for it.

use std::borrow::Cow;
use std::str::FromStr as _;
use std::sync::LazyLock;

use cedar_policy::{Context, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression};
use gesta_log_format::json::canonical::{self, Members};

/// What a policy decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input<'a> {
    /// The principal, `Gesta::Actor`.
    pub actor: &'a str,
    /// The resource, `Gesta::Stream`.
    pub stream_id: &'a str,
    /// Where it came in.
    pub lane: &'a str,
    /// What is asked for.
    pub intent_type: &'a str,
    /// The thread that it belongs to.
    pub thread_id: &'a str,
    /// The roles of whoever authenticated.
    pub roles: &'a [Cow<'a, str>],
    /// The client's payload: a canonical object.
    pub payload: &'a [u8],
    /// What came before.
    pub counts: Counts,
    /// How many INTENTs are in the context besides this one.
    pub governance_refs: usize,
}

/// What came before an intent, counted over the INTENTs `submitted` of its stream with a lower index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those of its thread.
    pub prior_intents_thread: u64,
    /// Those of its actor.
    pub prior_intents_actor: u64,
}

/// The payload cannot be shown to a policy: two of its members have the same flattened name, or it is no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

struct Names {
    actor: EntityTypeName,
    stream: EntityTypeName,
    submit: EntityUid,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let name = |text| EntityTypeName::from_str(text).expect("a type name of our own");
    Names {
        actor: name("Gesta::Actor"),
        stream: name("Gesta::Stream"),
        submit: EntityUid::from_type_name_and_id(name("Gesta::Action"), EntityId::new("submit")),
    }
});

/// The request for an intent.
pub(super) fn build(input: &Input<'_>) -> Result<Request, Ambiguous> {
    let names = &*NAMES;
    let uid =
        |name: &EntityTypeName, id: &str| EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id));
    let (principal, resource) = (uid(&names.actor, input.actor), uid(&names.stream, input.stream_id));
    let context = Context::from_pairs([
        ("lane".to_owned(), text(input.lane)),
        ("intent_type".to_owned(), text(input.intent_type)),
        ("thread_id".to_owned(), text(input.thread_id)),
        ("roles".to_owned(), RestrictedExpression::new_set(input.roles.iter().map(|role| text(role)))),
        ("payload".to_owned(), payload(input.payload)?),
        ("counts".to_owned(), counts(input)?),
    ]);
    let context = context.map_err(|_| Ambiguous)?;
    Request::new(principal, names.submit.clone(), resource, context, None).map_err(|_| Ambiguous)
}

/// What a policy is asked, as Cedar writes it: principal, action, resource, context. `None` where it is not asked,
/// because the payload cannot be shown to it.
pub(crate) fn texts(input: &Input<'_>) -> Option<[String; 4]> {
    let request = build(input).ok()?;
    let uid = |uid: Option<&EntityUid>| uid.map(ToString::to_string).unwrap_or_default();
    let context = request.context().map(ToString::to_string).unwrap_or_default();
    Some([uid(request.principal()), uid(request.action()), uid(request.resource()), context])
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn record(fields: Vec<(String, RestrictedExpression)>) -> Result<RestrictedExpression, Ambiguous> {
    RestrictedExpression::new_record(fields).map_err(|_| Ambiguous)
}

fn counts(input: &Input<'_>) -> Result<RestrictedExpression, Ambiguous> {
    let long = |name: &str, value: u64| {
        (name.to_owned(), RestrictedExpression::new_long(i64::try_from(value).unwrap_or(i64::MAX)))
    };
    record(vec![
        long("prior_intents_thread", input.counts.prior_intents_thread),
        long("prior_intents_actor", input.counts.prior_intents_actor),
        long("governance_refs", u64::try_from(input.governance_refs).unwrap_or(u64::MAX)),
    ])
}

/// The scalar members of the payload, nested names joined by dots.
fn payload(object: &[u8]) -> Result<RestrictedExpression, Ambiguous> {
    let mut fields = Vec::new();
    flatten(object, "", &mut fields)?;
    record(fields)
}

fn flatten(
    object: &[u8],
    path: &str,
    fields: &mut Vec<(String, RestrictedExpression)>,
) -> Result<(), Ambiguous> {
    for member in Members::new(object) {
        let (key, value) = member.map_err(|_| Ambiguous)?;
        let key = canonical::unescape(key).ok_or(Ambiguous)?;
        let name = if path.is_empty() { key.into_owned() } else { format!("{path}.{key}") };
        match value.first() {
            Some(b'{') => flatten(value, &name, fields)?,
            Some(b'[') => fields.push((name, set(value)?)),
            Some(_) | None => fields.extend(scalar(value)?.map(|value| (name, value))),
        }
    }
    Ok(())
}

/// The scalar elements of an array; objects and arrays within it are left out.
fn set(array: &[u8]) -> Result<RestrictedExpression, Ambiguous> {
    let mut elements = Vec::new();
    let mut rest = array.get(1..).ok_or(Ambiguous)?;
    while rest != b"]" {
        let (value, behind) =
            canonical::value_end(rest).and_then(|end| rest.split_at_checked(end)).ok_or(Ambiguous)?;
        if !matches!(value.first(), Some(b'{' | b'[')) {
            elements.extend(scalar(value)?);
        }
        rest = match behind.split_first() {
            Some((b',', more)) => more,
            Some((b']', [])) => b"]",
            Some(_) | None => return Err(Ambiguous),
        };
    }
    Ok(RestrictedExpression::new_set(elements))
}

/// A string as a String, an integer that fits as a Long, any other number as the String of its canonical text, a
/// boolean as a Bool; null is nothing.
fn scalar(value: &[u8]) -> Result<Option<RestrictedExpression>, Ambiguous> {
    let plain = std::str::from_utf8(value).map_err(|_| Ambiguous)?;
    Ok(Some(match value.first() {
        Some(b'"') => text(&canonical::string(value).ok_or(Ambiguous)?),
        Some(b't') => RestrictedExpression::new_bool(true),
        Some(b'f') => RestrictedExpression::new_bool(false),
        Some(b'n') => return Ok(None),
        Some(_) | None => match plain.parse() {
            Ok(long) => RestrictedExpression::new_long(long),
            Err(_) => text(plain),
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the request's context shows under `payload`, as Cedar prints it.
    fn shown(payload: &str) -> Result<String, Ambiguous> {
        assert!(gesta_log_format::json::is_canonical(payload.as_bytes()), "{payload}");
        let mut fields = Vec::new();
        flatten(payload.as_bytes(), "", &mut fields)?;
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        record(fields.clone())?;
        let each = fields.into_iter().map(|(name, value)| format!("{name}={}", printed(value)));
        Ok(each.collect::<Vec<_>>().join(" "))
    }

    fn printed(value: RestrictedExpression) -> String {
        let context = Context::from_pairs([("x".to_owned(), value)]).unwrap();
        context.get("x").unwrap().to_string()
    }

    #[track_caller]
    fn check(payload: &str, expected: &str) {
        assert_eq!(shown(payload).unwrap(), expected, "{payload}");
    }

    #[test]
    fn scalars_are_flattened_with_dots() {
        check("{}", "");
        check(r#"{"a":"x","b":true,"c":false,"d":null}"#, r#"a="x" b=true c=false"#);
        check(r#"{"a":{"b":{"c":1},"d":"\n"}}"#, r#"a.b.c=1 a.d="\n""#);
        check(r#"{"a":{}}"#, "");
    }

    #[test]
    fn integers_are_longs_and_other_numbers_their_text() {
        check(r#"{"a":0,"b":-9007199254740991}"#, "a=0 b=-9007199254740991");
        check(r#"{"a":0.5,"b":1e-7}"#, r#"a="0.5" b="1e-7""#);
        assert_eq!(printed(scalar(b"9223372036854775807").unwrap().unwrap()), "9223372036854775807");
        assert_eq!(printed(scalar(b"9223372036854775808").unwrap().unwrap()), "\"9223372036854775808\"");
        assert_eq!(printed(scalar(b"1e+21").unwrap().unwrap()), "\"1e+21\"");
    }

    #[test]
    fn arrays_are_sets_of_their_scalars() {
        check(r#"{"a":[]}"#, "a=[]");
        check(r#"{"a":[1,1,null]}"#, "a=[1]");
        check(r#"{"a":[{"b":1},[2],"x]"]}"#, r#"a=["x]"]"#);
    }

    #[test]
    fn two_members_with_one_name_are_ambiguous() {
        assert_eq!(shown(r#"{"a":{"b":1},"a.b":2}"#), Err(Ambiguous));
        check(r#"{"a":{"b":null},"a.b":2}"#, "a.b=2");
    }

    #[test]
    fn a_blob_that_the_client_refers_to_shows_as_its_reference() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let payload = format!(r#"{{"file":{{"$blob":"{digest}","media_type":"a/b","size_bytes":1}}}}"#);
        check(&payload, &format!(r#"file.$blob="{digest}" file.media_type="a/b" file.size_bytes=1"#));
    }
}
