//! The extract of one consultation: its entries with proofs, the signed heads and certificates they lead to, and the same in
//! plain words. It is checked alone, with the root's public key.
//!
//! It proves that each entry stands in the log as it was signed on its day. That no entry of the consultation was left out
//! only the whole log can show: run the verifier on it.

use super::reading::{self, Period, Select};
use super::story::{self, Line};
use super::{ExportError, Stored};
use crate::audit::checkpoint::{Certificate, Checkpoint, Revocation, split_notes};
use crate::audit::note::{Note, PublicKey};
use crate::audit::record::Entry;
use crate::audit::tree::{self, Leaves};
use crate::audit::types::{Hash, hex, unhex};
use crate::audit::verify::Files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the extract's form.
pub const VERSION: u16 = 1;

/// Longest extract that is read, in bytes: some ten thousand entries with their proofs.
pub const LONGEST: usize = 64 << 20;

/// What an extract says of itself.
const ABOUT: &str = "People appear by role. A reference that begins with p- stands for one person in this room only, and nobody \
    but the platform can turn it back. Entries are complete and unchanged, because their hashes are what was signed.";

/// Why there is no extract, or why it is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// The files cannot be read.
    #[error("{0}")]
    Files(String),
    /// Nothing was found.
    #[error("the log has no entry of this consultation in this time")]
    Nothing,
    /// The newest entries are not signed yet.
    #[error("entry {0} is not under a signed head yet; try again in half a minute")]
    Unsigned(u64),
    /// Not an extract.
    #[error("this is not an extract, or it is of a version this program does not know")]
    Form,
    /// A certificate or head is not signed as it must be.
    #[error("a head of the log is not signed by a key that the root certified")]
    Signature,
    /// An entry is not what was signed.
    #[error("entry {0} is not the one that was signed")]
    Entry(u64),
    /// An entry stands in another day than its head.
    #[error("entry {0} is older or newer than the key that vouches for it")]
    Time(u64),
    /// The plain words are not those of the entries.
    #[error("the plain words do not say what the entries say")]
    Words,
}

/// A signed head and the certificate of the key that signed it, whole notes.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The root's word on the key.
    pub certificate: String,
    /// The key's word on the log.
    pub checkpoint: String,
}

/// An entry and the way to a head.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proved {
    /// The entry as it is stored.
    pub entry: String,
    /// Which head, counted from 0.
    pub head: usize,
    /// Hashes from the leaf to the root (RFC 6962 section 2.1.1).
    pub path: Vec<String>,
    /// Its number.
    pub seq: u64,
}

/// An extract.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    /// What this is.
    pub about: String,
    /// Entries in the order of the log.
    pub entries: Vec<Proved>,
    /// Heads they lead to.
    pub heads: Vec<Head>,
    /// The log.
    pub origin: String,
    /// The same in plain words.
    pub table: Vec<Line>,
    /// Version of the form.
    pub v: u16,
}

impl Extract {
    /// Takes the entries of a choice out of a log's files.
    ///
    /// # Errors
    ///
    /// [`ExtractError`].
    pub fn of(files: &impl Files, period: Period, select: &Select) -> Result<Self, ExtractError> {
        let mut entries = Vec::new();
        let take = |entry: Stored| {
            entries.push(entry);
            Ok(())
        };
        reading::chosen(files, period, select, take).map_err(ExtractError::Files)?;
        let origin = entries.first().ok_or(ExtractError::Nothing)?.text("log").to_owned();
        let leaves = reading::leaves(files).map_err(ExtractError::Files)?;
        let seals = Seals::read(files)?;
        let mut extract = Self {
            about: ABOUT.to_owned(),
            entries: Vec::new(),
            heads: Vec::new(),
            origin,
            table: story::tell(&entries),
            v: VERSION,
        };
        let mut known = BTreeMap::new();
        for entry in &entries {
            let (size, head) = seals.over(entry.seq()).ok_or_else(|| ExtractError::Unsigned(entry.seq()))?;
            let index = *known.entry(size).or_insert_with(|| {
                extract.heads.push(head.clone());
                extract.heads.len() - 1
            });
            extract.entries.push(proved(entry, index, size, &leaves)?);
        }
        Ok(extract)
    }

    /// Reads an extract and checks all of it with the root's public key.
    ///
    /// # Errors
    ///
    /// [`ExtractError`]: any entry, head or word that was changed is refused.
    pub fn verify(bytes: &[u8], root: &PublicKey, revocation: Option<&str>) -> Result<Self, ExtractError> {
        if bytes.len() > LONGEST {
            return Err(ExtractError::Form);
        }
        let extract: Self = serde_json::from_slice(bytes).map_err(|_| ExtractError::Form)?;
        let same = extract.canonical() == bytes.strip_suffix(b"\n").unwrap_or(bytes);
        if extract.v != VERSION || extract.about != ABOUT || !same {
            return Err(ExtractError::Form);
        }
        let revoked = revocation.map(|note| revoked_from(note, root, &extract.origin)).transpose()?;
        let heads: Result<Vec<_>, _> = extract.heads.iter().map(|head| checked(head, root, &extract.origin)).collect();
        let heads = heads?;
        if heads.iter().any(|(_, certificate)| revoked.is_some_and(|from| certificate.epoch >= from)) {
            return Err(ExtractError::Signature);
        }
        let mut entries = Vec::new();
        let mut next = 0;
        for one in &extract.entries {
            let head = heads.get(one.head).filter(|_| one.seq >= next).ok_or(ExtractError::Entry(one.seq))?;
            entries.push(checked_entry(one, head, &extract.origin)?);
            next = one.seq.saturating_add(1);
        }
        if story::tell(&entries) == extract.table { Ok(extract) } else { Err(ExtractError::Words) }
    }

