//! A member's line to the relay: its transport, its media sections and its signalling session.

use super::data::Waiting;
use super::event::{Event, EventSink};
use super::in_order::InOrder;
use super::line::Line;
use super::sections::Sections;
use crate::consultation::MemberId;
use crate::media::ahead;
use crate::media::twcc::TwccRecorder;
use crate::model::Instant;
use crate::model::roster::{Participant, ParticipantState};
use crate::model::{ExtensionMap, Identity, ParticipantSid, SessionId};
use crate::transport::peer::{Peer, Transport};
use crate::transport::sdp::LocalEnd;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Records of people who left while a member's signalling was down; beyond it the oldest are forgotten, and the whole roster that
/// follows a resume shows the rest as absent.
const MAX_MISSED: usize = 64;

/// A member's line to the relay.
///
/// In this order: what each packet to it touches fills the first cache line and the beginning of `peer`, and what each packet from it
/// touches lies behind that.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Link {
    /// What is known of the way to it, once it is sent media.
    pub(super) line: Option<Box<Line>>,
    pub(super) timing: Timing,
    pub(super) peer: Peer,
    pub(super) budget: Budget,
    pub(super) extensions: ExtensionMap,
    /// SSRCs received, each with what it carries.
    pub(super) inbound: Vec<Inbound>,
    pub(super) twcc: TwccRecorder,
    /// Distinguishes this link from an earlier one in the same slot.
    pub(super) generation: u32,
    pub(super) room: usize,
    pub(super) member: MemberId,
    pub(super) sid: ParticipantSid,
    pub(super) identity: Identity,
    pub(super) session: SessionId,
    pub(super) events: Option<Box<dyn EventSink>>,
    /// Departures the member has not heard of because its socket was down.
    pub(super) missed: Vec<Arc<Participant>>,
    /// Addresses that lead to it, bounded by what its ICE agent validates.
    pub(super) addresses: Vec<SocketAddr>,
    /// User fragments that lead to it: one, or two during an ICE restart.
    pub(super) ufrags: Vec<Box<str>>,
    pub(super) sections: Sections,
    /// The sender its control packets name, where that is none of the above.
    pub(super) control_ssrc: Option<u32>,
    /// SSRCs sent, each with the route behind it.
    pub(super) outbound: Vec<Outbound>,
    /// Slots of the tracks it should receive and has no section for, oldest first.
    pub(super) waiting: Vec<usize>,
    /// What it will be sent again when an aside is over; as many as there are sections at most.
    pub(super) resting: Vec<super::rest::Resting>,
    pub(super) own_ssrc: u32,
    /// Round trip of the line, once a receiver report has told it.
    pub(super) rtt: Option<Duration>,
    pub(super) data: DataState,
    pub(super) half: Half,
}

/// How much of a member's call a link carries.
#[derive(Debug)]
pub(super) enum Half {
    /// All of it, over one peer connection.
    Both,
    /// What the member publishes, and its session.
    Up {
        /// Slot of the link on which it receives, once it has been offered.
        down: Option<usize>,
        /// The member counts as connected by the other link.
        second: bool,
    },
    /// What the member receives; the relay offers it.
    Down(Box<super::downlink::Downlink>),
}

/// When this link wants attention.
///
/// In this order: the first four are looked at with each packet.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Timing {
    /// Next sender and receiver reports.
    pub(super) report_at: Option<Instant>,
    /// When packets or key frames are to be asked for: never later than the tracks would say.
    pub(super) repair_at: Option<Instant>,
    /// The earliest timer set for it.
    pub(super) scheduled: Option<Instant>,
    /// Whether it is in the shard's dirty set, and what for.
    pub(super) attention: Attention,
    /// When something besides media's feedback is due, as last looked at.
    pub(super) control_at: Option<Instant>,
    /// When the stay began.
    pub(super) since: Instant,
    /// Must be connected by then.
    pub(super) connect_by: Option<Instant>,
    /// When streams that were just answered open.
    pub(super) opens_at: Option<Instant>,
    /// When a silent member's stay ends.
    pub(super) gone_at: Option<Instant>,
    /// When media came up.
    pub(super) connected_at: Option<Instant>,
    /// When to ask the client for an offer.
    pub(super) ask_offer_at: Option<Instant>,
    /// When it was last asked, until an offer comes.
    pub(super) asked_at: Option<Instant>,
    /// By when the relay's own offer must be answered.
    pub(super) answer_by: Option<Instant>,
}

