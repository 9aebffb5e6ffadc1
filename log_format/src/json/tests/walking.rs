//! The walk over canonical text.

use proptest::prelude::*;

use super::super::canonical::{Malformed, Members, string, unescape};
use super::agreement::document;

fn walk(text: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Members::new(text).map(|member| member.map(|(key, value)| (shown(key), shown(value)))).collect()
}

#[test]
fn members_come_in_order_with_their_raw_text() {
    let text =
        r#"{"a":1,"b\"":"x\\","c":{"d":[1,"}",{"e":"\""}],"f":{}},"g":[],"h":-1.5e-7,"i":null,"é":"ü,"}"#;
    let expected = [
        ("a", "1"),
        ("b\\\"", "\"x\\\\\""),
        ("c", r#"{"d":[1,"}",{"e":"\""}],"f":{}}"#),
        ("g", "[]"),
        ("h", "-1.5e-7"),
        ("i", "null"),
        ("é", "\"ü,\""),
    ];
    let expected: Vec<_> = expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    assert_eq!(walk(text.as_bytes()), Ok(expected));
    assert_eq!(walk(b"{}"), Ok(Vec::new()));
}

#[test]
fn what_is_no_object_is_an_error() {
    for text in [
        "",
        "{",
        "}",
        "[]",
        "1",
        "{}{}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1",
        "{\"a\":1,}",
        "{\"a\":1}}",
        "{\"a\":1}x",
        "{,\"a\":1}",
        "{\"a\":\"x}",
        "{\"a\":[1}",
        "{\"a\":1\"b\":2}",
        "{\"a\\\":1}",
        "{\"a\":,\"b\":1}",
        "{\"a\":]}",
        "{\"a\": ",
        "{ \"a\":1}",
        "{a:1}",
    ] {
        assert_eq!(walk(text.as_bytes()), Err(Malformed), "{text}");
    }
}

#[test]
fn strings_are_unescaped() {
    for (raw, expected) in [
        ("", Some("")),
        ("plain é", Some("plain é")),
        (r#"\"\\\/\b\f\n\r\t\u0001x"#, Some("\"\\/\u{8}\u{c}\n\r\t\u{1}x")),
        (r"a\ud83d\ude00b", Some("a😀b")),
        (r"\", None),
        ("\"", None),
        ("a\"b", None),
        ("\n", None),
        (r"\u12", None),
        (r"\ud800", None),
        (r"\x", None),
    ] {
        assert_eq!(unescape(raw.as_bytes()).as_deref(), expected, "{raw}");
        assert_eq!(string(format!("\"{raw}\"").as_bytes()).as_deref(), expected, "{raw}");
    }
    assert_eq!(unescape(b"\xff"), None);
    assert_eq!((string(b"\""), string(b"1"), string(b"\"a")), (None, None, None));
}

proptest! {
    #[test]
    fn the_walk_finds_what_the_strict_reader_finds(document in document()) {
        let text = super::super::canonicalize(document.to_string().as_bytes()).unwrap();
        if let Some(object) = document.as_object() {
            let members = walk(&text).unwrap();
            prop_assert_eq!(members.len(), object.len());
            for (key, value) in members {
                let key = unescape(key.as_bytes()).unwrap().into_owned();
                let expected = super::super::canonicalize(object[&key].to_string().as_bytes()).unwrap();
                prop_assert_eq!(value.into_bytes(), expected);
            }
        } else {
            prop_assert_eq!(walk(&text), Err(Malformed));
        }
    }

    #[test]
    fn the_walk_never_panics(text in r#"\{?([{}\[\],:"\\a1]|"[ab\\]*":){0,30}\}?"#, bytes: Vec<u8>) {
        let _ = (walk(text.as_bytes()), walk(&bytes), unescape(text.as_bytes()), string(&bytes));
    }
}
