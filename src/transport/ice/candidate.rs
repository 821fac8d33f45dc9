//! The candidates an answer names (RFC 8839, section 5.1; RFC 8445, section 5.1.2).

use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// A host candidate of ours over UDP (RFC 8445, section 5.1.1.1; component 1, because RTP and RTCP share a port).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Where peers reach us.
    pub address: SocketAddr,
    /// Rank among our candidates.
    pub priority: u32,
    /// Candidates with the same base share it; ours differ.
    pub foundation: u8,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Candidate(…)")
    }
}

/// Most candidates advertised: every one costs each client a series of checks.
pub const MAX_CANDIDATES: usize = 8;

/// Ranks our addresses, IPv6 and IPv4 in turn and IPv6 first (RFC 8421, section 4), each kind in the given order.
#[must_use]
pub fn host_candidates(addresses: &[SocketAddr]) -> Vec<Candidate> {
    let mut v6 = addresses.iter().filter(|address| address.is_ipv6());
    let mut v4 = addresses.iter().filter(|address| address.is_ipv4());
    let mut candidates = Vec::with_capacity(addresses.len().min(MAX_CANDIDATES));
    for round in 0..addresses.len().saturating_mul(2) {
        if candidates.len() >= MAX_CANDIDATES {
            break;
        }
        let next = if round % 2 == 0 { v6.next() } else { v4.next() };
        let rank = u8::try_from(candidates.len()).unwrap_or(u8::MAX);
        candidates.extend(next.map(|address| Candidate {
            address: *address,
            priority: host_priority(u16::MAX - u16::from(rank)),
            foundation: rank + 1,
        }));
    }
    candidates
}

/// The priority of a host candidate of component 1 (RFC 8445, section 5.1.2.1).
fn host_priority(local_preference: u16) -> u32 {
    (126 << 24) | (u32::from(local_preference) << 8) | (256 - 1)
}

/// The text of a candidate, for `a=` and for trickling (RFC 8839, section 5.1).
#[must_use]
pub fn candidate_line(candidate: &Candidate) -> String {
    let mut line = String::with_capacity(80);
    let Candidate { address, priority, foundation } = candidate;
    // Writing to a String cannot fail.
    let _ = write!(line, "candidate:{foundation} 1 udp {priority} {} {} typ host", address.ip(), address.port());
    line
}
