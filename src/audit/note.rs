//! Signed notes (C2SP signed-note): a text, a blank line, and lines of Ed25519 signatures by named keys.
//!
//! A signature line is `— NAME BASE64`, where the bytes are four of a key id and the signature. Lines of keys nobody asked
//! for are left alone, so that other algorithms and witnesses can sign the same note.

use super::Refused;
use super::types::{Word, hex};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use zeroize::Zeroizing;

/// Longest note in bytes: a checkpoint with a signature of each of its witnesses is far below.
pub const LONGEST_NOTE: usize = 16 * 1024;

/// Most signature lines of a note.
const MOST_SIGNATURES: usize = 32;

/// What begins a signature line.
const DASH: &str = "\u{2014} ";

/// The type byte of an Ed25519 signature over the text itself.
const ED25519_NOTE: u8 = 1;

/// The type byte of a witness's cosignature with its time (C2SP tlog-cosignature).
const COSIGNATURE_V1: u8 = 4;

/// Length of an Ed25519 key or seed.
pub const KEY_LENGTH: usize = 32;

/// Length of an Ed25519 signature.
const SIGNATURE_LENGTH: usize = 64;

/// What is wrong with a note or a key's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteFault {
    /// Not the form of a note, a key or what the note should say.
    #[error("not of the expected form")]
    Form,
    /// No signature of the key, or a wrong one.
    #[error("the signature is missing or wrong")]
    Signature,
}

/// The public half of a named key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: Word,
    key: [u8; KEY_LENGTH],
    kind: u8,
}

impl PublicKey {
    /// A key that signs notes.
    ///
    /// # Errors
    /// [`Refused::BadText`] when the name holds a plus sign, which would end it.
    pub fn new(name: Word, key: [u8; KEY_LENGTH]) -> Result<Self, Refused> {
        if name.as_str().contains('+') { Err(Refused::BadText) } else { Ok(Self { name, key, kind: ED25519_NOTE }) }
    }

    /// Reads `NAME+ID+BASE64`, the form in which keys are handed out, of a log's root or of a witness.
    ///
    /// # Errors
    /// [`NoteFault::Form`] when it is none, or its id does not fit.
    pub fn parse(text: &str) -> Result<Self, NoteFault> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteFault::Form);
        };
        let bytes = STANDARD.decode(key).map_err(|_| NoteFault::Form)?;
        let (kind, key) = bytes.split_first().ok_or(NoteFault::Form)?;
        let key = key.try_into().map_err(|_| NoteFault::Form)?;
        if ![ED25519_NOTE, COSIGNATURE_V1].contains(kind) {
            return Err(NoteFault::Form);
        }
        let public = Self { name: Word::new(name).map_err(|_| NoteFault::Form)?, key, kind: *kind };
        if hex(&public.id()) == id { Ok(public) } else { Err(NoteFault::Form) }
    }

    /// `NAME+ID+BASE64`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let bytes: Vec<u8> = std::iter::once(self.kind).chain(self.key).collect();
        format!("{}+{}+{}", self.name.as_str(), hex(&self.id()), STANDARD.encode(bytes))
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &Word {
        &self.name
    }

    /// The bare key.
    #[must_use]
    pub fn bytes(&self) -> [u8; KEY_LENGTH] {
        self.key
    }

    /// The first four bytes of SHA-256 over name, line feed, type and key.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let words = [self.name.as_str().as_bytes(), b"\n", &[self.kind], &self.key].concat();
        let [a, b, c, d, ..] = super::tree::sha256(&words).0;
        [a, b, c, d]
    }

    /// The id as eight hexadecimal digits.
    #[must_use]
    pub fn id_text(&self) -> String {
        hex(&self.id())
    }

    fn holds(&self, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.key).verify(text, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id_text())
    }
}

/// The private half of a named key; its bytes are wiped when it is dropped.
pub struct PrivateKey {
    public: PublicKey,
    seed: Zeroizing<[u8; KEY_LENGTH]>,
    pair: Ed25519KeyPair,
}

impl PrivateKey {
    /// From 32 random bytes.
    ///
    /// # Errors
    /// [`Refused::BadText`] when the name holds a plus sign.
    pub fn new(name: Word, seed: [u8; KEY_LENGTH]) -> Result<Self, Refused> {
        let seed = Zeroizing::new(seed);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| Refused::BadField)?;
        let mut key = [0; KEY_LENGTH];
        for (place, byte) in key.iter_mut().zip(pair.public_key().as_ref()) {
            *place = *byte;
        }
        Ok(Self { public: PublicKey::new(name, key)?, seed, pair })
    }

    /// Reads `PRIVATE+KEY+NAME+ID+BASE64`.
    ///
    /// # Errors
    /// [`NoteFault::Form`] when it is none.
    pub fn parse(text: &str) -> Result<Self, NoteFault> {
        let rest = text.trim().strip_prefix("PRIVATE+KEY+").ok_or(NoteFault::Form)?;
        let mut parts = rest.splitn(3, '+');
        let (Some(name), Some(id), Some(seed)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteFault::Form);
        };
        let bytes = Zeroizing::new(STANDARD.decode(seed).map_err(|_| NoteFault::Form)?);
        let seed = bytes.strip_prefix(&[ED25519_NOTE]).and_then(|seed| seed.try_into().ok()).ok_or(NoteFault::Form)?;
        let key = Self::new(Word::new(name).map_err(|_| NoteFault::Form)?, seed).map_err(|_| NoteFault::Form)?;
        if key.public.id_text() == id { Ok(key) } else { Err(NoteFault::Form) }
    }

    /// `PRIVATE+KEY+NAME+ID+BASE64`, for the file it is kept in only.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(std::iter::once(ED25519_NOTE).chain(*self.seed).collect());
        let base64 = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        Zeroizing::new(format!("PRIVATE+KEY+{}+{}+{}", self.public.name.as_str(), self.public.id_text(), base64.as_str()))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a text, which ends with a line feed.
    #[must_use]
    pub fn sign(&self, text: String) -> Note {
        let bytes = self.pair.sign(text.as_bytes()).as_ref().to_vec();
        let signature = Signature { name: self.public.name.clone(), id: self.public.id(), bytes };
        Note { text, signatures: vec![signature] }
    }

    /// Adds a witness's cosignature with its time to a note (C2SP tlog-cosignature).
    pub fn cosign(&self, note: &mut Note, seconds: u64) {
        let signed = cosigned_text(&note.text, seconds);
        let bytes = seconds.to_be_bytes().into_iter().chain(self.pair.sign(&signed).as_ref().iter().copied()).collect();
        let witness = PublicKey { kind: COSIGNATURE_V1, ..self.public.clone() };
        note.signatures.push(Signature { name: witness.name.clone(), id: witness.id(), bytes });
    }

    /// The key that checks what [`cosign`](Self::cosign) adds.
    #[must_use]
    pub fn witness(&self) -> PublicKey {
        PublicKey { kind: COSIGNATURE_V1, ..self.public.clone() }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public.id_text())
    }
}

