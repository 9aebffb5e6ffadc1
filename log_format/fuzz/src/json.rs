//! The strict reader of JSON and the canonical writer behind it.

use gesta_log_format::json::canonical::Members;
use gesta_log_format::json::{canonicalize, is_canonical};
use serde_json::Value;

pub fn check(data: &[u8]) {
    // The walk over canonical text meets text that is not.
    let _ = Members::new(data).count();
    let canonical = match canonicalize(data) {
        Ok(canonical) => canonical,
        Err(error) => {
            let _ = error.to_string();
            assert!(!is_canonical(data));
            return;
        }
    };
    assert_eq!(
        canonicalize(&canonical).as_ref(),
        Ok(&canonical),
        "canonical text is read, and stays as it is"
    );
    assert_eq!(is_canonical(data), data == canonical);
    let Ok(before) = serde_json::from_slice::<Value>(data) else {
        panic!("another reader refuses what this one admits");
    };
    let after: Value = serde_json::from_slice(&canonical).expect("canonical text is JSON");
    assert!(same(&before, &after), "the value stays the same: {before} {after}");
    if canonical.first() == Some(&b'{') {
        assert!(Members::new(&canonical).all(|member| member.is_ok()), "a canonical object has members");
    }
}

/// Whether two values are equal, `1.0` and `1` too.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}
