//! One signalling connection, whatever its wire protocol: limits on what a client may ask, its refresh tokens, and the promise
//! that the shard learns when the connection ends.
//!
//! It decides nothing about the room and reads no clock: times are arguments. Entry points: [`queue`], [`Session::on_event`],
//! [`Session::on_request`], [`Session::poll_refresh`].

use crate::auth::{Grants, KeyRing, touches_owned};
use crate::model::Instant;
use crate::model::roster::{Participant, Text};
use crate::model::{ParticipantSid, RoomKey, SessionId};
use crate::relay::command::{AddTrack, Command, RefusedRequest, Relay, Request};
use crate::relay::event::{Event, EventSink, Gone, Refusal};
use crate::wire::{MAX_ATTRIBUTES, MAX_METADATA, MAX_NAME, attributes_size};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Events waiting for one socket: a minute of a busy room. Full means the client does not read; it may resume.
const QUEUE: usize = 256;

/// The attribute in which the relay says what reaches a participant.
const RECEIVES: &str = "consultation.receives";

/// Time between refresh tokens, as the reference server has it.
const REFRESH: Duration = Duration::from_secs(5 * 60);

/// Requests a client may send at once: a resume repeats the settings of every track it watches.
const BURST: u32 = 500;

/// Requests a second after that; a person clicks a few, a page that resizes many tiles sends some tens.
const REQUESTS_PER_S: u32 = 100;

/// Layers and codecs of one announced track; clients send at most four and two.
const MAX_LAYERS: usize = 8;

/// Opens the way for a session's events.
#[must_use]
pub fn queue() -> (Box<dyn EventSink>, mpsc::Receiver<Event>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Box::new(EventQueue(sender)), receiver)
}

struct EventQueue(mpsc::Sender<Event>);

impl fmt::Debug for EventQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventQueue")
    }
}

