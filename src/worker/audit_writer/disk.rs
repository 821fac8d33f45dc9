//! The file system as the writer of the audit record sees it: few calls, so that tests can put a failing one in its place.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Mode of a file that is being written.
const OPEN_MODE: u32 = 0o640;

/// Mode of a segment that will never be written again.
const CLOSED_MODE: u32 = 0o440;

/// Mode of a file with a key.
const SECRET_MODE: u32 = 0o600;

/// Mode of a folder.
const FOLDER_MODE: u32 = 0o750;

/// A file system; names are relative to the audit folder. Calls block.
#[expect(clippy::missing_errors_doc, reason = "every call answers what the file system answers")]
pub trait Disk: Send {
    /// The names in a folder, empty when it is not there.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// A whole file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Makes a folder and those above it, durably.
    fn make_folder(&mut self, name: &str) -> io::Result<()>;

    /// Adds to the end of a file, which is made where it is not there. Not yet durable.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was appended durable. A failure is final: what the file holds is unknown from then on.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&mut self, name: &str) -> io::Result<()>;

    /// Lets a file go, never to be written again; `closed` makes it read-only.
    fn leave(&mut self, name: &str, closed: bool);

    /// Replaces a whole file, durably and at once; `secret` keeps it from other users.
    fn replace(&mut self, name: &str, bytes: &[u8], secret: bool) -> io::Result<()>;

    /// Cuts a file, durably.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;

    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Overwrites a file with zeroes and removes it.
    fn wipe(&mut self, name: &str) -> io::Result<()>;

    /// Makes a file of this many zero bytes whose space is really taken.
    fn allocate(&mut self, name: &str, length: u64) -> io::Result<()>;

    /// Writes inside a file that is there, durably.
    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Percent of the file system that is used.
    fn used_percent(&self) -> io::Result<u8>;
}

/// A folder on a real file system.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// Open files: the segment and the list of checkpoints of each log, and the reserve.
    open: HashMap<String, File>,
    /// Held, never read.
    _lock: Option<File>,
}

impl Folder {
    /// A folder, which must be there.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), open: HashMap::new(), _lock: None }
    }

    /// Makes the folder where it is not there, and keeps other processes out of it for as long as this value lives.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] when another process has it, and what the file system answers.
    pub fn lock(root: &Path) -> io::Result<Self> {
        if !root.is_dir() {
            fs::create_dir_all(root)?;
            fs::set_permissions(root, Permissions::from_mode(FOLDER_MODE))?;
        }
        let lock = OpenOptions::new().create(true).write(true).truncate(false).mode(OPEN_MODE).open(root.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another process keeps the record here: stop the node first")
            }
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self { _lock: Some(lock), ..Self::new(root) })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn file(&mut self, name: &str, options: &OpenOptions) -> io::Result<&File> {
        if !self.open.contains_key(name) {
            let file = options.open(self.path(name))?;
            self.open.insert(name.to_owned(), file);
        }
        self.open.get(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

/// The folder of a name.
fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Disk for Folder {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(name))
    }

    fn make_folder(&mut self, name: &str) -> io::Result<()> {
        let mut made = String::new();
        for part in name.split('/') {
            let above = made.clone();
            if !made.is_empty() {
                made.push('/');
            }
            made.push_str(part);
            if !self.path(&made).is_dir() {
                fs::create_dir(self.path(&made))?;
                fs::set_permissions(self.path(&made), Permissions::from_mode(FOLDER_MODE))?;
                self.sync_folder(&above)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.file(name, OpenOptions::new().create(true).append(true).mode(OPEN_MODE))?;
        file.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.open.get(name).map_or(Ok(()), File::sync_data)
    }

    fn sync_folder(&mut self, name: &str) -> io::Result<()> {
        File::open(self.path(name))?.sync_all()
    }

    fn leave(&mut self, name: &str, closed: bool) {
        if let Some(file) = self.open.remove(name)
            && closed
        {
            // The log is whole without it; the mode only keeps honest hands off.
            let _ = file.set_permissions(Permissions::from_mode(CLOSED_MODE));
        }
    }

    fn replace(&mut self, name: &str, bytes: &[u8], secret: bool) -> io::Result<()> {
        let beside = self.path(&format!("{name}.new"));
        let mode = if secret { SECRET_MODE } else { OPEN_MODE };
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, self.path(name))?;
        self.sync_folder(parent(name))
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path(name))?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.remove(name);
        fs::remove_file(self.path(name))
    }

    fn wipe(&mut self, name: &str) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path(name))?;
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        file.write_all_at(&vec![0; length], 0)?;
        file.sync_all()?;
        self.remove(name)
    }

    fn allocate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let file = self.file(name, OpenOptions::new().create(true).read(true).write(true).truncate(false).mode(OPEN_MODE))?;
        if file.metadata()?.len() == length {
            return Ok(());
        }
        rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length)?;
        file.sync_all()
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.file(name, OpenOptions::new().read(true).write(true))?;
        file.write_all_at(bytes, offset)?;
        file.sync_data()
    }

    fn used_percent(&self) -> io::Result<u8> {
        let space = rustix::fs::statvfs(&self.root)?;
        // What the superuser keeps for itself is as good as used.
        let used = space.f_blocks.saturating_sub(space.f_bfree);
        let all = used.saturating_add(space.f_bavail).max(1);
        Ok(u8::try_from(used.saturating_mul(100).div_ceil(all)).unwrap_or(100))
    }
}
