//! Keeps what platforms arranged, and whom they took out, on disk, so that a restart forgets neither.
//!
//! A folder holds one file per consultation, named by a hash so that a list of it names nobody, and one with the removals. A thread of
//! its own writes them: either the whole new file is there afterwards, or the old one. What a failing disk did not take is tried again
//! with the next change. Nothing here is media, and no name is written.
//!
//! Entry points: [`open`], [`look_after`].

use super::{LOOK_EVERY, NodeError, files, wall_ms};
use crate::api::v1::{Keeper, Kept, Register, Unread};
use crate::auth::Revocations;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Batches on their way: each belongs to a caller who waits, and more callers than this in the time of one write are a flood.
const ON_THE_WAY: usize = 1_024;

/// Longest file read, in bytes: 64 seats with their consents and the longest references take a fifth of it.
const LONGEST: u64 = 1 << 20;

/// Longest file of removals read, in bytes: as many as are remembered at most, with the longest references.
const LONGEST_REMOVALS: u64 = 64 << 20;

/// Looks a second for what rooms changed by themselves.
const LOOKS_A_SECOND: u32 = 5;

/// What is long over is looked for once a minute: it stands on disk for a day anyway.
const LOOKS_TO_FORGET: u64 = 60 * LOOKS_A_SECOND as u64;

/// The file of removals.
const REMOVALS: &str = "removals.json";

struct Batch {
    texts: Vec<(String, Option<String>)>,
    done: oneshot::Sender<bool>,
}

/// Where texts are left for the thread.
struct Mailbox(SyncSender<Batch>);

impl Keeper for Mailbox {
    fn keep(&self, texts: Vec<Kept>) -> Option<oneshot::Receiver<bool>> {
        let (done, told) = oneshot::channel();
        let texts = texts.into_iter().map(|kept| (format!("{}.json", files::name_of(&kept.room)), kept.text)).collect();
        self.0.try_send(Batch { texts, done }).is_ok().then_some(told)
    }
}

/// The folder, held by this process alone.
struct Folder {
    root: PathBuf,
    _lock: File,
}

/// Takes up what was kept and answers the register that goes on keeping it; with an empty path, one that keeps nothing.
///
/// # Errors
/// [`NodeError::Setup`] when the folder cannot be used, or another process uses it.
pub(super) fn open(
    root: &Path,
    register: Register,
    revocations: Arc<Mutex<Revocations>>,
) -> Result<(Register, Removals), NodeError> {
    if root.as_os_str().is_empty() {
        return Ok((register, Removals { revocations, thread: None }));
    }
    let fault =
        |error: io::Error| NodeError::Setup(format!("rooms.state_dir = {root:?}: {error}; name a folder of the node's own"));
    let folder = Folder::lock(root).map_err(fault)?;
    let (sender, receiver) = sync_channel(ON_THE_WAY);
    let mailbox: Arc<dyn Keeper> = Arc::new(Mailbox(sender.clone()));
    let register = register.with_keeper(mailbox);
    folder.restore(&register).map_err(fault)?;
    if let Some(text) = folder.read(REMOVALS, LONGEST_REMOVALS).map_err(fault)?
        && revocations.lock().unwrap_or_else(PoisonError::into_inner).restore(&text, wall_ms() / 1_000).is_err()
    {
        folder.set_aside(REMOVALS);
    }
    let thread = std::thread::Builder::new().name("arranged".to_owned());
    thread.spawn(move || write(&folder, &receiver)).map_err(fault)?;
    Ok((register, Removals { revocations, thread: Some(sender) }))
}

/// Who was taken out, and where that is left to be kept.
pub(super) struct Removals {
    revocations: Arc<Mutex<Revocations>>,
    thread: Option<SyncSender<Batch>>,
}

impl Removals {
    /// Writes all of them down anew where there are new ones; answers whether they are kept.
    async fn flush(&self, now_s: u64) -> bool {
        let Some(sender) = &self.thread else { return true };
        let changed = self.revocations.lock().unwrap_or_else(PoisonError::into_inner).take_changed(now_s);
        let Some(text) = changed else { return true };
        let (done, told) = oneshot::channel();
        let sent = sender.try_send(Batch { texts: vec![(REMOVALS.to_owned(), Some(text))], done }).is_ok();
        let kept = sent && told.await.unwrap_or(false);
        if !kept {
            self.revocations.lock().unwrap_or_else(PoisonError::into_inner).mark_changed();
        }
        kept
    }
}

/// Keeps what rooms change by themselves, as long as the doors' runtime lives; nothing where there is no folder.
pub(super) async fn look_after(register: Arc<Register>, removals: Arc<Removals>) {
    if removals.thread.is_none() {
        return;
    }
    let mut kept = true;
    for look in 0_u64.. {
        if look % LOOKS_TO_FORGET == 0 {
            register.forget(wall_ms() / 1_000);
        }
        let before = std::mem::replace(&mut kept, flush(&register, &removals).await);
        if before && !kept {
            tracing::error!("what is arranged cannot be written to rooms.state_dir; a restart would forget the newest of it");
        } else if !before && kept {
            tracing::info!("what is arranged is written to rooms.state_dir again");
        }
        tokio::time::sleep(LOOK_EVERY / LOOKS_A_SECOND).await;
    }
}

/// Writes down what is new; answers whether all of it is kept.
pub(super) async fn flush(register: &Register, removals: &Removals) -> bool {
    register.flush().await & removals.flush(wall_ms() / 1_000).await
}

