//! Packets from addresses no check has come from: a peer may have changed its network and not know it yet.
//!
//! Such a packet names its sender by nothing but its SSRC, which leads to one link, whose keys then decide. What is authentic is taken
//! in like any other, for it can only be the peer's; the relay checks the address it came from before anything is sent there
//! (`transport::ice`). Packets looked at are bounded, whoever sends them. Entry points: `Shard::handle_stray`,
//! `Shard::handle_answer`.

use super::shard::{Disposition, Shard};
use crate::media::packet::Class;
use crate::model::Instant;
use crate::model::counters::DropReason;
use crate::model::{Now, Path};
use crate::transport::outbox::MAX_DATAGRAM;
use crate::transport::peer::{Outcome, slot_of_answer};
use crate::transport::srtp::Datagram;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// Packets looked at in a second: opening a forged one costs about a microsecond, and of a moving peer's one is enough.
const TRIES_PER_SECOND: u32 = 4_000;

/// What libwebrtc names as the sender where it only receives: so many links have it that it leads to none.
const NOBODYS_SSRC: u32 = 1;

/// Moves remembered, and for how long: clients with two peer connections move both within one feedback interval.
const MAX_MOVES: usize = 64;
const MOVED_LATELY: Duration = Duration::from_secs(10);

/// Which link an SSRC leads to. Clients choose the numbers: one that takes another's takes away its short cut and no more.
#[derive(Debug, Default)]
pub(super) struct Ssrcs {
    /// Bounded by what links receive, and one more for each; entries go with their stream or link.
    links: HashMap<u32, usize, foldhash::fast::RandomState>,
    /// Links on which members receive whose other link has just moved, and to which host.
    moves: VecDeque<(IpAddr, usize, Instant)>,
    second: Option<Instant>,
    tries: u32,
}

impl Ssrcs {
    pub(super) fn insert(&mut self, ssrc: u32, link: usize) {
        self.links.insert(ssrc, link);
    }

    pub(super) fn remove(&mut self, ssrc: u32, link: usize) {
        if self.links.get(&ssrc) == Some(&link) {
            self.links.remove(&ssrc);
        }
    }

    pub(super) fn shrink(&mut self) {
        self.links.shrink_to_fit();
        self.moves = VecDeque::new();
    }

    /// A member moved with one of its links; the other will come from the same host.
    pub(super) fn expect(&mut self, host: IpAddr, link: usize, now: Instant) {
        self.moves.truncate(MAX_MOVES - 1);
        self.moves.push_front((host, link, now));
    }

    /// The link of a packet that may be looked at.
    fn find(&mut self, ssrc: u32, host: IpAddr, now: Instant) -> Option<usize> {
        let link = if ssrc == NOBODYS_SSRC {
            let lately = |at: &Instant| now.saturating_duration_since(*at) < MOVED_LATELY;
            self.moves.iter().find(|(moved, _, at)| *moved == host && lately(at)).map(|(_, link, _)| *link)?
        } else {
            self.links.get(&ssrc).copied()?
        };
        if self.second.is_none_or(|since| now.saturating_duration_since(since).as_secs() >= 1) {
            (self.second, self.tries) = (Some(now), 0);
        }
        self.tries = self.tries.saturating_add(1);
        (self.tries <= TRIES_PER_SECOND).then_some(link)
    }
}

/// The sender's SSRC, which lies in clear in front of both kinds (RFC 3711, sections 3.1 and 3.4).
fn ssrc_of(class: Class, datagram: &[u8]) -> Option<u32> {
    let at = match class {
        Class::Rtp => 8,
        Class::Rtcp => 4,
        Class::Stun | Class::Dtls | Class::Unknown => return None,
    };
    Some(u32::from_be_bytes(*datagram.get(at..)?.first_chunk()?))
}

