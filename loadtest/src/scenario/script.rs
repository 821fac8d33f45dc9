//! Plays a scenario: at which moment which person does what.
//!
//! The same scenario and seed give the same acts at the same times. The caller owns the clock and hands in the time since
//! the start; it also says when the relay refused somebody, which ends the arrivals of scenarios that wait for it.

use super::{Arrival, Deed, Event, Scenario};
use crate::client::MediaKind;
use crate::impair;
use crate::random::Random;
use crate::swarm::ClientId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// People of a room arrive within this much of their time, as people do.
const SEAT_JITTER: Duration = Duration::from_millis(300);

/// What somebody does now.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Joins.
    Join {
        /// Who; never used twice.
        client: ClientId,
        /// Which room; never used twice.
        room: u32,
        /// Index into the scenario's seats.
        seat: u8,
        /// Where its choices come from.
        seed: u64,
    },
    /// Leaves.
    Leave(ClientId),
    /// Loses its signalling.
    CutSignal(ClientId),
    /// Changes its address.
    Move(ClientId),
    /// Stops or goes on sending a kind of media.
    Mute(ClientId, MediaKind, bool),
    /// Gets another line.
    Link(ClientId, Box<impair::Profile>),
    /// Garbage begins.
    Noise {
        /// How dense.
        datagrams_per_s: u32,
        /// How long.
        lasts: Duration,
        /// Where its bytes come from.
        seed: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Open,
    Reopen,
    Join { room: u32, seat: u8 },
    Leave { room: u32, seat: u8 },
    OfSeat { client: ClientId, seat: u8, event: usize },
    OfAll { event: usize },
    Close { room: u32 },
    Noise,
}

/// A scenario on its way.
#[derive(Debug)]
pub struct Script {
    scenario: Scenario,
    random: Random,
    /// Soonest first; the number keeps the order of equal times. A step per person and one per room, no more.
    due: BinaryHeap<Reverse<(Duration, u64, Step)>>,
    steps: u64,
    /// Who is in; emptied by leaving.
    present: BTreeMap<(u32, u8), ClientId>,
    /// Acts of a step that concerns many people.
    ready: Vec<Act>,
    next_room: u32,
    next_client: ClientId,
    to_open: u32,
    ends_at: Duration,
}

