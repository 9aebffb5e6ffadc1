//! A server that is killed under those who write to it.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::{Intent, Server, until};

/// How many write at once.
const WRITERS: u64 = 3;

/// Starts a server, has writers post what `intent` gives for each writer's nth time until there are more than `records`
/// new ones, and kills it while they write.
pub fn killed_under_writers(
    data: &Path,
    settings: &[&str],
    records: u64,
    intent: impl Fn(u64, u64) -> Intent + Send + Sync + 'static,
) {
    let (server, intent) = (Server::start(data, settings), Arc::new(intent));
    let stop_at = server.head() + records;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (mut client, intent) = (server.client(), Arc::clone(&intent));
            thread::spawn(move || {
                for nth in 0.. {
                    if client.try_post(&intent(writer, nth).body()).is_err() {
                        break;
                    }
                }
            })
        })
        .collect();
    until("the log has grown", || (server.head() > stop_at).then_some(()));
    server.kill();
    writers.into_iter().for_each(|writer| writer.join().expect("a writer ends where its server does"));
}
