use std::path::Path;

use super::*;

/// A directory with one configuration file.
fn inputs(text: &str) -> (tempfile::TempDir, Inputs) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gesta.toml");
    std::fs::write(&path, text).unwrap();
    (directory, Inputs { file: Some(path), ..Inputs::default() })
}

fn variables(list: &[(&str, &str)]) -> Inputs {
    let environment = list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Inputs { environment, ..Inputs::default() }
}

/// The message and the hint, with the file's directory cut off.
#[track_caller]
fn check_error(inputs: &Inputs, message: &str, hint: &str) {
    let error = load(inputs).expect_err("this configuration is wrong");
    let parent = inputs.file.as_deref().and_then(Path::parent).map(|path| format!("{}/", path.display()));
    let shown = parent.map_or_else(|| error.to_string(), |parent| error.to_string().replace(&parent, ""));
    assert_eq!((shown.as_str(), error.hint().as_str()), (message, hint));
}

#[track_caller]
fn check_file_error(text: &str, message: &str, hint: &str) {
    let (_directory, inputs) = inputs(text);
    check_error(&inputs, message, hint);
}

#[test]
fn the_later_source_wins() {
    let (_directory, mut inputs) = inputs("[server]\ndata = 'a'\nlisten = '127.0.0.1:1'\norigin = 'o'\n");
    inputs.environment =
        vec![("GESTA_LISTEN".into(), "127.0.0.1:2".into()), ("GESTA_DATA".into(), "b".into())];
    inputs.flags = vec![Flag { name: "--data".into(), key: "server.data".into(), value: "c".into() }];
    let loaded = load(&inputs).unwrap();
    assert_eq!(loaded.config.server.data, Path::new("c"));
    assert_eq!(loaded.config.server.listen.port(), 2);
    assert_eq!(loaded.config.server.origin.as_deref(), Some("o"));
    assert_eq!(loaded.source("server.data"), Some(&Source::Flag("--data".into())));
    assert_eq!(loaded.source("server.listen").unwrap().to_string(), "environment GESTA_LISTEN");
    assert!(loaded.source("server.origin").unwrap().to_string().ends_with("gesta.toml:4:10"));
    assert_eq!(loaded.source("log.segment_bytes"), Some(&Source::Default));
}

#[test]
fn every_default_is_in_its_range_and_every_key_reads_back() {
    for field in fields() {
        let value = field.fallback.value();
        assert_eq!(field.check(&value), Ok(()), "{}", field.key());
        let text = match &value {
            Value::Text(text) => text.clone(),
            Value::List(_) => String::new(),
            Value::Integer(_) | Value::Switch(_) => value.to_string(),
        };
        let loaded = load(&variables(&[(&field.long_variable(), &text)])).unwrap();
        assert_eq!(loaded.config, Config::default(), "{}", field.key());
    }
}

#[test]
fn the_defaults_are_the_bounds() {
    let config = Config::default();
    assert_eq!(config.log.segment_bytes, crate::limits::SEGMENT_BYTES);
    assert_eq!(config.limits.body_bytes_max, crate::limits::BODY_BYTES_MAX);
    assert_eq!(config.server.origin, None);
    assert!(config.tokens.is_empty());
}

#[test]
fn sizes_may_bear_units_and_underscores() {
    let list = [("GESTA_LOG__SEGMENT_BYTES", "64MiB"), ("GESTA_LIMITS__BODY_BYTES_MAX", "2_048")];
    let config = load(&variables(&list)).unwrap().config;
    assert_eq!((config.log.segment_bytes, config.limits.body_bytes_max), (64 << 20, 2048));
    let (_directory, inputs) = inputs("[log]\nsegment_bytes = '1 GiB'\n");
    assert_eq!(load(&inputs).unwrap().config.log.segment_bytes, 1 << 30);
}

#[test]
fn an_unknown_key_names_its_place_and_the_nearest() {
    check_file_error(
        "# hello\n[log]\nsegment_byte = 1\n",
        "gesta.toml:3:1: unknown setting `log.segment_byte`",
        "the nearest setting is `log.segment_bytes`",
    );
    check_file_error("[lgo]\n", "gesta.toml:1:2: unknown setting `lgo`", "the nearest setting is `log`");
    check_file_error(
        "[auth]\n[[auth.tokens]]\nname = 'a'\nrole = []\n",
        "gesta.toml:4:1: unknown setting `role`",
        "the nearest setting is `roles`",
    );
    check_error(
        &variables(&[("GESTA_LOG__SEGMENTS_BYTES", "1")]),
        "environment GESTA_LOG__SEGMENTS_BYTES: unknown setting `GESTA_LOG__SEGMENTS_BYTES`",
        "the nearest setting is `GESTA_LOG__SEGMENT_BYTES`",
    );
    let flags = vec![Flag { name: "--set".into(), key: "log.zzz".into(), value: "1".into() }];
    check_error(
        &Inputs { flags, ..Inputs::default() },
        "flag --set: unknown setting `log.zzz`",
        "`gesta config` prints every setting",
    );
}