/// Writes batches until nobody can send any more.
fn write(folder: &Folder, batches: &Receiver<Batch>) {
    // What the disk did not take: as many as there are consultations at most.
    let mut unkept = BTreeMap::new();
    while let Ok(Batch { texts, done }) = batches.recv() {
        unkept.extend(texts);
        let before = unkept.len();
        unkept.retain(|name, text| folder.put(name, text.as_deref()).is_err());
        if unkept.len() != before && files::sync(&folder.root).is_err() {
            tracing::warn!("the folder of rooms.state_dir cannot be synchronised");
        }
        // Who asked may have given up.
        let _ = done.send(unkept.is_empty());
    }
}

impl Folder {
    fn lock(root: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let lock = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(root.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::new(io::ErrorKind::ResourceBusy, "another node uses it"),
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    fn restore(&self, register: &Register) -> io::Result<()> {
        let (mut taken, mut foreign) = (0_usize, 0_usize);
        let now_s = wall_ms() / 1_000;
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let file = entry.file_name();
            let Some(name) = file.to_str().filter(|name| name.ends_with(".json") && *name != REMOVALS) else { continue };
            let result = match self.read(name, LONGEST)? {
                Some(text) => register.restore(&text, now_s),
                None => Err(Unread::Foreign),
            };
            match result {
                Ok(()) => taken += 1,
                Err(Unread::Past) => fs::remove_file(entry.path())?,
                Err(Unread::Foreign) => {
                    foreign += 1;
                    self.set_aside(name);
                }
            }
        }
        tracing::info!(taken, foreign, "took up what was arranged before");
        Ok(())
    }

    /// A file's text; `None` where there is none, or one that this node did not write.
    fn read(&self, name: &str, longest: u64) -> io::Result<Option<String>> {
        let file = match File::open(self.root.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(longest + 1).read_to_end(&mut bytes)?;
        Ok((bytes.len() as u64 <= longest).then(|| String::from_utf8(bytes).ok()).flatten())
    }

    /// Leaves a file that cannot be read for a person to look at.
    fn set_aside(&self, name: &str) {
        tracing::warn!("a file in rooms.state_dir cannot be read; it is set aside with the ending .unread");
        let from = self.root.join(name);
        if fs::rename(&from, from.with_extension("unread")).is_err() {
            tracing::warn!("a file in rooms.state_dir cannot be renamed");
        }
    }

    /// Writes a file whole, or takes it away.
    fn put(&self, name: &str, text: Option<&str>) -> io::Result<()> {
        let file = self.root.join(name);
        let Some(text) = text else {
            return match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        };
        files::put(&file, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Identity, RoomKey, RoomName, TenantId};

    fn folder(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("colloque-arranged-{test}-{}", std::process::id()))
    }

    fn opened(root: &Path) -> (Register, Removals) {
        open(root, Register::default(), Arc::default()).expect("a folder of its own")
    }

    #[tokio::test]
    async fn a_restart_knows_the_links_and_the_removals_of_before() {
        let root = folder("restart");
        let room = RoomKey { tenant: TenantId::new("clinic"), name: RoomName::new("c-1") };
        let (register, removals) = opened(&root);
        assert!(open(&root, Register::default(), Arc::default()).is_err(), "one node at a time");
        let now = wall_ms() / 1_000;
        let links = register.arrange_demo(&room, "clinic", now);
        removals.revocations.lock().expect("no panic").revoke(room.clone(), Identity::new("p"), now);
        assert!(flush(&register, &removals).await);
        drop((register, removals));
        // The thread lets go of the folder a moment after the last sender.
        let (register, removals) = loop {
            match open(&root, Register::default(), Arc::default()) {
                Ok(opened) => break opened,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        };
        assert_eq!(links.len(), 3);
        assert!(links.iter().all(|(_, code)| register.opens(code, now)));
        let text = removals.revocations.lock().expect("no panic").take_changed(now);
        assert_eq!(text, None, "taken up, and not to be written again");
        fs::remove_dir_all(root).expect("its own folder");
    }

    #[tokio::test]
    async fn a_file_of_somebody_else_is_set_aside() {
        let root = folder("foreign");
        drop(Folder::lock(&root).expect("a folder of its own"));
        fs::write(root.join("00.json"), "{}").expect("a file");
        fs::write(root.join(REMOVALS), b"\xff").expect("a file");
        let (register, removals) = opened(&root);
        assert!(flush(&register, &removals).await);
        assert!(root.join("00.unread").exists());
        fs::remove_dir_all(root).expect("its own folder");
    }

    #[tokio::test]
    async fn what_the_disk_does_not_take_is_written_later() {
        let root = folder("full");
        let (register, removals) = opened(&root);
        let room = RoomKey { tenant: TenantId::new("clinic"), name: RoomName::new("c-1") };
        // A folder in the way of the draft is a disk that takes nothing.
        let draft = root.join(files::name_of(&room)).with_extension("part");
        fs::create_dir(&draft).expect("a folder");
        register.arrange_demo(&room, "clinic", wall_ms() / 1_000);
        assert!(!flush(&register, &removals).await);
        assert!(!flush(&register, &removals).await, "it is not kept yet");
        fs::remove_dir(&draft).expect("its own folder");
        assert!(flush(&register, &removals).await);
        assert!(root.join(files::name_of(&room)).with_extension("json").exists());
        fs::remove_dir_all(root).expect("its own folder");
    }
}