impl Script {
    /// Begins a scenario.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut script = Self {
            scenario: scenario.clone(),
            random: Random::new(seed),
            due: BinaryHeap::new(),
            steps: 0,
            present: BTreeMap::new(),
            ready: Vec::new(),
            next_room: 0,
            next_client: 0,
            to_open: scenario.rooms,
            ends_at: scenario.ends_at(),
        };
        script.push(Duration::ZERO, Step::Open);
        let from = scenario.measured_from();
        for (event, at) in scenario.events.iter().map(|event| event.at).enumerate() {
            script.push(from + at, Step::OfAll { event });
        }
        if let Some(noise) = scenario.noise {
            script.push(from + noise.from, Step::Noise);
        }
        script
    }

    /// When [`Script::poll`] has something to say next.
    #[must_use]
    pub fn due_at(&self) -> Option<Duration> {
        if self.ready.is_empty() { self.due.peek().map(|Reverse((at, ..))| *at) } else { Some(Duration::ZERO) }
    }

    /// When the run is over; nearer after a refusal that the scenario waited for.
    #[must_use]
    pub fn ends_at(&self) -> Duration {
        self.ends_at
    }

    /// Rooms opened so far.
    #[must_use]
    pub fn rooms_opened(&self) -> u32 {
        self.next_room
    }

    /// The next act that is due at `now`, counted from the start.
    pub fn poll(&mut self, now: Duration) -> Option<Act> {
        loop {
            if let Some(act) = self.ready.pop() {
                return Some(act);
            }
            let Reverse((at, ..)) = self.due.peek()?;
            if *at > now || *at >= self.ends_at {
                return None;
            }
            let Reverse((at, _, step)) = self.due.pop()?;
            self.carry_out(at, step);
        }
    }

    /// The relay refused a join at `now`.
    pub fn handle_refused(&mut self, client: ClientId, now: Duration) {
        self.handle_gone(client);
        let Arrival::Rate { then_hold: Some(hold), .. } = self.scenario.arrival else { return };
        if self.to_open > 0 {
            self.to_open = 0;
            self.ends_at = self.ends_at.min(now + hold);
        }
    }

    /// Somebody is not in the room any more, by no act of the script.
    pub fn handle_gone(&mut self, client: ClientId) {
        self.present.retain(|_, there| *there != client);
    }

    /// Everybody leaves now.
    pub fn leave_all(&mut self) -> Vec<Act> {
        self.due.clear();
        self.ready.clear();
        std::mem::take(&mut self.present).into_values().map(Act::Leave).collect()
    }

    fn push(&mut self, at: Duration, step: Step) {
        self.steps += 1;
        self.due.push(Reverse((at, self.steps, step)));
    }

    fn carry_out(&mut self, at: Duration, step: Step) {
        match step {
            Step::Open => self.open(at),
            Step::Reopen => self.fill(at),
            Step::Join { room, seat } => self.join(at, room, seat),
            Step::Leave { room, seat } => self.ready.extend(self.present.remove(&(room, seat)).map(Act::Leave)),
            Step::Close { room } => self.close(at, room),
            Step::OfSeat { client, seat, event } => self.of_seat(at, client, seat, event),
            Step::OfAll { event } => self.of_all(at, event),
            Step::Noise => self.noise(at),
        }
    }

    fn open(&mut self, at: Duration) {
        // Without a room left the arrivals are over.
        let Some(left) = self.to_open.checked_sub(1) else { return };
        self.to_open = left;
        let gap = match self.scenario.arrival {
            Arrival::Over(ramp) => ramp / self.scenario.rooms.max(1),
            Arrival::Rate { rooms_per_s, .. } => Duration::from_secs_f64(1.0 / rooms_per_s),
        };
        if left > 0 {
            self.push(at + gap, Step::Open);
        }
        self.fill(at);
    }

    /// Opens one room and says when its people come and go.
    fn fill(&mut self, at: Duration) {
        let room = self.next_room;
        self.next_room += 1;
        for (seat, (joins_at, leaves_at)) in (0..).zip(self.times()) {
            let late = SEAT_JITTER.mul_f64(self.random.unit());
            self.push(at + joins_at + late, Step::Join { room, seat });
            if let Some(leaves_at) = leaves_at {
                self.push(at + leaves_at, Step::Leave { room, seat });
            }
        }
        if let Some(churn) = self.scenario.churn {
            let lasts = churn.call_lasts.mul_f64(0.5 + self.random.unit());
            self.push(at + lasts, Step::Close { room });
        }
    }

    fn times(&self) -> Vec<(Duration, Option<Duration>)> {
        self.scenario.seats.iter().map(|seat| (seat.joins_at, seat.leaves_at)).collect()
    }

    fn close(&mut self, at: Duration, room: u32) {
        let gone: Vec<_> = self.present.range((room, 0)..=(room, u8::MAX)).map(|(key, _)| *key).collect();
        self.ready.extend(gone.iter().filter_map(|key| self.present.remove(key)).map(Act::Leave));
        // The next call takes the place of this one: the number of rooms stays the same.
        let pause = self.scenario.churn.map_or(Duration::ZERO, |churn| churn.pause);
        self.push(at + pause, Step::Reopen);
    }

    fn join(&mut self, at: Duration, room: u32, seat: u8) {
        let client = self.next_client;
        self.next_client += 1;
        self.present.insert((room, seat), client);
        let times: Vec<Duration> = self
            .scenario
            .seats
            .get(usize::from(seat))
            .map(|seat| seat.events.iter().map(|event| event.at).collect())
            .unwrap_or_default();
        for (event, after) in times.into_iter().enumerate() {
            self.push(at + after, Step::OfSeat { client, seat, event });
        }
        let seed = self.random.bits();
        self.ready.push(Act::Join { client, room, seat, seed });
    }

    fn of_seat(&mut self, at: Duration, client: ClientId, seat: u8, number: usize) {
        let event = self.scenario.seats.get(usize::from(seat)).and_then(|seat| seat.events.get(number)).cloned();
        let (Some(event), true) = (event, self.present.values().any(|there| *there == client)) else { return };
        if self.random.unit() < event.share {
            self.ready.push(act(client, &event.what));
        }
        if let Some(every) = event.every {
            self.push(at + every, Step::OfSeat { client, seat, event: number });
        }
    }

    fn of_all(&mut self, at: Duration, number: usize) {
        let Some(event) = self.scenario.events.get(number).cloned() else { return };
        let (random, seats) = (&mut self.random, &self.scenario.seats);
        let met =
            self.present.iter().filter(|((_, seat), _)| concerns(&event, seats.get(usize::from(*seat)).map(|seat| &*seat.role)));
        let acts: Vec<Act> = met.filter(|_| random.unit() < event.share).map(|(_, client)| act(*client, &event.what)).collect();
        self.ready.extend(acts.into_iter().rev());
        if let Some(every) = event.every {
            self.push(at + every, Step::OfAll { event: number });
        }
    }

    fn noise(&mut self, at: Duration) {
        let Some(noise) = self.scenario.noise else { return };
        let rest = self.ends_at.saturating_sub(at);
        let lasts = noise.lasts.map_or(rest, |lasts| lasts.min(rest));
        let seed = self.random.bits();
        self.ready.push(Act::Noise { datagrams_per_s: noise.datagrams_per_s, lasts, seed });
    }
}

