//! Files of single consultations: names that name nobody, and writing that leaves the old file or the new one.

use crate::audit::Hash;
use crate::audit::tree::sha256;
use crate::model::RoomKey;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A consultation's name in a folder: a hash of tenant and id, 32 hexadecimal digits.
pub(super) fn name_of(room: &RoomKey) -> String {
    let Hash(hash) = sha256(format!("{}\0{}", room.tenant.as_str(), room.name.as_str()).as_bytes());
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file: either the whole of it is there afterwards, or what was there before. It outlives a power cut once its folder is
/// synchronised ([`sync`]).
///
/// # Errors
/// What the file system answers.
pub(super) fn put(file: &Path, text: &str) -> io::Result<()> {
    let draft = file.with_extension("part");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(draft, file)
}

/// Makes durable which files a folder holds.
///
/// # Errors
/// What the file system answers.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
