//! `audit verify`, `audit prove` and `audit sample`.

use super::folder::Folder;
use super::{Failure, ProveArgs, SampleArgs, VerifyArgs};
use crate::audit::checkpoint::{Checkpoint, split_notes};
use crate::audit::note::{Note, PublicKey};
use crate::audit::purge::read_frontier;
use crate::audit::samples::{self, Shape};
use crate::audit::tree::{Frontier, Leaves, leaf_hash};
use crate::audit::verify::{self, Files, Report, Trust};
use crate::audit::{Hash, segment};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Checks a log.
pub(super) fn verify(args: &VerifyArgs) -> Result<Report, Failure> {
    let trust = Trust {
        root: key("--root-key", &args.root_key)?,
        revocation: args.revocation.as_deref().map(text).transpose()?,
        older: args.from.iter().map(|file| text(file)).collect::<Result<_, _>>()?,
        witnessed: args.witness.iter().map(|file| text(file)).collect::<Result<_, _>>()?,
        witness_keys: args.witness_key.iter().map(|words| key("--witness-key", words)).collect::<Result<_, _>>()?,
    };
    verify::verify(&Folder(args.log.clone()), &trust).map_err(Failure::Setup)
}

/// A public key, or the file that holds it.
fn key(flag: &str, words: &str) -> Result<PublicKey, Failure> {
    let held = PublicKey::parse(words)
        .or_else(|fault| fs::read_to_string(words).map_err(|_| fault).and_then(|text| PublicKey::parse(&text)));
    held.map_err(|_| Failure::Usage(format!("{flag}: expected a public key, NAME+ID+BASE64, or a file that holds one")))
}

fn text(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| Failure::Setup(format!("{}: {error}", file.display())))
}

/// An entry, its path to the newest signed head behind it, that head and the certificates of the log's keys, as JSON.
pub(super) fn prove(args: &ProveArgs) -> Result<String, Failure> {
    let wrong = |what: &str| Failure::Setup(format!("{}: {what}", args.log.display()));
    let folder = Folder(args.log.clone());
    let names = folder.names().map_err(Failure::Setup)?;
    let read = |name: &str| folder.read(name).map_err(Failure::Setup);
    let base = if names.iter().any(|name| name == "frontier") {
        let bytes = read("frontier")?;
        let held = std::str::from_utf8(&bytes).ok().and_then(read_frontier);
        held.ok_or_else(|| wrong("the frontier file does not read; run colloque audit verify"))?
    } else {
        Frontier::default()
    };
    let (mut leaves, mut wanted) = (Vec::new(), None);
    let mut segments: Vec<_> = names.iter().filter_map(|name| Some((segment::first_of(name)?, name))).collect();
    segments.sort();
    for (at, (first, name)) in segments.iter().enumerate() {
        let most = segments.get(at + 1).map_or(u64::MAX, |(next, _)| next - first);
        let bytes = read(name)?;
        for (seq, entry) in (*first..).zip(segment::read(&bytes).0).take(usize::try_from(most).unwrap_or(usize::MAX)) {
            if seq == args.seq {
                wanted = Some(entry.to_vec());
            }
            if seq >= base.size() {
                leaves.push(leaf_hash(entry));
            }
        }
    }
    let entry = wanted.ok_or_else(|| wrong("has no such entry"))?;
    let leaves = Leaves::new(base, leaves);
    let list = String::from_utf8_lossy(&read("checkpoints.log")?).into_owned();
    let heads = split_notes(&list).0.into_iter().rev().filter_map(|note| {
        let head = Checkpoint::parse(Note::parse(note).ok()?.text()).ok()?;
        Some((note, head))
    });
    let signed = heads.into_iter().find(|(_, head)| head.size <= leaves.size() && head.size > args.seq);
    let (note, head) = signed.ok_or_else(|| wrong("has no signed head over that entry yet"))?;
    let path = leaves.inclusion(args.seq, head.size).ok_or_else(|| wrong("the entry's neighbours were purged"))?;
    let certificates: Vec<_> =
        names.iter().filter(|name| name.ends_with(".cert")).map(|name| read(name)).collect::<Result<_, _>>()?;
    let proof = json!({
        "seq": args.seq,
        "entry": String::from_utf8_lossy(&entry),
        "size": head.size,
        "path": path.iter().map(|Hash(hash)| STANDARD.encode(hash)).collect::<Vec<_>>(),
        "checkpoint": note,
        "certificates": certificates.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect::<Vec<_>>(),
    });
    Ok(format!("{proof:#}\n"))
}

/// Writes a log made of chance.
pub(super) fn sample(args: &SampleArgs) -> Result<(), Failure> {
    let shape = Shape { seed: args.seed, events: args.events, days: args.days, purged_days: args.purged_days };
    let wrong = |error: std::io::Error| Failure::Setup(format!("{}: {error}", args.folder.display()));
    let files = samples::files(shape).map_err(|fault| Failure::Internal(fault.to_string()))?;
    fs::create_dir_all(args.folder.join("epochs")).map_err(wrong)?;
    for (name, bytes) in files {
        fs::write(args.folder.join(name), bytes).map_err(wrong)?;
    }
    let root = samples::root_key(args.seed).map_err(|fault| Failure::Internal(fault.to_string()))?;
    let beside: PathBuf = args.folder.with_extension("root.pub");
    fs::write(beside, format!("{}\n", root.public().to_text())).map_err(wrong)
}
