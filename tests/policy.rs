//! Policies and configurations of the context: checked and tested on the command line, activated over HTTP and by a
//! start, once each, over restarts and kills.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Barrier};

use gesta_log_format::json;
use gesta_replay::context;
use gesta_replay::policy::{self, Bundle, Files};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::problem::check as check_problem;
use support::process::{PROGRAM, run, serve};
use support::{Client, Intent, Response, Server};

const DECIDING: &str = "decider.enabled=true";

/// A bundle that ships, in the source.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("replay/policies").join(name)
}

fn files(directory: &Path) -> Files {
    gesta::activation::directory::read_bundle(directory).unwrap()
}

/// The example bundle under a version.
fn version(version: &str) -> Files {
    let mut files = files(&shipped("example"));
    files.insert(
        "bundle.json".into(),
        json!({"policy_id": "example", "policy_version": version}).to_string().into(),
    );
    files
}

fn write(directory: &Path, files: &Files) {
    for (path, text) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn body(files: &Files) -> String {
    let texts: BTreeMap<_, _> =
        files.iter().map(|(path, text)| (path, String::from_utf8(text.clone()).unwrap())).collect();
    json!({ "files": texts }).to_string()
}

fn post(client: &mut Client, path: &str, body: &str) -> Response {
    client.request("POST", path, &[("Content-Type", "application/json")], body.as_bytes())
}

fn activate(client: &mut Client, files: &Files) -> Response {
    post(client, "/control/policy", &body(files))
}

/// The CONTROL records of the log as `(index, type, expected)`.
fn controls(client: &mut Client) -> Vec<(u64, String, Value)> {
    let events = client.get("/events?kinds=CONTROL").json()["events"].clone();
    let event = |event: &Value| {
        let subject = &event["subjects"][0];
        (
            event["index"].as_u64().unwrap(),
            event["type"].as_str().unwrap().to_owned(),
            subject["expected"].clone(),
        )
    };
    events.as_array().unwrap().iter().map(event).collect()
}

#[test]
fn a_first_start_activates_the_defaults_once_before_anything_else() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[DECIDING]);
    let mut client = server.client();
    let expected =
        [(0, "policy_activated".to_owned(), Value::Null), (1, "context_activated".to_owned(), Value::Null)];
    assert_eq!(controls(&mut client), expected);
    let active = client.get("/control/policy").json();
    let bundle = Bundle::read(&policy::default_files()).unwrap();
    assert_eq!(active["index"], 0);
    assert_eq!(active["policy_digest"], bundle.digest().to_string());
    let record = client.get("/events/0").json();
    assert_eq!((&record["stream_id"], &record["actor"]), (&json!("_system"), &json!("gesta")));
    // The record holds all that a decision needs of the bundle.
    let recorded = json::canonicalize(record["payload"]["bundle"].to_string().as_bytes()).unwrap();
    assert_eq!(policy::files::read(&recorded).unwrap(), policy::default_files());
    assert_eq!(active["files"], record["payload"]["bundle"]);
    let config = context::Config::default();
    let active = client.get("/control/context").json();
    assert_eq!(
        (&active["index"], &active["context_config_digest"]),
        (&json!(1), &json!(config.digest().to_string()))
    );
    assert_eq!(active["config"], serde_json::from_slice::<Value>(config.canonical()).unwrap());
    let intent = client.submit(&Intent::new("first"));
    assert!(intent >= 2);
    server.kill();
    let server = Server::start(directory.path(), &[DECIDING]);
    assert_eq!(controls(&mut server.client()), expected, "a later start finds them");
    server.stop();
}

