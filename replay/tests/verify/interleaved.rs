//! The log's maker looks into a prefix by walking it, the program through its index: logs at random, on which both have
//! to agree about every decision.

use proptest::prelude::*;

use crate::run::{found, verify};
use crate::support::prefix::said;
use crate::support::{Maker, default_bundle, example, write_segment};

#[derive(Clone, Debug)]
enum Act {
    Submit {
        stream: u8,
        thread: u8,
        turn: u8,
        actor: u8,
        intent_type: u8,
        refs: Vec<(bool, u8)>,
    },
    /// Decides one of those that wait, and runs it if it is allowed.
    Decide(prop::sample::Index, bool),
    Activate(bool),
    Configure(u8),
    Erase,
}

fn act() -> impl Strategy<Value = Act> {
    let refs = prop::collection::vec((any::<bool>(), 0..24_u8), 0..3);
    prop_oneof![
        6 => (0..2_u8, 0..3_u8, 0..5_u8, 0..2_u8, 0..3_u8, refs).prop_map(
            |(stream, thread, turn, actor, intent_type, refs)| Act::Submit { stream, thread, turn, actor, intent_type, refs }
        ),
        6 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(which, ends)| Act::Decide(which, ends)),
        1 => any::<bool>().prop_map(Act::Activate),
        1 => (0..4_u8).prop_map(Act::Configure),
        1 => Just(Act::Erase),
    ]
}

const CONFIGS: [&str; 4] = [
    "{}",
    r#"{"context":{"empty_refs_policy":"EXPAND_LAST_N","expand_last_n":3}}"#,
    r#"{"context":{"empty_refs_policy":"DENY","allow_execution_refs_for_prompt":false}}"#,
    r#"{"context":{"max_refs":1},"normalization":{"rules":["DEDUPE_REFS","FILTER_INTENT_ONLY","SCOPE_BOUND","SORT_CANONICAL"]}}"#,
];

fn submit(maker: &mut Maker, nth: usize, act: &Act, waiting: &mut Vec<u64>) {
    let Act::Submit { stream, thread, turn, actor, intent_type, refs } = act else { return };
    let mut said = said(nth as u64).thread(&format!("t-{thread}")).turn(&format!("u-{turn}"));
    said.stream = format!("s-{stream}");
    said.actor = format!("a-{actor}");
    said.intent_type = ["chat.message", "shell.exec", "payment.create"][usize::from(*intent_type)].into();
    let ids: Vec<_> = refs
        .iter()
        .map(|(turn, id)| if *turn { format!("u-{}", id % 5) } else { format!("c-{id}") })
        .collect();
    said = said.refs(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    if nth % 7 == 3 {
        let reference = maker.log.blob(&format!(r#"{{"message":"large {nth}"}}"#), "application/json");
        said = said.payload(&reference);
    }
    waiting.push(maker.intent(&said));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_of_intents_decisions_and_activations_replays_to_the_same_decisions(acts in prop::collection::vec(act(), 1..60)) {
        let (mut maker, mut waiting) = (Maker::empty(), Vec::new());
        let mut decided = 0;
        for (nth, act) in acts.iter().enumerate() {
            match act {
                Act::Submit { .. } => submit(&mut maker, nth, act, &mut waiting),
                Act::Decide(which, ends) if !waiting.is_empty() => {
                    let intent = waiting.remove(which.index(waiting.len()));
                    let payload = maker.decision(intent);
                    maker.decide_as(intent, &payload);
                    decided += 1;
                    if payload.contains("\"result\":\"ALLOW\"") {
                        maker.execution(intent, "running", r#"{"delivery":1}"#);
                        if *ends {
                            maker.execution(intent, "completed", r#"{"delivery":1,"output":{}}"#);
                        }
                    }
                }
                Act::Decide(..) => {}
                Act::Activate(default) => {
                    maker.activate(&if *default { default_bundle() } else { example() });
                }
                Act::Configure(which) => {
                    maker.configure(CONFIGS[usize::from(*which)]);
                }
                // Only while nothing waits: what is decided later would not know of it, and the walk has no index.
                Act::Erase if waiting.is_empty() => {
                    let fresh = maker.log.blobs.keys().copied().find(|digest| !maker.log.erased.contains(digest));
                    if let Some(digest) = fresh {
                        maker.control("erasure", "log", &format!(r#"{{"sha256":["{}"],"by":"x","reason":"y"}}"#, digest.hex()));
                        maker.log.erased.insert(digest);
                    }
                }
                Act::Erase => {}
            }
        }
        // What still waits is decided at last, so that nothing is passed over.
        for intent in waiting {
            maker.decide(intent);
            decided += 1;
        }
        let dir = tempfile::tempdir().unwrap();
        write_segment(dir.path(), &maker.log.records);
        maker.write_blobs(dir.path());
        let (code, report) = verify(dir.path(), &[]);
        prop_assert_eq!((code, found(&report)), (0, vec![]), "{:#}", report);
        prop_assert_eq!(&report["decisions"]["same"], &serde_json::json!(decided));
    }
}
