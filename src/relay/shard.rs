//! The rooms and links of one worker, driven by datagrams, commands and time.
//!
//! [`Shard::handle_batch`] takes what the socket received, [`Shard::on_command`] what the doors ask, [`Shard::handle_timeout`]
//! the passing of time; [`Shard::finish_batch`] lets everything that was touched say what it has to send, and
//! [`Shard::outbox`] holds the datagrams. Nothing here blocks, locks or reads a clock.

use super::allocation::Gathered;
use super::datagrams::Addresses;
use super::envelope::Envelope;
use super::event::{Happening, Recorded, Tally};
use super::link::{Attention, Link, Rate};
use super::rooms::RoomState;
use super::stray::Ssrcs;
use super::table::Table;
use super::timers::{Owner, Timers};
use super::tracks::Track;
use super::warm::Lookout;
use crate::consultation::ConsultationPolicy;
use crate::consultation::room::Defaults;
use crate::media::rate::Bitrate;
use crate::model::Instant;
use crate::model::counters::{Counters, DropReason, FailureReason};
use crate::model::roster::{LeaveReason, Source};
use crate::model::{MediaKind, Now, ParticipantSid, RoomKey, ShardId, TenantId, TrackSid};
use crate::transport::outbox::Outbox;
use crate::transport::peer::{PeerEvent, Transport};
use crate::transport::srtp::Proofs;
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Timers fired in one step at most, so that a burst of deadlines cannot hold up packets: a full worker has a few thousand links.
const MAX_TIMERS_PER_STEP: usize = 1_024;

/// Timers whose owners are asked for together: as many fetches as a processor has under way, and half a kilobyte.
const TIMERS_TOGETHER: usize = 16;

/// What a shard is told when it starts.
#[derive(Clone)]
pub struct ShardConfig {
    /// Which shard this is; its user fragments say so.
    pub id: ShardId,
    /// What rooms without settings of their own do.
    pub room_defaults: Defaults,
    /// How long a join may take until media is up.
    pub connect_within: Duration,
    /// How long a silent member is kept, counted from its last valid check; at least the 30 s of consent.
    pub resume_window: Duration,
    /// What one publisher may send.
    pub publisher_rate: Rate,
    /// Certificates, candidates and random numbers for transports.
    pub transport: Arc<Transport>,
    /// Layers follow what each receiver's line is estimated to bear; without it receivers get what they ask for.
    pub adapt: bool,
    /// Facts of consultations go to an audit log, and what they give waits until they are on disk.
    pub audit: bool,
    /// Rules of consultations that nobody arranged, where a tenant has its own.
    pub usual: Arc<HashMap<TenantId, ConsultationPolicy>>,
    /// The data channels' message format.
    pub envelope: Arc<dyn Envelope>,
}

/// Where a datagram went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// This shard dealt with it, or dropped and counted it.
    Taken,
    /// Its user fragment names another shard.
    Elsewhere(ShardId),
    /// From an address this shard does not know; another shard may.
    Unknown,
    /// The same, and it looks like media: another shard may know the sender by what the packet itself says.
    Unclaimed,
}

/// The rooms and links of one worker.
pub struct Shard {
    pub(super) config: ShardConfig,
    pub(super) counters: Counters,
    pub(super) rooms: Table<RoomState>,
    pub(super) room_index: HashMap<RoomKey, usize>,
    pub(super) links: Table<Link>,
    /// Links that are a member's second.
    pub(super) downlinks: usize,
    pub(super) tracks: Table<Track>,
    /// Authenticated addresses; entries go with their link.
    pub(super) addresses: Addresses,
    /// Whether the table above changed while a batch was taken in.
    pub(super) moved_addresses: bool,
    /// Who sent the datagrams of a batch; kept for its memory.
    pub(super) senders: Vec<usize>,
    /// What is known of a batch's packets before their turn; kept for its memory.
    pub(super) proofs: Proofs,
    /// What a batch needs memory for; kept for its own.
    pub(super) lookout: Lookout,
    /// Whose datagram is being taken in, in case it brings something down.
    pub(super) serving: usize,
    /// User fragments; entries go with their link.
    pub(super) ufrags: HashMap<Box<str>, usize>,
    /// Links by what they send, for packets from addresses nobody has.
    pub(super) ssrcs: Ssrcs,
    pub(super) timers: Timers,
    pub(super) dirty: Vec<usize>,
    pub(super) outbox: Outbox,
    pub(super) address_changes: Vec<(SocketAddr, bool)>,
    pub(super) closed_rooms: Vec<(RoomKey, u64)>,
    pub(super) facts: VecDeque<Recorded>,
    pub(super) tallies: VecDeque<Tally>,
    /// Tickets given out.
    pub(super) tickets: u64,
    /// What the command being carried out left to wait for the record.
    pub(super) waiting: Option<u64>,
    /// Nobody is given anything before: the audit log took no fact.
    pub(super) audit_down_until: Option<Instant>,
    pub(super) generation: u32,
    /// Room for the tracks of the line that is being shared out.
    pub(super) gathered: Vec<Gathered>,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("rooms", &self.rooms.len()).field("links", &self.links.len()).finish_non_exhaustive()
    }
}