#[test]
fn a_start_adds_what_a_kill_between_the_two_has_left_out() {
    let directory = tempfile::tempdir().unwrap();
    // As after a kill between the two records: the log has the policy alone.
    let server = Server::start(directory.path(), &[]);
    assert_eq!(activate(&mut server.client(), &version("1")).status, 201);
    server.kill();
    let server = Server::start(directory.path(), &[DECIDING]);
    let expected =
        [(0, "policy_activated".to_owned(), Value::Null), (1, "context_activated".to_owned(), Value::Null)];
    let mut client = server.client();
    assert_eq!(controls(&mut client), expected);
    assert_eq!(client.get("/control/policy").json()["policy_id"], "example", "the default replaces nothing");
    server.stop();
}

#[test]
fn without_a_decider_nothing_is_activated() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let mut client = server.client();
    assert_eq!(client.submit(&Intent::new("plain")), 0);
    for path in ["/control/policy", "/control/context"] {
        check_problem(&client.get(path), 404, "NOT_FOUND", None);
    }
    server.stop();
}

#[test]
fn a_start_activates_what_is_configured_where_it_is_not_active() {
    let home = tempfile::tempdir().unwrap();
    let (data, bundle, config) =
        (home.path().join("data"), home.path().join("bundle"), home.path().join("context.json"));
    write(&bundle, &version("1"));
    fs::write(&config, "{\"context\": {\"max_refs\": 7}}").unwrap();
    let policy_setting = format!("decider.policy={}", bundle.display());
    let context_setting = format!("decider.context={}", config.display());
    let settings = [DECIDING, &policy_setting, &context_setting];
    for _ in 0..2 {
        let server = Server::start(&data, &settings);
        let mut client = server.client();
        assert_eq!(controls(&mut client).len(), 2, "what is active is not activated again");
        assert_eq!(client.get("/control/policy").json()["policy_id"], "example");
        assert_eq!(client.get("/control/context").json()["config"]["context"]["max_refs"], 7);
        server.stop();
    }
    write(&bundle, &version("2"));
    let server = Server::start(&data, &settings);
    let mut client = server.client();
    assert_eq!(controls(&mut client)[2..], [(2, "policy_activated".to_owned(), json!(0))]);
    server.stop();

    // The same version with another content, and content that is wrong, are errors of the configuration.
    let mut changed = version("2");
    changed.get_mut("policies/allow.cedar").unwrap().push(b'\n');
    write(&bundle, &changed);
    let ended = run(serve(&data, &settings));
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
    assert!(
        ended.errors.contains("POLICY_VERSION_REUSED") && ended.errors.contains("hint:"),
        "{}",
        ended.errors
    );
    fs::write(bundle.join("policies/allow.cedar"), "permit(\n").unwrap();
    let ended = run(serve(&data, &settings));
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
    assert!(ended.errors.contains("policies/allow.cedar:"), "{}", ended.errors);
    write(&bundle, &version("2"));
    fs::write(&config, "{\n  \"context\": {\"max_refs\": 0}}").unwrap();
    let ended = run(serve(&data, &settings));
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
    assert!(ended.errors.contains("context.json:2:"), "{}", ended.errors);
    let server = Server::start(&data, &[DECIDING]);
    assert_eq!(server.client().get("/control/policy").json()["policy_version"], "2");
    server.stop();
}

#[test]
fn a_policy_is_activated_once_and_a_version_names_one_bundle() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let mut client = server.client();
    let (one, two) = (version("1"), version("2"));
    let first = activate(&mut client, &one);
    assert_eq!(first.status, 201, "{}", first.text());
    let digest = Bundle::read(&one).unwrap().digest().to_string();
    let expected =
        json!({"index": 0, "policy_id": "example", "policy_version": "1", "policy_digest": digest});
    assert_eq!(first.json(), expected);
    let again = activate(&mut client, &one);
    assert_eq!((again.status, again.json()), (200, expected.clone()));
    assert_eq!(activate(&mut client, &two).index(), 1);
    // An earlier bundle may come back; its version may not come with another one.
    assert_eq!(activate(&mut client, &one).index(), 2);
    assert_eq!(activate(&mut client, &two).index(), 3);
    let mut changed = one;
    changed.get_mut("policies/allow.cedar").unwrap().push(b'\n');
    let refused = activate(&mut client, &changed);
    check_problem(&refused, 409, "POLICY_VERSION_REUSED", None);
    assert_eq!(refused.index(), 0);
    let expecteds: Vec<_> = controls(&mut client).into_iter().map(|(_, _, expected)| expected).collect();
    assert_eq!(expecteds, [Value::Null, json!(0), json!(1), json!(2)]);
    server.kill();
    let server = Server::start(directory.path(), &[]);
    let mut client = server.client();
    assert_eq!(
        (server.head(), client.get("/control/policy").json()["policy_version"].clone()),
        (4, json!("2"))
    );
    check_problem(&activate(&mut client, &changed), 409, "POLICY_VERSION_REUSED", None);
    server.stop();
}

