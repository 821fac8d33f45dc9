//! Certificates, revocation and checkpoints, and what the scan says about them.

use super::super::checkpoint::{Certificate, Checkpoint, Revocation, split_notes};
use super::super::note::{Note, PublicKey};
use super::super::types::{Hash, Micros, Word};
use super::report::{Code, Report};
use super::{End, Files, Trust};
use std::collections::BTreeMap;

/// A checkpoint of the list, and what is known where the tree has its size.
#[derive(Debug)]
struct Sealed {
    note: Note,
    root: Hash,
    /// The root the entries give, and the time of the entry before.
    found: Option<(Hash, Option<Micros>)>,
}

/// All seals of a log.
#[derive(Debug)]
pub(super) struct Seals {
    pub(super) origin: Option<Word>,
    certificates: BTreeMap<u32, (Certificate, PublicKey)>,
    revoked_from: Option<u32>,
    sealed: BTreeMap<u64, Sealed>,
    /// Sizes others ask about, with what the entries give.
    asked: BTreeMap<u64, Option<(Hash, Option<Micros>)>>,
}

impl Seals {
    pub(super) fn read(files: &impl Files, names: &[String], trust: &Trust, report: &mut Report) -> Result<Self, String> {
        let mut seals = Self {
            origin: None,
            certificates: BTreeMap::new(),
            revoked_from: None,
            sealed: BTreeMap::new(),
            asked: BTreeMap::new(),
        };
        let certificates = names.iter().filter(|name| name.starts_with("epochs/") && name.ends_with(".cert"));
        for name in certificates {
            seals.certificate(&files.read(name)?, &trust.root, report);
        }
        if seals.certificates.is_empty() {
            report.find(Code::Signature, "no certificate of the root key", None);
        }
        report.origin = seals.origin.as_ref().map(|origin| origin.as_str().to_owned());
        let stored = names.iter().find(|name| *name == "epochs/revoked").map(|name| files.read(name)).transpose()?;
        let stored = stored.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        for note in stored.iter().chain(&trust.revocation) {
            seals.revocation(note, &trust.root, report);
        }
        let has = |wanted: &str| names.iter().any(|name| name == wanted);
        let list = if has("checkpoints.log") { files.read("checkpoints.log")? } else { Vec::new() };
        seals.list(&list, report);
        if has("checkpoint") {
            seals.latest(&files.read("checkpoint")?, report);
        } else if !seals.sealed.is_empty() {
            report.find(Code::Signature, "the latest checkpoint is missing", None);
        }
        let sizes = trust.older.iter().chain(&trust.witnessed).filter_map(|note| Note::parse(note).ok());
        seals.asked = sizes.filter_map(|note| Checkpoint::parse(note.text()).ok()).map(|seen| (seen.size, None)).collect();
        Ok(seals)
    }

    fn certificate(&mut self, bytes: &[u8], root: &PublicKey, report: &mut Report) {
        let note = std::str::from_utf8(bytes).ok().and_then(|text| Note::parse(text).ok().filter(|note| note.to_text() == text));
        let read = note.and_then(|note| Certificate::read(&note, root).ok());
        let Some((certificate, key)) = read.and_then(|read| Some((read.clone(), read.public_key().ok()?))) else {
            report.find(Code::Signature, "a certificate is not the root key's", None);
            return;
        };
        if self.origin.as_ref().is_some_and(|origin| *origin != certificate.origin) {
            report.find(Code::Signature, "a certificate is for another log", None);
            return;
        }
        self.origin = Some(certificate.origin.clone());
        self.certificates.insert(certificate.epoch, (certificate, key));
    }

    fn revocation(&mut self, note: &str, root: &PublicKey, report: &mut Report) {
        let read = Note::parse(note).ok().and_then(|note| Revocation::read(&note, root).ok());
        match read.filter(|read| self.origin.as_ref() == Some(&read.origin)) {
            Some(read) => {
                let earlier = self.revoked_from.unwrap_or(u32::MAX).min(read.from_epoch);
                self.revoked_from = Some(earlier);
            }
            None => report.find(Code::Signature, "the revocation is not the root key's for this log", None),
        }
    }

    fn list(&mut self, bytes: &[u8], report: &mut Report) {
        let text = String::from_utf8_lossy(bytes);
        let (notes, rest) = split_notes(&text);
        if !rest.is_empty() {
            report.find(Code::Torn, "the list of checkpoints ends in the middle of a write", None);
        }
        let mut largest = 0;
        for note in notes {
            let read = Note::parse(note).ok().filter(|read| read.to_text() == note);
            let Some((checkpoint, note)) = read.and_then(|note| Some((Checkpoint::parse(note.text()).ok()?, note))) else {
                report.find(Code::Signature, "a checkpoint does not read", None);
                continue;
            };
            if Some(&checkpoint.origin) != self.origin.as_ref() {
                report.find(Code::Signature, "a checkpoint is another log's", Some(checkpoint.size));
            }
            if checkpoint.size <= largest {
                report.find(Code::Signature, "checkpoints are out of order", Some(checkpoint.size));
                continue;
            }
            largest = checkpoint.size;
            self.sealed.insert(checkpoint.size, Sealed { note, root: checkpoint.root, found: None });
        }
        report.checkpoints = u64::try_from(self.sealed.len()).unwrap_or(u64::MAX);
    }

