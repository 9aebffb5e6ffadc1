//! The table of attacks. Each is a token that somebody who has one good token, and the public keys, could make.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use ulid::Ulid;

use super::prefix::{Object, Prefix};
use super::*;
use crate::limits;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "log.test/1";

fn fresh() -> Arc<Key> {
    Arc::new(Key::es256(&Key::generate().unwrap()).unwrap())
}

fn secret() -> Arc<Key> {
    Arc::new(Key::hs256(&[b's'; 32]).unwrap())
}

fn grant() -> Grant {
    let prefix = |text: &str| Prefix::parse(text).unwrap();
    Grant {
        stream_id: "team-a".to_owned(),
        task_id: "01JD000000000000000000000A".to_owned(),
        attempt: 2,
        timeout: Duration::from_secs(600),
        datasets: vec![Dataset {
            dataset_uuid: "d-1".to_owned(),
            dataset_version: "1".to_owned(),
            storage_ref: Some("blob://bucket/d-1/".to_owned()),
        }],
        s3: Prefixes {
            read_prefixes: vec![prefix("s3://bucket/in/")],
            write_prefixes: vec![prefix("s3://bucket/out/")],
        },
    }
}

fn issue() -> Issue {
    Issue { at: NOW, id: Ulid::from_parts(1, 2) }
}

fn set(keys: &[&Arc<Key>]) -> KeySet {
    KeySet::new(ISSUER, keys.iter().map(|key| Arc::clone(key)).collect())
}

/// A token of these claims, signed by the key under whatever header.
fn forged(header: &Value, claims: &Value, key: &Key) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let algorithm = key.algorithm().of_crate();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key.signing, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// The claims of a good token.
fn claims() -> Value {
    serde_json::to_value(
        set(&[&secret()]).check(&set(&[&secret()]).mint(&grant(), &issue()).unwrap(), NOW).unwrap(),
    )
    .unwrap()
}

/// The claims of a good token with one of them changed; null removes it.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    members.remove(name);
    if !value.is_null() {
        members.insert(name.to_owned(), value);
    }
    claims
}

#[test]
fn a_token_says_what_it_was_minted_from() {
    for key in [fresh(), secret()] {
        let set = set(&[&key]);
        let claims = set.check(&set.mint(&grant(), &issue()).unwrap(), NOW).unwrap();
        let grant = grant();
        assert_eq!((&*claims.iss, &*claims.aud), (ISSUER, TASK_AUDIENCE));
        assert_eq!((&claims.org_id, claims.iat, claims.exp), (&grant.stream_id, NOW, NOW + 600 + 300));
        assert_eq!(claims.sub, format!("task:{}", grant.task_id));
        assert_eq!(claims.jti, issue().id.to_string());
        assert_eq!((&claims.datasets, &claims.s3), (&grant.datasets, &grant.s3));
        assert!(claims.are_for(&grant.task_id, 2) && !claims.are_for(&grant.task_id, 1));
        assert!(!claims.are_for("01JD000000000000000000000B", 2));
        let object = |text: &str| Object::parse(text).unwrap();
        assert!(
            claims.s3.may_read(&object("s3://bucket/in/x"))
                && claims.s3.may_write(&object("s3://bucket/out/x"))
        );
        assert!(
            !claims.s3.may_write(&object("s3://bucket/in/x"))
                && !claims.s3.may_read(&object("s3://bucket/out/x"))
        );
    }
}

#[test]
fn a_token_is_good_from_its_making_to_its_end_and_five_seconds_around() {
    let set = set(&[&fresh()]);
    let token = set.mint(&grant(), &issue()).unwrap();
    let table = [
        (NOW - 6, Some(Refusal::NotYetValid)),
        (NOW - 5, None),
        (NOW, None),
        (NOW + 900 + 4, None),
        (NOW + 900 + 5, Some(Refusal::Expired)),
        (u64::MAX, Some(Refusal::Expired)),
        (0, Some(Refusal::NotYetValid)),
    ];
    for (now, refusal) in table {
        assert_eq!(set.check(&token, now).err(), refusal, "{now}");
    }
    let long = Grant { timeout: Duration::from_secs(u64::MAX), ..grant() };
    let claims = set.check(&set.mint(&long, &issue()).unwrap(), NOW).unwrap();
    assert_eq!(claims.exp, NOW + 86_400, "never longer than a day");
}