impl Shard {
    /// An empty shard.
    #[must_use]
    pub fn new(config: ShardConfig) -> Self {
        Self {
            config,
            counters: Counters::default(),
            rooms: Table::default(),
            room_index: HashMap::new(),
            links: Table::default(),
            downlinks: 0,
            tracks: Table::default(),
            addresses: Addresses::default(),
            moved_addresses: false,
            senders: Vec::new(),
            proofs: Proofs::default(),
            lookout: Lookout::default(),
            serving: 0,
            ufrags: HashMap::new(),
            ssrcs: Ssrcs::default(),
            timers: Timers::default(),
            dirty: Vec::new(),
            outbox: Outbox::default(),
            address_changes: Vec::new(),
            closed_rooms: Vec::new(),
            facts: VecDeque::new(),
            tallies: VecDeque::new(),
            tickets: 0,
            waiting: None,
            audit_down_until: None,
            generation: 0,
            gathered: Vec::new(),
        }
    }

    /// Counts datagrams whose address no shard knows.
    pub fn count_unknown(&mut self, datagrams: u64) {
        self.counters.drop_many(DropReason::UnknownAddress, datagrams);
    }

    /// A call goes on at another address. What was on its way may be lost for longer than anything is kept: pictures start afresh,
    /// those it receives and those it sends.
    pub(super) fn on_moved(&mut self, link: usize, now: Instant) {
        self.counters.path_changes += 1;
        self.on_line(link, |line| line.on_moved(now));
        self.happen(link, Happening::Moved, now);
        self.request_key_frames_for(link, now);
        let other = self.links.get(link).and_then(|state| Some((state.down()?, state.peer.path()?.remote.ip())));
        if let Some((down, host)) = other {
            self.ssrcs.expect(host, down, now);
        }
        let published: Vec<usize> = self.links.get(link).map(|state| state.published().collect()).unwrap_or_default();
        for track in published {
            for layer in 0..crate::media::MAX_LAYERS as u8 {
                self.lost_too_much(track, layer, now);
            }
        }
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        let mut due = SmallVec::<[_; TIMERS_TOGETHER]>::new();
        for _ in 0..MAX_TIMERS_PER_STEP / TIMERS_TOGETHER {
            due.clear();
            due.extend(std::iter::from_fn(|| self.timers.pop_due(now.mono)).take(TIMERS_TOGETHER));
            self.warm_due(&due);
            due.iter().for_each(|(at, owner)| self.on_timer(*at, *owner, now));
            if due.len() < TIMERS_TOGETHER {
                break;
            }
        }
    }

