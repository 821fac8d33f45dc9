//! Heads of a log and the keys that sign them: checkpoints (C2SP tlog-checkpoint), epoch certificates and revocations.
//!
//! The root key, kept away from the node, certifies one key for each day. A checkpoint must be signed by the key of the day
//! it stands in; that key is destroyed when its day is over, so that whoever takes a node over cannot sign for the past.

use super::note::{KEY_LENGTH, Note, NoteFault, PrivateKey, PublicKey};
use super::types::{Hash, Micros, Word};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// How far a clock may be beside the window of its epoch: what an event waits in queues, and a leap of a careless clock.
pub const SLACK: u64 = 600 * 1_000_000;

/// The head of a log: its size and root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's origin.
    pub origin: Word,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
}

impl Checkpoint {
    /// The text to sign.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin.as_str(), self.size, STANDARD.encode(self.root.0))
    }

    /// Reads a note's text; extension lines are refused, because nothing would vouch for them.
    ///
    /// # Errors
    /// [`NoteFault::Form`] when it is no checkpoint.
    pub fn parse(text: &str) -> Result<Self, NoteFault> {
        let [origin, size, root] = lines(text)?;
        let checkpoint = Self { origin: word(origin)?, size: number(size)?, root: Hash(bytes(root)?) };
        if checkpoint.to_text() == text { Ok(checkpoint) } else { Err(NoteFault::Form) }
    }
}

/// What the root key says of an epoch's key. An epoch is one day, UTC, numbered from 1970.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The log it is for.
    pub origin: Word,
    /// The day's number.
    pub epoch: u32,
    /// The public key.
    pub key: [u8; KEY_LENGTH],
    /// From when.
    pub not_before: Micros,
    /// Until when.
    pub not_after: Micros,
}

impl Certificate {
    /// A certificate for a day.
    #[must_use]
    pub fn for_day(origin: Word, epoch: u32, key: [u8; KEY_LENGTH]) -> Self {
        let not_before = Micros(u64::from(epoch) * Micros::DAY);
        Self { origin, epoch, key, not_before, not_after: Micros(not_before.0 + Micros::DAY) }
    }

    /// The text the root key signs.
    #[must_use]
    pub fn to_text(&self) -> String {
        let (origin, key) = (self.origin.as_str(), STANDARD.encode(self.key));
        format!("{origin}\n{}\n{key}\n{}\n{}\n", self.epoch, self.not_before.to_text(), self.not_after.to_text())
    }

    /// Reads a note that the root key signed.
    ///
    /// # Errors
    /// [`NoteFault`] when it is no certificate or not the root's.
    pub fn read(note: &Note, root: &PublicKey) -> Result<Self, NoteFault> {
        let certificate = Self::parse(note.text())?;
        if note.is_signed_by(root) { Ok(certificate) } else { Err(NoteFault::Signature) }
    }

    /// Reads the text alone, whoever signed it.
    ///
    /// # Errors
    /// [`NoteFault::Form`] when it is no certificate.
    pub fn parse(text: &str) -> Result<Self, NoteFault> {
        let [origin, epoch, key, not_before, not_after] = lines(text)?;
        let certificate = Self {
            origin: word(origin)?,
            epoch: u32::try_from(number(epoch)?).map_err(|_| NoteFault::Form)?,
            key: bytes(key)?,
            not_before: Micros::parse(not_before).ok_or(NoteFault::Form)?,
            not_after: Micros::parse(not_after).ok_or(NoteFault::Form)?,
        };
        if certificate.to_text() == text { Ok(certificate) } else { Err(NoteFault::Form) }
    }

    /// The key as signer of notes.
    ///
    /// # Errors
    /// [`NoteFault::Form`] when the origin cannot name a key.
    pub fn public_key(&self) -> Result<PublicKey, NoteFault> {
        PublicKey::new(self.origin.clone(), self.key).map_err(|_| NoteFault::Form)
    }

    /// Whether a time lies in the window, give or take [`SLACK`].
    #[must_use]
    pub fn covers(&self, at: Micros) -> bool {
        at.0.saturating_add(SLACK) >= self.not_before.0 && at.0 <= self.not_after.0.saturating_add(SLACK)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate(epoch {})", self.epoch)
    }
}

/// The epoch a time belongs to.
#[must_use]
pub fn epoch_of(at: Micros) -> u32 {
    u32::try_from(at.day()).unwrap_or(u32::MAX)
}

/// What the root key says after a theft: epochs from this one on are void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The log it is for.
    pub origin: Word,
    /// The first epoch that is void.
    pub from_epoch: u32,
}

