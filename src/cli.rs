//! The command line: `serve`, `token create`, `check-config`, `audit`, `attestation`, `version`.
//!
//! It turns words into a [`Config`] and hands over; it decides nothing itself. An error is one line on standard error
//! that says what to do, never a backtrace, and never holds a secret. Exit codes follow `sysexits.h`.
//!
//! Entry point: [`main`].

mod args;
mod attestation;
mod audit;
mod memory;
pub mod ready;
mod token;

pub use token::{Mint, TokenRequest};

use crate::config::{Config, ConfigError, Media, Mode, Secret};
use crate::node::{self, NodeError};
use crate::telemetry::logs::{self, LogFormat, LogLevel};
use args::{Command, ServeArgs};
use std::ffi::OsString;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

/// The command line is wrong (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;
/// A fault of ours (`EX_SOFTWARE`).
pub const EXIT_INTERNAL: u8 = 70;
/// The configuration, or what it asks of the machine, is wrong (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;

/// What the command line calls in the rest of the house; tests put their own in its place.
#[derive(Clone, Copy)]
struct Rooms {
    log: fn(LogLevel, LogFormat),
    memory: fn(),
    serve: fn(Config, Mode) -> Result<(), NodeError>,
    mint: Mint,
}

/// Why a command failed; the variant gives the exit code, the text the line.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Setup(String),
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Config(_) | Self::Setup(_) => EXIT_CONFIG,
            Self::Internal(_) => EXIT_INTERNAL,
        }
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Setup(text) => Self::Setup(text),
            NodeError::Internal(_) => Self::Internal(error.to_string()),
        }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let rooms = Rooms { log: logs::install, memory: memory::use_large_pages, serve: node::run, mint: token::mint };
    ExitCode::from(run(std::env::args_os(), &rooms, &mut std::io::stdout(), &mut std::io::stderr()))
}

fn run(words: impl Iterator<Item = OsString>, rooms: &Rooms, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let done = match args::parse(words) {
        Ok(command) => carry_out(command, rooms, out, err),
        Err(args::Stop::Answer(text)) => print(out, &text).map(|()| 0),
        Err(args::Stop::Wrong(text)) => Err(Failure::Usage(text)),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            let line = one_line(&failure.to_string());
            // Nobody is left to tell when standard error is closed.
            let _closed = writeln!(err, "colloque: {line}");
            failure.code()
        }
    }
}

/// Answers the exit code: a command may have more to say than that it worked.
fn carry_out(command: Command, rooms: &Rooms, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8, Failure> {
    let done = match command {
        Command::Serve(args) => serve(&args, rooms, err),
        Command::Token(args) => {
            let jwt = token::create(&args, rooms.mint, now())?;
            print(out, &format!("{jwt}\n"))
        }
        Command::CheckConfig { config } => {
            let (config, place) = load(config.as_deref(), Mode::Production)?;
            config.require_keys(&place)?;
            print(out, &format!("{}\n# {place}: in order\n", config.render()))
        }
        Command::Audit(command) => return audit::run(&command, out, err),
        Command::Attestation(command) => return attestation::run(&command, out, err),
        Command::Version => print(out, &format!("colloque {}\n", env!("CARGO_PKG_VERSION"))),
    };
    done.map(|()| 0)
}

fn serve(args: &ServeArgs, rooms: &Rooms, err: &mut dyn Write) -> Result<(), Failure> {
    let mode = if args.dev { Mode::Dev } else { Mode::Production };
    let config = serve_config(args, mode)?;
    (rooms.log)(config.log.level, config.log.format);
    (rooms.memory)();
    if mode == Mode::Dev {
        // The node must start even when nobody reads the warning.
        let _closed = writeln!(err, "{}", ready::DEV_WARNING);
    }
    (rooms.serve)(config, mode).map_err(Failure::from)
}

/// File, then dev mode, then the words of the command line, which win.
fn serve_config(args: &ServeArgs, mode: Mode) -> Result<Config, Failure> {
    let (mut config, place) = load(args.config.as_deref(), mode)?;
    if mode == Mode::Dev {
        config = config.with_dev_tenants()?;
        if args.config.is_none() {
            config.log.format = LogFormat::Text;
            config.http.bind = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
            config.media.bind = Media::default().bind;
        }
    }
    if !args.bind.is_empty() {
        config.http.bind.clone_from(&args.bind);
        config.media.bind.clone_from(&args.bind);
    }
    if let Some(port) = args.port {
        config.http.port = port;
    }
    if let Some(port) = args.udp_port {
        config.media.udp_port = port;
        config.media.udp_ports.clear();
    }
    if !args.advertise.is_empty() {
        config.media.advertise.clone_from(&args.advertise);
    }
    config.recheck()?;
    for words in &args.keys {
        let (id, secret) =
            words.split().ok_or_else(|| Failure::Usage("--key: expected KEY:SECRET, with both parts".to_owned()))?;
        config.add_key(id, Secret::new(secret.as_bytes().to_vec()), mode)?;
    }
    config.require_keys(&place)?;
    Ok(config)
}

/// Loads a file where one is named, else the defaults; also says what errors call it.
fn load(file: Option<&Path>, mode: Mode) -> Result<(Config, String), ConfigError> {
    match file {
        Some(file) => Ok((Config::load(file, mode)?, file.display().to_string())),
        None => Ok((Config::default(), "defaults".to_owned())),
    }
}

#[expect(clippy::disallowed_methods, reason = "the command line is the edge where a token gets its time of issue")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn print(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        // `colloque version | head -0` is not our fault, nor the reader's.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Internal("standard output cannot be written".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Escapes control characters, so that a message stays one line whatever it repeats.
fn one_line(text: &str) -> String {
    let escape =
        |character: char| if character.is_control() { character.escape_default().collect() } else { String::from(character) };
    text.trim_end().chars().map(escape).collect()
}

#[cfg(test)]
mod tests;
