use super::*;

const WHOLE: &str = r#"{"interface_version":2,"correlation_id":"c-1","payload":{"stream_id":"s","lane":"user",
"actor":"a@b","intent_type":"chat.message","thread_id":"t","turn_id":"u","parent_turn_id":null,
"payload":{"message":"hi","thread_id":"t","turn_id":"u"},
"declared_refs":[{"version":"1","ref_type":"event","ref_id":"c-0"}]}}"#;

#[test]
fn a_whole_request_is_read_into_its_fields() {
    let intent = parse(WHOLE.as_bytes()).unwrap();
    assert_eq!((&*intent.correlation_id, &*intent.stream_id, &*intent.lane), ("c-1", "s", "user"));
    assert_eq!(intent.payload, br#"{"message":"hi","thread_id":"t","turn_id":"u"}"#);
    assert_eq!(intent.declared_refs, br#"[{"ref_id":"c-0","ref_type":"event","version":"1"}]"#);
    assert_eq!(intent.parent_turn_id, None);
}

#[test]
fn what_may_be_left_out_has_its_default() {
    let body = r#"{"payload":{"payload":{},"turn_id":"u","thread_id":"t","intent_type":"x","actor":"a","lane":"l"},
        "correlation_id":"c","interface_version":2.0}"#;
    let intent = parse(body.as_bytes()).unwrap();
    assert_eq!((&*intent.stream_id, &intent.declared_refs[..]), (DEFAULT_STREAM, &b"[]"[..]));
}

/// Replaces `from` by `to` in the whole request and expects a refusal at `pointer`.
#[track_caller]
fn check(from: &str, to: &str, code: ReasonCode, pointer: &str) {
    assert!(WHOLE.contains(from), "{from}");
    let body = WHOLE.replacen(from, to, 1);
    let problem = parse(body.as_bytes()).expect_err(&body);
    assert_eq!(problem.code(), code, "{body}: {problem:?}");
    let shown = format!("{problem:?}");
    assert!(shown.contains(&format!("pointer: Some({pointer:?})")), "{pointer} for {body}: {shown}");
}

#[test]
fn each_wrong_shape_is_refused_with_its_pointer() {
    use ReasonCode::{InvalidInput, InvalidJson, SecretsPresent, UnsupportedInterfaceVersion};
    check(r#"{"interface_version":2,"#, "nonsense", InvalidJson, "");
    check(r#"2,"correlation_id":"c-1""#, r#"1,"correlation_id":"#, InvalidJson, "/correlation_id");
    check(r#""interface_version":2,"#, "", UnsupportedInterfaceVersion, "/interface_version");
    check(
        r#""interface_version":2"#,
        r#""interface_version":1"#,
        UnsupportedInterfaceVersion,
        "/interface_version",
    );
    check(
        r#""interface_version":2"#,
        r#""interface_version":"2""#,
        UnsupportedInterfaceVersion,
        "/interface_version",
    );
    check(r#""correlation_id":"c-1","#, "", InvalidInput, "/correlation_id");
    check("c-1", "", InvalidInput, "/correlation_id");
    check("c-1", "c 1", InvalidInput, "/correlation_id");
    check("c-1", "rt:1", InvalidInput, "/correlation_id");
    check("c-1", "dataset:1", InvalidInput, "/correlation_id");
    check("c-1", &"c".repeat(129), InvalidInput, "/correlation_id");
    check(r#""lane":"user""#, r#""lane":"-user""#, InvalidInput, "/payload/lane");
    check(r#""lane":"user","#, "", InvalidInput, "/payload/lane");
    check(r#""lane":"user""#, r#""lane":1"#, InvalidInput, "/payload/lane");
    check(r#""stream_id":"s""#, r#""stream_id":"_system""#, InvalidInput, "/payload/stream_id");
    check(r#""actor":"a@b""#, r#""actor":"a\u0001""#, InvalidInput, "/payload/actor");
    check(r#""actor":"a@b""#, r#""actor":"a","extra":1"#, InvalidInput, "/payload/extra");
    check(r#""parent_turn_id":null"#, r#""parent_turn_id":3"#, InvalidInput, "/payload/parent_turn_id");
    check(r#""message":"hi","thread_id":"t""#, r#""thread_id":"other""#, InvalidInput, "/payload/payload");
    check(
        r#""ref_type":"event""#,
        r#""ref_type":"thing""#,
        InvalidInput,
        "/payload/declared_refs/0/ref_type",
    );
    check(r#","ref_id":"c-0""#, "", InvalidInput, "/payload/declared_refs/0/ref_id");
    check(r#""hi""#, r#"{"a":[{"API-Key":"x"}]}"#, SecretsPresent, "/payload/payload/message/a/0/API-Key");
    check(r#""hi""#, "1e20", InvalidJson, "/payload/payload/message");
    check(r#""hi""#, r#""\ud800""#, InvalidJson, "/payload/payload/message");
    check(r#""hi""#, r#""hi","message":"ho""#, InvalidJson, "/payload/payload/message");
    check(r#""hi""#, "", InvalidJson, "/payload/payload/message");
}

#[test]
fn a_secret_without_a_value_is_none() {
    let body = WHOLE.replace(r#""hi""#, r#"{"token":"","password":null,"secret":{"a":1},"tokens":"x"}"#);
    assert!(parse(body.as_bytes()).is_ok());
    assert!(is_secret("Access_Token") && is_secret("x-".trim_start_matches("x-")) == is_secret(""));
    assert!(!is_secret("tokenizer") && !is_secret("") && is_secret("client-secret"));
}

#[test]
fn bodies_that_are_no_json_at_all_are_refused() {
    for body in ["", "  ", "nul", "[", "\u{feff}{}", "{} {}"] {
        let problem = parse(body.as_bytes()).expect_err(body);
        assert_eq!(problem.code(), ReasonCode::InvalidJson, "{body:?}");
    }
    assert_eq!(parse(&[0xff, b'{']).unwrap_err().code(), ReasonCode::InvalidJson);
    assert_eq!(parse(b"{}").unwrap_err().code(), ReasonCode::UnsupportedInterfaceVersion);
    assert_eq!(parse(b"[]").unwrap_err().code(), ReasonCode::UnsupportedInterfaceVersion);
}
