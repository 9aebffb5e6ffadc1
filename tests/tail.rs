//! `GET /tail` as a client meets it: held against a plain list of what was posted, from every index, through every
//! filter, and by every way in which it begins, moves on and ends.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails, as it should")]

mod support;

use std::sync::Arc;

use serde_json::json;
use support::process::SMALL_SEGMENTS;
use support::tail::records;
use support::{Block, Ending, Intent, Random, Server, Tail, until};

/// The posted intents by their index: what the tail is compared with.
type Posted = Vec<Intent>;

const STREAMS: [&str; 3] = ["default", "team-a", "team.b"];
const LANES: [&str; 3] = ["user", "batch", "urgent:1"];
const ACTORS: [&str; 3] = ["agent-1", "agent \"2\"", "агент\u{2028}3"];
const TYPES: [&str; 2] = ["chat.message", "tool.call"];
const THREADS: [&str; 4] = ["thread", "t\\2", "t/3", "rare"];

/// A varied intent; one in fifty belongs to the rare thread.
fn varied(random: &mut Random, nth: u64) -> Intent {
    let thread = if nth % 50 == 49 { "rare" } else { *random.pick(&THREADS[..3]) };
    Intent {
        stream: (*random.pick(&STREAMS)).to_owned(),
        lane: (*random.pick(&LANES)).to_owned(),
        actor: (*random.pick(&ACTORS)).to_owned(),
        intent_type: (*random.pick(&TYPES)).to_owned(),
        thread: thread.to_owned(),
        payload: json!({"text": "\u{2028}\u{85}\r\n\n", "fill": "x".repeat(random.below(600) as usize)}),
        ..Intent::new(format!("c-{nth}"))
    }
}