fn cosigned_text(text: &str, seconds: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {seconds}\n{text}").into_bytes()
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    name: Word,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// A text and its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// Reads a note.
    ///
    /// # Errors
    /// [`NoteFault::Form`] when it is none.
    pub fn parse(note: &str) -> Result<Self, NoteFault> {
        if note.len() > LONGEST_NOTE {
            return Err(NoteFault::Form);
        }
        let end = note.rfind("\n\n").ok_or(NoteFault::Form)?;
        let (text, rest) = note.split_at_checked(end + 1).ok_or(NoteFault::Form)?;
        let lines = rest.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n')).ok_or(NoteFault::Form)?;
        let signatures: Vec<_> =
            lines.split('\n').take(MOST_SIGNATURES + 1).map(signature).collect::<Option<_>>().ok_or(NoteFault::Form)?;
        if signatures.len() > MOST_SIGNATURES || text.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(NoteFault::Form);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The signed text, with its last line feed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole note.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut note = format!("{}\n", self.text);
        for signature in &self.signatures {
            let bytes: Vec<u8> = signature.id.iter().chain(&signature.bytes).copied().collect();
            note.push_str(&format!("{DASH}{} {}\n", signature.name.as_str(), STANDARD.encode(bytes)));
        }
        note
    }

    /// Whether the key signed or cosigned it.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let mine = self.signatures.iter().find(|signature| signature.name == key.name && signature.id == key.id());
        let Some(signature) = mine else { return false };
        if key.kind == ED25519_NOTE {
            return signature.bytes.len() == SIGNATURE_LENGTH && key.holds(self.text.as_bytes(), &signature.bytes);
        }
        let Some((seconds, bytes)) = signature.bytes.split_first_chunk::<8>() else { return false };
        key.holds(&cosigned_text(&self.text, u64::from_be_bytes(*seconds)), bytes)
    }
}

fn signature(line: &str) -> Option<Signature> {
    let (name, base64) = line.strip_prefix(DASH)?.split_once(' ')?;
    let bytes = STANDARD.decode(base64).ok()?;
    let (id, bytes) = bytes.split_first_chunk::<4>()?;
    Some(Signature { name: Word::new(name).ok()?, id: *id, bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_verifies() {
        // C2SP signed-note: the example note and its key.
        let key = PublicKey::parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k").unwrap();
        let note = "This is an example message.\n\n\u{2014} example.com/foo \
                    Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
        let note = Note::parse(note).unwrap();
        assert!(note.is_signed_by(&key));
        let changed = Note { text: "This is an example massage.\n".to_owned(), ..note };
        assert!(!changed.is_signed_by(&key));
    }

    #[test]
    fn keys_and_notes_read_back() {
        let key = PrivateKey::new(Word::new("example.org/root").unwrap(), [7; 32]).unwrap();
        assert_eq!(PublicKey::parse(&key.public().to_text()).as_ref(), Ok(key.public()));
        assert_eq!(PrivateKey::parse(&key.expose()).unwrap().public(), key.public());
        assert!(PublicKey::new(Word::new("a+b").unwrap(), [0; 32]).is_err());
        assert_eq!(format!("{key:?}"), format!("PrivateKey({})", key.public().id_text()));
        let mut note = key.sign("one\ntwo\n".to_owned());
        let witness = PrivateKey::new(Word::new("witness.example").unwrap(), [9; 32]).unwrap();
        witness.cosign(&mut note, 1_795_253_467);
        let read = Note::parse(&note.to_text()).unwrap();
        assert_eq!(read, note);
        assert!(read.is_signed_by(key.public()) && read.is_signed_by(&witness.witness()));
        assert!(!read.is_signed_by(witness.public()), "a cosignature is not a signature");
        assert_eq!(PublicKey::parse(&witness.witness().to_text()), Ok(witness.witness()));
    }

    #[test]
    fn what_is_no_note_is_refused() {
        for text in [
            "",
            "a\n",
            "a\n\n",
            "a\n\n\u{2014} n AAAA",
            "a\n\n- n AAAAAAAA\n",
            "a\n\n\u{2014} n !\n",
            "a\n\n\u{2014} n AAAA\nb\n",
        ] {
            assert_eq!(Note::parse(text), Err(NoteFault::Form), "{text:?}");
        }
    }
}
