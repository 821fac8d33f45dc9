//! The network between the participants and the relay: late, lossy, out of order, twice - as its seed decides.

use super::rng::Rng;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What a line does to datagrams of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) delay: Duration,
    /// Up to this much more, at random: datagrams overtake each other.
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    pub(crate) twice: f64,
}

impl Weather {
    pub(crate) const FAIR: Self = Self { delay: Duration::from_millis(10), jitter: Duration::ZERO, loss: 0.0, twice: 0.0 };
    pub(crate) const DEAD: Self = Self { loss: 1.0, ..Self::FAIR };

    pub(crate) fn losing(loss: f64) -> Self {
        Self { loss, ..Self::FAIR }
    }
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Relay,
    Person(usize),
}

/// A datagram on its way.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) to: End,
    pub(crate) from: SocketAddr,
    pub(crate) at: SocketAddr,
    pub(crate) bytes: Vec<u8>,
    /// The relay's count of sent datagrams when this one left; 0 towards the relay.
    pub(crate) left: u64,
}

/// Datagrams in the order in which they arrive.
#[derive(Debug)]
pub(crate) struct Net {
    rng: Rng,
    flights: BTreeMap<(Instant, u64), Flight>,
    serial: u64,
    /// Narrow lines, by the address of who is at their end.
    pub(crate) bottlenecks: HashMap<SocketAddr, Bottleneck>,
}

/// The narrow part of a line towards somebody: datagrams go one after the other, and wait for that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bottleneck {
    pub(crate) bits_per_second: u64,
    free_at: Instant,
    /// What waits longer is dropped.
    buffer: Duration,
    pub(crate) dropped: u64,
}

impl Bottleneck {
    pub(crate) fn new(bits_per_second: u64, now: Instant) -> Self {
        Self { bits_per_second, free_at: now, buffer: Duration::from_secs(1), dropped: 0 }
    }

    /// How long a datagram sent now waits.
    pub(crate) fn queue(&self, now: Instant) -> Duration {
        self.free_at.saturating_duration_since(now)
    }

    /// When a datagram of so many bytes is through.
    fn pass(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        if self.queue(now) > self.buffer {
            self.dropped += 1;
            return None;
        }
        let micros = (bytes as u64 + 28) * 8_000_000 / self.bits_per_second;
        self.free_at = self.free_at.max(now) + Duration::from_micros(micros);
        Some(self.free_at)
    }
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), flights: BTreeMap::new(), serial: 0, bottlenecks: HashMap::new() }
    }

    pub(crate) fn send(&mut self, now: Instant, weather: Weather, flight: Flight) {
        if weather.twice > 0.0 && self.rng.chance(weather.twice) {
            let Flight { to, from, at, left, .. } = flight;
            self.carry(now, weather, Flight { to, from, at, bytes: flight.bytes.clone(), left });
        }
        self.carry(now, weather, flight);
    }

    fn carry(&mut self, now: Instant, weather: Weather, flight: Flight) {
        if weather.loss > 0.0 && self.rng.chance(weather.loss) {
            return;
        }
        let narrow = self.bottlenecks.get_mut(&flight.at).filter(|_| flight.to != End::Relay);
        let Some(now) = narrow.map_or(Some(now), |narrow| narrow.pass(flight.bytes.len(), now)) else { return };
        let jitter = weather.jitter.as_micros() as usize;
        let extra = if jitter == 0 { 0 } else { self.rng.below(jitter) };
        self.serial += 1;
        self.flights.insert((now + weather.delay + Duration::from_micros(extra as u64), self.serial), flight);
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.flights.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn arrive(&mut self, now: Instant) -> Option<Flight> {
        let first = self.flights.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