#[test]
fn forged_tokens_are_refused() {
    let (key, other) = (fresh(), fresh());
    let set = set(&[&key]);
    let good = json!({"alg": "ES256", "typ": "JWT", "kid": key.id()});
    let point = key.public().unwrap().text();
    // A public key taken for a secret.
    let mistaken = |secret: &[u8]| {
        let mut key = Key::hs256(&[0; 32]).unwrap();
        key.signing = EncodingKey::from_secret(secret);
        key
    };
    let (confused, raw) = (mistaken(point.as_bytes()), mistaken(&raw_point(&key)));
    let hs = json!({"alg": "HS256", "typ": "JWT", "kid": key.id()});
    let own_key = json!({"alg": "ES256", "kid": other.id(), "jwk": other.public().unwrap()});
    let table = [
        ("by another key under this one's name", forged(&good, &claims(), &other), Refusal::Signature),
        (
            "by another key under its own name",
            forged(&json!({"alg": "ES256", "kid": other.id()}), &claims(), &other),
            Refusal::UnknownKey,
        ),
        ("with its own key in the header", forged(&own_key, &claims(), &other), Refusal::UnknownKey),
        ("HS256 with the public key's text", forged(&hs, &claims(), &confused), Refusal::Algorithm),
        ("HS256 with the public key's point", forged(&hs, &claims(), &raw), Refusal::Algorithm),
        (
            "HS256 by a secret that is not configured",
            forged(&json!({"alg": "HS256", "kid": "hs256"}), &claims(), &secret()),
            Refusal::UnknownKey,
        ),
        ("without a key's name", forged(&json!({"alg": "ES256"}), &claims(), &key), Refusal::NoKeyId),
        (
            "with an empty name",
            forged(&json!({"alg": "ES256", "kid": ""}), &claims(), &key),
            Refusal::UnknownKey,
        ),
        (
            "with a path as a name",
            forged(&json!({"alg": "ES256", "kid": "../../keys/task/current.pem"}), &claims(), &key),
            Refusal::UnknownKey,
        ),
        (
            "with a name that is no text",
            forged(&json!({"alg": "ES256", "kid": [key.id()]}), &claims(), &key),
            Refusal::Malformed,
        ),
        ("alg none", forged(&json!({"alg": "none", "kid": key.id()}), &claims(), &key), Refusal::Malformed),
        ("alg None", forged(&json!({"alg": "None", "kid": key.id()}), &claims(), &key), Refusal::Malformed),
        (
            "another algorithm of the family",
            forged(&json!({"alg": "ES384", "kid": key.id()}), &claims(), &key),
            Refusal::Algorithm,
        ),
        ("without an algorithm", forged(&json!({"kid": key.id()}), &claims(), &key), Refusal::Malformed),
        (
            "with a critical extension",
            forged(&json!({"alg": "ES256", "kid": key.id(), "crit": ["b64"], "b64": false}), &claims(), &key),
            Refusal::Malformed,
        ),
        ("a service token", set.mint_service(&service(), &issue()).unwrap(), Refusal::Claims),
    ];
    for (what, token, refusal) in table {
        assert_eq!(set.check(&token, NOW), Err(refusal), "{what}");
    }
}

fn raw_point(key: &Key) -> Vec<u8> {
    key.checking.try_get_as_bytes().unwrap().to_vec()
}

fn service() -> ServiceGrant {
    ServiceGrant { name: "platform".to_owned(), lifetime: Duration::from_secs(60) }
}