/// Posts from several connections at once; gives the list in the order of the log.
fn post(server: &Server, intents: Vec<Intent>) -> Posted {
    let base = server.head();
    let intents = Arc::new(intents);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (mut client, intents) = (server.client(), Arc::clone(&intents));
            std::thread::spawn(move || {
                let own = intents.iter().skip(writer).step_by(4);
                own.map(|intent| (client.submit(intent), intent.clone())).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut posted: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    posted.sort_by_key(|(index, _)| *index);
    for ((index, _), expected) in posted.iter().zip(base..) {
        assert_eq!(*index, expected, "acknowledged indexes have a gap or a repeat");
    }
    posted.into_iter().map(|(_, intent)| intent).collect()
}

/// A filter as its query, and what it means.
struct Filter {
    query: String,
    matches: Box<dyn Fn(&Intent) -> bool + Send + Sync>,
}

fn filter(name: &str, value: &str, matches: impl Fn(&Intent) -> bool + Send + Sync + 'static) -> Filter {
    let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
    Filter { query: format!("&{name}={encoded}"), matches: Box::new(matches) }
}

/// Each parameter with several values, also lists, and values that nothing has.
fn filters() -> Vec<Vec<Filter>> {
    vec![
        STREAMS[..2]
            .iter()
            .map(|value| filter("stream_id", value, |intent| intent.stream == *value))
            .collect(),
        vec![
            filter("lanes", "user", |intent| intent.lane == "user"),
            filter("lanes", "batch, urgent:1,none", |intent| intent.lane != "user"),
        ],
        vec![
            filter("kinds", "INTENT", |_| true),
            filter("kinds", "DECISION,CONTROL", |_| false),
            filter("kinds", "CONTROL,INTENT", |_| true),
        ],
        THREADS[1..]
            .iter()
            .map(|value| filter("thread_id", value, |intent| intent.thread == *value))
            .collect(),
        vec![
            filter("correlation_id", "c-7", |intent| intent.correlation_id == "c-7"),
            filter("correlation_id", "nobody", |_| false),
        ],
        ACTORS[1..].iter().map(|value| filter("actor", value, |intent| intent.actor == *value)).collect(),
        vec![filter("intent_type", "tool.call", |intent| intent.intent_type == "tool.call")],
        vec![
            filter("subject", "intent/c-9", |intent| intent.correlation_id == "c-9"),
            filter("subject", "intent/nobody", |_| false),
        ],
    ]
}

/// Every filter and every pair of filters on different parameters, none included.
fn combinations() -> Vec<Filter> {
    let filters: Vec<_> =
        filters().into_iter().map(|values| values.into_iter().map(Arc::new).collect::<Vec<_>>()).collect();
    let mut all = vec![Filter { query: String::new(), matches: Box::new(|_| true) }];
    for (nth, values) in filters.iter().enumerate() {
        for one in values {
            let own = Arc::clone(one);
            all.push(Filter {
                query: one.query.clone(),
                matches: Box::new(move |intent| (own.matches)(intent)),
            });
            for other in filters.iter().skip(nth + 1).flatten() {
                let (one, other) = (Arc::clone(one), Arc::clone(other));
                let query = format!("{}{}", one.query, other.query);
                all.push(Filter {
                    query,
                    matches: Box::new(move |intent| (one.matches)(intent) && (other.matches)(intent)),
                });
            }
        }
    }
    all
}

/// The indexes above `since` that the filter shows.
fn expected(posted: &Posted, filter: &Filter, since: i64) -> Vec<u64> {
    let shown = (0_u64..).zip(posted).filter(|(_, intent)| (filter.matches)(intent)).map(|(index, _)| index);
    shown.filter(|index| i64::try_from(*index).unwrap() > since).collect()
}

/// Demands that the blocks are the records of exactly these indexes, with the bytes that the whole log has.
#[track_caller]
fn check_blocks(blocks: &[Block], whole: &[Block], expected: &[u64], what: &str) {
    let found: Vec<u64> = blocks.iter().map(Block::index).collect();
    assert_eq!(found, expected, "{what}");
    for block in blocks {
        let stored = &whole[usize::try_from(block.index()).unwrap()];
        assert!(block.raw == stored.raw, "{what}: record {} has other bytes", block.index());
    }
}

/// The whole log, checked against what was posted.
fn whole(server: &Server, posted: &Posted) -> Vec<Block> {
    let blocks = records(&server.client().get("/tail?follow=false"));
    assert_eq!(blocks.len(), posted.len());
    for ((index, block), intent) in (0_u64..).zip(&blocks).zip(posted) {
        let envelope = block.json();
        assert_eq!((block.index(), envelope["index"].as_u64()), (index, Some(index)));
        assert_eq!(envelope["correlation_id"], intent.correlation_id.as_str());
        assert_eq!(envelope["actor"], intent.actor.as_str());
        assert_eq!(envelope["payload"]["payload"], intent.payload);
    }
    blocks
}

#[test]
fn a_tail_resumes_at_every_index_with_and_without_filters() {
    let mut random = Random::seeded("tail");
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &SMALL_SEGMENTS);
    let posted = post(&server, (0..400).map(|nth| varied(&mut random, nth)).collect());
    let whole = whole(&server, &posted);
    let all = combinations();
    let mut client = server.client();
    for since in -1..400 {
        for filter in [&all[0], random.pick(&all), random.pick(&all)] {
            let path = format!("/tail?follow=false{}", filter.query);
            let response = match random.below(3) {
                0 => client.get(&format!("{path}&since={since}")),
                1 if since >= 0 => {
                    let id = since.to_string();
                    client.request("GET", &format!("{path}&since=3"), &[("Last-Event-Id", &id)], b"")
                }
                _ => client.get(&format!("{path}&since=5&last_event_id={since}")),
            };
            if response.status == 204 {
                assert_eq!(since, 399, "only a cursor at the head has nothing to come");
                continue;
            }
            let expected = expected(&posted, filter, since);
            check_blocks(&records(&response), &whole, &expected, &format!("{path} from {since}"));
        }
    }
    // Pages say the same.
    for filter in &all {
        let limit = 1 + random.below(200);
        let (mut since, mut found) = (-1, Vec::new());
        loop {
            let page = client.get(&format!("/events?since={since}&limit={limit}{}", filter.query)).json();
            found.extend(
                page["events"].as_array().unwrap().iter().map(|event| event["index"].as_u64().unwrap()),
            );
            assert!(page["events"].as_array().unwrap().len() as u64 <= limit);
            match page["next"].as_i64() {
                Some(next) => since = next,
                None => break,
            }
        }
        assert_eq!(found, expected(&posted, filter, -1), "/events {}", filter.query);
    }
}

#[test]
fn every_filter_and_every_pair_shows_what_a_plain_list_shows_live_and_from_history() {
    let mut random = Random::seeded("filters");
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &SMALL_SEGMENTS);
    const COUNT: u64 = 300;
    let all = Arc::new(combinations());
    let query = |filter: &Filter| format!("?since=-1&until={}{}", COUNT - 1, filter.query);
    let mut live: Vec<Tail> = all.iter().map(|filter| server.tail(&query(filter))).collect();
    for tail in &mut live {
        tail.next_of("caught-up");
    }
    let posted = post(&server, (0..COUNT).map(|nth| varied(&mut random, nth)).collect());
    let whole = whole(&server, &posted);
    let mut client = server.client();
    for (filter, mut tail) in all.iter().zip(live) {
        let expected = expected(&posted, filter, -1);
        let blocks = tail.rest();
        let shown: Vec<Block> = blocks.iter().filter(|block| block.is_record()).cloned().collect();
        check_blocks(&shown, &whole, &expected, &format!("live {}", filter.query));
        assert_eq!(tail.ending(), Ending::Complete);
        let last = blocks.iter().rev().find_map(|block| block.id.clone());
        assert_eq!(
            last,
            Some((COUNT - 1).to_string()),
            "the cursor is not at the end: live {}",
            filter.query
        );
        let history = records(&client.get(&format!("/tail{}", query(filter))));
        check_blocks(&history, &whole, &expected, &format!("history {}", filter.query));
    }
}