    /// The extract as JSON with sorted keys and no blanks.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        serde_json::to_value(self).map(|value| value.to_string().into_bytes()).unwrap_or_default()
    }
}

fn proved(entry: &Stored, head: usize, size: u64, leaves: &Leaves) -> Result<Proved, ExtractError> {
    let path = leaves.inclusion(entry.seq(), size).ok_or_else(|| ExtractError::Unsigned(entry.seq()))?;
    let text = std::str::from_utf8(entry.bytes()).map_err(|_| ExtractError::Entry(entry.seq()))?;
    Ok(Proved { entry: text.to_owned(), head, path: path.iter().map(|hash| hex(&hash.0)).collect(), seq: entry.seq() })
}

/// The heads of a log with the certificates of their keys.
struct Seals(BTreeMap<u64, Head>);

impl Seals {
    fn read(files: &impl Files) -> Result<Self, ExtractError> {
        let names = files.names().map_err(ExtractError::Files)?;
        let text = |name: &str| {
            let bytes = files.read(name).map_err(ExtractError::Files)?;
            String::from_utf8(bytes).map_err(|_| ExtractError::Signature)
        };
        let mut certificates = Vec::new();
        for name in names.iter().filter(|name| name.starts_with("epochs/") && name.ends_with(".cert")) {
            certificates.push(text(name)?);
        }
        if !names.iter().any(|name| name == "checkpoints.log") {
            return Ok(Self(BTreeMap::new()));
        }
        let list = text("checkpoints.log")?;
        let mut heads = BTreeMap::new();
        for note in split_notes(&list).0 {
            let Some((checkpoint, signed)) = Note::parse(note).ok().and_then(|n| Some((Checkpoint::parse(n.text()).ok()?, n)))
            else {
                continue;
            };
            let signer =
                certificates.iter().find(|text| signer_of(text, &checkpoint).is_some_and(|key| signed.is_signed_by(&key)));
            if let Some(certificate) = signer {
                heads.insert(checkpoint.size, Head { certificate: certificate.clone(), checkpoint: note.to_owned() });
            }
        }
        Ok(Self(heads))
    }

    /// The smallest head over an entry: it belongs to the entry's own day, because a day ends with a head over all of it.
    fn over(&self, seq: u64) -> Option<(u64, &Head)> {
        self.0.range(seq.checked_add(1)?..).next().map(|(size, head)| (*size, head))
    }
}

/// The key a certificate names, whoever signed it: the reader of the extract checks that.
fn signer_of(certificate: &str, checkpoint: &Checkpoint) -> Option<PublicKey> {
    let note = Note::parse(certificate).ok()?;
    let mut lines = note.text().lines();
    let (origin, key) = (lines.next()?, lines.nth(1)?);
    let key = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, key).ok()?.try_into().ok()?;
    (origin == checkpoint.origin.as_str()).then(|| PublicKey::new(checkpoint.origin.clone(), key).ok()).flatten()
}

fn checked(head: &Head, root: &PublicKey, origin: &str) -> Result<(Checkpoint, Certificate), ExtractError> {
    let note = |text: &str| Note::parse(text).ok().filter(|note| note.to_text() == text).ok_or(ExtractError::Signature);
    let certificate = Certificate::read(&note(&head.certificate)?, root).map_err(|_| ExtractError::Signature)?;
    let key = certificate.public_key().map_err(|_| ExtractError::Signature)?;
    let signed = note(&head.checkpoint)?;
    let checkpoint = Checkpoint::parse(signed.text()).map_err(|_| ExtractError::Signature)?;
    let same = checkpoint.origin.as_str() == origin && certificate.origin == checkpoint.origin;
    if same && signed.is_signed_by(&key) { Ok((checkpoint, certificate)) } else { Err(ExtractError::Signature) }
}

fn checked_entry(
    one: &Proved,
    (checkpoint, certificate): &(Checkpoint, Certificate),
    origin: &str,
) -> Result<Stored, ExtractError> {
    let wrong = || ExtractError::Entry(one.seq);
    let bytes = one.entry.as_bytes();
    let entry = Entry::decode(bytes).map_err(|_| wrong())?;
    let path: Option<Vec<Hash>> = one.path.iter().map(|text| unhex(text).map(Hash)).collect();
    let included =
        tree::verify_inclusion(&tree::leaf_hash(bytes), one.seq, checkpoint.size, &path.ok_or_else(wrong)?, &checkpoint.root);
    if entry.seq != one.seq || entry.log.as_str() != origin || !included {
        return Err(wrong());
    }
    if !certificate.covers(entry.stamp.ts) {
        return Err(ExtractError::Time(one.seq));
    }
    Stored::read(bytes).map_err(|_: ExportError| wrong())
}