#[test]
fn variables_of_commands_and_of_others_are_left_alone() {
    load(&variables(&[("GESTA_CONFIG", "x"), ("GESTA_TOKEN", "y"), ("PATH", "z"), ("OTHER__THING", "w")]))
        .unwrap();
}

#[test]
fn a_value_out_of_range_names_place_and_remedy() {
    check_file_error(
        "[tail]\n\n  heartbeat_seconds = 16\n",
        "gesta.toml:3:23: `tail.heartbeat_seconds` is 16, but must be a number of seconds from 1 to 15",
        "set `tail.heartbeat_seconds` to a number of seconds from 1 to 15",
    );
    check_file_error(
        "[log]\nsegment_bytes = -1\n",
        "gesta.toml:2:17: `log.segment_bytes` is -1, but must be a number of bytes from 65536 to 68719476736",
        "set `log.segment_bytes` to a number of bytes from 65536 to 68719476736",
    );
    check_file_error(
        "[server]\nlog_format = 'xml'\n",
        "gesta.toml:2:14: `server.log_format` is \"xml\", but must be one of \"text\", \"json\"",
        "set `server.log_format` to one of \"text\", \"json\"",
    );
    check_error(
        &variables(&[("GESTA_LISTEN", "7070")]),
        "environment GESTA_LISTEN: `server.listen` is \"7070\", but must be an IP address and a port, such as \
         \"127.0.0.1:7070\"",
        "set `server.listen` to an IP address and a port, such as \"127.0.0.1:7070\"",
    );
    check_error(
        &variables(&[("GESTA_LOG__FILL_AHEAD", "yes")]),
        "environment GESTA_LOG__FILL_AHEAD: `log.fill_ahead` is `yes`, but must be true or false",
        "set `log.fill_ahead` to true or false",
    );
}

#[test]
fn two_values_that_contradict_each_other_are_both_named() {
    check_error(
        &variables(&[("GESTA_LIMITS__EVENTS_PAGE_MAX", "100")]),
        "`limits.events_page_default` is 500 (default), more than `limits.events_page_max`, which is 100 \
         (environment GESTA_LIMITS__EVENTS_PAGE_MAX)",
        "lower `limits.events_page_default` or raise `limits.events_page_max`",
    );
    check_error(
        &variables(&[("GESTA_DATA", "a"), ("GESTA_SERVER__DATA", "b")]),
        "environment GESTA_DATA and environment GESTA_SERVER__DATA both set `server.data`",
        "keep one of the two",
    );
}

#[test]
fn a_file_that_is_not_toml_or_not_there_is_named() {
    check_file_error(
        "[log\n",
        "gesta.toml:1:5: not TOML: unclosed table, expected `]`",
        "the file is TOML: tables in [brackets], text in \"quotes\"",
    );
    let missing = Inputs { file: Some("no/such/gesta.toml".into()), ..Inputs::default() };
    check_error(
        &missing,
        "cannot read the configuration file gesta.toml",
        "check the path after --config, and that this user may read the file",
    );
}

const TOKEN: &str = "[[auth.tokens]]\nname = 'ci'\nroles = ['log.read']\n\
    sha256 = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'\n";

#[test]
fn a_token_sees_the_default_stream_and_acts_for_anyone_unless_told() {
    let (_directory, inputs) = inputs(TOKEN);
    let loaded = load(&inputs).unwrap();
    let token = &loaded.config.tokens[0];
    assert!(token.streams.matches("default") && !token.streams.matches("other") && token.actors.match_all());
    for output in [toml(&loaded), json(&loaded).to_string()] {
        assert!(output.contains("ba7816…") && !output.contains("ba7816bf"), "{output}");
    }
}