#[test]
fn under_load_a_tail_is_ordered_without_gaps_and_never_ahead_of_the_watermark() {
    let mut random = Random::seeded("load");
    let directory = tempfile::tempdir().unwrap();
    let server = Arc::new(Server::start(directory.path(), &SMALL_SEGMENTS));
    const COUNT: u64 = 2000;
    let followers: Vec<_> = (0..8)
        .map(|follower| {
            let (server, begin) = (Arc::clone(&server), follower * COUNT / 10);
            std::thread::spawn(move || {
                until("the follower's turn has come", || (server.head() >= begin).then_some(()));
                let mut tail =
                    server.tail(&format!("?since={}&until={}", i64::try_from(begin).unwrap() - 1, COUNT - 1));
                let mut client = server.client();
                for index in begin..COUNT {
                    let block = tail.next_record().unwrap();
                    assert_eq!(block.index(), index, "a gap, a repeat or another order");
                    if index % 16 == follower {
                        let watermark = client.get("/status").json()["watermark"].as_u64().unwrap();
                        assert!(index < watermark, "record {index} was shown, the watermark is {watermark}");
                    }
                }
                assert_eq!(tail.ending(), Ending::Complete);
            })
        })
        .collect();
    let posted = post(&server, (0..COUNT).map(|nth| varied(&mut random, nth)).collect());
    for follower in followers {
        follower.join().unwrap();
    }
    whole(&server, &posted);
}

#[test]
fn a_sparse_filter_moves_the_clients_cursor() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let mut client = server.client();
    for nth in 0..20 {
        client.submit(&Intent::new(nth.to_string()));
    }
    for query in ["?lanes=none", "?stream_id=default&thread_id=none", "?stream_id=none"] {
        // On reaching the head, before it says so.
        let head = server.head();
        let mut tail = server.tail(query);
        assert_eq!(tail.next().unwrap().event, "log");
        let block = tail.next().unwrap();
        assert_eq!(
            (block.event.as_str(), block.index(), block.data),
            ("cursor", head - 1, (head - 1).to_string())
        );
        assert_eq!(tail.next().unwrap().event, "caught-up");
        // And soon after a skip.
        client.submit(&Intent::new(format!("skipped {query}").replace(' ', "-")));
        let block = tail.next().unwrap();
        assert_eq!((block.event.as_str(), block.index(), block.data), ("cursor", head, head.to_string()));
        // A client that resumes there misses nothing: all was looked at.
        let resumed = [("Last-Event-Id", &*head.to_string())];
        let again = client.request("GET", &format!("/tail{query}&follow=false"), &resumed, b"");
        assert_eq!(again.status, 204);
    }
}

#[test]
fn a_tail_begins_by_saying_how_to_come_back_and_which_log_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["tail.retry_ms=1000"]);
    let mut client = server.client();
    let origin = client.get("/status").json()["origin"].as_str().unwrap().to_owned();
    for head in 0_i64..3 {
        let mut tail = server.tail("");
        let header =
            |name: &str| tail.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
        assert_eq!(header("content-type").as_deref(), Some("text/event-stream"));
        assert_eq!(header("cache-control").as_deref(), Some("no-cache, no-transform"));
        assert_eq!(header("x-accel-buffering").as_deref(), Some("no"));
        assert_eq!((header("content-encoding"), header("content-length")), (None, None));
        let first = tail.next().unwrap();
        assert!((500..=1500).contains(&first.retry.unwrap()), "{first:?}");
        assert_eq!((first.event.as_str(), &first.id), ("log", &Some("-1".to_owned())));
        assert_eq!(first.json(), json!({"origin": origin, "generation": 1, "first": 0, "head": head}));
        for index in 0..head {
            assert_eq!(tail.next_record().unwrap().json()["index"], index);
        }
        let caught_up = tail.next().unwrap();
        let cursor = Some((head - 1).to_string());
        assert_eq!((caught_up.event.as_str(), &caught_up.id), ("caught-up", &cursor));
        assert_eq!(caught_up.json(), json!({"head": head}));
        // Live: what follows is the record and no second word of having caught up.
        client.submit(&Intent::new(head.to_string()));
        assert_eq!(tail.next().unwrap().json()["index"], head);
    }
}

