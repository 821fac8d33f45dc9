//! Garbage towards a media port: what a relay gets from strangers.

use crate::random::Random;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Longest piece of garbage.
const LONGEST: usize = 1_200;
/// Most of a turn, so that a thread that was late does not burst.
const BURST: u32 = 256;
/// First bytes of STUN, DTLS, RTP, RTCP and of nothing.
const HEADS: [u8; 5] = [0, 22, 128, 129, 255];

pub(crate) struct Noise {
    socket: UdpSocket,
    to: SocketAddr,
    gap: Duration,
    next: Instant,
    until: Instant,
    random: Random,
}

impl Noise {
    pub(crate) fn new(to: SocketAddr, per_s: u32, for_: Duration, seed: u64, now: Instant) -> io::Result<Self> {
        let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        let gap = Duration::from_secs(1) / per_s.clamp(1, 1_000_000);
        Ok(Self { socket, to, gap, next: now, until: now + for_, random: Random::new(seed) })
    }

    pub(crate) fn due(&self) -> Instant {
        self.next
    }

    /// Sends what is due; `false` when its time is over.
    pub(crate) fn on_time(&mut self, now: Instant) -> bool {
        let mut bytes = [0; LONGEST];
        let mut burst = 0;
        while self.next <= now && burst < BURST {
            for eight in bytes.chunks_mut(8) {
                eight.copy_from_slice(&self.random.bits().to_ne_bytes()[..eight.len()]);
            }
            let kind = self.random.bits() as usize;
            if let (Some(first), Some(head)) = (bytes.first_mut(), HEADS.get(kind % HEADS.len())) {
                *first = *head;
            }
            let len = 1 + self.random.bits() as usize % LONGEST;
            // What the system does not take is not missed.
            let _ = self.socket.send_to(bytes.get(..len).unwrap_or_default(), self.to);
            self.next += self.gap;
            burst += 1;
        }
        if burst == BURST {
            self.next = now;
        }
        now < self.until
    }
}