    fn latest(&self, bytes: &[u8], report: &mut Report) {
        let text = String::from_utf8_lossy(bytes);
        if !self.sealed.values().rev().any(|sealed| sealed.note.to_text() == text) {
            report.find(Code::Signature, "the latest checkpoint is not in the list", None);
        }
    }

    /// Whether the tree's root is of interest at this size.
    pub(super) fn wants(&self, size: u64) -> bool {
        self.sealed.contains_key(&size) || self.asked.contains_key(&size)
    }

    /// The entries up to this size give this root; `epoch` is the one the last of them stands in, if it is known.
    pub(super) fn at(&mut self, size: u64, root: Hash, time: Option<Micros>, epoch: Option<u32>, report: &mut Report) {
        if let Some(asked) = self.asked.get_mut(&size) {
            *asked = Some((root, time));
        }
        let Some(sealed) = self.sealed.get_mut(&size) else { return };
        sealed.found = Some((root, time));
        if sealed.root != root {
            report.find(Code::Content, "the entries do not give the signed root", Some(size));
        }
        let signed = match epoch {
            Some(epoch) => self.certificates.get(&epoch).is_some_and(|(_, key)| sealed.note.is_signed_by(key)),
            // Purged: the entry that began the epoch is gone, so the day of the last entry must do.
            None => self
                .certificates
                .values()
                .any(|(certificate, key)| time.is_none_or(|time| certificate.covers(time)) && sealed.note.is_signed_by(key)),
        };
        if !signed {
            report.find(Code::Signature, "a checkpoint is not signed by the key of its own epoch", Some(size));
        }
    }

    /// Checks an `audit.epoch_started` as entry `seq`.
    pub(super) fn begin(&self, seq: u64, epoch: u32, kid: &str, at: Micros, before: Option<u32>, report: &mut Report) {
        let fits = match self.certificates.get(&epoch) {
            None => Err("an epoch without certificate"),
            Some((_, key)) if key.id_text() != kid => Err("an epoch names another key than its certificate"),
            Some((certificate, _)) if !certificate.covers(at) => Err("an epoch began outside its window"),
            Some(_) if before.is_some_and(|before| before >= epoch) => Err("epochs go backwards"),
            Some(_) if self.revoked_from.is_some_and(|from| epoch >= from) => Err("an epoch that was revoked"),
            Some(_) if before.is_some() && !self.sealed.contains_key(&seq) => Err("an epoch ended without its last checkpoint"),
            Some(_) => Ok(()),
        };
        if let Err(what) = fits {
            report.find(Code::Signature, what, Some(seq));
        }
    }

    /// Whether a time is past the end of an epoch.
    pub(super) fn is_past(&self, epoch: u32, at: Micros) -> bool {
        self.certificates.get(&epoch).is_some_and(|(certificate, _)| at > certificate.not_after && !certificate.covers(at))
    }

    /// What is left to say when all entries are read.
    pub(super) fn finish(&self, end: &End, report: &mut Report) {
        let last = self.sealed.keys().copied().filter(|size| *size <= end.size).max().unwrap_or(0);
        report.signed = last;
        for (size, sealed) in &self.sealed {
            if sealed.found.is_some() {
                continue;
            }
            if *size > end.size && !end.stopped {
                report.find(Code::Gap, "a signed head covers entries that are missing", Some(*size));
            } else if *size < end.base && !self.certificates.values().any(|(_, key)| sealed.note.is_signed_by(key)) {
                report.find(Code::Signature, "a checkpoint of purged entries is not signed", Some(*size));
            }
        }
        if end.size > last && !end.stopped {
            report.find(Code::Warning, "entries after the last signed head", Some(last));
        }
    }

    /// Whether a checkpoint seen elsewhere is of this log, by any of its keys.
    pub(super) fn is_own(&self, note: &Note, checkpoint: &Checkpoint) -> bool {
        self.origin.as_ref() == Some(&checkpoint.origin) && self.certificates.values().any(|(_, key)| note.is_signed_by(key))
    }

    /// Whether the list has this very head.
    pub(super) fn lists(&self, checkpoint: &Checkpoint) -> bool {
        self.sealed.get(&checkpoint.size).is_some_and(|sealed| sealed.root == checkpoint.root)
    }

    /// Whether the entries give this root.
    pub(super) fn agrees(&self, checkpoint: &Checkpoint) -> bool {
        self.asked.get(&checkpoint.size).is_some_and(|found| found.is_some_and(|(root, _)| root == checkpoint.root))
    }

    /// The time of the entry before a size that somebody asked about.
    pub(super) fn time_at(&self, size: u64) -> Option<Micros> {
        let sealed = self.sealed.get(&size).and_then(|sealed| sealed.found);
        self.asked.get(&size).copied().flatten().or(sealed).and_then(|(_, time)| time)
    }
}
