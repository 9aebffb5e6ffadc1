//! Property tests against independent implementations: `serde_jcs` for what is printed, `serde_json` for what is
//! accepted.

use proptest::prelude::*;
use serde_json::{Map, Number, Value};

use super::super::*;

fn text() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "\u{0}",
        "\u{8}",
        "\n",
        "\u{1f}",
        "\"",
        "\\",
        "/",
        "\u{7f}",
        "é",
        "\u{2028}",
        "\u{e000}",
        "\u{fb33}",
        "\u{ffff}",
        "\u{10000}",
        "😀",
        "a",
        "B",
        "0",
        "plain words",
    ]);
    prop_oneof![
        "[a-z_]{0,12}",
        prop::collection::vec(odd, 0..6).prop_map(|pieces| pieces.concat()),
        any::<String>(),
    ]
}

fn number() -> impl Strategy<Value = Number> {
    let decimal = prop_oneof![any::<f64>(), (-1.0e6..1.0e6), any::<u64>().prop_map(f64::from_bits)];
    prop_oneof![
        (-INTEGER_MAX..=INTEGER_MAX).prop_map(Number::from),
        (-1000_i64..1000).prop_map(Number::from),
        decimal
            .prop_filter("a decimal", |number| is_admissible(*number) && number.fract() != 0.0)
            .prop_filter_map("finite", Number::from_f64),
    ]
}

/// Documents whose every number the reader admits.
pub(super) fn document() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number().prop_map(Value::Number),
        text().prop_map(Value::String),
    ];
    scalar.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            prop::collection::vec((text(), inner), 0..8)
                .prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

/// `value`, spelled with whitespace, needless escapes and members in another order.
fn spell(value: &Value, seed: usize, out: &mut String) {
    let space = [" ", "", "\n\t", ""][seed % 4];
    out.push_str(space);
    match value {
        Value::Array(elements) => {
            out.push('[');
            for (i, element) in elements.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                spell(element, seed / 2 + i, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            let len = members.len().max(1);
            members.rotate_left(seed % len);
            if seed.is_multiple_of(3) {
                members.reverse();
            }
            out.push('{');
            for (i, (key, member)) in members.into_iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                spell_string(key, seed + i, out);
                out.push_str(space);
                out.push(':');
                spell(member, seed / 2 + i, out);
            }
            out.push('}');
        }
        Value::String(text) => spell_string(text, seed, out),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
    out.push_str(space);
}

fn spell_string(text: &str, seed: usize, out: &mut String) {
    if !seed.is_multiple_of(3) {
        out.push_str(&serde_json::to_string(text).unwrap());
        return;
    }
    out.push('"');
    for unit in text.encode_utf16() {
        out.push_str(&if seed.is_multiple_of(2) {
            format!("\\u{unit:04x}")
        } else {
            format!("\\u{unit:04X}")
        });
    }
    out.push('"');
}

/// Numbers as doubles, so that `1.0` equals `1`, and `-0` equals `0`.
fn by_value(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            Number::from_f64(number.as_f64().unwrap() + 0.0).map_or(Value::Null, Value::Number)
        }
        Value::Array(elements) => elements.into_iter().map(by_value).collect(),
        Value::Object(members) => members.into_iter().map(|(key, member)| (key, by_value(member))).collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => value,
    }
}

/// The kind's own acceptance rules are those of `serde_json`, but for what it lets pass.
fn agrees(bytes: &[u8]) -> Result<(), TestCaseError> {
    let theirs = serde_json::from_slice::<Value>(bytes);
    match (canonicalize(bytes), theirs) {
        (Ok(ours), theirs) => {
            prop_assert!(theirs.is_ok(), "accepted against serde_json: {}", String::from_utf8_lossy(bytes));
            let reread = by_value(serde_json::from_slice(&ours).unwrap());
            prop_assert_eq!(reread, by_value(theirs.unwrap()));
            prop_assert!(is_canonical(&ours));
        }
        (Err(error), Ok(_)) => prop_assert!(
            matches!(
                error.kind,
                ErrorKind::DuplicateKey | ErrorKind::NumberOutOfRange | ErrorKind::TooDeep { .. }
            ),
            "refused against serde_json: {error}: {}",
            String::from_utf8_lossy(bytes)
        ),
        (Err(error), Err(_)) => prop_assert!(error.offset <= bytes.len()),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_printed_is_what_serde_jcs_prints(document in document(), seed: usize) {
        let expected = serde_jcs::to_vec(&document).unwrap();
        let mut spelled = String::new();
        spell(&document, seed, &mut spelled);
        let printed = canonicalize(spelled.as_bytes()).unwrap();
        prop_assert_eq!(String::from_utf8_lossy(&printed), String::from_utf8_lossy(&expected));
        prop_assert!(is_canonical(&printed));
    }

    #[test]
    fn acceptance_agrees_with_serde_json_after_any_change_of_bytes(
        document in document(),
        seed: usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..4),
    ) {
        let mut spelled = String::new();
        spell(&document, seed, &mut spelled);
        let mut bytes = spelled.into_bytes();
        agrees(&bytes)?;
        for (index, how, byte) in changes {
            const TELLING: &[u8] = b"\"\\{}[]:,0123456789.eE+-tfnu/ \n\0\x1f\x7f\x80\xff";
            let interesting = TELLING[usize::from(byte) % TELLING.len()];
            if bytes.is_empty() { break }
            let at = index.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes[at] = interesting,
                2 => bytes.insert(at, interesting),
                _ => drop(bytes.remove(at)),
            }
            agrees(&bytes)?;
        }
    }

    #[test]
    fn acceptance_agrees_with_serde_json_on_soup(soup in r#"([\[\]{},:"\\ \n]|"a?\\?[u"n/]?[dD8c0]{0,4}"|"a":|-?[0-9.]{1,3}([eE][-+]?[0-9]{0,3})?|true|null){0,12}"#) {
        agrees(soup.as_bytes())?;
    }
}
