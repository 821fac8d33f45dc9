//! A disk that loses what was not synced, and fails when it is told to.

use super::disk::Disk;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// A file: what is there, and how much of it survives a power cut.
#[derive(Clone, Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Whether the name itself survives.
    named: bool,
}

/// What a disk does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// Every write and sync of these many calls fails with an I/O error.
    Io(u32),
    /// Only syncs fail, these many.
    Sync(u32),
    /// Nothing can be appended; the space taken before is still there.
    Full,
}

#[derive(Debug, Default)]
pub(super) struct Platter {
    files: BTreeMap<String, Held>,
    folders: BTreeSet<String>,
    pub(super) trouble: Trouble,
    pub(super) used: u8,
    /// Names whose sync failed, and that were synced or appended to afterwards: what must never happen.
    pub(super) retried: Vec<String>,
    failed: Vec<String>,
    pub(super) syncs: u64,
}

/// A handle on a fake disk.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeDisk(Arc<Mutex<Platter>>);

impl FakeDisk {
    pub(super) fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    /// Cuts the power: what was not synced is lost, but for a part of the last file that chance lets survive.
    pub(super) fn cut_power(&self, chance: &mut crate::audit::field::Chance) -> Self {
        let platter = self.platter();
        let mut files = BTreeMap::new();
        for (name, held) in &platter.files {
            if !held.named {
                continue;
            }
            let mut bytes = held.durable.clone();
            if held.bytes.len() > bytes.len() && held.bytes.starts_with(&bytes) {
                let more = u64::try_from(held.bytes.len() - bytes.len() + 1).unwrap();
                let keep = bytes.len() + usize::try_from(chance.below(more)).unwrap();
                bytes = held.bytes[..keep].to_vec();
            }
            files.insert(name.clone(), Held { durable: bytes.clone(), bytes, named: true });
        }
        Self(Arc::new(Mutex::new(Platter { files, folders: platter.folders.clone(), ..Platter::default() })))
    }

    /// The files below a folder, as the verifier wants them.
    pub(super) fn files(&self, folder: &str) -> crate::audit::samples::Files {
        let platter = self.platter();
        let below =
            platter.files.iter().filter_map(|(name, held)| Some((name.strip_prefix(folder)?.to_owned(), held.bytes.clone())));
        below.collect()
    }

    /// Whether these bytes would survive a power cut, anywhere.
    pub(super) fn survives(&self, text: &str) -> bool {
        let platter = self.platter();
        let mut named = platter.files.values().filter(|held| held.named);
        named.any(|held| held.durable.windows(text.len()).any(|part| part == text.as_bytes()))
    }

    pub(super) fn damage(&self, name: &str, at: usize) {
        let mut platter = self.platter();
        let held = platter.files.get_mut(name).expect("a file that is there");
        held.bytes[at] ^= 1;
        held.durable.clone_from(&held.bytes);
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number).expect("a small file")
}

impl Platter {
    fn write_fails(&mut self) -> io::Result<()> {
        match &mut self.trouble {
            Trouble::Io(left) if *left > 0 => {
                *left -= 1;
                Err(io::Error::other("input/output error"))
            }
            Trouble::Full => Err(io::ErrorKind::StorageFull.into()),
            Trouble::None | Trouble::Io(_) | Trouble::Sync(_) => Ok(()),
        }
    }
}

impl Disk for FakeDisk {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let before = format!("{folder}/");
        let platter = self.platter();
        let below = platter.files.keys().filter_map(|name| name.strip_prefix(&before)?.split('/').next().map(str::to_owned));
        let folders = platter.folders.iter().filter_map(|name| name.strip_prefix(&before)?.split('/').next().map(str::to_owned));
        let mut names: Vec<_> = below.chain(folders).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let platter = self.platter();
        platter.files.get(name).map(|held| held.bytes.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn make_folder(&mut self, name: &str) -> io::Result<()> {
        self.platter().folders.insert(name.to_owned());
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut platter = self.platter();
        if platter.failed.iter().any(|failed| failed == name) {
            platter.retried.push(name.to_owned());
        }
        let fails = platter.write_fails();
        let held = platter.files.entry(name.to_owned()).or_default();
        if fails.is_err() {
            // Some of it may have got there.
            held.bytes.extend_from_slice(&bytes[..bytes.len() / 2]);
            platter.failed.push(name.to_owned());
            return fails;
        }
        held.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut platter = self.platter();
        platter.syncs += 1;
        if platter.failed.iter().any(|failed| failed == name) {
            platter.retried.push(name.to_owned());
        }
        if let Trouble::Sync(left) = &mut platter.trouble
            && *left > 0
        {
            *left -= 1;
            platter.failed.push(name.to_owned());
            return Err(io::Error::other("input/output error"));
        }
        if let Some(held) = platter.files.get_mut(name) {
            held.durable.clone_from(&held.bytes);
        }
        Ok(())
    }

    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        let mut platter = self.platter();
        for (_, held) in
            platter.files.iter_mut().filter(|(name, _)| name.rsplit_once('/').map_or("", |(above, _)| above) == folder)
        {
            held.named = true;
        }
        Ok(())
    }

    fn leave(&mut self, _: &str, _: bool) {}

    fn replace(&mut self, name: &str, bytes: &[u8], _: bool) -> io::Result<()> {
        let mut platter = self.platter();
        platter.write_fails()?;
        platter.files.insert(name.to_owned(), Held { bytes: bytes.to_vec(), durable: bytes.to_vec(), named: true });
        Ok(())
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let mut platter = self.platter();
        let held = platter.files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        held.bytes.truncate(place(length));
        held.durable.clone_from(&held.bytes);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut platter = self.platter();
        platter.failed.retain(|failed| failed != name);
        platter.files.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn wipe(&mut self, name: &str) -> io::Result<()> {
        self.remove(name)
    }

    fn allocate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let mut platter = self.platter();
        let zeroes = vec![0; place(length)];
        platter.files.entry(name.to_owned()).or_insert_with(|| Held { bytes: zeroes.clone(), durable: zeroes, named: true });
        Ok(())
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut platter = self.platter();
        if matches!(platter.trouble, Trouble::Io(left) if left > 0) {
            return Err(io::Error::other("input/output error"));
        }
        let held = platter.files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        let at = place(offset);
        held.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        held.durable.clone_from(&held.bytes);
        Ok(())
    }

    fn used_percent(&self) -> io::Result<u8> {
        Ok(self.platter().used)
    }
}