#[test]
fn a_cursor_that_cannot_be_served_is_told_so_in_band() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    for nth in 0..5 {
        server.client().submit(&Intent::new(nth.to_string()));
    }
    let check = |query: &str, last_event_id: Option<&str>, reason: &str| {
        let headers: Vec<_> = last_event_id.iter().map(|id| ("Last-Event-Id", *id)).collect();
        let mut tail = Tail::open(server.address, query, &headers).unwrap();
        let blocks = tail.rest();
        let events: Vec<_> = blocks.iter().map(|block| block.event.as_str()).collect();
        assert_eq!(events, ["log", "reset"], "{query} {last_event_id:?}");
        assert_eq!(blocks[1].id.as_deref(), Some("-1"), "the client comes back from the first record on");
        assert_eq!(blocks[1].json(), json!({"reason": reason, "first": 0, "head": 5}));
        assert_eq!(tail.ending(), Ending::Complete);
        let again =
            Tail::open(server.address, "?since=3&follow=false", &[("Last-Event-Id", "-1")]).unwrap().rest();
        assert_eq!(again.iter().filter(|block| block.is_record()).count(), 5);
    };
    for id in ["x", "1.5", "-2", "99999999999999999999", "0x1"] {
        check("", Some(id), "unreadable");
        check(&format!("?last_event_id={id}"), None, "unreadable");
    }
    check("?since=5", None, "ahead");
    check("?since=2", Some("5"), "ahead");
    check("?since=2&origin=gesta.local/another", None, "origin");
    check("?origin=gesta.local/another", Some("4"), "origin");
}

#[test]
fn a_tail_ends_where_it_was_told_and_a_reconnect_there_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let mut client = server.client();
    for nth in 0..10 {
        client.submit(&Intent::new(nth.to_string()));
    }
    let mut indexes = |query: &str, last_event_id: &str| {
        let response =
            client.request("GET", &format!("/tail{query}"), &[("Last-Event-Id", last_event_id)], b"");
        match response.status {
            204 => None,
            _ => Some(records(&response).iter().map(Block::index).collect::<Vec<_>>()),
        }
    };
    assert_eq!(indexes("?since=3&until=6", ""), Some(vec![4, 5, 6]));
    assert_eq!(indexes("?since=0&until=6", "4"), Some(vec![5, 6]), "the header beats since");
    assert_eq!(indexes("?until=6", "6"), None);
    assert_eq!(indexes("?until=6", "8"), None);
    assert_eq!(indexes("?since=6&until=6", ""), None);
    assert_eq!(indexes("?since=7&follow=false", ""), Some(vec![8, 9]));
    assert_eq!(indexes("?follow=false", "9"), None);
    assert_eq!(indexes("?since=9&follow=false", ""), Some(vec![]));
    assert_eq!(indexes("?since=7&follow=false&until=20", ""), Some(vec![8, 9]));
    // An end that is not there yet is waited for.
    let mut tail = server.tail("?since=8&until=11");
    assert_eq!(tail.next_record().unwrap().index(), 9);
    tail.next_of("caught-up");
    for nth in 10..13 {
        server.client().submit(&Intent::new(nth.to_string()));
    }
    let rest: Vec<_> = tail.rest().iter().filter(|block| block.is_record()).map(Block::index).collect();
    assert_eq!((rest, tail.ending()), (vec![10, 11], Ending::Complete));
}

#[test]
fn the_largest_record_and_every_kind_of_line_end_come_through_whole() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let mut client = server.client();
    let text = "\u{2028}\u{2029}\u{85}\r\n\n\r\u{b}\u{c}\u{1c}\0\u{feff}: g1 id: 7\n\ndata: x";
    let intent = |bytes: usize| Intent {
        payload: json!({"text": text, "fill": "x".repeat(bytes)}),
        ..Intent::new(format!("{bytes:05}"))
    };
    // The envelope may have 65,000 bytes: find how much of it the rest takes, at most 20 of them in digits
    // of a larger index.
    let index = client.submit(&intent(1000));
    let overhead = client.get(&format!("/events/{index}")).body.len() - 1000;
    let mut live = server.tail("?since=0");
    live.next_of("caught-up");
    for bytes in [65_000 - overhead - 20, 65_000 - overhead - 21, 10] {
        let index = client.submit(&intent(bytes));
        let block = live.next_record().unwrap();
        assert_eq!((block.index(), &block.json()["payload"]["payload"]), (index, &intent(bytes).payload));
        assert!(block.raw.len() < 65_536, "the line limit of common readers");
        assert_eq!(client.get(&format!("/events/{index}")).body, block.data.as_bytes());
        assert_eq!(records(&client.get(&format!("/tail?since={}&until={index}", index - 1))), [block]);
    }
    let longest = records(&client.get("/tail?follow=false")).iter().map(|block| block.data.len()).max();
    assert!((64_975..=65_000).contains(&longest.unwrap()), "{longest:?}");
}
