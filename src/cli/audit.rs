//! `audit`: checks, proves and keeps the audit record, on a node or on a copy of its files.

mod export;
mod folder;
mod syslog;
mod verify;

use super::{Failure, print};
use clap::{Args, Subcommand};
use std::io::Write;
use std::path::PathBuf;

/// What to do with the audit record.
#[derive(Subcommand)]
pub(super) enum AuditCommand {
    /// Check a log offline: 0 intact, 2 torn tail, 3 changed, 4 wrong seal, 5 entries missing, 6 contradicts a checkpoint, 7 warnings
    Verify(VerifyArgs),
    /// Print one entry with the proof that it is in the log
    Prove(ProveArgs),
    /// Take out the entries of one consultation with proofs, checked alone with the root's public key
    Extract(export::ExtractArgs),
    /// Check an extract offline and print it in plain words
    CheckExtract(export::CheckArgs),
    /// Write or send entries in another form, after the log was verified
    Export(Box<export::ExportArgs>),
    /// Write a log made of nothing but chance, to try verifiers on
    #[command(hide = true)]
    Sample(SampleArgs),
}

/// Words of `audit verify`.
#[derive(Args)]
pub(super) struct VerifyArgs {
    /// Folder of the log
    #[arg(long, value_name = "DIR")]
    log: PathBuf,
    /// The root's public key, or the file that holds it
    #[arg(long, value_name = "KEY")]
    root_key: String,
    /// File with a checkpoint seen earlier; may be repeated
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// File with a checkpoint a witness kept; may be repeated
    #[arg(long, value_name = "FILE")]
    witness: Vec<PathBuf>,
    /// A witness's public key, or the file that holds it: then each witnessed checkpoint must be cosigned; may be repeated
    #[arg(long, value_name = "KEY", requires = "witness")]
    witness_key: Vec<String>,
    /// File with the root's revocation of epochs
    #[arg(long, value_name = "FILE")]
    revocation: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Words of `audit prove`.
#[derive(Args)]
pub(super) struct ProveArgs {
    /// Folder of the log
    #[arg(long, value_name = "DIR")]
    log: PathBuf,
    /// Number of the entry
    #[arg(long, value_name = "N")]
    seq: u64,
}

/// Words of `audit sample`.
#[derive(Args)]
pub(super) struct SampleArgs {
    /// Empty or new folder to write to; the root's public key becomes `root.pub` beside it
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of events
    #[arg(long, default_value_t = 200)]
    events: u64,
    /// Number of days
    #[arg(long, default_value_t = 3)]
    days: u64,
    /// Number of days that were purged
    #[arg(long, default_value_t = 0)]
    purged_days: u64,
}

/// Carries the command out; answers the exit code.
pub(super) fn run(command: &AuditCommand, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8, Failure> {
    match command {
        AuditCommand::Verify(args) => {
            let report = verify::verify(args)?;
            print(out, &if args.json { report.to_json() } else { report.to_text() })?;
            Ok(report.code().exit())
        }
        AuditCommand::Prove(args) => print(out, &verify::prove(args)?).map(|()| 0),
        AuditCommand::Extract(args) => export::extract(args, out, err),
        AuditCommand::CheckExtract(args) => export::check(args, out),
        AuditCommand::Export(args) => export::export(args, out, err),
        AuditCommand::Sample(args) => verify::sample(args).map(|()| 0),
    }
}
