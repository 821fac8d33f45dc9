//! Keeps the account and the story of each consultation, for its attestation and for whoever answers the telephone.
//!
//! Workers and the record's writer leave news in a queue and never wait; a thread of its own takes them in, signs what is over
//! and keeps it beside the record. It holds references, roles and figures, never content. When the node stops, everything that was
//! open is signed before the process ends; what a killed process had open is lost, and the record alone still tells of it.
//!
//! Entry points: [`Accounts::start`], [`Accounts::leave`], [`Running::stop`].

mod book;
mod opening;
pub(super) mod store;
mod told;

use crate::api::v1::{Attested, Ledger, Unattested};
use crate::audit::attestation::SigningKey;
use crate::audit::record::Fact as Entry;
use crate::audit::types::{ParticipantRef, RoomRef, Word};
use crate::audit::{Event, Micros};
use crate::model::Instant;
use crate::model::{RoomKey, TenantId};
use crate::relay::event::{Recorded, Tally};
use crate::worker::audit_writer::Recorder;
use book::Book;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::Value;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use store::Store;

/// News on their way: a thousand consultations leave four thousand a second, so this is some seconds of a stuck thread.
const ON_THE_WAY: usize = 16_384;

/// How often the thread looks at what is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where and under which names the node attests.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// Hash of the running software.
    pub(super) build: Word,
    /// Which node.
    pub(super) node: Word,
    /// Country and site.
    pub(super) region: Word,
}

/// What signs and keeps attestations, where there is a record.
#[derive(Debug)]
pub(super) struct Notary {
    /// Signs.
    pub(super) key: SigningKey,
    /// Keeps.
    pub(super) store: Store,
    /// Says where.
    pub(super) site: Site,
}

/// What is left for the thread.
pub(super) enum News {
    /// Something was decided.
    Fact(Recorded),
    /// Something was delivered.
    Tally(Tally),
    /// Something stands in the record.
    Entry {
        /// In which room.
        room: RoomRef,
        /// In which log.
        log: Word,
        /// Its number.
        seq: u64,
        /// What it is to the account.
        noted: Noted,
    },
    /// The node stops.
    Stop,
}

/// What an entry is to the account.
#[derive(Clone, Debug)]
pub(super) enum Noted {
    /// A consent, or its end.
    Consent(ParticipantRef, Event),
    /// The room's last.
    Closed,
    /// Any other.
    Other,
}

/// The accounts of a node; what everybody but the thread holds.
pub(super) struct Accounts {
    news: Sender<News>,
    lost: AtomicBool,
    book: Mutex<Book>,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounts")
    }
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Running {
    accounts: Arc<Accounts>,
    thread: JoinHandle<()>,
}

#[expect(clippy::disallowed_methods, reason = "where the accounts' time comes from")]
fn now() -> (Instant, Micros) {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (std::time::Instant::now().into(), Micros(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX)))
}

impl Accounts {
    /// Starts the thread; without a notary stories are kept and nothing is attested.
    ///
    /// # Errors
    /// What the system says when no thread can be started.
    pub(super) fn start(recorder: Recorder, notary: Option<Notary>) -> std::io::Result<(Arc<Self>, Running)> {
        let (news, queue) = bounded(ON_THE_WAY);
        let book = Mutex::new(Book::new(recorder.clone(), notary));
        let accounts = Arc::new(Self { news, lost: AtomicBool::new(false), book });
        let told = Arc::downgrade(&accounts);
        recorder.on_placed(move |entry, log, seq| {
            // A platform's call stands in the node's log as well, and is no part of what happened in the consultation.
            if matches!(entry.event, Event::AdminCall { .. }) {
                return;
            }
            if let (Some(accounts), Some(room)) = (told.upgrade(), entry.room) {
                accounts.leave(News::Entry { room, log: log.clone(), seq, noted: noted(entry) });
            }
        });
        let kept = accounts.clone();
        let thread = std::thread::Builder::new().name("accounts".to_owned()).spawn(move || kept.run(&queue))?;
        Ok((accounts.clone(), Running { accounts, thread }))
    }

    /// Leaves news; never waits. What finds no place is lost, and every open account says so.
    pub(super) fn leave(&self, news: News) {
        if self.news.try_send(news).is_err() {
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, queue: &Receiver<News>) {
        let mut looked = now().0;
        loop {
            let news = queue.recv_timeout(LOOK_EVERY);
            let (at, wall) = now();
            if self.lost.swap(false, Ordering::Relaxed) {
                self.book().on_loss();
            }
            let stop = match news {
                Ok(News::Stop) | Err(RecvTimeoutError::Disconnected) => true,
                Ok(news) => {
                    self.book().take(news, at, wall);
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
            };
            if stop {
                return self.book().end(at, wall);
            }
            if at.saturating_duration_since(looked) >= LOOK_EVERY {
                looked = at;
                self.book().look(at, wall);
            }
        }
    }
}

impl Running {
    /// Takes in what waits, signs what was open, and ends. To be called when workers and the record's writer have ended.
    pub(super) fn stop(self) {
        // Fails only when the thread is gone, which is what is asked for.
        let _ = self.accounts.news.send(News::Stop);
        let _ = self.thread.join();
    }
}

fn noted(entry: &Entry) -> Noted {
    use crate::audit::record::Target;
    match (&entry.event, &entry.target) {
        (
            event @ (Event::ConsentGiven { .. }
            | Event::ConsentRefused { .. }
            | Event::ConsentWithdrawn { .. }
            | Event::ConsentEmergencyOverride { .. }),
            Some(Target::Participant(who)),
        ) => Noted::Consent(*who, event.clone()),
        (Event::RoomClosed { .. }, _) => Noted::Closed,
        _ => Noted::Other,
    }
}

impl Ledger for Accounts {
    fn attestation(&self, room: &RoomKey, opening: Option<u32>) -> Result<Attested, Unattested> {
        let (at, wall) = now();
        self.book().attestation(room, opening, at, wall)
    }

    fn public_key(&self) -> Option<String> {
        self.book().public_key()
    }

    fn story(&self, room: &RoomKey) -> Option<Value> {
        self.book().story(room, now().0)
    }

    fn story_of(&self, tenant: &TenantId, code: &str) -> Option<Value> {
        self.book().story_of(tenant, code, now().0)
    }

    fn code(&self, room: &RoomKey) -> Option<String> {
        self.book().code(room)
    }
}
