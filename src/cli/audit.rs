//! `audit`: checks, proves and keeps the audit record, on a node or on a copy of its files.

mod export;
mod folder;
mod keep;
mod resolve;
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
    /// Make the root key and the keys of the days ahead
    Init(InitArgs),
    /// Remove entries whose time is over; earlier than that takes two persons
    Purge(PurgeArgs),
    /// Suspend purging for a dispute or an incident, or let it go on
    Hold(HoldArgs),
    /// Say which references of a tenant's log are those of ids you name: 0 all found, 1 some not
    Resolve(resolve::ResolveArgs),
    /// Begin a new lineage after damage, by two persons
    AcceptBreak(AcceptBreakArgs),
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

/// Words of `audit init`.
#[derive(Args)]
pub(super) struct InitArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Days for which keys are made, today included; 0 to 40
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=40))]
    days: u32,
    /// File with the private root key, where the configuration names only the public half
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
}

/// Which log.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// A tenant's log
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The node's own log
    #[arg(long)]
    node: bool,
}

/// Words of `audit purge`.
#[derive(Args)]
pub(super) struct PurgeArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Days of entries to keep; without it those of the configuration
    #[arg(long, value_name = "N")]
    older_than_days: Option<u16>,
    /// Your account id
    #[arg(long, value_name = "ID")]
    by: String,
    /// The second person's account id
    #[arg(long, value_name = "ID")]
    second: Option<String>,
}

/// Words of `audit hold`.
#[derive(Args)]
pub(super) struct HoldArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Only the entries of this consultation, by its reference in the log (c-…; `audit resolve` finds it)
    #[arg(long, value_name = "REF", conflicts_with = "node")]
    consult: Option<String>,
    /// Days from now, at most 366
    #[arg(long, value_name = "N")]
    days: Option<u32>,
    /// Let purging go on
    #[arg(long)]
    release: bool,
    /// Your account id
    #[arg(long, value_name = "ID")]
    by: String,
}

/// Words of `audit accept-break`.
#[derive(Args)]
pub(super) struct AcceptBreakArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Your account id
    #[arg(long, value_name = "ID")]
    by: String,
    /// The second person's account id
    #[arg(long, value_name = "ID")]
    second: String,
    /// File with the private root key, where the configuration names only the public half
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
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
        AuditCommand::Init(args) => print(out, &keep::init(args)?).map(|()| 0),
        AuditCommand::Purge(args) => print(out, &keep::purge(args)?).map(|()| 0),
        AuditCommand::Hold(args) => print(out, &keep::hold(args)?).map(|()| 0),
        AuditCommand::Resolve(args) => resolve::resolve(args, out),
        AuditCommand::AcceptBreak(args) => print(out, &keep::accept_break(args)?).map(|()| 0),
        AuditCommand::Sample(args) => verify::sample(args).map(|()| 0),
    }
}
