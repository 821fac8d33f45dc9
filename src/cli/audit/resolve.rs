//! `audit resolve`: whose references in a log are those of ids the caller names, on the node, while it is stopped.

use super::super::{Failure, print};
use super::{Which, keep};
use crate::audit::resolve::{Asked, MOST_IDS, Resolved};
use clap::Args;
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Longest list of ids, in bytes: as many as are looked for, of the length a reference may have.
const LONGEST_LIST: u64 = 512 * 1024;

/// Exit code of an answer in which somebody named was not found.
const SOME_MISSING: u8 = 1;

/// Words of `audit resolve`.
#[derive(Args)]
pub(in crate::cli) struct ResolveArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The tenant whose log it is
    #[arg(long, value_name = "NAME")]
    tenant: String,
    /// A consultation, by the platform's id; may be repeated
    #[arg(long, value_name = "ID")]
    consultation: Vec<String>,
    /// An opening of a room, by its sid (RM_…, in the event consultation.opened); may be repeated
    #[arg(long, value_name = "SID")]
    room: Vec<String>,
    /// A seat in these rooms, by the platform's reference; may be repeated
    #[arg(long, value_name = "ID", requires = "room")]
    participant: Vec<String>,
    /// File with seats' references, one a line, at most 1000: keeps them out of the list of processes
    #[arg(long, value_name = "FILE", requires = "room")]
    participants: Option<PathBuf>,
    /// Tell only whose this reference is (p-…, r-…, c-…); may be repeated
    #[arg(long = "ref", value_name = "REF")]
    reference: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Your account id
    #[arg(long, value_name = "ID")]
    by: String,
}

/// Puts on record that it is asked, and answers; the answer is for the platform, which knows the ids already.
pub(super) fn resolve(args: &ResolveArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let asked = args.asked()?;
    let config = keep::load(&args.config)?;
    let by = keep::admin("--by", &args.by)?;
    let which = Which { tenant: Some(args.tenant.clone()), node: false };
    let tenant = keep::tenant(&config, &which)?.ok_or_else(|| Failure::Usage("--tenant: name a tenant".to_owned()))?;
    let (found, missing) = keep::with_console(&config, |console| console.resolve(&tenant, asked, &by))?;
    let wanted = |row: &Resolved| args.reference.is_empty() || args.reference.contains(&row.reference);
    let found: Vec<_> = found.into_iter().filter(wanted).collect();
    // With references the question is whose they are; without, where the ids are.
    let of_nobody = args.reference.iter().filter(|reference| !found.iter().any(|row| row.reference == **reference));
    let missing = if args.reference.is_empty() { missing } else { of_nobody.cloned().collect() };
    print(out, &if args.json { as_json(&found, &missing) } else { as_text(&found, &missing) })?;
    Ok(if missing.is_empty() { 0 } else { SOME_MISSING })
}

impl ResolveArgs {
    fn asked(&self) -> Result<Asked, Failure> {
        let mut participants = self.participant.clone();
        if let Some(file) = &self.participants {
            let text = list(file)?;
            participants.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
        let asked = Asked { consultations: self.consultation.clone(), rooms: self.room.clone(), participants };
        let named = asked.consultations.len() + asked.rooms.len() + asked.participants.len();
        if !(1..=MOST_IDS).contains(&named) {
            let what = format!("name 1 to {MOST_IDS} ids with --consultation, --room, --participant or --participants");
            return Err(Failure::Usage(format!("audit resolve: {what}")));
        }
        Ok(asked)
    }
}

fn list(file: &Path) -> Result<String, Failure> {
    let wrong = |what: &dyn std::fmt::Display| Failure::Setup(format!("{}: {what}", file.display()));
    if fs::metadata(file).map_err(|error| wrong(&error))?.len() > LONGEST_LIST {
        return Err(wrong(&"longer than 512 KiB; name fewer ids at a time"));
    }
    fs::read_to_string(file).map_err(|error| wrong(&error))
}

fn as_text(found: &[Resolved], missing: &[String]) -> String {
    let mut text = String::new();
    for row in found {
        let room = row.room.as_ref().map(|room| format!(" in {}", json!(room))).unwrap_or_default();
        let (kind, id, month) = (row.kind.as_str(), json!(row.id), row.month.to_text());
        let Resolved { reference, entries, first, last, .. } = row;
        let _infallible = writeln!(text, "{reference} is {kind} {id}{room} ({month}, {entries} entries from {first} to {last})");
    }
    for name in missing {
        let _infallible = writeln!(text, "{}: nothing in this log by what was named", json!(name));
    }
    text
}

fn as_json(found: &[Resolved], missing: &[String]) -> String {
    let row = |row: &Resolved| {
        json!({
            "ref": row.reference, "kind": row.kind.as_str(), "id": row.id, "room": row.room, "month": row.month.to_text(),
            "entries": row.entries, "first_seq": row.first, "last_seq": row.last,
        })
    };
    format!("{:#}\n", json!({ "found": found.iter().map(row).collect::<Vec<_>>(), "missing": missing }))
}
