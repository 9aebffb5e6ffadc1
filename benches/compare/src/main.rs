//! `load`: the load generator of the comparison.
//!
//! One thread and one epoll for all connections, because it shares its cores with the server that
//! it measures: a cheap generator is the only honest one here. Each mode prints one JSON object on
//! standard output and ends by itself, after a bounded time.

mod append;
mod args;
mod catchup;
mod fanout;
mod fsync_probe;
mod http;
mod intent;
mod leases;
mod poster;
mod process;
mod protocol;
mod schedule;
mod tasks;
mod wire;

use args::Args;

/// What a mode answers: one JSON object, or why there is none.
type Outcome = Result<serde_json::Value, Box<dyn std::error::Error>>;

const USAGE: &str = "\
usage: load append --protocol http|redis|nats --addr IP:PORT --target PATH|STREAM|SUBJECT --connections N
            --seconds S [--warmup S] [--rate N] [--count N] [--content-type TYPE] [--header LINE]
            [--intent-type TYPE] [--pid PID]
       load fsync-probe --file PATH --seconds S
       load catchup --addr IP:PORT --path PATH --followers N [--end-marker TEXT] [--record-marker TEXT]
            [--save FILE] [--timeout S]
       load fanout --addr IP:PORT --target PATH --path PATH --followers N --rate N --seconds S --pid PID
            [--content-type TYPE]
       load tasks --protocol gesta|postgres|redis --workers N --seconds S [--warmup S] --pid PID
            gesta: --internal IP:PORT --task IP:PORT --token TOKEN --pool POOL
            postgres: --addr IP:PORT --user NAME --database NAME
            redis: --addr IP:PORT --stream NAME --group NAME
       load leases --internal IP:PORT --task IP:PORT --token TOKEN --pool POOL --leases N --few N --silent N
            --silent-file FILE --lease-ms MS --seconds S --pid PID";

fn main() {
    match run() {
        Ok(value) => println!("{value}"),
        Err(cause) => {
            eprintln!("error: {cause}");
            std::process::exit(1);
        }
    }
}

fn run() -> Outcome {
    let mut words = std::env::args().skip(1);
    let mode = words.next().ok_or(USAGE)?;
    let mut args = Args::parse(words)?;
    match mode.as_str() {
        "append" => append::run(&mut args),
        "fsync-probe" => fsync_probe::run(&mut args),
        "catchup" => catchup::run(&mut args),
        "fanout" => fanout::run(&mut args),
        "tasks" => tasks::run(&mut args),
        "leases" => leases::run(&mut args),
        unknown => Err(format!("unknown mode {unknown:?}\n{USAGE}").into()),
    }
}