#[test]
fn a_context_is_activated_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let mut client = server.client();
    let mut activate =
        |config: &Value| post(&mut client, "/control/context", &json!({ "config": config }).to_string());
    let config = json!({"context": {"empty_refs_policy": "DENY"}});
    let first = activate(&config);
    assert_eq!(first.status, 201, "{}", first.text());
    let digest = context::Config::parse(config.to_string().as_bytes()).unwrap().digest().to_string();
    assert_eq!(first.json(), json!({"index": 0, "context_config_digest": digest}));
    // What is filled in makes no other configuration.
    let same = json!({"schema_version": "1", "context": {"empty_refs_policy": "DENY", "max_refs": 50}});
    assert_eq!((activate(&same).status, activate(&same).index()), (200, 0));
    let wrong = activate(&json!({"context": {"max_refs": 0}}));
    check_problem(&wrong, 400, "INVALID_CONTEXT", Some("/config/context/max_refs"));
    assert_eq!(activate(&json!({})).index(), 1);
    assert_eq!(activate(&config).index(), 2, "an earlier configuration may come back");
    assert_eq!(server.head(), 3);
    server.stop();
}

#[test]
fn what_is_wrong_is_refused_with_its_place_and_appends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["limits.body_bytes_max=4MiB"]);
    let mut client = server.client();
    let mut broken = version("1");
    broken.insert(
        "policies/bad.cedar".into(),
        b"@reason(\"X\")\npermit(principal, action, resource)\nwhen { context.nothing };\n".to_vec(),
    );
    let refused = activate(&mut client, &broken);
    check_problem(&refused, 400, "INVALID_POLICY", None);
    let fault = &refused.json()["faults"][0];
    assert_eq!(
        (&fault["file"], &fault["line"]),
        (&json!("policies/bad.cedar"), &json!(3)),
        "{}",
        refused.text()
    );
    assert!(refused.json()["detail"].as_str().unwrap().starts_with("policies/bad.cedar:3:"));
    broken.insert("policies/bad.cedar".into(), b"permit(\n".to_vec());
    check_problem(&activate(&mut client, &broken), 400, "INVALID_POLICY", None);
    check_problem(&activate(&mut client, &Files::new()), 400, "INVALID_POLICY", None);
    let mut large = version("1");
    large.insert("policies/large.cedar".into(), vec![b' '; 1 << 20]);
    check_problem(&activate(&mut client, &large), 413, "BODY_TOO_LARGE", None);
    for (body, code, pointer) in [
        ("{\"files\":", "INVALID_JSON", "/files"),
        ("{\"files\":{\"a\":\"\",\"a\":\"\"}}", "INVALID_JSON", "/files/a"),
        ("{}", "INVALID_INPUT", "/files"),
        ("{\"files\":{\"a\":1}}", "INVALID_INPUT", "/files/a"),
        ("{\"files\":{},\"other\":1}", "INVALID_INPUT", "/other"),
    ] {
        check_problem(&post(&mut client, "/control/policy", body), 400, code, Some(pointer));
    }
    let text = client.request("POST", "/control/policy", &[("Content-Type", "text/plain")], b"{}");
    check_problem(&text, 415, "UNSUPPORTED_MEDIA_TYPE", None);
    assert_eq!(server.head(), 0);
    server.stop();
}