#[test]
fn a_bad_token_entry_is_refused_without_repeating_its_digest() {
    check_file_error(
        "[[auth.tokens]]\nname = 'ci'\nroles = ['log.read']\nsha256 = 'my secret'\n",
        "gesta.toml:4:10: `sha256` is something else, but must be the SHA-256 of the token in 64 hex digits \
         (`gesta token new` prints one)",
        "set `sha256` to the SHA-256 of the token in 64 hex digits (`gesta token new` prints one)",
    );
    check_file_error(
        &format!("{TOKEN}\n{TOKEN}"),
        "gesta.toml:6:1: `auth.tokens.name` is \"ci\", but must be a name of its own",
        "set `auth.tokens.name` to a name of its own",
    );
    check_file_error(
        &TOKEN.replace("roles = ['log.read']\n", ""),
        "gesta.toml:1:1: `roles` is missing",
        "add `roles`: a list of at least one of intent.write, log.read, execution.write, worker, approver, \
         operator, auditor, admin",
    );
}

#[test]
fn the_printed_configuration_reads_back_equal() {
    let mut inputs = variables(&[
        ("GESTA_ORIGIN", "o/1"),
        ("GESTA_SERVER__CORS_ORIGINS", "https://a.example, http://b:1"),
    ]);
    inputs.flags =
        vec![Flag { name: "--data".into(), key: "server.data".into(), value: "a \"b\"\\c".into() }];
    let first = load(&inputs).unwrap();
    let (_directory, again) = self::inputs(&toml(&first));
    assert_eq!(load(&again).unwrap().config, first.config);
    assert!(toml(&first).contains("segment_bytes = 268435456 # 256 MiB, default\n"));
    assert_eq!(json(&first)["server"]["origin"]["source"], "environment GESTA_ORIGIN");
}

const HANDLER: &str = "[[handlers]]\nintent_type = 't'\nhandler_name = 'h'\nkind = 'external'\n";

#[test]
fn a_handler_is_read_and_printed_as_it_was_written() {
    let text = format!("{HANDLER}timeout_seconds = 5\nmetadata = {{ a = 'b', n = 1.5, list = [true] }}\n");
    let (_directory, inputs) = inputs(&text);
    let loaded = load(&inputs).unwrap();
    let payload = String::from_utf8(loaded.config.handlers[0].payload()).unwrap();
    let expected = "{\"handler_name\":\"h\",\"intent_type\":\"t\",\"kind\":\"external\",\"metadata\":{\"a\":\"b\",\"list\":[true],\"n\":1.5},\"timeout_seconds\":5}";
    assert_eq!(payload, expected);
    let (_directory, again) = self::inputs(&toml(&loaded));
    assert_eq!(load(&again).unwrap().config, loaded.config);
    assert_eq!(json(&loaded)["handlers"][0]["timeout_seconds"], 5);
}

#[test]
fn a_handler_that_could_not_be_registered_is_refused_with_its_line() {
    #[track_caller]
    fn check(text: &str, place: &str, named: &str) {
        let (_directory, inputs) = inputs(text);
        let error = load(&inputs).expect_err("this configuration is wrong").to_string();
        assert!(error.contains(place) && error.contains(named), "{error}");
    }
    check(
        &HANDLER.replace("external", "stream"),
        "gesta.toml:4:8: `handlers.kind` is \"stream\"",
        "builtin, external",
    );
    check(&HANDLER.replace("'t'", "''"), "gesta.toml:2:15: `handlers.intent_type`", "letter or digit");
    check(
        &HANDLER.replace("kind = 'external'\n", ""),
        "gesta.toml:1:1: `handlers.kind` is not given",
        "missing",
    );
    check(&format!("{HANDLER}timeout = 5\n"), "gesta.toml:5:11: `handlers.timeout` is 5", "unknown");
    check(
        &format!("{HANDLER}timeout_seconds = 0\n"),
        "gesta.toml:5:19: `handlers.timeout_seconds` is 0",
        "from 1",
    );
    check(
        &format!("{HANDLER}metadata = {{ password = 'x' }}\n"),
        "gesta.toml:5:12: `handlers.metadata`",
        "password",
    );
    check(
        &format!("{HANDLER}{HANDLER}"),
        "gesta.toml:7:16: `handlers.handler_name` is \"h\"",
        "a name of its own",
    );
    check("handlers = 1\n", "gesta.toml:1:1: `handlers` is 1", "[[handlers]]");
    check("[handler]\n", "gesta.toml:1:2: unknown setting `handler`", "handler");
    let builtin = "[executor]\ninvoke_seconds_max = 60\n[[handlers]]\nintent_type = 't'\nhandler_name = 'echo'\nkind = 'builtin'\ntimeout_seconds = 61\n";
    check(builtin, "gesta.toml:7:19: `handlers.timeout_seconds` is 61", "invoke_seconds_max");
}