/// Signed by the right key: whoever holds it, or what an older version of it may have signed.
#[test]
fn signed_claims_that_are_not_a_capability_s_are_refused() {
    let key = fresh();
    let set = set(&[&key]);
    let header = json!({"alg": "ES256", "kid": key.id()});
    let table = [
        ("aud", json!("gesta.platform"), Refusal::Audience),
        ("aud", json!("trace.task "), Refusal::Audience),
        ("aud", json!(["trace.task"]), Refusal::Claims),
        ("aud", Value::Null, Refusal::Claims),
        ("iss", json!("log.test/2"), Refusal::Issuer),
        ("iss", json!(""), Refusal::Issuer),
        ("iss", Value::Null, Refusal::Claims),
        ("sub", json!("task:01JD000000000000000000000B"), Refusal::Subject),
        ("sub", json!("01JD000000000000000000000A"), Refusal::Subject),
        ("sub", Value::Null, Refusal::Claims),
        ("task_id", json!("01JD000000000000000000000B"), Refusal::Subject),
        ("exp", json!(NOW - 5), Refusal::Expired),
        ("exp", json!(0), Refusal::Expired),
        ("exp", json!(NOW + 86_401), Refusal::LivesTooLong),
        ("exp", json!(u64::MAX), Refusal::LivesTooLong),
        ("exp", json!("2999-01-01"), Refusal::Claims),
        ("exp", json!(-1), Refusal::Claims),
        ("exp", json!(1e300), Refusal::Claims),
        ("exp", Value::Null, Refusal::Claims),
        ("iat", json!(NOW + 6), Refusal::NotYetValid),
        ("iat", Value::Null, Refusal::Claims),
        ("nbf", json!(NOW + 6), Refusal::NotYetValid),
        ("attempt", json!("2"), Refusal::Claims),
        ("attempt", json!(-2), Refusal::Claims),
        ("attempt", Value::Null, Refusal::Claims),
        ("s3", Value::Null, Refusal::Claims),
        ("s3", json!({"read_prefixes": [], "write_prefixes": ["s3://bucket/"]}), Refusal::Claims),
        ("s3", json!({"read_prefixes": ["s3://bucket/../x/"], "write_prefixes": []}), Refusal::Claims),
        ("s3", json!({"read_prefixes": ["*"], "write_prefixes": []}), Refusal::Claims),
        ("datasets", json!("all"), Refusal::Claims),
    ];
    for (name, value, refusal) in table {
        let token = forged(&header, &with(name, value.clone()), &key);
        assert_eq!(set.check(&token, NOW), Err(refusal), "{name}: {value}");
    }
    let twice = claims().to_string().replacen('{', r#"{"attempt":3,"#, 1);
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(twice));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key.signing, key.algorithm().of_crate()).unwrap();
    assert_eq!(set.check(&format!("{message}.{signature}"), NOW), Err(Refusal::Claims), "a claim said twice");
    assert!(set.check(&forged(&header, &claims(), &key), NOW).is_ok(), "the table begins with a good token");
}

#[test]
fn a_good_token_that_was_changed_anywhere_is_refused() {
    let set = set(&[&fresh()]);
    let token = set.mint(&grant(), &issue()).unwrap();
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(set.check(&changed, NOW).is_err(), "changed at {at}");
        assert!(set.check(&token[..at], NOW).is_err(), "cut at {at}");
    }
    let parts: Vec<&str> = token.split('.').collect();
    let other = set.mint(&Grant { attempt: 3, ..grant() }, &issue()).unwrap();
    let spliced = format!("{}.{}.{}", parts[0], other.split('.').nth(1).unwrap(), parts[2]);
    assert_eq!(set.check(&spliced, NOW), Err(Refusal::Signature), "another token's claims");
    for (what, changed) in [
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("a signature of zeroes", format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([0; 64]))),
        ("padding", format!("{token}==")),
        ("a fourth part", format!("{token}.x")),
        ("a space", format!("{token} ")),
        ("two tokens", format!("{token},{token}")),
    ] {
        assert!(set.check(&changed, NOW).is_err(), "{what}");
    }
    for nonsense in ["", ".", "..", "...", "a.b.c", "null", "\u{0}", "e30.e30.e30"] {
        assert_eq!(set.check(nonsense, NOW), Err(Refusal::Malformed), "{nonsense:?}");
    }
}