#[test]
fn a_bundle_that_is_too_large_for_a_record_lies_in_a_blob() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let mut client = server.client();
    let mut large = version("1");
    let comment = format!("// {}\n", "é".repeat(50)).repeat(1000);
    large.get_mut("policies/allow.cedar").unwrap().extend(comment.into_bytes());
    assert_eq!(activate(&mut client, &large).status, 201);
    assert_eq!(activate(&mut client, &large).status, 200);
    let record = client.get("/events/0").json();
    let digest = record["payload"]["bundle"]["$blob"].as_str().unwrap().to_owned();
    let blob = client.get(&format!("/api/blob/sha256/{}", &digest["sha256:".len()..]));
    assert_eq!(blob.status, 200, "who may read the record may read its blob");
    assert_eq!(policy::files::read(&blob.body).unwrap(), large);
    let shown = client.get("/control/policy").json();
    assert_eq!(shown["files"].to_string(), serde_json::from_slice::<Value>(&blob.body).unwrap().to_string());
    // The live index and one that is made anew from the log find the record by its blob.
    let found =
        |client: &mut Client| client.get(&format!("/events/by-digest/{digest}")).json()["events"].clone();
    assert_eq!(found(&mut client).as_array().unwrap().len(), 1);
    server.kill();
    fs::remove_dir_all(directory.path().join("state.sled")).unwrap();
    let server = Server::start(directory.path(), &[]);
    let mut client = server.client();
    assert_eq!(found(&mut client), json!([record]));
    assert_eq!(activate(&mut client, &large).status, 200);
    server.stop();
}

#[test]
fn of_activations_at_once_each_is_appended_once_or_refused() {
    const CLIENTS: usize = 8;
    let directory = tempfile::tempdir().unwrap();
    let server = Arc::new(Server::start(directory.path(), &[]));
    let together = Arc::new(Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|nth| {
            let (server, together) = (Arc::clone(&server), Arc::clone(&together));
            // Two of each version, so that equal ones meet as well as different ones.
            std::thread::spawn(move || {
                let body = body(&version(&(nth / 2).to_string()));
                let mut client = server.client();
                client.get("/status");
                together.wait();
                let response = post(&mut client, "/control/policy", &body);
                (response.status, response.reason_code(), response.json()["index"].as_u64())
            })
        })
        .collect();
    let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let appended = answers.iter().filter(|(status, ..)| *status == 201).count() as u64;
    assert!(appended >= 1 && appended == server.head(), "{answers:?}");
    for (status, code, _) in &answers {
        assert!(
            matches!((*status, code.as_str()), (200 | 201, "") | (409, "SUBJECT_CONFLICT")),
            "{answers:?}"
        );
    }
    let records = controls(&mut server.client());
    let chain = records.iter().enumerate().all(|(nth, (index, _, expected))| {
        *index == nth as u64 && *expected == nth.checked_sub(1).map_or(Value::Null, |before| json!(before))
    });
    assert!(chain, "each activation expects the one before it: {records:?}");
}

/// A token that is the name itself, and its entry.
fn token(name: &str, roles: &[&str]) -> String {
    let hex: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[auth.tokens]]\nname = {name:?}\nsha256 = {hex:?}\nroles = {roles:?}\n")
}

