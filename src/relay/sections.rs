//! The media sections of a peer connection: who uses which, with mids that never change.
//!
//! The client's offers make them, or our own where it receives on a connection the relay offers.

use crate::model::{Codec, MediaKind, TrackSid};
use crate::transport::sdp::{Direction, Offer, Section, SectionKind};
use std::sync::Arc;

/// What a media section carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Nothing now.
    Idle,
    /// The client's media towards the relay; the track's slot once it is known.
    Receive(Option<usize>),
    /// A track's media towards the client, by slot.
    Send(usize),
    /// Data channels.
    Application,
    /// Nothing, for good: refused by the client or of an unknown kind.
    Rejected,
}

/// One media section as last negotiated.
#[derive(Clone, Debug)]
pub(super) struct SectionState {
    pub(super) mid: Arc<str>,
    pub(super) kind: SectionKind,
    pub(super) used: Use,
    /// Whether the client would receive on it.
    pub(super) client_receives: bool,
    /// Whether the last answer named a track on it; it must pass through `inactive` before it carries another.
    pub(super) answered_send: bool,
    /// Codecs received on it by payload type, with their retransmission payload type.
    pub(super) codecs: Vec<ReceiveCodec>,
    /// The track it carried to the client last.
    pub(super) last: Option<TrackSid>,
    pub(super) rids: Vec<Arc<str>>,
    /// SSRCs the client announced; on a connection the relay offers, its own.
    pub(super) ssrcs: Vec<u32>,
    pub(super) fid_pairs: Vec<(u32, u32)>,
}

/// A codec a publisher may send on a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReceiveCodec {
    pub(super) payload_type: u8,
    pub(super) codec: Codec,
    pub(super) rtx: Option<u8>,
}

/// All sections of one client, in the order of its offer.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub(super) list: Vec<SectionState>,
    /// The client's last offer or answer, for choosing payload types when a track is assigned.
    pub(super) offer: Option<Box<Offer>>,
    pub(super) version: u64,
}

/// What an offer changed on the publishing side.
#[derive(Debug)]
pub(super) enum Change {
    /// The client sends on this section now.
    Started(usize),
    /// The client no longer sends on it; the track that was bound, if any.
    Stopped(usize),
    /// The client no longer receives on it; the track that was sent.
    Detached(usize),
}

impl Sections {
    /// Takes an offer in: updates every section and says what changed.
    pub(super) fn on_offer(&mut self, offer: &Offer) -> Vec<Change> {
        let mut changes = Vec::new();
        for (index, section) in offer.sections.iter().enumerate() {
            if self.list.get(index).is_none_or(|known| known.mid != section.mid) {
                // A new section, or one recycled under a new mid by a client that does so.
                let fresh = SectionState::new(section);
                match self.list.get_mut(index) {
                    Some(known) => {
                        match known.used {
                            Use::Receive(_) => changes.push(Change::Stopped(index)),
                            Use::Send(track) => changes.push(Change::Detached(track)),
                            Use::Idle | Use::Application | Use::Rejected => {}
                        }
                        *known = fresh;
                    }
                    None => self.list.push(fresh),
                }
            }
            if let Some(state) = self.list.get_mut(index) {
                state.on_offer(index, section, &mut changes);
            }
        }
        changes
    }

    /// A section that can carry one more track of a kind to the client now.
    pub(super) fn free(&self, kind: MediaKind) -> Option<usize> {
        self.list.iter().position(|section| section.is_free(kind))
    }

    /// How many sections can.
    pub(super) fn count_free(&self, kind: MediaKind) -> usize {
        self.list.iter().filter(|section| section.is_free(kind)).count()
    }

    /// The section a track is sent on.
    pub(super) fn sending(&mut self, track: usize) -> Option<&mut SectionState> {
        self.list.iter_mut().find(|section| section.used == Use::Send(track))
    }

    /// The section a mid names.
    pub(super) fn by_mid(&self, mid: &str) -> Option<usize> {
        self.list.iter().position(|section| &*section.mid == mid)
    }
}

impl SectionState {
    fn new(section: &Section) -> Self {
        Self::with(section.mid.clone(), section.kind)
    }

    /// A section as it begins.
    pub(super) fn with(mid: Arc<str>, kind: SectionKind) -> Self {
        let used = match kind {
            SectionKind::Application => Use::Application,
            SectionKind::Media(_) => Use::Idle,
            SectionKind::Other => Use::Rejected,
        };
        Self {
            mid,
            kind,
            used,
            client_receives: false,
            answered_send: false,
            codecs: Vec::new(),
            last: None,
            rids: Vec::new(),
            ssrcs: Vec::new(),
            fid_pairs: Vec::new(),
        }
    }

    fn on_offer(&mut self, index: usize, section: &Section, changes: &mut Vec<Change>) {
        if matches!(self.used, Use::Application | Use::Rejected) {
            return;
        }
        let sends = matches!(section.direction, Direction::SendOnly | Direction::SendRecv) && !section.rejected;
        self.client_receives = section.direction == Direction::RecvOnly && !section.rejected;
        if sends {
            self.codecs = receive_codecs(section);
            self.rids = section.rids.clone();
            self.ssrcs = section.ssrcs.clone();
            self.fid_pairs = section.fid_pairs.clone();
            if let Use::Send(track) = self.used {
                changes.push(Change::Detached(track));
            }
            if !matches!(self.used, Use::Receive(_)) {
                self.used = Use::Receive(None);
            }
            changes.push(Change::Started(index));
        } else if matches!(self.used, Use::Receive(_)) {
            self.used = Use::Idle;
            changes.push(Change::Stopped(index));
        } else if !self.client_receives
            && let Use::Send(track) = self.used
        {
            self.used = Use::Idle;
            changes.push(Change::Detached(track));
        }
    }

    /// Slot of the track received on it.
    pub(super) fn published(&self) -> Option<usize> {
        match self.used {
            Use::Receive(track) => track,
            Use::Idle | Use::Send(_) | Use::Application | Use::Rejected => None,
        }
    }

    fn is_free(&self, kind: MediaKind) -> bool {
        self.used == Use::Idle && self.client_receives && !self.answered_send && self.kind == SectionKind::Media(kind)
    }

    /// The codec a payload type names, and whether it is its retransmission.
    pub(super) fn codec(&self, payload_type: u8) -> Option<(ReceiveCodec, bool)> {
        self.codecs.iter().find_map(|codec| {
            if codec.payload_type == payload_type {
                Some((*codec, false))
            } else if codec.rtx == Some(payload_type) {
                Some((*codec, true))
            } else {
                None
            }
        })
    }
}

fn receive_codecs(section: &Section) -> Vec<ReceiveCodec> {
    section
        .codecs
        .iter()
        .filter_map(|offered| Some(ReceiveCodec { payload_type: offered.payload_type, codec: offered.codec?, rtx: offered.rtx }))
        .collect()
}