    fn on_timer(&mut self, at: Instant, owner: Owner, now: Now) {
        match owner {
            Owner::Link(link, generation) => {
                let current = |state: &&Link| state.generation == generation && state.timing.scheduled == Some(at);
                if self.links.get(link).filter(current).is_some() {
                    self.on_link_timer(link, now.mono);
                }
            }
            Owner::Room(room, generation) => {
                let current = |state: &&RoomState| state.generation == generation && state.scheduled == Some(at);
                if self.rooms.get(room).filter(current).is_some() {
                    self.on_room_timer(room, now);
                }
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Lets every touched link say what it has to send, and sets its next timer.
    pub fn finish_batch(&mut self, now: Now) {
        // Work on one link may touch others (a data message, a key-frame request): they join the same list and are served in this
        // loop, which ends because a link enters it at most once between two visits and every visit consumes its cause.
        let mut served = 0;
        self.warm_touched(now.mono);
        while let Some(link) = self.dirty.get(served).copied() {
            served += 1;
            if let Some(state) = self.links.get_mut(link) {
                let attention = std::mem::replace(&mut state.timing.attention, Attention::No);
                let guarded = catch_unwind(AssertUnwindSafe(|| match attention {
                    Attention::All => self.poll_link(link, now),
                    Attention::Feedback | Attention::No => {
                        self.poll_feedback(link, now.mono);
                        self.schedule(link, now.mono);
                    }
                }));
                if guarded.is_err() {
                    self.counters.panics += 1;
                    self.fail(link, FailureReason::Internal, now);
                }
            }
            if served >= MAX_VISITS {
                break;
            }
        }
        self.dirty.drain(..served);
    }

    fn poll_link(&mut self, link: usize, now: Now) {
        let Some(state) = self.links.get_mut(link) else { return };
        state.peer.handle_timeout(now.mono);
        state.peer.poll_transmit(now.mono, &mut self.outbox);
        while let Some(event) = self.links.get_mut(link).and_then(|state| state.peer.poll_event(now.mono)) {
            self.on_peer_event(link, event, now);
        }
        let Some(state) = self.links.get_mut(link) else { return };
        if state.timing.connect_by.is_some_and(|by| by <= now.mono) {
            let obstacle = state.peer.obstacle();
            return self.fail(link, obstacle, now);
        }
        if state.timing.answer_by.take_if(|by| *by <= now.mono).is_some() {
            self.on_unanswered(link);
        }
        let needed = self.is_needed(link);
        let Some(state) = self.links.get_mut(link) else { return };
        if let Some(silent) = state.peer.silent_for(now.mono).filter(|_| needed) {
            // Nothing is sent without consent (RFC 7675); the stay itself lasts a little longer, for a client that comes back.
            let left = self.config.resume_window.saturating_sub(silent);
            if left.is_zero() {
                return self.fail(link, FailureReason::ConsentExpired, now);
            }
            state.timing.gone_at = Some(now.mono + left);
        } else {
            state.timing.gone_at = None;
        }
        if state.timing.opens_at.take_if(|at| *at <= now.mono).is_some() {
            self.request_key_frames_for(link, now.mono);
        }
        let Some(state) = self.links.get_mut(link) else { return };
        if state.timing.ask_offer_at.is_some_and(|at| at <= now.mono) {
            self.ask_for_offer(link, now.mono);
        }
        self.poll_held_data(link, now.mono);
        let repair_at = self.repair_deadline(link);
        if let Some(state) = self.links.get_mut(link) {
            state.timing.repair_at = repair_at;
        }
        self.poll_feedback(link, now.mono);
        if let Some(state) = self.links.get_mut(link) {
            // What the events above produced (SCTP acknowledgements, channel replies) leaves in the same batch.
            state.peer.poll_transmit(now.mono, &mut self.outbox);
        }
        self.note_control_deadline(link);
        self.schedule(link, now.mono);
    }

    /// Remembers when a link must be looked at whether or not it has media.
    fn note_control_deadline(&mut self, link: usize) {
        let Some(state) = self.links.get_mut(link) else { return };
        let timing = &state.timing;
        let held = state.data.order.deadline(state.events.is_none());
        let deadlines = [
            timing.connect_by,
            timing.gone_at,
            timing.opens_at,
            timing.ask_offer_at,
            timing.answer_by,
            held,
            state.peer.poll_timeout(),
        ];
        state.timing.control_at = deadlines.into_iter().flatten().min();
    }

    /// Sets the next timer of a link, unless an earlier one is set.
    fn schedule(&mut self, link: usize, now: Instant) {
        let Some(state) = self.links.get_mut(link) else { return };
        let Some(due) = state.next_deadline() else { return };
        // A deadline in the past means "as soon as possible", but never a busy loop.
        let due = due.max(now + MIN_TIMER);
        if state.timing.scheduled.is_none_or(|scheduled| due < scheduled) {
            state.timing.scheduled = Some(due);
            self.timers.set(now, due, Owner::Link(link, state.generation));
        }
    }

    /// After a packet: feedback that is due is sent with this batch, what will be due gets a timer.
    pub(super) fn schedule_feedback(&mut self, link: usize, now: Instant) {
        let Some(state) = self.links.get_mut(link) else { return };
        let Some(due) = state.feedback_deadline() else { return };
        if due <= now {
            state.timing.want(Attention::Feedback, link, &mut self.dirty);
        } else if state.timing.scheduled.is_none_or(|scheduled| due < scheduled) {
            self.schedule(link, now);
        }
    }

    fn on_link_timer(&mut self, link: usize, now: Instant) {
        let Some(state) = self.links.get_mut(link) else { return };
        state.timing.scheduled = None;
        if state.timing.control_at.is_some_and(|at| at <= now) {
            state.timing.want(Attention::All, link, &mut self.dirty);
        } else if state.feedback_deadline().is_some_and(|at| at <= now) {
            state.timing.want(Attention::Feedback, link, &mut self.dirty);
        } else {
            self.schedule(link, now);
        }
    }

    fn on_peer_event(&mut self, link: usize, event: PeerEvent, now: Now) {
        match event {
            PeerEvent::Connected { gcm } => {
                self.counters.dtls_completed += 1;
                if gcm {
                    self.counters.srtp_gcm += 1;
                } else {
                    self.counters.srtp_cm_sha1 += 1;
                }
                self.on_connected(link, now);
            }
            PeerEvent::Failed(reason) => self.fail(link, reason, now),
            PeerEvent::Channel(event) => self.on_channel_event(link, event, now.mono),
        }
    }

    fn on_connected(&mut self, link: usize, now: Now) {
        let Some(state) = self.links.get_mut(link) else { return };
        state.timing.connect_by = None;
        state.timing.connected_at = Some(now.mono);
        let (room, member) = (state.room, state.member);
        if self.is_primary(link) {
            self.happen(link, Happening::Connected, now.mono);
            // The member is in the room as long as its link exists.
            let _ = self.apply(room, crate::consultation::Command::Connected(member), now);
        }
        self.request_key_frames_for(link, now.mono);
        self.look_soon(link, now.mono);
    }

    /// Ends a stay whose transport failed.
    pub(super) fn fail(&mut self, link: usize, reason: FailureReason, now: Now) {
        if !self.links.contains(link) {
            return;
        }
        self.counters.fail(reason);
        self.note_obstacle(link, reason, now.mono);
        let reason = match reason {
            FailureReason::IceTimeout | FailureReason::ConsentExpired => LeaveReason::ConnectionTimeout,
            FailureReason::DtlsClosed => LeaveReason::ClientInitiated,
            FailureReason::DtlsHandshake
            | FailureReason::Fingerprint
            | FailureReason::NoSrtpProfile
            | FailureReason::Internal => LeaveReason::MediaFailure,
        };
        self.leave(link, reason, now);
    }

    /// Puts a link into the dirty set.
    pub(super) fn mark_dirty(&mut self, link: usize) {
        if let Some(state) = self.links.get_mut(link) {
            state.timing.want(Attention::All, link, &mut self.dirty);
        }
    }

    /// The datagrams to send.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Addresses learnt (`true`) and forgotten since the last call, for the other workers.
    pub fn drain_address_changes(&mut self) -> impl Iterator<Item = (SocketAddr, bool)> + '_ {
        self.address_changes.drain(..)
    }

    /// Rooms closed since the last call, with the number of openings (joins, creations) each had taken.
    pub fn drain_closed_rooms(&mut self) -> impl Iterator<Item = (RoomKey, u64)> + '_ {
        self.closed_rooms.drain(..)
    }

    /// The counters, gauges brought up to date.
    pub fn counters(&mut self) -> &mut Counters {
        self.counters.rooms = self.rooms.len() as u64;
        self.counters.peers = self.links.len() as u64;
        self.counters.participants = (self.links.len() - self.downlinks) as u64;
        self.counters.tracks = self.tracks.len() as u64;
        &mut self.counters
    }

    /// What the line to each receiver of media was last estimated to bear, where the receiver says anything of it.
    pub fn estimates(&self) -> impl Iterator<Item = (&ParticipantSid, Bitrate)> {
        let heard = |link: &Link| link.line.as_ref().filter(|line| line.is_heard()).map(|line| line.estimate());
        self.links.iter().filter_map(move |(_, link)| Some((&link.sid, heard(link)?)))
    }

    /// Gives back what a busy hour has grown, once nobody is here.
    pub(super) fn release_memory(&mut self) {
        self.rooms.shrink_to_fit();
        self.links.shrink_to_fit();
        self.tracks.shrink_to_fit();
        self.room_index.shrink_to_fit();
        self.addresses.shrink_to_fit();
        self.ufrags.shrink_to_fit();
        self.ssrcs.shrink();
        self.dirty.shrink_to(64);
        self.gathered.shrink_to(0);
        self.timers.shrink();
    }

    pub(super) fn new_id(&self, prefix: &str) -> String {
        /// Letters and digits that cannot be mistaken for one another when read aloud to support.
        const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKMNPQRSTUVWXYZa";
        let mut random = [0u8; 12];
        self.config.transport.fill_random(&mut random);
        let letters = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
        prefix.chars().chain(letters).collect()
    }

    pub(super) fn new_track_sid(&self, kind: MediaKind, source: Source) -> TrackSid {
        let kind = if kind == MediaKind::Audio { 'A' } else { 'V' };
        let source = match source {
            Source::Camera => "C",
            Source::Microphone => "M",
            Source::ScreenShare => "S",
            Source::ScreenShareAudio => "s",
            Source::Unknown => "U",
        };
        TrackSid::new(self.new_id(&format!("TR_{kind}{source}")))
    }

    /// A random SSRC that is not 0.
    pub(super) fn new_ssrc(&self) -> u32 {
        let mut random = [0u8; 4];
        self.config.transport.fill_random(&mut random);
        u32::from_be_bytes(random).max(1)
    }
}

/// Visits of links in one batch at most: every link of a full worker several times.
const MAX_VISITS: usize = 65_536;

/// Shortest time between two timers of one link: the kernel's sleep is no finer, and it keeps a deadline in the past from spinning.
const MIN_TIMER: Duration = Duration::from_millis(1);
