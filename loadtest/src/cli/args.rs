//! The words of the command line.

use crate::scenario::span;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Synthetic clients that load a relay and report what they got.
#[derive(Parser)]
#[command(name = "loadtest", version)]
struct Words {
    #[command(subcommand)]
    command: Command,
}

/// A command to carry out.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Run a scenario against a relay
    Run(Box<RunArgs>),
    /// Find how many rooms this machine holds
    Size(SizeArgs),
    /// List the scenarios that are part of this program
    Scenarios,
    /// Put an impaired line between browsers and a relay
    Impair(crate::impair::proxy::Args),
}

/// Words of `run`; the last of a word said twice wins, so that scripts can have words of their own.
#[derive(Args)]
#[command(args_override_self = true)]
pub(super) struct RunArgs {
    /// Name of a scenario, or path of a .toml file
    pub(super) scenario: String,
    /// Rooms, instead of the scenario's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) rooms: Option<u32>,
    /// How long is measured, instead of the scenario's: a number with ms, s, m or h
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub(super) for_: Option<Duration>,
    /// How long passes after everybody came before it counts, instead of the scenario's
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(super) warm_up: Option<Duration>,
    /// Signalling address of the relay
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:7880")]
    pub(super) url: String,
    /// Id of the key that signs tokens
    #[arg(long, value_name = "KEY", default_value = "devkey")]
    pub(super) key: String,
    /// Secret of the key; other users of the machine can read it: prefer a file
    #[arg(long, value_name = "SECRET", conflicts_with = "secret_file")]
    pub(super) secret: Option<String>,
    /// File that holds the secret
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
    /// Process of the relay, to watch its CPU and memory; `auto` finds who listens on the URL's port
    #[arg(long, value_name = "N|auto")]
    pub(super) pid: Option<PidWord>,
    /// Start this relay binary on free ports for the run, with the development key
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "key", "secret", "secret_file", "media"])]
    pub(super) serve: Option<PathBuf>,
    /// Workers of the relay started by --serve; 0 is one per core
    #[arg(long, value_name = "N", requires = "serve", value_parser = clap::value_parser!(u16).range(0..=64))]
    pub(super) workers: Option<u16>,
    /// Media port of the relay, where noise goes
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) media: Option<SocketAddr>,
    /// What all choices come from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Threads of clients; without it half of the cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) threads: Option<u16>,
    /// Bits a second of each camera without layers, for example 600k or 1.2M
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(super) bitrate: Option<u32>,
    /// Write the results here as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write the report here as one HTML page
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
}

/// Words of `size`.
#[derive(Args)]
#[command(args_override_self = true)]
pub(super) struct SizeArgs {
    /// The relay binary to try; each try starts it anew on free ports
    #[arg(long, value_name = "FILE")]
    pub(super) serve: PathBuf,
    /// People of a room, all sending to all
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=50))]
    pub(super) seats: u8,
    /// Bits a second of each camera, for example 600k or 1.2M
    #[arg(long, value_name = "RATE", default_value = "1.2M", value_parser = rate)]
    pub(super) bitrate: u32,
    /// Workers of the relay; 0 is one per core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=64))]
    pub(super) workers: u16,
    /// Runs at the number that held, for medians; five or more for figures to be quoted
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) repeat: u16,
    /// How long each try is measured
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span)]
    pub(super) hold: Duration,
    /// Rooms the ramp begins with
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) first: u32,
    /// Rooms never tried more of
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) most: u32,
    /// Threads of clients; without it half of the cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) threads: Option<u16>,
    /// What all choices come from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Write the results of the last runs here as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

/// Which process is the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PidWord {
    /// This one.
    Number(u32),
    /// Who listens on the URL's port.
    Auto,
}

impl FromStr for PidWord {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "auto" => Ok(Self::Auto),
            number => number.parse().map(Self::Number).map_err(|_| "expected a process id, or auto".to_owned()),
        }
    }
}

/// Why there is no command.
#[derive(Debug)]
pub(super) enum Stop {
    /// Help or the version was asked for.
    Answer(String),
    /// The words are wrong; the text is one line.
    Wrong(String),
}

/// Reads the words, the program's own name first.
pub(super) fn parse(words: impl Iterator<Item = OsString>) -> Result<Command, Stop> {
    Words::try_parse_from(words).map(|words| words.command).map_err(|error| explain(&error))
}

/// Turns clap's paragraphs into one line, but for help, which was asked for.
fn explain(error: &clap::Error) -> Stop {
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Stop::Answer(text);
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Stop::Wrong("no command given; try loadtest --help".to_owned());
    }
    let end = |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more information");
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(end).filter(|line| !line.is_empty()).collect();
    Stop::Wrong(format!("{}; try loadtest --help", lines.join(" ").trim_start_matches("error: ")))
}

/// Bits a second: a number, with k or M or without.
fn rate(text: &str) -> Result<u32, String> {
    let wrong = || "expected bits a second from 10k to 50M, for example 600k or 1.2M".to_owned();
    let (number, scale) = match text.char_indices().next_back() {
        Some((end, 'k')) => (text.get(..end), 1e3),
        Some((end, 'M')) => (text.get(..end), 1e6),
        _ => (Some(text), 1.0),
    };
    let number: f64 = number.and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    let bits = number * scale;
    if (10_000.0..=50_000_000.0).contains(&bits) { Ok(bits.round() as u32) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units_and_bounds() {
        assert_eq!(rate("1.2M"), Ok(1_200_000));
        assert_eq!(rate("600k"), Ok(600_000));
        assert_eq!(rate("64000"), Ok(64_000));
        for wrong in ["", "M", "1G", "-1M", "1k", "100M", "NaN", "1.2 M"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_of_a_word_wins() {
        let words = ["loadtest", "run", "x", "--rooms", "10", "--rooms", "3"];

        let Ok(Command::Run(args)) = parse(words.iter().map(OsString::from)) else { panic!("good words") };

        assert_eq!(args.rooms, Some(3));
    }

    #[test]
    fn wrong_words_are_one_line() {
        let line = |words: &[&str]| match parse(words.iter().map(OsString::from)) {
            Err(Stop::Wrong(line)) => line,
            _ => panic!("{words:?} should be wrong"),
        };

        assert!(line(&["loadtest"]).contains("no command"));
        assert!(line(&["loadtest", "run"]).contains("SCENARIO"));
        assert!(line(&["loadtest", "run", "x", "--rooms", "0"]).contains("--rooms"));
        assert!(line(&["loadtest", "run", "x", "--serve", "y", "--url", "z"]).contains("--url"));
        assert!(!line(&["loadtest", "run", "x", "--for", "soon"]).contains('\n'));
    }
}