/// What a link is to be looked at for before the batch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Attention {
    /// Nothing.
    No,
    /// Feedback about its media.
    Feedback,
    /// Everything.
    All,
}

/// What a received SSRC carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inbound {
    pub(super) ssrc: u32,
    /// Slot of the track.
    pub(super) track: usize,
    pub(super) layer: u8,
    /// Retransmissions of the layer (RFC 4588).
    pub(super) rtx: bool,
}

/// What a sent SSRC carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outbound {
    pub(super) ssrc: u32,
    /// Slot of the track.
    pub(super) track: usize,
}

/// A member's data channels.
#[derive(Debug, Default)]
pub(super) struct DataState {
    /// Channel that carries reliable messages, once open.
    pub(super) reliable: Option<u16>,
    /// Channel that carries lossy messages, once open.
    pub(super) lossy: Option<u16>,
    /// The member's gate is shut: nothing goes out, and what it says is dropped.
    pub(super) shut: bool,
    /// Messages it sent that reached somebody since its gate opened, and their bytes.
    pub(super) said: (u64, u64),
    /// Its reliable messages in the order of their numbers.
    pub(super) order: InOrder<Waiting>,
}

/// How much a publisher may send: a bucket of packets and one of bytes, refilled as time passes.
#[derive(Debug)]
pub(super) struct Budget {
    packets: f64,
    bytes: f64,
    rate: Rate,
    at: Instant,
}

/// A publisher's allowed rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Packets per second.
    pub packets: u32,
    /// Bytes per second.
    pub bytes: u32,
}

impl Budget {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { packets: f64::from(rate.packets), bytes: f64::from(rate.bytes), rate, at: now }
    }

    /// Takes one packet out, if there is room for it. A full second's worth may come at once: key frames are bursts.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> bool {
        // The packets of a batch share one reading of the clock.
        if now != self.at {
            let elapsed = now.nanos_since(self.at) as f64 * 1e-9;
            self.at = now;
            self.packets = (self.packets + elapsed * f64::from(self.rate.packets)).min(f64::from(self.rate.packets));
            self.bytes = (self.bytes + elapsed * f64::from(self.rate.bytes)).min(f64::from(self.rate.bytes));
        }
        let size = bytes as f64;
        if self.packets < 1.0 || self.bytes < size {
            return false;
        }
        self.packets -= 1.0;
        self.bytes -= size;
        true
    }
}

impl Timing {
    pub(super) fn new(now: Instant, connect_within: Duration) -> Self {
        Self {
            since: now,
            connect_by: Some(now + connect_within),
            opens_at: None,
            gone_at: None,
            connected_at: None,
            report_at: None,
            ask_offer_at: None,
            asked_at: None,
            answer_by: None,
            scheduled: None,
            control_at: None,
            repair_at: None,
            attention: Attention::No,
        }
    }
}

impl Timing {
    /// Puts the link into the dirty set, unless it is there for as much already.
    pub(super) fn want(&mut self, attention: Attention, link: usize, dirty: &mut Vec<usize>) {
        if self.attention == Attention::No {
            dirty.push(link);
        }
        self.attention = self.attention.max(attention);
    }

    /// Packets or key frames are to be asked for at that time, or before.
    pub(super) fn repair_by(&mut self, at: Instant) {
        self.repair_at = Some(self.repair_at.map_or(at, |before| before.min(at)));
    }
}

impl Link {
    /// Hands an event to the session; a session that takes no more counts as lost, the stay goes on.
    pub(super) fn tell(&mut self, event: Event) {
        let Some(events) = &mut self.events else {
            self.miss(&event);
            return;
        };
        if events.push(event.clone()).is_err() {
            self.events = None;
            self.miss(&event);
        }
    }