fn concerns(event: &Event, role: Option<&str>) -> bool {
    event.roles.is_empty() || role.is_some_and(|role| event.roles.iter().any(|name| name == role))
}

fn act(client: ClientId, what: &Deed) -> Act {
    match what {
        Deed::CutSignal => Act::CutSignal(client),
        Deed::Move => Act::Move(client),
        Deed::Mute(kind, muted) => Act::Mute(client, *kind, *muted),
        Deed::Link(profile) => Act::Link(client, profile.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Churn;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn all(scenario: &Scenario, seed: u64) -> Vec<Act> {
        let mut script = Script::new(scenario, seed);
        std::iter::from_fn(|| script.poll(scenario.ends_at())).collect()
    }

    fn joins(acts: &[Act]) -> usize {
        acts.iter().filter(|act| matches!(act, Act::Join { .. })).count()
    }

    #[test]
    fn a_seed_gives_one_script() {
        let scenario = Scenario::reference(3, 1_200_000, 10);

        assert_eq!(all(&scenario, 5), all(&scenario, 5));
        assert_ne!(all(&scenario, 5), all(&scenario, 6));
        assert_eq!(joins(&all(&scenario, 5)), 30);
    }

    #[test]
    fn a_ramp_spreads_the_rooms() {
        let scenario = Scenario { arrival: Arrival::Over(S(10)), ..Scenario::reference(1, 1_200_000, 10) };
        let mut script = Script::new(&scenario, 1);

        let early = std::iter::from_fn(|| script.poll(Duration::from_millis(4_900))).count();

        assert_eq!(early, 5, "half of the time, half of the rooms");
    }

    #[test]
    fn churn_keeps_the_number_of_rooms() {
        let churn = Some(Churn { call_lasts: S(4), pause: S(1) });
        let scenario = Scenario { churn, for_: S(100), ..Scenario::reference(2, 1_200_000, 3) };

        let acts = all(&scenario, 1);

        let left = acts.iter().filter(|act| matches!(act, Act::Leave(_))).count();
        assert!(joins(&acts) > 80, "{} joins", joins(&acts));
        assert!((joins(&acts) - left) <= 6, "{} joins, {left} leaves", joins(&acts));
        assert!((joins(&acts) - left) >= 2, "{} joins, {left} leaves", joins(&acts));
    }

    #[test]
    fn a_refusal_ends_a_rush_after_its_hold() {
        let arrival = Arrival::Rate { rooms_per_s: 2.0, then_hold: Some(S(20)) };
        let scenario = Scenario { arrival, for_: S(600), ..Scenario::reference(1, 1_200_000, 1_000) };
        let mut script = Script::new(&scenario, 1);
        let before = std::iter::from_fn(|| script.poll(S(10))).count();

        script.handle_refused(before as u32 - 1, S(10));
        let after = std::iter::from_fn(|| script.poll(S(600))).count();

        assert!((20..=21).contains(&before), "{before}");
        assert!(after <= 1, "only who was on the way: {after}");
        assert_eq!(script.ends_at(), S(30));
        assert_eq!(script.leave_all().len(), before + after - 1);
    }

    #[test]
    fn an_event_meets_those_who_are_there_and_of_its_role() {
        let event = Event { at: S(1), every: Some(S(2)), what: Deed::CutSignal, share: 1.0, roles: vec!["seat-1".to_owned()] };
        let scenario = Scenario { events: vec![event], for_: S(6), ..Scenario::reference(3, 1_200_000, 4) };

        let acts = all(&scenario, 1);

        let cut = acts.iter().filter(|act| matches!(act, Act::CutSignal(_))).count();
        assert_eq!(cut, 4 * 3, "four rooms, at 1, 3 and 5 s");
    }

    #[test]
    fn a_seat_that_left_meets_no_event() {
        let mut scenario = Scenario::reference(1, 1_200_000, 1);
        scenario.seats[0].leaves_at = Some(S(2));
        scenario.seats[0].events = vec![Event { at: S(1), every: Some(S(1)), what: Deed::Move, share: 1.0, roles: Vec::new() }];

        let acts = all(&scenario, 1);

        assert_eq!(acts.iter().filter(|act| matches!(act, Act::Move(_))).count(), 1);
        assert!(matches!(acts.last(), Some(Act::Leave(0))), "{acts:?}");
    }
}
