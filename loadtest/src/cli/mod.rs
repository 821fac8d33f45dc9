//! The command line: `run`, `size`, `scenarios`, `impair`.
//!
//! Exit codes: 0 the verdict is a pass, 1 it is not, 2 there was no run (an option, the scenario, the relay or its key is
//! wrong). Whatever is wrong is one line on standard error. The secret gets into no line and no report.
//!
//! Entry point: [`main`].

mod args;

use crate::impair::proxy::{self, Proxy};
use crate::process;
use crate::report::{Results, page};
use crate::run::progress::Progress;
use crate::run::serve::{DEV_KEY, Served};
use crate::run::{self, NoRun, Plan, door};
use crate::scenario::{self, Scenario};
use crate::size::{self, Search};
use args::{Command, PidWord, RunArgs, SizeArgs, Stop};
use nix::sys::signal::{SigSet, Signal};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The run could not take place.
pub const EXIT_NO_RUN: u8 = 2;

/// Longest secret file read, bytes.
const LONGEST_SECRET: u64 = 4_096;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let code = match args::parse(words.iter().cloned()) {
        Ok(command) => carry_out(command, &without_secret(&words)),
        Err(Stop::Answer(text)) => print(&text).map(|()| 0),
        Err(Stop::Wrong(text)) => Err(text),
    };
    ExitCode::from(code.unwrap_or_else(|text| {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // Nobody is left to tell when standard error is closed.
        let _closed = writeln!(std::io::stderr(), "loadtest: {text}");
        EXIT_NO_RUN
    }))
}

fn carry_out(command: Command, words: &str) -> Result<u8, String> {
    match command {
        Command::Run(args) => run(&args, words),
        Command::Size(args) => size(&args, words),
        Command::Scenarios => scenarios(),
        Command::Impair(args) => impair(&args),
    }
}

/// The words as one line, the secret replaced.
fn without_secret(words: &[OsString]) -> String {
    let mut line = vec!["loadtest".to_owned()];
    let mut hidden = false;
    for word in words.iter().skip(1).map(|word| word.to_string_lossy()) {
        line.push(match () {
            () if hidden => "***".to_owned(),
            () if word.starts_with("--secret=") => "--secret=***".to_owned(),
            () => word.clone().into_owned(),
        });
        hidden = word == "--secret" && !hidden;
    }
    line.join(" ")
}

fn scenarios() -> Result<u8, String> {
    let mut text = String::new();
    for (name, _) in scenario::SHIPPED {
        let scenario = scenario::find(name).map_err(|error| error.to_string())?;
        text.push_str(&format!("{name:<16} {}\n", scenario.about));
    }
    print(&text).map(|()| 0)
}

fn run(args: &RunArgs, words: &str) -> Result<u8, String> {
    let mut scenario = scenario::find(&args.scenario).map_err(|error| error.to_string())?;
    adjust(&mut scenario, args)?;
    let secret = secret(args)?;
    for file in [&args.json, &args.html].into_iter().flatten() {
        // Now, and not after an hour.
        std::fs::write(file, "").map_err(|error| format!("{}: cannot be written: {error}", file.display()))?;
    }
    // Before any thread starts, so that all inherit it.
    let stop = stop_by_hand();
    let served = args.serve.as_deref().map(|path| Served::start(path, args.workers.unwrap_or(0))).transpose()?;
    let mut plan = Plan {
        scenario,
        url: args.url.clone(),
        key: args.key.clone(),
        secret,
        seed: args.seed,
        threads: args.threads.map_or_else(usual_threads, usize::from),
        pid: None,
        media: args.media,
        bitrate: args.bitrate,
        command: words.to_owned(),
    };
    match &served {
        Some(relay) => {
            plan.url.clone_from(&relay.url);
            (plan.key, plan.secret) = (DEV_KEY.0.to_owned(), DEV_KEY.1.to_owned());
            (plan.pid, plan.media) = (Some(relay.pid()), Some(relay.media));
        }
        None => plan.pid = pid(args)?,
    }
    let progress = Progress::on_stderr(&plan.scenario.name);
    let results = run::drive(&plan, &stop, &progress).map_err(|error| error.to_string())?;
    drop(served);
    let written = write(&results, args);
    print(&format!("{}\n", results.verdict.line))?;
    written?;
    Ok(run::exit_code(results.verdict.outcome))
}

fn adjust(scenario: &mut Scenario, args: &RunArgs) -> Result<(), String> {
    scenario.rooms = args.rooms.unwrap_or(scenario.rooms);
    scenario.for_ = args.for_.unwrap_or(scenario.for_);
    scenario.warm_up = args.warm_up.unwrap_or(scenario.warm_up);
    if scenario.for_.as_secs() == 0 {
        return Err("--for: at least 1s".to_owned());
    }
    if let Some(bitrate) = args.bitrate {
        scenario.override_bitrate(bitrate);
    }
    Ok(())
}