fn revoked_from(note: &str, root: &PublicKey, origin: &str) -> Result<u32, ExtractError> {
    let read = Note::parse(note).ok().and_then(|note| Revocation::read(&note, root).ok());
    read.filter(|read| read.origin.as_str() == origin).map(|read| read.from_epoch).ok_or(ExtractError::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::samples;
    use crate::audit::types::Micros;

    const ALWAYS: Period = Period { from: Micros(0), to: Micros::LAST };

    fn files(purged_days: u64) -> samples::Files {
        samples::files(samples::Shape { seed: 5, events: 120, days: 3, purged_days }).expect("a log")
    }

    fn root() -> PublicKey {
        samples::root_key(5).expect("a key").public().clone()
    }

    /// A consultation of the log that has entries in it.
    fn some(files: &samples::Files) -> Select {
        let mut found = None;
        reading::chosen(files, ALWAYS, &Select::All, |entry| {
            found = found.take().or_else(|| entry.optional("consult").map(str::to_owned));
            Ok(())
        })
        .expect("entries");
        Select::Consultation(found.expect("a consultation"))
    }

    #[test]
    fn an_extract_verifies_alone() {
        for purged_days in [0, 1] {
            let files = files(purged_days);
            let extract = Extract::of(&files, ALWAYS, &some(&files)).expect("an extract");
            let bytes = extract.canonical();
            let read = Extract::verify(&bytes, &root(), None).expect("it verifies");
            assert_eq!(read.entries.len(), extract.entries.len());
            assert!(!read.entries.is_empty());
        }
    }

    #[test]
    fn all_entries_of_a_log_lead_to_the_head_of_their_day() {
        let files = files(0);
        let extract = Extract::of(&files, ALWAYS, &Select::All).expect("an extract");
        assert!(extract.heads.len() >= 3, "three days");
        assert!(Extract::verify(&extract.canonical(), &root(), None).is_ok());
    }

    #[test]
    fn it_holds_no_entry_of_another() {
        let files = files(0);
        let Select::Consultation(consult) = some(&files) else { unreachable!("a consultation") };
        let extract = Extract::of(&files, ALWAYS, &Select::Consultation(consult.clone())).expect("an extract");
        let rooms: Vec<_> = extract.entries.iter().filter(|one| one.entry.contains(&consult)).collect();
        assert!(!rooms.is_empty());
        for one in &extract.entries {
            let entry = Stored::read(one.entry.as_bytes()).expect("an entry");
            let same_room = |other: &&Proved| {
                Stored::read(other.entry.as_bytes()).is_ok_and(|other| other.text("room") == entry.text("room"))
            };
            assert!(entry.text("consult") == consult || rooms.iter().copied().any(|one| same_room(&one)));
        }
        let absent = Select::Consultation("c-00000000000000000000000000".to_owned());
        assert_eq!(Extract::of(&files, ALWAYS, &absent).err(), Some(ExtractError::Nothing));
        let before = Period { from: Micros(0), to: Micros(1) };
        assert_eq!(Extract::of(&files, before, &some(&files)).err(), Some(ExtractError::Nothing));
    }

    #[test]
    fn the_words_name_no_reference() {
        let files = files(0);
        let extract = Extract::of(&files, ALWAYS, &Select::All).expect("an extract");
        for line in &extract.table {
            assert!(!line.act.contains("p-") && !line.who.contains("p-"), "{line:?}");
        }
    }

    #[test]
    fn every_change_is_refused() {
        let files = files(0);
        let extract = Extract::of(&files, ALWAYS, &some(&files)).expect("an extract");
        let bytes = extract.canonical();
        assert!(Extract::verify(&bytes, &root(), None).is_ok(), "positive control");
        // A prime step meets every kind of place without taking minutes.
        for at in (0..bytes.len()).step_by(37) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Extract::verify(&changed, &root(), None).is_err(), "byte {at}");
        }
        let other = samples::root_key(6).expect("a key").public().clone();
        assert_eq!(Extract::verify(&bytes, &other, None).err(), Some(ExtractError::Signature));
    }

    #[test]
    fn a_key_of_another_day_does_not_vouch() {
        let files = files(0);
        let mut extract = Extract::of(&files, ALWAYS, &Select::All).expect("an extract");
        let last = extract.heads.len() - 1;
        let leaves = reading::leaves(&files).expect("leaves");
        let checkpoint = Note::parse(&extract.heads[last].checkpoint).expect("a note");
        let size = Checkpoint::parse(checkpoint.text()).expect("a head").size;
        let first = Stored::read(extract.entries[0].entry.as_bytes()).expect("an entry");
        extract.entries[0] = proved(&first, last, size, &leaves).expect("a path");
        assert_eq!(Extract::verify(&extract.canonical(), &root(), None).err(), Some(ExtractError::Time(0)));
    }
}
