//! What was arranged, as text that outlives the node: consultations, invited seats, hashes of links, and consents.
//!
//! No names: a person's name lives in the memory of the node and nowhere else. Whoever made a change through the API is answered
//! once it is kept; what a room changes by itself follows within a moment. Where it is kept is the node's matter.
//!
//! Entry points: [`Keeper`], `Register::settle`, [`Register::flush`], [`Register::restore`].

use super::links::{Hash, Link};
use super::problem::{Code, Problem};
use super::register::{Entry, Invited, Register, room};
use super::words::{NewConsultation, RoleWord, Rules, scopes};
use crate::model::{Identity, RoomKey, TenantId};
use crate::relay::command::{Channel, Consent, ConsultationPolicy, TenantRules, TextVersion};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a caller waits until a change is kept: a disk that takes longer has failed for the person at the other end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The form this node writes and reads.
const FORM: u8 = 1;

/// One consultation as it is to be kept.
pub struct Kept {
    /// Which.
    pub room: RoomKey,
    /// What is known of it; `None` once nothing is.
    pub text: Option<String>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

/// Keeps texts beyond the life of the process.
pub trait Keeper: Send + Sync {
    /// Takes texts over, in order, and says later whether everything taken so far is kept; never waits. `None` when too many wait
    /// already, and then it took nothing.
    fn keep(&self, texts: Vec<Kept>) -> Option<oneshot::Receiver<bool>>;
}

/// Why a text was not taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Its consultation has been over for so long that it is forgotten.
    Past,
    /// It is not what this node writes.
    Foreign,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    form: u8,
    tenant: String,
    id: String,
    asked: NewConsultation,
    rules: Rules,
    longest_s: u64,
    starts_at: Option<u64>,
    ends_at: Option<u64>,
    created_at: u64,
    removed_at: u64,
    ended: bool,
    seats: BTreeMap<String, SeatForm>,
    consents: BTreeMap<String, ConsentForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeatForm {
    role: RoleWord,
    auth: Option<String>,
    legal_representative: bool,
    opens_at: u64,
    closes_at: u64,
    admitted: bool,
    link: Option<Hash>,
    issued_from: u64,
    key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsentForm {
    scopes: Vec<String>,
    text: String,
    channel: String,
}

impl Form {
    fn of(room: &RoomKey, entry: &Entry) -> Self {
        let seat = |(seat, invited): (&Identity, &Invited)| {
            let form = SeatForm {
                role: invited.role.into(),
                auth: invited.auth.clone(),
                legal_representative: invited.legal_representative,
                opens_at: invited.opens_at,
                closes_at: invited.closes_at,
                admitted: invited.admitted,
                link: invited.link,
                issued_from: invited.issued_from,
                key: invited.key.to_string(),
            };
            (seat.as_str().to_owned(), form)
        };
        let consent = |(seat, consent): (&Identity, &Consent)| {
            let form = ConsentForm {
                scopes: consent.scopes.iter().map(ToString::to_string).collect(),
                text: consent.text.as_str().to_owned(),
                channel: consent.channel.as_str().to_owned(),
            };
            (seat.as_str().to_owned(), form)
        };
        Self {
            form: FORM,
            tenant: room.tenant.as_str().to_owned(),
            id: room.name.as_str().to_owned(),
            asked: entry.asked.clone(),
            rules: Rules::from(&entry.policy),
            longest_s: entry.policy.longest.as_secs(),
            starts_at: entry.policy.starts_at_ms.map(|ms| ms / 1_000),
            ends_at: entry.policy.ends_at_ms.map(|ms| ms / 1_000),
            created_at: entry.created_at,
            removed_at: entry.removed_at,
            ended: entry.ended,
            seats: entry.seats.iter().map(seat).collect(),
            consents: entry.consents.iter().map(consent).collect(),
        }
    }

    fn read(self) -> Option<(RoomKey, Entry)> {
        let Self { form, tenant, id, asked, rules, starts_at, ends_at, created_at, removed_at, ended, .. } = self;
        if form != FORM {
            return None;
        }
        // It was arranged under its tenant's rules of then, and goes on under them.
        let arranged = NewConsultation { id: None, starts_at, ends_at, rules }.policy(&TenantRules::default()).ok()?;
        let policy = ConsultationPolicy { longest: Duration::from_secs(self.longest_s), ..arranged };
        let (seats, consents) = (self.seats, self.consents);
        let seat = |(seat, form): (String, SeatForm)| {
            let invited = Invited {
                role: form.role.into(),
                name: None,
                auth: form.auth,
                legal_representative: form.legal_representative,
                opens_at: form.opens_at,
                closes_at: form.closes_at,
                admitted: form.admitted,
                link: form.link,
                issued_from: form.issued_from,
                key: form.key.into(),
            };
            (Identity::new(seat), invited)
        };
        let consent = |(seat, form): (String, ConsentForm)| {
            let seat = Identity::new(seat);
            let (text, channel) = (TextVersion::parse(&form.text)?, Channel::parse(&form.channel)?);
            let consent = Consent { seat: seat.clone(), scopes: scopes(&form.scopes).ok()?, text, channel };
            Some((seat, consent))
        };
        let consents = consents.into_iter().map(consent).collect::<Option<_>>()?;
        let seats = seats.into_iter().map(seat).collect();
        Some((room(&TenantId::new(tenant), &id), Entry { asked, policy, seats, consents, created_at, removed_at, ended }))
    }
}

/// What changed since it was kept last.
#[derive(Debug, Default)]
pub(super) struct Changes {
    rooms: BTreeSet<RoomKey>,
}

impl Changes {
    pub(super) fn note(&mut self, room: &RoomKey) {
        self.rooms.insert(room.clone());
    }
}

impl Register {
    /// Takes up what was kept: from now on links, seats and consents are as they were, and names are forgotten.
    ///
    /// # Errors
    /// [`Unread`], and then nothing was taken up.
    pub fn restore(&self, text: &str, now_s: u64) -> Result<(), Unread> {
        let form: Form = serde_json::from_str(text).map_err(|_| Unread::Foreign)?;
        let (room, entry) = form.read().ok_or(Unread::Foreign)?;
        if entry.is_past(now_s) {
            return Err(Unread::Past);
        }
        let mut inner = self.lock();
        for (seat, invited) in &entry.seats {
            if let Some(hash) = invited.link {
                inner.links.restore(hash, Link { room: room.clone(), seat: seat.clone(), closes_at: invited.closes_at });
            }
        }
        inner.consultations.insert(room, entry);
        Ok(())
    }

    /// Forgets what is long over.
    pub fn forget(&self, now_s: u64) {
        self.lock().forget(now_s);
    }

    /// Hands what changed to the keeper, if there is one, and answers whether all of it is kept; to be called now and then, for what
    /// no caller waits for.
    pub async fn flush(&self) -> bool {
        let Some(keeper) = &self.keeper else { return true };
        match self.hand_over(&**keeper) {
            Some(done) => matches!(timeout(PATIENCE, done).await, Ok(Ok(true))),
            None => false,
        }
    }

    /// Waits until what a caller changed is kept.
    ///
    /// # Errors
    /// [`Code::NotKept`].
    pub(super) async fn settle(&self) -> Result<(), Problem> {
        if self.flush().await {
            return Ok(());
        }
        Err(Problem::new(
            Code::NotKept,
            "it holds now, but may be forgotten when the node restarts: its disk takes nothing; send it again later",
        ))
    }

    /// Hands over under the lock, so that texts reach the keeper in the order of the changes.
    fn hand_over(&self, keeper: &dyn Keeper) -> Option<oneshot::Receiver<bool>> {
        let mut inner = self.lock();
        let changed = std::mem::take(&mut inner.changes.rooms);
        let texts = changed.iter().map(|room| Kept {
            room: room.clone(),
            // Every part of the form has a text.
            text: inner.consultations.get(room).and_then(|entry| serde_json::to_string(&Form::of(room, entry)).ok()),
        });
        let taken = keeper.keep(texts.collect());
        if taken.is_none() {
            inner.changes.rooms.extend(changed);
        }
        taken
    }
}

#[cfg(test)]
#[path = "kept/tests.rs"]
mod tests;