fn secret(args: &RunArgs) -> Result<String, String> {
    let Some(file) = &args.secret_file else {
        return Ok(args.secret.clone().unwrap_or_else(|| DEV_KEY.1.to_owned()));
    };
    let shown = file.display();
    let unreadable = |error: std::io::Error| format!("--secret-file {shown}: cannot be read: {error}");
    if std::fs::metadata(file).map_err(unreadable)?.len() > LONGEST_SECRET {
        return Err(format!("--secret-file {shown}: longer than {LONGEST_SECRET} bytes; is it the right file?"));
    }
    Ok(std::fs::read_to_string(file).map_err(unreadable)?.trim_end().to_owned())
}

fn pid(args: &RunArgs) -> Result<Option<u32>, String> {
    match args.pid {
        None => Ok(None),
        Some(PidWord::Number(pid)) => Ok(Some(pid)),
        Some(PidWord::Auto) => {
            let place = door::place(&args.url)?;
            let found = door::addresses(&place)?.into_iter().find_map(process::listener);
            let nobody = || format!("--pid auto: no process of this machine that we may look at listens at {}", place.authority);
            // Whether somebody is there at all is the more useful answer.
            found.map(Some).ok_or_else(nobody)
        }
    }
}

fn write(results: &Results, args: &RunArgs) -> Result<(), String> {
    let put = |file: &Path, text: &str| {
        std::fs::write(file, text).map_err(|error| format!("{}: cannot be written: {error}", file.display()))
    };
    if let Some(file) = &args.json {
        put(file, &json(results)?)?;
    }
    args.html.as_deref().map_or(Ok(()), |file| put(file, &page(results)))
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| format!("the results cannot be written: {error}"))
}

fn size(args: &SizeArgs, words: &str) -> Result<u8, String> {
    let stop = stop_by_hand();
    let search = Search {
        seats: args.seats,
        bitrate: args.bitrate,
        workers: args.workers,
        serve: args.serve.clone(),
        repeat: usize::from(args.repeat),
        hold: args.hold.max(std::time::Duration::from_secs(2)),
        threads: args.threads.map_or_else(usual_threads, usize::from),
        seed: args.seed,
        most: args.most,
        first: args.first,
        command: words.to_owned(),
    };
    let mut say = |line: &str| {
        // A closed standard error must not end the search.
        let _closed = writeln!(std::io::stderr(), "{line}");
    };
    let found = size::search(&search, &stop, &mut say).map_err(|error: NoRun| error.to_string())?;
    print(&size::markdown(&search, &found))?;
    if let Some(file) = &args.json {
        std::fs::write(file, json(&found.runs)?).map_err(|error| format!("{}: cannot be written: {error}", file.display()))?;
    }
    Ok(u8::from(found.rooms == 0))
}

/// Forwards until it is told to quit, or by hand.
fn impair(args: &proxy::Args) -> Result<u8, String> {
    let proxy = Proxy::open(args).map_err(|error| format!("impair: {error}"))?;
    let listening = proxy.listening().map_err(|error| format!("impair: {error}"))?;
    let listening: Vec<String> = listening.iter().map(ToString::to_string).collect();
    let control = proxy.control().map_or_else(String::new, |control| format!(", control {control}"));
    print(&format!("impair ready: media {} to {}{control}\n", listening.join(" "), args.to))?;
    proxy.run().map(|()| 0).map_err(|error| format!("impair: {error}"))
}

fn usual_threads() -> usize {
    (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1)
}

/// Ctrl-C and a polite end set the flag instead of ending us: rooms are left and the report is written.
fn stop_by_hand() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    if signals.thread_block().is_ok() {
        let flag = Arc::clone(&stop);
        std::thread::spawn(move || {
            if signals.wait().is_ok() {
                flag.store(true, Ordering::Relaxed);
            }
        });
    }
    stop
}

fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err("standard output cannot be written".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_shown_without_its_secret() {
        let line = |words: &[&str]| without_secret(&words.iter().map(OsString::from).collect::<Vec<_>>());

        assert_eq!(line(&["x", "run", "a", "--secret", "hunter2", "--seed", "3"]), "loadtest run a --secret *** --seed 3");
        assert_eq!(line(&["x", "run", "--secret=hunter2"]), "loadtest run --secret=***");
        assert_eq!(line(&["x", "run", "--secret", "--secret", "b"]), "loadtest run --secret *** b");
    }
}
