//! Attestations and their key on disk, in the folder of the record.
//!
//! A file is named by a hash of tenant and consultation and by when the consultation opened, so that a list of the folder names
//! nobody; it holds one signed line. Files go when the record's own entries of that time do.

use crate::audit::Micros;
use crate::audit::attestation::{AttestationError, SigningKey};
use crate::model::RoomKey;
use crate::node::files;
use crate::worker::audit_writer::keys;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Most openings of one consultation that are listed: one that opens anew each minute of the four hours it may last fits.
const MOST_LISTED: usize = 256;

/// Attestations on disk.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    keep_us: u64,
}

/// Why there is no key to attest with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFault {
    /// The file cannot be read or made.
    #[error("{0}: {1}; name a file the node may read and make in audit.attestation_key_file")]
    Io(String, io::Error),
    /// It holds something else.
    #[error("{0}: {1}")]
    NoKey(String, AttestationError),
}

/// Reads the key, or makes one where there is none yet; its public half lies beside it, with the ending `.pub`.
///
/// # Errors
/// [`KeyFault`] names the file and what to do.
pub(crate) fn key(file: &Path) -> Result<SigningKey, KeyFault> {
    let name = || file.display().to_string();
    let io = |error| KeyFault::Io(name(), error);
    let made = match fs::read_to_string(file) {
        Ok(text) => return SigningKey::from_pem(&text).map_err(|fault| KeyFault::NoKey(name(), fault)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => SigningKey::pem_of(&keys::random().map_err(io)?),
        Err(error) => return Err(io(error)),
    };
    let key = SigningKey::from_pem(&made).map_err(|fault| KeyFault::NoKey(name(), fault))?;
    let mut private = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(io)?;
    private.write_all(made.as_bytes()).and_then(|()| private.sync_all()).map_err(io)?;
    fs::write(file.with_extension("pub"), key.verifying_key().to_pem()).map_err(io)?;
    tracing::info!("made a key for attestations; its public half lies beside it");
    Ok(key)
}

impl Store {
    /// Keeps attestations in a folder for so many days.
    ///
    /// # Errors
    /// What the file system answers.
    pub(crate) fn open(folder: PathBuf, days: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder, keep_us: days.saturating_mul(86_400_000_000) })
    }

    /// Writes one down: either the whole file is there afterwards, or none.
    ///
    /// # Errors
    /// What the file system answers.
    pub(super) fn write(&self, room: &RoomKey, opened: Micros, jws: &str) -> io::Result<()> {
        let (folder, name) = self.place(room);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        files::put(&folder.join(format!("{name}-{:020}.jws", opened.0)), &format!("{jws}\n"))?;
        files::sync(&folder)
    }

    /// When a consultation's openings began, the first first.
    pub(super) fn openings(&self, room: &RoomKey) -> Vec<Micros> {
        let (folder, name) = self.place(room);
        let Ok(found) = fs::read_dir(folder) else { return Vec::new() };
        let began = |entry: fs::DirEntry| {
            let file = entry.file_name();
            began(file.to_str()?.strip_prefix(&name)?.strip_prefix('-')?)
        };
        let mut list: Vec<_> = found.flatten().filter_map(began).collect();
        list.sort_unstable();
        list.truncate(MOST_LISTED);
        list
    }

    /// Reads one.
    pub(super) fn read(&self, room: &RoomKey, opened: Micros) -> Option<String> {
        let (folder, name) = self.place(room);
        let text = fs::read_to_string(folder.join(format!("{name}-{:020}.jws", opened.0))).ok()?;
        Some(text.trim_end().to_owned())
    }

    /// Removes what is older than it may be.
    pub(super) fn purge(&self, now: Micros) {
        let before = now.0.saturating_sub(self.keep_us);
        let folders = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for file in folders.filter_map(|folder| fs::read_dir(folder.path()).ok()).flatten().flatten() {
            let name = file.file_name();
            let old = name.to_str().and_then(|name| began(name.split_once('-')?.1)).is_some_and(|began| began.0 < before);
            if old && let Err(error) = fs::remove_file(file.path()) {
                tracing::warn!(kind = ?error.kind(), "an attestation past its time cannot be removed");
            }
        }
    }

    fn place(&self, room: &RoomKey) -> (PathBuf, String) {
        let name = files::name_of(room);
        // 256 folders, so that none grows beyond what is quickly listed.
        let shard: String = name.chars().take(2).collect();
        (self.folder.join(shard), name)
    }
}

fn began(end: &str) -> Option<Micros> {
    end.strip_suffix(".jws")?.parse().ok().map(Micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RoomName, TenantId};

    fn folder(name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/accounts").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn a_key_is_made_once() {
        let file = folder("key").join("attestation.key");
        let first = key(&file).expect("made");
        assert_eq!(key(&file).expect("read").id(), first.id());
        let public = fs::read_to_string(file.with_extension("pub")).expect("the public half");
        assert_eq!(public, first.verifying_key().to_pem());
        fs::write(&file, "something else").expect("written");
        assert!(key(&file).expect_err("no key").to_string().contains("attestation.key"));
    }

    #[test]
    fn attestations_are_found_by_their_consultation_and_go_with_time() {
        let store = Store::open(folder("store"), 1).expect("a folder");
        let room = |tenant: &str, name: &str| RoomKey { tenant: TenantId::new(tenant), name: RoomName::new(name) };
        let day = 86_400_000_000;
        for at in [day * 5, day * 3] {
            store.write(&room("t", "c"), Micros(at), &format!("a.b.{at}")).expect("written");
        }
        assert_eq!(store.openings(&room("t", "c")), [Micros(day * 3), Micros(day * 5)]);
        assert_eq!(store.read(&room("t", "c"), Micros(day * 3)).as_deref(), Some("a.b.259200000000"));
        assert!(store.openings(&room("u", "c")).is_empty() && store.openings(&room("t", "d")).is_empty());
        store.purge(Micros(day * 5));
        assert_eq!(store.openings(&room("t", "c")), [Micros(day * 5)]);
    }
}