#[test]
fn operators_activate_and_readers_see_what_decisions_pin() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("gesta.toml");
    let tokens = [
        token("operator", &["operator"]),
        token("reader", &["log.read"]),
        token("auditor", &["auditor"]),
        token("admin", &["admin"]),
    ];
    fs::write(&file, tokens.concat()).unwrap();
    let mut command = serve(&home.path().join("data"), &[]);
    command.arg("--config").arg(file);
    let server = Server::spawn(command).unwrap();
    let mut client = server.client();
    let mut ask = |method: &str, path: &str, who: &str, body: &str| {
        let bearer = format!("Bearer {who}");
        let headers = [("Content-Type", "application/json"), ("Authorization", &*bearer)];
        client.request(method, path, &headers, body.as_bytes())
    };
    let (bundle, config) = (body(&version("1")), "{\"config\":{}}");
    for (path, sent) in [("/control/policy", bundle.as_str()), ("/control/context", config)] {
        let statuses =
            ["", "reader", "auditor", "admin", "operator"].map(|who| ask("POST", path, who, sent).status);
        assert_eq!(statuses, [401, 403, 403, 403, 201], "{path}");
        let statuses =
            ["", "reader", "auditor", "admin", "operator"].map(|who| ask("GET", path, who, "").status);
        assert_eq!(statuses, [401, 200, 200, 403, 403], "{path}");
    }
    assert!(ask("GET", "/control/policy", "reader", "").json().get("files").is_none());
    assert!(ask("GET", "/control/policy", "auditor", "").json()["files"]["bundle.json"].is_string());
    server.stop();
}

#[track_caller]
fn gesta(arguments: &[&str], code: i32) -> (String, String) {
    let output: Output = Command::new(PROGRAM).args(arguments).env_remove("GESTA_URL").output().unwrap();
    let (said, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{said}{told}");
    (said, told)
}

#[test]
fn the_command_line_checks_a_bundle() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("bundle");
    write(&directory, &version("3"));
    let path = directory.to_str().unwrap();
    let digest = Bundle::read(&version("3")).unwrap().digest().to_string();
    let (said, _) = gesta(&["policy", "check", path], 0);
    assert!(
        said.contains(&format!("policy_digest   {digest}\n")) && said.contains("policy_version  3\n"),
        "{said}"
    );
    let (said, _) = gesta(&["policy", "check", path, "--json"], 0);
    let body: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&body["ok"], &body["policy_digest"]), (&json!(true), &json!(digest)));

    fs::write(
        directory.join("policies/bad.cedar"),
        "@reason(\"X\")\npermit(principal, action, resource)\nwhen { context.nothing };\n",
    )
    .unwrap();
    let (said, told) = gesta(&["policy", "check", path], 1);
    assert!(said.starts_with(&format!("{path}/policies/bad.cedar:3:")), "{said}");
    assert!(told.starts_with("error: the bundle has one fault"), "{told}");
    let (said, _) = gesta(&["policy", "check", path, "--json"], 1);
    let body: Value = serde_json::from_str(&said).unwrap();
    let fault = &body["faults"][0];
    assert_eq!(
        (&body["ok"], &fault["file"], &fault["line"]),
        (&json!(false), &json!("policies/bad.cedar"), &json!(3))
    );

    let (_, told) = gesta(&["policy", "check", home.path().join("none").to_str().unwrap()], 1);
    assert!(told.starts_with("error: cannot read ") && told.contains("caused by: "), "{told}");
    gesta(&["policy", "check"], 2);
}

#[test]
fn the_command_line_tests_a_bundle_case_by_case() {
    let home = tempfile::tempdir().unwrap();
    let mut files = version("1");
    write(home.path(), &files);
    let path = home.path().to_str().unwrap();
    let (said, _) = gesta(&["policy", "test", path], 0);
    assert!(said.lines().count() > 1 && said.lines().all(|line| line.starts_with("ok    ")), "{said}");
    let cases = json!({"cases": [
        {"name": "allowed", "intent": {"intent_type": "chat.message"}, "expected": {"result": "DENY", "reasons": ["NO_PERMIT"]}},
    ]});
    files.insert("cases.json".into(), cases.to_string().into());
    write(home.path(), &files);
    let (said, told) = gesta(&["policy", "test", path], 1);
    assert!(said.starts_with("FAIL  allowed\n      - result DENY\n      + result ALLOW\n"), "{said}");
    assert!(
        said.contains("      - {\"code\":\"NO_PERMIT\"") && said.contains("      + {\"code\":"),
        "{said}"
    );
    assert!(told.starts_with("error: 1 of 1 cases came out otherwise"), "{told}");
    let (said, _) = gesta(&["policy", "test", path, "--json"], 1);
    let body: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&body["ok"], &body["failed"]), (&json!(false), &json!(1)));
    assert_eq!(body["cases"][0]["result"], json!({"expected": "DENY", "got": "ALLOW"}));
    assert_eq!(body["cases"][0]["absent"][0]["code"], "NO_PERMIT");
}

