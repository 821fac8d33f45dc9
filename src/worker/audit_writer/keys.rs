//! Keys of the audit record on disk: epoch keys and certificates, and the keys of pseudonyms.
//!
//! A root key that lies on the node makes each day's key when the day begins; with a root key kept elsewhere,
//! `colloque audit init` made the keys of the days ahead. Either way a day's key is wiped when its day is over.

use super::disk::Disk;
use crate::audit::checkpoint::{Certificate, EpochKey, Revocation};
use crate::audit::note::{Note, PrivateKey, PublicKey};
use crate::audit::pseudonym::{KEY_LENGTH, Period, SecretKey, TenantPseudonyms};
use crate::audit::types::Word;
use aws_lc_rs::rand;
use std::io;

/// The root key: whole, or its public half only.
#[derive(Debug)]
pub enum Root {
    /// On this node: simple, and a thief of the node can sign for days to come.
    Here(PrivateKey),
    /// Elsewhere.
    Away(PublicKey),
}

impl Root {
    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        match self {
            Self::Here(key) => key.public(),
            Self::Away(key) => key,
        }
    }
}

/// Random bytes.
///
/// # Errors
/// When the machine has no chance to give.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("no random bytes"))?;
    Ok(bytes)
}

fn key_name(folder: &str, epoch: u32) -> String {
    format!("{folder}/epochs/{epoch:06}.key")
}

fn certificate_name(folder: &str, epoch: u32) -> String {
    format!("{folder}/epochs/{epoch:06}.cert")
}

/// Makes the key and certificate of a day.
///
/// # Errors
/// What the file system answers.
pub fn make_epoch(disk: &mut dyn Disk, folder: &str, origin: &Word, epoch: u32, root: &PrivateKey) -> io::Result<EpochKey> {
    disk.make_folder(&format!("{folder}/epochs"))?;
    let key = PrivateKey::new(origin.clone(), random()?).map_err(io::Error::other)?;
    let key = EpochKey { epoch, key };
    // The certificate first: a key nobody certified must not sign.
    let certificate = root.sign(key.certificate().to_text()).to_text();
    disk.replace(&certificate_name(folder, epoch), certificate.as_bytes(), false)?;
    disk.replace(&key_name(folder, epoch), key.key.expose().as_bytes(), true)?;
    Ok(key)
}

/// The key of a day: the one that was prepared, or a new one where the root key is here.
///
/// # Errors
/// What the file system answers.
pub(super) fn epoch_key(
    disk: &mut dyn Disk,
    folder: &str,
    origin: &Word,
    epoch: u32,
    root: &Root,
) -> io::Result<Option<EpochKey>> {
    if let Some(key) = prepared(disk, folder, origin, epoch, root.public())? {
        return Ok(Some(key));
    }
    // A certificate without its key is of a day that was over: another key for it would let the past be sealed anew.
    let certified = disk.list(&format!("{folder}/epochs"))?.contains(&format!("{epoch:06}.cert"));
    match root {
        Root::Here(root) if !certified => make_epoch(disk, folder, origin, epoch, root).map(Some),
        Root::Here(_) | Root::Away(_) => Ok(None),
    }
}

/// A key that lies there with a certificate of the root that fits it.
pub(super) fn prepared(
    disk: &dyn Disk,
    folder: &str,
    origin: &Word,
    epoch: u32,
    root: &PublicKey,
) -> io::Result<Option<EpochKey>> {
    let read = |name: &str| match disk.read(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(|bytes| Some(String::from_utf8_lossy(&bytes).into_owned())),
    };
    let (Some(key), Some(note)) = (read(&key_name(folder, epoch))?, read(&certificate_name(folder, epoch))?) else {
        return Ok(None);
    };
    let certificate = Note::parse(&note).ok().and_then(|note| Certificate::read(&note, root).ok());
    let revoked = read(&format!("{folder}/epochs/revoked"))?;
    let revoked = revoked.and_then(|note| Revocation::read(&Note::parse(&note).ok()?, root).ok());
    let (Some(certificate), Ok(key)) = (certificate, PrivateKey::parse(&key)) else { return Ok(None) };
    let key = EpochKey { epoch, key };
    let fits = key.certificate() == certificate
        && key.key.public().name() == origin
        && revoked.is_none_or(|revoked| epoch < revoked.from_epoch);
    Ok(fits.then_some(key))
}

/// Wipes the key of a day that is over.
///
/// # Errors
/// What the file system answers.
pub(super) fn destroy_epoch(disk: &mut dyn Disk, folder: &str, epoch: u32) -> io::Result<()> {
    match disk.wipe(&key_name(folder, epoch)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The key of a tenant's pseudonyms in a month, made where it is not there.
///
/// # Errors
/// What the file system answers.
pub(super) fn pseudonyms(disk: &mut dyn Disk, folder: &str, period: Period) -> io::Result<TenantPseudonyms> {
    let name = pseudonym_name(folder, period);
    let key = match disk.read(&name) {
        Ok(bytes) => bytes.try_into().map_err(|_| io::Error::other("a pseudonym key has another length"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key: [u8; KEY_LENGTH] = random()?;
            disk.make_folder(&format!("{folder}/keys"))?;
            disk.replace(&name, &key, true)?;
            key
        }
        Err(error) => return Err(error),
    };
    Ok(TenantPseudonyms::new(SecretKey::new(key)))
}

/// The keys of a tenant's pseudonyms that are there, the oldest first; makes none.
///
/// # Errors
/// What the file system answers.
pub(super) fn held_pseudonyms(disk: &dyn Disk, folder: &str) -> io::Result<Vec<(Period, TenantPseudonyms)>> {
    let mut names = disk.list(&format!("{folder}/keys"))?;
    names.sort();
    let mut held = Vec::new();
    for name in names {
        let Some(period) = name.strip_suffix(".key").and_then(Period::parse) else { continue };
        let bytes = disk.read(&format!("{folder}/keys/{name}"))?;
        let key: [u8; KEY_LENGTH] = bytes.try_into().map_err(|_| io::Error::other("a pseudonym key has another length"))?;
        held.push((period, TenantPseudonyms::new(SecretKey::new(key))));
    }
    Ok(held)
}

/// Wipes the pseudonym keys of months that ended before the given one.
///
/// # Errors
/// What the file system answers.
pub(super) fn destroy_pseudonyms(disk: &mut dyn Disk, folder: &str, before: Period) -> io::Result<()> {
    let oldest = format!("{}.key", before.to_text());
    for name in disk.list(&format!("{folder}/keys"))? {
        if name.len() == oldest.len() && name.ends_with(".key") && name < oldest {
            disk.wipe(&format!("{folder}/keys/{name}"))?;
        }
    }
    Ok(())
}

fn pseudonym_name(folder: &str, period: Period) -> String {
    format!("{folder}/keys/{}.key", period.to_text())
}

/// The key id of a day's certificate.
///
/// # Errors
/// What the file system answers.
pub(super) fn certificate_key(disk: &dyn Disk, folder: &str, epoch: u32) -> io::Result<Option<String>> {
    let bytes = match disk.read(&certificate_name(folder, epoch)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let note = Note::parse(&String::from_utf8_lossy(&bytes)).ok();
    Ok(note.and_then(|note| Certificate::parse(note.text()).ok()?.public_key().ok()).map(|key| key.id_text()))
}