#[test]
fn a_huge_token_is_neither_read_nor_made() {
    let set = set(&[&fresh()]);
    let token = set.mint(&grant(), &issue()).unwrap();
    let huge = token.replacen('.', &".".repeat(limits::CAPABILITY_BYTES_MAX), 1);
    assert_eq!(set.check(&huge, NOW), Err(Refusal::TooLarge));
    assert_eq!(set.check(&"a".repeat(64 << 20), NOW), Err(Refusal::TooLarge));
    let dataset = grant().datasets.remove(0);
    let wide = Grant { datasets: vec![dataset; 200], ..grant() };
    assert!(matches!(set.mint(&wide, &issue()), Err(MintError::TooLarge(_))));
}

#[test]
fn a_key_is_good_for_one_change_and_no_longer() {
    let [first, second, third] = [fresh(), fresh(), fresh()];
    let token = set(&[&first]).mint(&grant(), &issue()).unwrap();
    let after = set(&[&second, &first]);
    assert!(after.check(&token, NOW).is_ok());
    assert_eq!(set(&[&third, &second]).check(&token, NOW), Err(Refusal::UnknownKey), "rotated out");
    let newer = after.mint(&grant(), &issue()).unwrap();
    assert_eq!(set(&[&first]).check(&newer, NOW), Err(Refusal::UnknownKey));
    assert!(set(&[&third, &second]).check(&newer, NOW).is_ok());
    assert_eq!(after.public().len(), 2);
}

#[test]
fn a_configured_secret_signs_and_the_keys_stay_good_and_it_is_not_shown() {
    let (key, secret) = (fresh(), secret());
    let before = set(&[&key]).mint(&grant(), &issue()).unwrap();
    let both = set(&[&secret, &key]);
    let token = both.mint(&grant(), &issue()).unwrap();
    assert!(both.check(&before, NOW).is_ok() && both.check(&token, NOW).is_ok());
    assert_eq!(set(&[&key]).check(&token, NOW), Err(Refusal::UnknownKey));
    let shown = serde_json::to_string(&both.public()).unwrap();
    assert_eq!(shown, serde_json::to_string(&[key.public().unwrap()]).unwrap());
    // The secret's name with the key's algorithm.
    let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some(HS256_KEY_ID.to_owned());
    let confused = encode(&header, &claims(), &key.signing).unwrap();
    assert_eq!(both.check(&confused, NOW), Err(Refusal::Algorithm));
}

#[test]
fn a_service_token_is_an_operator_s_and_no_capability() {
    let key = fresh();
    let set = set(&[&key]);
    let token = set.mint_service(&service(), &issue()).unwrap();
    let claims = set.check_service(&token, NOW).unwrap();
    assert_eq!((&*claims.sub, &*claims.role, claims.exp), ("platform", "operator", NOW + 60));
    assert_eq!(set.check_service(&token, NOW + 65), Err(Refusal::Expired));
    let capability = set.mint(&grant(), &issue()).unwrap();
    assert_eq!(set.check_service(&capability, NOW), Err(Refusal::Claims));
    let header = json!({"alg": "ES256", "kid": key.id()});
    let table = [
        ("aud", json!("trace.task"), Refusal::Audience),
        ("iss", json!("elsewhere"), Refusal::Issuer),
        ("role", json!("admin"), Refusal::Role),
        ("role", json!("Operator"), Refusal::Role),
        ("role", json!(["operator"]), Refusal::Claims),
        ("sub", json!(""), Refusal::Subject),
        ("exp", json!(NOW - 5), Refusal::Expired),
    ];
    for (name, value, refusal) in table {
        let mut changed = serde_json::to_value(&claims).unwrap();
        changed[name] = value.clone();
        assert_eq!(set.check_service(&forged(&header, &changed, &key), NOW), Err(refusal), "{name}: {value}");
    }
}
