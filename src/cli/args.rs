//! The words of the command line.

use super::attestation::AttestationCommand;
use super::audit::AuditCommand;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// A media relay (SFU) for medical video consultations.
#[derive(Parser)]
#[command(name = "colloque", disable_version_flag = true)]
struct Words {
    #[command(subcommand)]
    command: Top,
}

#[derive(Subcommand)]
enum Top {
    /// Run a node
    Serve(ServeArgs),
    /// Make tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Check a configuration and print what would run, without secrets
    CheckConfig {
        /// Configuration file; without it the defaults are checked
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Check and keep the audit record
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Check attestations
    #[command(subcommand)]
    Attestation(AttestationCommand),
    /// Print the version
    Version,
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a token that joins a room
    Create(TokenArgs),
}

/// A command to carry out.
pub(super) enum Command {
    Serve(ServeArgs),
    Token(TokenArgs),
    CheckConfig { config: Option<PathBuf> },
    Audit(AuditCommand),
    Attestation(AttestationCommand),
    Version,
}

/// Why there is no command.
pub(super) enum Stop {
    /// Help was asked for.
    Answer(String),
    /// The words are wrong; the text is one line.
    Wrong(String),
}

/// Words of `serve`.
#[derive(Args)]
pub(super) struct ServeArgs {
    /// Development: known keys, links printed, HTTP on the loopback only; never for real consultations
    #[arg(long)]
    pub(super) dev: bool,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Local address for HTTP and media; may be repeated
    #[arg(long, value_name = "IP")]
    pub(super) bind: Vec<IpAddr>,
    /// TCP port of HTTP
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// UDP port of media
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) udp_port: Option<u16>,
    /// Address told to clients, for example the outer address of a NAT; may be repeated
    #[arg(long, value_name = "IP")]
    pub(super) advertise: Vec<IpAddr>,
    /// Key of an open tenant; may be repeated. Other users of the machine can read it: prefer a file
    #[arg(long = "key", value_name = "KEY:SECRET")]
    pub(super) keys: Vec<KeyWords>,
}

/// Words of `token create`.
#[derive(Args)]
pub(super) struct TokenArgs {
    /// Role in a consultation: doctor, colleague, companion, patient, relative, interpreter, trainee or support
    #[arg(long, value_name = "ROLE")]
    pub(super) role: Option<String>,
    /// Room to join
    #[arg(long, value_name = "ROOM")]
    pub(super) room: String,
    /// Opaque reference of the seat, unique in its room
    #[arg(long, value_name = "ID")]
    pub(super) identity: String,
    /// Name shown to the others
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Id of the signing key; without it the only key there is
    #[arg(long, value_name = "KEY")]
    pub(super) key: Option<String>,
    /// File with the key's secret; without it the configuration's
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with_all = ["config", "dev"])]
    pub(super) secret_file: Option<PathBuf>,
    /// Lifetime: a number with s, m or h
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
    pub(super) valid_for: Duration,
    /// Configuration file that holds the key
    #[arg(long, value_name = "FILE", conflicts_with = "dev")]
    pub(super) config: Option<PathBuf>,
    /// Sign with the known development key
    #[arg(long)]
    pub(super) dev: bool,
}

/// The words of `--key`. Reading them never fails, because clap would repeat a refused word, and this one holds a secret.
#[derive(Clone)]
pub(super) struct KeyWords(String);

impl KeyWords {
    /// Id and secret, where both are there.
    pub(super) fn split(&self) -> Option<(&str, &str)> {
        self.0.split_once(':').filter(|(id, secret)| !id.is_empty() && !secret.is_empty())
    }
}

impl FromStr for KeyWords {
    type Err = Infallible;

    fn from_str(words: &str) -> Result<Self, Infallible> {
        Ok(Self(words.to_owned()))
    }
}

impl fmt::Debug for KeyWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyWords(…)")
    }
}

/// Reads the words, the program's own name first.
pub(super) fn parse(words: impl Iterator<Item = OsString>) -> Result<Command, Stop> {
    match Words::try_parse_from(words) {
        Ok(Words { command: Top::Serve(args) }) => Ok(Command::Serve(args)),
        Ok(Words { command: Top::Token(TokenCommand::Create(args)) }) => Ok(Command::Token(args)),
        Ok(Words { command: Top::CheckConfig { config } }) => Ok(Command::CheckConfig { config }),
        Ok(Words { command: Top::Audit(command) }) => Ok(Command::Audit(command)),
        Ok(Words { command: Top::Attestation(command) }) => Ok(Command::Attestation(command)),
        Ok(Words { command: Top::Version }) => Ok(Command::Version),
        Err(error) => Err(explain(&error)),
    }
}

/// Turns clap's paragraphs into one line, but for help, which was asked for.
fn explain(error: &clap::Error) -> Stop {
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelp {
        return Stop::Answer(text);
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Stop::Wrong("no command given; try colloque --help".to_owned());
    }
    let said =
        text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    let line = said.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    Stop::Wrong(format!("{}; try colloque --help", line.trim_start_matches("error: ")))
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number with s, m or h, for example 15m".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let scale = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return Err(wrong()),
    };
    let number: u32 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| wrong())?;
    // A token that never was valid helps nobody.
    if number == 0 { Err(wrong()) } else { Ok(Duration::from_secs(u64::from(number) * scale)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "15", "m", "-1m", "0s", "1d", "4294967296s", "1é", "5mm"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