    /// Ends the session with a last event.
    pub(super) fn end_session(&mut self, last: Event) {
        if let Some(mut events) = self.events.take() {
            // The socket may be gone already; then nobody is left to tell.
            let _ = events.push(last);
        }
    }

    /// When feedback about media is due. What cannot be sent must not wake anybody: it waits until the peer is back.
    pub(super) fn feedback_deadline(&self) -> Option<Instant> {
        let line = self.line.as_ref().and_then(|line| line.next_deadline());
        let deadlines = [self.timing.report_at, self.twcc.next_deadline(), self.timing.repair_at, line];
        deadlines.into_iter().flatten().min().filter(|_| self.peer.is_connected())
    }

    /// When the link wants to be looked at.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [self.timing.control_at, self.feedback_deadline()].into_iter().flatten().min()
    }

    /// Slot of the link on which the member receives, where it has one beside this.
    pub(super) fn down(&self) -> Option<usize> {
        match self.half {
            Half::Up { down, .. } => down,
            Half::Both | Half::Down(_) => None,
        }
    }

    /// Slot of the link that holds the member's session, where it is not this one.
    pub(super) fn up(&self) -> Option<usize> {
        match &self.half {
            Half::Down(down) => Some(down.up),
            Half::Both | Half::Up { .. } => None,
        }
    }

    /// This end of the line, for the next description of it.
    pub(super) fn local_end<'a>(&'a self, transport: &'a Transport) -> LocalEnd<'a> {
        let local = self.peer.local();
        LocalEnd {
            session_id: u64::from(self.own_ssrc),
            session_version: self.sections.version,
            ice_ufrag: local.ufrag(),
            ice_pwd: local.pwd(),
            fingerprint: transport.fingerprint(),
            candidates: transport.candidates(),
        }
    }

    pub(super) fn inbound(&self, ssrc: u32) -> Option<Inbound> {
        self.inbound.iter().find(|inbound| inbound.ssrc == ssrc).copied()
    }

    /// Asks for the parts that a packet from it needs.
    pub(super) fn warm(&self) {
        ahead::fetch_span(&self.line, &self.timing.attention);
        ahead::fetch_span(&self.budget, &self.twcc);
        self.peer.warm_receiver();
    }

    /// The same, a step further away.
    pub(super) fn warm_opening(&self) {
        ahead::fetch_slice(&self.inbound, 2);
        self.twcc.warm();
        self.peer.warm_opening();
        if let Some(line) = &self.line {
            line.warm_deadline();
        }
    }

    /// Asks for the parts that a packet to it needs.
    pub(super) fn warm_receiver(&self) {
        ahead::fetch_span(&self.line, &self.timing.attention);
        self.peer.warm_sender();
    }

    /// The same, a step further away.
    pub(super) fn warm_sealing(&self) {
        self.peer.warm_sealing();
        if let Some(line) = &self.line {
            line.warm_first();
        }
    }

    /// Asks for when it wants attention.
    pub(super) fn warm_timing(&self) {
        ahead::fetch_span(&self.line, &self.timing.control_at);
        ahead::fetch(&self.twcc);
    }

    /// Asks for what its feedback needs.
    pub(super) fn warm_feedback(&self) {
        ahead::fetch_span(&self.budget, &self.generation);
        ahead::fetch(&self.outbound);
        ahead::fetch(&self.own_ssrc);
        self.peer.warm_sender();
        if let Some(line) = &self.line {
            line.warm_deadline();
        }
    }

    /// The same, a step further away.
    pub(super) fn warm_look(&self, now: Instant) {
        ahead::fetch_slice(&self.outbound, 2);
        if let Some(line) = self.line.as_ref().filter(|line| line.is_due(now)) {
            ahead::fetch(&**line);
        }
    }

    fn miss(&mut self, event: &Event) {
        if let Event::Roster(records) = event {
            for record in records.iter().filter(|record| record.state == ParticipantState::Disconnected) {
                if self.missed.len() == MAX_MISSED {
                    self.missed.remove(0);
                }
                self.missed.push(record.clone());
            }
        }
    }
}
