//! `gesta demo`: a server, its clients and a `kill -9` in between, then workers and their programs; each step checked
//! and said in plain words.
//!
//! The server is this program in a process of its own, so that the kill is real.

mod follower;
mod home;
mod pipeline;
mod say;
mod steps;

use std::time::Instant;

use self::home::Home;
use self::say::Say;
use super::{Exit, Failure, args, remote};

/// # Errors
/// A step that did not come out as it should, which is said.
pub fn run(arguments: args::Demo) -> Result<(), Failure> {
    let began = Instant::now();
    let home = Home::make(arguments.data)?;
    let mut say = Say::new();
    say.title(
        "Gesta in ten seconds: post, tail, kill -9, restart, resume; then a pipeline of real programs",
    )?;
    remote::runtime()?.block_on(async {
        tokio::select! {
            told = show(&home, &mut say) => told,
            _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Failed, "interrupted")),
        }
    })?;
    let seconds = began.elapsed().as_secs_f64();
    say.title(&format!("All of it held, in {seconds:.1} s."))?;
    say.plain(&home.farewell())
}

async fn show(home: &Home, say: &mut Say) -> Result<(), Failure> {
    steps::run(home, say).await?;
    pipeline::run(&home.pipeline(), say).await
}