#[test]
fn the_command_line_activates_what_it_has_checked() {
    let home = tempfile::tempdir().unwrap();
    let (data, directory) = (home.path().join("data"), home.path().join("bundle"));
    let mut files = version("1");
    write(&directory, &files);
    let server = Server::start(&data, &[]);
    let (path, url) = (directory.to_str().unwrap(), server.url());
    let (_, told) = gesta(&["policy", "show", "--url", &url], 1);
    assert!(told.contains("NOT_FOUND"), "{told}");
    let digest = Bundle::read(&files).unwrap().digest().to_string();
    let (said, told) = gesta(&["policy", "activate", path, "--url", &url], 0);
    let shown = format!(
        "index                 0\npolicy_id             example\npolicy_version        1\npolicy_digest         {digest}\n"
    );
    assert_eq!((said.as_str(), told.as_str()), (shown.as_str(), ""));
    let (said, told) = gesta(&["policy", "activate", path, "--url", &url], 0);
    assert!(said == shown && told.starts_with("note: it was active before"), "{said}{told}");
    assert_eq!(gesta(&["policy", "show", "--url", &url], 0).0, shown);
    let (said, _) = gesta(&["policy", "show", "--url", &url, "--json"], 0);
    assert!(serde_json::from_str::<Value>(&said).unwrap()["files"]["bundle.json"].is_string());

    files.insert("cases.json".into(), b"{\"cases\":[{\"name\":\"n\",\"intent\":{\"intent_type\":\"chat.message\"},\"expected\":{\"result\":\"DENY\",\"reasons\":[]}}]}".to_vec());
    write(&directory, &files);
    let (_, told) = gesta(&["policy", "activate", path, "--url", &url], 1);
    assert!(told.contains("nothing was activated; see `gesta policy test"), "{told}");
    files.insert("cases.json".into(), b"{\"cases\":[]}".to_vec());
    write(&directory, &files);
    let (_, told) = gesta(&["policy", "activate", path, "--url", &url], 1);
    assert!(told.contains("POLICY_VERSION_REUSED") && told.contains("hint: "), "{told}");

    let config = home.path().join("context.json");
    let config_path = config.to_str().unwrap();
    fs::write(&config, "{\"context\": {\"max_refs\": 9}}").unwrap();
    let digest = context::Config::parse(b"{\"context\": {\"max_refs\": 9}}").unwrap().digest().to_string();
    let (said, _) = gesta(&["context", "check", config_path], 0);
    assert!(said.starts_with(&format!("context_config_digest {digest}\n")), "{said}");
    let shown = format!("index                 1\ncontext_config_digest {digest}\n");
    assert_eq!(gesta(&["context", "activate", config_path, "--url", &url], 0).0, shown);
    assert_eq!(gesta(&["context", "show", "--url", &url], 0).0, shown);
    fs::write(&config, "{\n \"contxt\": {}}").unwrap();
    let (said, told) = gesta(&["context", "check", config_path], 1);
    assert!(
        said.starts_with(&format!("{config_path}:2:2: ")) && said.contains("did you mean \"context\""),
        "{said}"
    );
    assert!(told.starts_with("error: "), "{told}");
    let (said, _) = gesta(&["context", "activate", config_path, "--url", &url, "--json"], 1);
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["faults"][0]["pointer"], "/contxt");
    assert_eq!(server.head(), 2);
    server.stop();
}