impl EventSink for EventQueue {
    fn push(&mut self, event: Event) -> Result<(), Gone> {
        self.0.try_send(event).map_err(|_| Gone)
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Step {
    /// It goes to the shard.
    Send(Command),
    /// It is answered here.
    Answer(Event),
    /// Nothing happens.
    Nothing,
}

/// A session that was handed to a shard; dropping it tells the shard that the connection is gone.
pub struct Session {
    id: SessionId,
    room: RoomKey,
    grants: Grants,
    relay: Arc<dyn Relay>,
    keys: Arc<KeyRing>,
    events: mpsc::Receiver<Event>,
    participant: Option<ParticipantSid>,
    record: Option<Arc<Participant>>,
    refresh_due: Option<Instant>,
    bucket: Bucket,
    left: bool,
    dev: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Session {
    /// Holds a session whose join or resume was sent with the other end of `events`.
    #[must_use]
    pub fn new(
        id: SessionId,
        grants: Grants,
        relay: Arc<dyn Relay>,
        keys: Arc<KeyRing>,
        events: mpsc::Receiver<Event>,
        now: Instant,
    ) -> Self {
        let room = grants.room();
        let bucket = Bucket { tokens: BURST, since: now };
        Self {
            id,
            room,
            grants,
            relay,
            keys,
            events,
            participant: None,
            record: None,
            refresh_due: None,
            bucket,
            left: false,
            dev: false,
        }
    }

    /// Allows simulated faults.
    #[must_use]
    pub fn with_dev(mut self, dev: bool) -> Self {
        self.dev = dev;
        self
    }

    /// The next event; `None` when the shard has let go of the session.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// An event that is already there.
    pub fn waiting_event(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Learns from an event that is about to be sent to the client.
    pub fn on_event(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Joined(joined) => self.start(&joined.participant, now),
            Event::Resumed { participant, .. } => self.start(participant, now),
            Event::Roster(records) => self.on_roster(records, now),
            Event::Leave { .. } | Event::Close | Event::Rejected(_) => self.left = true,
            Event::Answer { .. }
            | Event::Offer { .. }
            | Event::SectionsWanted { .. }
            | Event::Room(_)
            | Event::TrackAccepted { .. }
            | Event::TrackSubscribed(_)
            | Event::TrackWithdrawn(_)
            | Event::MuteRequested(_)
            | Event::Refused { .. }
            | Event::Acknowledged { .. }
            | Event::Speakers(_)
            | Event::Quality(_)
            | Event::WantedLayers { .. }
            | Event::StreamState(_)
            | Event::SubscriptionAllowed { .. }
            | Event::SubscriptionFailed(_)
            | Event::Receipt(_) => {}
        }
    }

    fn start(&mut self, own: &Arc<Participant>, now: Instant) {
        self.participant = Some(own.sid.clone());
        self.record = Some(Arc::clone(own));
        self.refresh_due = Some(now);
    }

    /// Follows the own record: what a token repeats of it makes a new one due.
    fn on_roster(&mut self, records: &[Arc<Participant>], now: Instant) {
        let own = records.iter().rev().find(|record| Some(&record.sid) == self.participant.as_ref());
        let Some(own) = own else { return };
        let changed = self.record.as_ref().is_none_or(|before| {
            before.name != own.name
                || before.metadata != own.metadata
                || !repeated(before).eq(repeated(own))
                || before.permissions != own.permissions
        });
        self.record = Some(Arc::clone(own));
        if changed {
            self.refresh_due = Some(now);
        }
    }

    /// When [`poll_refresh`](Self::poll_refresh) has something next.
    #[must_use]
    pub fn refresh_due(&self) -> Option<Instant> {
        self.refresh_due
    }

    /// A new token with the present record, when one is due; `now_s` in seconds since the Unix epoch.
    pub fn poll_refresh(&mut self, now: Instant, now_s: u64) -> Option<String> {
        self.refresh_due.filter(|due| *due <= now)?;
        let minted = self.record.as_ref().and_then(|record| {
            let key = self.keys.minting(&self.grants.key)?;
            key.mint(&self.grants.refreshed(record, now_s))
        });
        // A tenant with public keys only has nothing to sign with; its clients keep their token.
        self.refresh_due = minted.as_ref().map(|_| now + REFRESH);
        minted
    }

    /// Until when the client must be left unread because it asked too much; `None` when it may be read now.
    pub fn throttled_until(&mut self, now: Instant) -> Option<Instant> {
        self.bucket.empty_until(now)
    }

    /// Counts one message of the client, of whatever kind.
    pub fn count_message(&mut self) {
        self.bucket.tokens = self.bucket.tokens.saturating_sub(1);
    }

    /// Checks a request against what this door can decide alone.
    pub fn on_request(&mut self, request: Request) -> Step {
        let Some(participant) = self.participant.clone() else { return Step::Nothing };
        match self.check(&request) {
            Verdict::Pass => {}
            Verdict::Ignore => return Step::Nothing,
            Verdict::Refuse(refusal) => return refuse(request, refusal),
        }
        if matches!(request, Request::Leave(_)) {
            self.left = true;
        }
        Step::Send(Command::Request { room: self.room.clone(), participant, session: self.id, request })
    }

    fn check(&self, request: &Request) -> Verdict {
        match request {
            Request::AddTrack(track) if oversized(track) => Verdict::Refuse(Refusal::LimitExceeded),
            Request::UpdateMetadata { metadata, name, attributes, .. } => {
                if touches_owned(attributes.0.keys()) {
                    Verdict::Refuse(Refusal::NotAllowed)
                } else if name.0.len() > MAX_NAME || over(metadata) || attributes_size(&attributes.0) > MAX_ATTRIBUTES {
                    Verdict::Refuse(Refusal::LimitExceeded)
                } else {
                    Verdict::Pass
                }
            }
            Request::Unsupported(_) => Verdict::Refuse(Refusal::Unsupported),
            Request::Simulate(_) if !self.dev => Verdict::Ignore,
            Request::AddTrack(_)
            | Request::Simulate(_)
            | Request::Offer(_)
            | Request::Answer(_)
            | Request::Trickle
            | Request::Mute { .. }
            | Request::Subscribe { .. }
            | Request::TrackSetting { .. }
            | Request::SubscriptionPermission(_)
            | Request::SyncState(_)
            | Request::UpdateAudioTrack { .. }
            | Request::UpdateVideoTrack { .. }
            | Request::Written(_)
            | Request::Leave(_) => Verdict::Pass,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // From here on the shard's pushes fail; an acceptance may still lie in the queue unread.
        self.events.close();
        while let Ok(event) = self.events.try_recv() {
            self.on_event(&event, self.bucket.since);
        }
        let (Some(participant), false) = (self.participant.take(), self.left) else { return };
        let closed = Command::SocketClosed { room: self.room.clone(), participant, session: self.id };
        // A full mailbox is no loss: the shard notices at its next event.
        let _ = self.relay.send(closed);
    }
}

enum Verdict {
    Pass,
    Ignore,
    Refuse(Refusal),
}

fn over(metadata: &Text) -> bool {
    metadata.0.len() > MAX_METADATA
}

fn oversized(track: &AddTrack) -> bool {
    let ids = track.codec_cids.iter().chain([&track.cid]).any(|cid| cid.as_str().len() > MAX_NAME);
    let texts = track.name.0.len() > MAX_NAME || track.stream.0.len() > MAX_NAME;
    ids || texts || track.layers.len() > MAX_LAYERS || track.codec_cids.len() > MAX_LAYERS || track.audio_features.len() > 32
}

fn refuse(request: Request, refusal: Refusal) -> Step {
    let (request_id, request) = match request {
        Request::AddTrack(track) => (0, RefusedRequest::AddTrack(track)),
        Request::UpdateMetadata { request_id, .. } => (request_id, RefusedRequest::UpdateMetadata),
        Request::Unsupported(request) => (0, request),
        Request::Mute { track, muted } => (0, RefusedRequest::Mute { track, muted }),
        Request::Offer(_)
        | Request::Answer(_)
        | Request::Trickle
        | Request::Subscribe { .. }
        | Request::TrackSetting { .. }
        | Request::SubscriptionPermission(_)
        | Request::SyncState(_)
        | Request::UpdateAudioTrack { .. }
        | Request::UpdateVideoTrack { .. }
        | Request::Leave(_)
        | Request::Written(_)
        | Request::Simulate(_) => return Step::Nothing,
    };
    Step::Answer(Event::Refused { request_id, refusal, request: Box::new(request) })
}

/// The attributes that are worth a new token; what reaches the client changes every few seconds and is no part of one.
fn repeated(record: &Participant) -> impl Iterator<Item = (&String, &String)> {
    record.attributes.iter().filter(|(key, _)| *key != RECEIVES)
}

/// A token bucket over messages.
struct Bucket {
    tokens: u32,
    since: Instant,
}

impl Bucket {
    fn empty_until(&mut self, now: Instant) -> Option<Instant> {
        let each = Duration::from_secs(1) / REQUESTS_PER_S;
        let earned = now.saturating_duration_since(self.since).as_nanos() / each.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned >= BURST {
            (self.tokens, self.since) = (BURST, now);
        } else {
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.since += each * earned;
        }
        (self.tokens == 0).then(|| self.since + each)
    }
}

#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