impl Revocation {
    /// The text the root key signs.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\nrevoked from epoch\n{}\n", self.origin.as_str(), self.from_epoch)
    }

    /// Reads a note that the root key signed.
    ///
    /// # Errors
    /// [`NoteFault`] when it is no revocation or not the root's.
    pub fn read(note: &Note, root: &PublicKey) -> Result<Self, NoteFault> {
        let [origin, _, epoch] = lines(note.text())?;
        let from_epoch = u32::try_from(number(epoch)?).map_err(|_| NoteFault::Form)?;
        let revocation = Self { origin: word(origin)?, from_epoch };
        if revocation.to_text() != note.text() {
            return Err(NoteFault::Form);
        }
        if note.is_signed_by(root) { Ok(revocation) } else { Err(NoteFault::Signature) }
    }
}

/// An epoch's private key with the day it is for.
#[derive(Debug)]
pub struct EpochKey {
    /// The day's number.
    pub epoch: u32,
    /// The key; its name is the log's origin.
    pub key: PrivateKey,
}

impl EpochKey {
    /// The certificate, to be signed by the root.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        Certificate::for_day(self.key.public().name().clone(), self.epoch, self.key.public().bytes())
    }
}

/// Takes the notes of a file apart, which stand one behind the other with a blank line between.
///
/// The last part is what a torn write left behind; it is empty in a whole file.
#[must_use]
pub fn split_notes(file: &str) -> (Vec<&str>, &str) {
    let mut notes = Vec::new();
    let mut rest = file;
    // A note is a text, a blank line and signatures; the next blank line ends it.
    while let Some(text_end) = rest.find("\n\n") {
        let Some(end) = rest.get(text_end + 2..).and_then(|behind| behind.find("\n\n")) else { break };
        let Some((note, behind)) = rest.split_at_checked(text_end + 2 + end + 1) else { break };
        notes.push(note);
        rest = behind.strip_prefix('\n').unwrap_or(behind);
    }
    (notes, rest)
}

fn lines<const N: usize>(text: &str) -> Result<[&str; N], NoteFault> {
    let body = text.strip_suffix('\n').ok_or(NoteFault::Form)?;
    let all: Vec<_> = body.split('\n').take(N + 1).collect();
    all.try_into().map_err(|_| NoteFault::Form)
}

fn word(text: &str) -> Result<Word, NoteFault> {
    Word::new(text).map_err(|_| NoteFault::Form)
}

fn number(text: &str) -> Result<u64, NoteFault> {
    text.parse().map_err(|_| NoteFault::Form)
}

fn bytes(text: &str) -> Result<[u8; 32], NoteFault> {
    STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(NoteFault::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Word {
        Word::new("clinic.example/fr1/t-1/n1/1").unwrap()
    }

    #[test]
    fn checkpoints_read_back_and_have_one_form() {
        let checkpoint = Checkpoint { origin: origin(), size: 7, root: Hash([5; 32]) };
        let text = checkpoint.to_text();
        assert_eq!(Checkpoint::parse(&text), Ok(checkpoint));
        for wrong in
            [format!("{text}more\n"), text.replace("\n7\n", "\n07\n"), text.replace("\n7\n", "\n+7\n"), text.replace('=', "")]
        {
            assert_eq!(Checkpoint::parse(&wrong), Err(NoteFault::Form), "{wrong:?}");
        }
    }

    #[test]
    fn certificates_are_the_roots_only() {
        let root = PrivateKey::new(Word::new("clinic.example/root").unwrap(), [1; 32]).unwrap();
        let other = PrivateKey::new(Word::new("clinic.example/root").unwrap(), [2; 32]).unwrap();
        let key = EpochKey { epoch: 20_778, key: PrivateKey::new(origin(), [3; 32]).unwrap() };
        let note = root.sign(key.certificate().to_text());
        let read = Certificate::read(&note, root.public()).unwrap();
        assert_eq!(read, key.certificate());
        assert_eq!(read.public_key().as_ref(), Ok(key.key.public()));
        assert_eq!(Certificate::read(&other.sign(key.certificate().to_text()), root.public()), Err(NoteFault::Signature));
        assert!(read.covers(Micros(20_778 * Micros::DAY)) && !read.covers(Micros(20_780 * Micros::DAY)));
        let revocation = Revocation { origin: origin(), from_epoch: 20_790 };
        assert_eq!(Revocation::read(&root.sign(revocation.to_text()), root.public()), Ok(revocation.clone()));
        assert!(Certificate::read(&root.sign(revocation.to_text()), root.public()).is_err(), "no certificate");
        assert!(Revocation::read(&note, root.public()).is_err(), "no revocation");
    }

    #[test]
    fn a_file_of_notes_is_taken_apart() {
        let key = PrivateKey::new(origin(), [3; 32]).unwrap();
        let one = key.sign("one\n".to_owned()).to_text();
        let two = key.sign("two\ntwo\n".to_owned()).to_text();
        let file = format!("{one}\n{two}\n");
        assert_eq!(split_notes(&file), (vec![one.as_str(), two.as_str()], ""));
        let torn = &file[..file.len() - 9];
        let (notes, rest) = split_notes(torn);
        assert_eq!(notes, [one.as_str()]);
        assert!(two.starts_with(rest) && !rest.is_empty());
    }
}