impl Shard {
    /// Takes in a datagram from an unknown address, if it is a peer's media.
    pub(super) fn handle_stray(&mut self, class: Class, now: Now, path: Path, datagram: &mut [u8]) -> Disposition {
        let Some(ssrc) = ssrc_of(class, datagram) else { return Disposition::Unknown };
        if datagram.len() > MAX_DATAGRAM {
            return Disposition::Unknown;
        }
        let Some(link) = self.ssrcs.find(ssrc, path.remote.ip(), now.mono) else { return Disposition::Unclaimed };
        // Opening spoils what is not this link's; two shards may have links with one number.
        let mut copy = [0u8; MAX_DATAGRAM];
        let Some(copy) = copy.get_mut(..datagram.len()) else { return Disposition::Unknown };
        copy.copy_from_slice(datagram);
        let refused = self.counters.drops(DropReason::SrtpAuth);
        self.serving = link;
        if class == Class::Rtp {
            self.handle_rtp(link, now.mono, path, &mut Datagram::new(datagram));
        } else {
            self.handle_rtcp(link, now.mono, path, datagram);
        }
        if self.counters.drops(DropReason::SrtpAuth) != refused {
            datagram.copy_from_slice(copy);
            return Disposition::Unclaimed;
        }
        if let Some(state) = self.links.get_mut(link).filter(|state| state.peer.is_astray())
            && let Ok(slot) = u32::try_from(link)
            && state.peer.send_check(now.mono, slot, &mut self.outbox)
        {
            self.counters.stun_sent += 1;
        }
        Disposition::Taken
    }

    /// Takes the answer to a check of the relay's own; nothing where the datagram is none.
    pub(super) fn handle_answer(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Option<Disposition> {
        let (shard, slot) = slot_of_answer(datagram)?;
        if shard != self.config.id {
            return Some(Disposition::Elsewhere(shard));
        }
        let link = slot as usize;
        let Some(state) = self.links.get_mut(link) else {
            self.counters.drop(DropReason::StunAuth);
            return Some(Disposition::Taken);
        };
        self.serving = link;
        match state.peer.handle_answer(now, path, datagram) {
            Err(reason) => self.counters.drop(reason),
            Ok(outcome) => {
                if outcome == Outcome::Moved {
                    self.on_moved(link, now);
                }
                self.learn_address(link, path.remote);
                self.mark_dirty(link);
            }
        }
        Some(Disposition::Taken)
    }

    /// Takes note of the SSRC that a link's control packets name as their sender: who only receives is found by nothing else.
    pub(super) fn note_control_ssrc(&mut self, link: usize, datagram: &[u8]) {
        let Some(ssrc) = ssrc_of(Class::Rtcp, datagram) else { return };
        let Some(state) = self.links.get_mut(link) else { return };
        if ssrc == NOBODYS_SSRC || state.control_ssrc == Some(ssrc) || state.inbound(ssrc).is_some() {
            return;
        }
        if let Some(before) = state.control_ssrc.replace(ssrc) {
            self.ssrcs.remove(before, link);
        }
        self.ssrcs.insert(ssrc, link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    #[test]
    fn an_ssrc_is_read_where_each_kind_has_it() {
        let bytes: Vec<u8> = (0..12).collect();
        assert_eq!(ssrc_of(Class::Rtp, &bytes), Some(0x0809_0a0b));
        assert_eq!(ssrc_of(Class::Rtcp, &bytes), Some(0x0405_0607));
        assert_eq!((ssrc_of(Class::Rtp, &bytes[..11]), ssrc_of(Class::Dtls, &bytes)), (None, None));
    }

    #[test]
    fn packets_looked_at_in_a_second_are_bounded() {
        let (mut ssrcs, t0) = (Ssrcs::default(), Instant::now());
        ssrcs.insert(7, 3);
        let mut found = |ms| (0..10_000).filter(|_| ssrcs.find(7, HOST, t0 + Duration::from_millis(ms)).is_some()).count();
        assert_eq!((found(0), found(900), found(1_000)), (TRIES_PER_SECOND as usize, 0, TRIES_PER_SECOND as usize));
        ssrcs.remove(7, 4);
        assert_eq!(ssrcs.find(7, HOST, t0 + Duration::from_secs(9)), Some(3), "another link's number stays");
        ssrcs.remove(7, 3);
        assert_eq!(ssrcs.find(7, HOST, t0 + Duration::from_secs(9)), None);
    }

    #[test]
    fn who_only_receives_is_found_by_its_other_link() {
        let (mut ssrcs, t0) = (Ssrcs::default(), Instant::now());
        let other = IpAddr::from([192, 0, 2, 8]);
        assert_eq!(ssrcs.find(1, HOST, t0), None);
        ssrcs.expect(HOST, 5, t0);
        ssrcs.expect(other, 6, t0);
        assert_eq!((ssrcs.find(1, HOST, t0), ssrcs.find(1, other, t0)), (Some(5), Some(6)));
        assert_eq!(ssrcs.find(1, HOST, t0 + MOVED_LATELY), None);
        (0..1_000).for_each(|link| ssrcs.expect(HOST, link, t0));
        assert_eq!((ssrcs.moves.len(), ssrcs.find(1, HOST, t0)), (MAX_MOVES, Some(999)));
    }
}
