//! Tests of the reader, the canonical writer and the walk over canonical text.

use super::*;

mod agreement;
mod numbers;
mod pulling;
mod refusals;
mod walking;

fn canonical(text: &str) -> String {
    String::from_utf8(canonicalize(text.as_bytes()).unwrap()).unwrap()
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(canonical(text), expected, "of {text}");
    assert_eq!(canonical(expected), expected, "the second pass changes nothing");
    assert!(is_canonical(expected.as_bytes()));
    assert_eq!(is_canonical(text.as_bytes()), text == expected);
}

#[test]
fn whitespace_goes_and_the_rest_stays() {
    check(" {\"a\" :\t[ 1 ,\r\n2 , [ ] , { } ] } \n", r#"{"a":[1,2,[],{}]}"#);
    check(" null ", "null");
    check("[true,false,null]", "[true,false,null]");
    check("\"\"", "\"\"");
}

#[test]
fn strings_and_literals_print_as_in_section_3_2_2() {
    check(
        r#"{"numbers": [4.50, 2e-3, 0.000000000000000000000000001], "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"#,
        r#"{"literals":[null,true,false],"numbers":[4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#,
    );
}

#[test]
fn keys_sort_as_in_section_3_2_3() {
    check(
        r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#,
        "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\
         \"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
    );
}

#[test]
fn keys_sort_by_their_values_at_every_depth() {
    check(
        r#"{"b":{"d":1,"c":{"z":0,"y":[{"q":1,"p":2}]}},"a":2}"#,
        r#"{"a":2,"b":{"c":{"y":[{"p":2,"q":1}],"z":0},"d":1}}"#,
    );
    check(r#"{"a":1,"aa":2,"":3,"B":4}"#, r#"{"":3,"B":4,"a":1,"aa":2}"#);
    check(r#"{"\u0062":1,"a":2}"#, r#"{"a":2,"b":1}"#);
}

#[test]
fn the_shortest_escapes_are_printed() {
    check(
        r#""\u0000\u0001\b\t\n\u000B\f\r\u001F\u007f\u2028\u0085\/\u00e9\ud83d\ude00""#,
        "\"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f\u{7f}\u{2028}\u{85}/é😀\"",
    );
}

#[test]
fn a_string_is_printed_alike_from_text_and_from_a_value() {
    for text in
        ["", "plain", "12345678\"", "1234567\\89012345678", "\u{0}\u{1f} \u{7f}", "ä\u{fffd}\u{10ffff}\n"]
    {
        let mut out = Vec::new();
        write_string(&mut out, text);
        assert_eq!(canonicalize(&out).unwrap(), out);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
}

#[test]
fn the_order_is_that_of_utf_16_for_every_pair_of_kinds() {
    let keys = ["", "a", "aé", "é", "\u{7ff}", "\u{800}", "\u{d7ff}", "\u{e000}", "\u{fb33}", "\u{ffff}"];
    let beyond = ["\u{10000}", "\u{10ffff}", "a\u{10000}", "a\u{e000}", "\u{1f600}", "\u{e000}\u{10000}"];
    for a in keys.iter().chain(&beyond) {
        for b in keys.iter().chain(&beyond) {
            let expected = a.encode_utf16().cmp(b.encode_utf16());
            assert_eq!(order::utf16(a.as_bytes(), b.as_bytes()), expected, "{a:?} {b:?}");
        }
    }
}

#[test]
fn members_of_the_whole_object_are_inspected() {
    struct Keys(Vec<String>);
    impl Inspect for Keys {
        fn string_member(&mut self, key: &str) -> Result<(), ErrorKind> {
            self.0.push(key.to_owned());
            if key == "secret" { Err(ErrorKind::Rejected { reason: "no secrets".into() }) } else { Ok(()) }
        }
    }
    let run = |text: &str| {
        let (mut keys, mut out) = (Keys(Vec::new()), b"kept".to_vec());
        let result = Reader::new(text.as_bytes()).unwrap().canonical_value(&mut out, &mut keys);
        (keys.0.join(" "), result.map_err(|e| (e.pointer, e.kind)), out)
    };
    let (keys, result, out) =
        run(r#"{"b": "x", "a": {"\u0063": "y", "empty": "", "n": 1}, "l": ["z", {"d":"\n"}]}"#);
    assert_eq!((keys.as_str(), result.is_ok()), ("b c d", true));
    assert!(out.starts_with(b"kept{\"a\":{\"c\":"));
    let (_, result, out) = run(r#"{"a":[0,{"secret" : "x"}]}"#);
    let expected = ("/a/1/secret".to_owned(), ErrorKind::Rejected { reason: "no secrets".into() });
    assert_eq!((result, out.as_slice()), (Err(expected), &b"kept"[..]));
    assert!(run(r#"{"a":[0,{"secret":""}]}"#).1.is_ok());
}
