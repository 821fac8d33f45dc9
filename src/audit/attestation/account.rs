//! Facts of one consultation as they come in, and the statement that follows from them.

use super::span::{self, Span, Spans};
use super::statement::{
    Aside, Cause, Consent, ConsentState, Delivery, Interruption, LogRange, Modality, Place, Seat, Statement, Summary, TwoWay,
    VERSION,
};
use crate::audit::types::{Micros, Word};
use crate::audit::words::Role;
use crate::model::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// Two stretches of the same media belong together when they lie no further apart: a slide has a picture a second, and a busy
/// worker may be half a second late.
const TOLERANCE_MS: u64 = 1_500;

/// Shortest interruption worth a line.
const SHORTEST_INTERRUPTION_MS: u64 = 2_000;

/// Most seats of one statement: no consultation comes near, and pairs of seats grow with its square.
const MOST_SEATS: usize = 64;

/// Most deliveries: every seat of a panel of 18 receives audio, video and screen of every other.
const MOST_DELIVERIES: usize = 1_024;

/// Most consents, and most asides: one every fifteen seconds of an hour.
const MOST_FACTS: usize = 256;

/// A member of the room, by the number the room gave it for this stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(pub u32);

/// One consent as it is told to the account.
#[derive(Clone, Debug)]
pub struct ConsentFact {
    /// What became of it.
    pub state: ConsentState,
    /// Scopes it covers.
    pub scope: Vec<Word>,
    /// Version of the text agreed to.
    pub text_version: Option<Word>,
    /// Its entry in the audit log.
    pub seq: u64,
}

struct Chair {
    r#ref: Word,
    role: Role,
    present: Spans,
}

struct OpenAside {
    members: Vec<u16>,
    from_ms: u64,
    to_ms: Option<u64>,
}

/// Accumulates the facts of one consultation. Nothing here is content: only who, which kind of media, and when.
pub struct Account {
    place: Place,
    opened: Instant,
    opened_at: Micros,
    chairs: Vec<Chair>,
    /// Whoever was ever there.
    members: BTreeMap<Member, u16>,
    /// Who is there.
    here: BTreeSet<Member>,
    delivered: BTreeMap<(u16, u16, Modality), Spans>,
    muted: BTreeMap<(u16, Modality), Spans>,
    /// When a seat's media might not flow: not admitted, or consent was missing.
    shut: BTreeMap<u16, Spans>,
    consents: Vec<Consent>,
    asides: Vec<OpenAside>,
    lost: bool,
}

impl Account {
    /// Opens the account of a consultation, by both clocks.
    #[must_use]
    pub fn new(place: Place, opened: Instant, opened_at: Micros) -> Self {
        Self {
            place,
            opened,
            opened_at,
            chairs: Vec::new(),
            members: BTreeMap::new(),
            here: BTreeSet::new(),
            delivered: BTreeMap::new(),
            muted: BTreeMap::new(),
            shut: BTreeMap::new(),
            consents: Vec::new(),
            asides: Vec::new(),
            lost: false,
        }
    }

    /// A seat is in the room. The same pseudonym takes the same seat again.
    pub fn on_joined(&mut self, member: Member, r#ref: &Word, role: Role, at: Instant) {
        let at_ms = self.since(at);
        let found = self.chairs.iter().position(|chair| chair.r#ref == *r#ref && chair.role == role);
        let index = found.unwrap_or(self.chairs.len());
        if found.is_none() {
            if index >= MOST_SEATS {
                self.lost = true;
                return;
            }
            self.chairs.push(Chair { r#ref: r#ref.clone(), role, present: Spans::default() });
        }
        let Some(chair) = self.chairs.get_mut(index) else { return };
        chair.present.begin(at_ms);
        self.members.insert(member, number(index));
        self.here.insert(member);
    }

    /// A seat left the room, for whatever reason.
    pub fn on_left(&mut self, member: Member, at: Instant) {
        let at_ms = self.since(at);
        let Some(seat) = self.seat(member).filter(|_| self.here.remove(&member)) else { return };
        // A newer stay of the same seat goes on.
        if !self.here.iter().any(|other| self.seat(*other) == Some(seat))
            && let Some(chair) = self.chairs.get_mut(usize::from(seat) - 1)
        {
            chair.present.end(at_ms);
        }
    }

    /// Media of one seat reached another from one moment to another. To be called about once a second while it does.
    pub fn on_delivered(&mut self, receiver: Member, publisher: Member, modality: Modality, (since, until): (Instant, Instant)) {
        let span = Span { from_ms: self.since(since), to_ms: self.since(until) };
        let (Some(to), Some(from)) = (self.seat(receiver), self.seat(publisher)) else { return };
        if self.delivered.len() >= MOST_DELIVERIES && !self.delivered.contains_key(&(to, from, modality)) {
            self.lost = true;
            return;
        }
        self.delivered.entry((to, from, modality)).or_default().stretch(span, TOLERANCE_MS);
    }

    /// Something that belongs here may never have come: the statement says so.
    pub fn on_loss(&mut self) {
        self.lost = true;
    }

    /// Media of a seat may flow from now on (`true`), or not.
    pub fn on_gate(&mut self, member: Member, open: bool, at: Instant) {
        let at_ms = self.since(at);
        let Some(seat) = self.seat(member) else { return };
        let spans = self.shut.entry(seat).or_default();
        if open { spans.end(at_ms) } else { spans.begin(at_ms) }
    }

    /// A seat switched its microphone, camera or screen off (`true`) or on again.
    pub fn on_muted(&mut self, member: Member, modality: Modality, muted: bool, at: Instant) {
        let at_ms = self.since(at);
        let Some(seat) = self.seat(member) else { return };
        // Bounded by the seats: three entries each.
        let spans = self.muted.entry((seat, modality)).or_default();
        if muted { spans.begin(at_ms) } else { spans.end(at_ms) }
    }

    /// A consent was given, refused, withdrawn or overridden for a seat.
    pub fn on_consent(&mut self, member: Member, fact: ConsentFact, at: Instant) {
        let at_ms = self.since(at);
        let Some(seat) = self.seat(member) else { return };
        if self.consents.len() >= MOST_FACTS {
            self.lost = true;
            return;
        }
        let ConsentFact { state, scope, text_version, seq } = fact;
        self.consents.push(Consent { at_ms, scope, seat, seq, state, text_version });
    }

    /// An aside began, or its members changed.
    pub fn on_aside(&mut self, members: &[Member], at: Instant) {
        self.on_aside_closed(at);
        let at_ms = self.since(at);
        let mut seats: Vec<u16> = members.iter().filter_map(|member| self.seat(*member)).collect();
        seats.sort_unstable();
        seats.dedup();
        if self.asides.len() >= MOST_FACTS {
            self.lost = true;
            return;
        }
        self.asides.push(OpenAside { members: seats, from_ms: at_ms, to_ms: None });
    }

    /// The aside ended.
    pub fn on_aside_closed(&mut self, at: Instant) {
        let at_ms = self.since(at);
        if let Some(last) = self.asides.last_mut() {
            last.to_ms.get_or_insert(at_ms);
        }
    }

    /// What can be stated now, by both clocks.
    #[must_use]
    pub fn statement(&self, log: LogRange, ended: bool, now: Instant, issued_at: Micros) -> Statement {
        let now_ms = self.since(now);
        let seats = self.seats(now_ms);
        let asides: Vec<_> = self.asides.iter().map(|aside| closed(aside, now_ms)).collect();
        let delivered = self.deliveries(now_ms);
        let two_way = two_way(&delivered);
        let full = self.chairs.iter().map(|chair| &chair.present).chain(self.delivered.values()).any(Spans::full);
        Statement {
            complete: !self.lost && !full,
            consents: self.consents.clone(),
            duration_ms: now_ms,
            ended,
            interruptions: self.interruptions(&delivered, &seats, &asides, now_ms),
            issued_at: utc(issued_at),
            log,
            opened_at: utc(self.opened_at),
            place: self.place.clone(),
            summary: summary(&delivered, &seats),
            asides,
            delivered,
            seats,
            two_way,
            v: VERSION,
        }
    }

    fn since(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.opened).as_millis()).unwrap_or(u64::MAX)
    }

    fn seat(&self, member: Member) -> Option<u16> {
        self.members.get(&member).copied()
    }

    fn seats(&self, now_ms: u64) -> Vec<Seat> {
        let before = |index: usize, role| self.chairs.iter().take(index).filter(|chair| chair.role == role).count();
        let describe = |(index, chair): (usize, &Chair)| Seat {
            ordinal: number(before(index, chair.role)),
            present: chair.present.until(now_ms),
            r#ref: chair.r#ref.clone(),
            role: chair.role,
            seat: number(index),
        };
        self.chairs.iter().enumerate().map(describe).collect()
    }

    fn deliveries(&self, now_ms: u64) -> Vec<Delivery> {
        let describe = |(&(to, from, kind), spans): (&(u16, u16, Modality), &Spans)| {
            let intervals = spans.until(now_ms);
            Delivery { from, kind, to, total_ms: span::total_ms(&intervals), intervals }
        };
        self.delivered.iter().map(describe).filter(|delivery| !delivery.intervals.is_empty()).collect()
    }

    fn interruptions(&self, delivered: &[Delivery], seats: &[Seat], asides: &[Aside], now_ms: u64) -> Vec<Interruption> {
        let present = |seat: u16| seats.iter().find(|one| one.seat == seat).map_or(&[][..], |one| &one.present);
        let mut all = Vec::new();
        for delivery in delivered {
            let together = span::shared(present(delivery.from), present(delivery.to));
            let muted = self.muted.get(&(delivery.from, delivery.kind)).map_or_else(Vec::new, |spans| spans.until(now_ms));
            let mut shut = self.shut.get(&delivery.from).map_or_else(Vec::new, |spans| spans.until(now_ms));
            shut.extend(self.shut.get(&delivery.to).into_iter().flat_map(|spans| spans.until(now_ms)));
            let shut = span::union(shut);
            let apart: Vec<Span> = asides.iter().filter_map(|aside| separates(aside, delivery)).collect();
            for gap in gaps(&delivery.intervals, &together) {
                let half = gap.length_ms() / 2;
                let mostly = |spans: &[Span]| span::total_ms(&span::shared(&[gap], spans)) > half;
                let cause = match () {
                    () if mostly(&shut) => Cause::Consent,
                    () if mostly(&muted) => Cause::Sender,
                    () if mostly(&apart) => Cause::Aside,
                    () => Cause::Line,
                };
                let Delivery { from, kind, to, .. } = *delivery;
                all.push(Interruption { cause, from, from_ms: gap.from_ms, kind, to, to_ms: gap.to_ms });
            }
        }
        all
    }
}

fn utc(at: Micros) -> Word {
    Word::new(&at.to_text()).expect("digits and separators are in the alphabet")
}

/// Seats are numbered from 1; there are at most 64.
fn number(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX).saturating_add(1)
}

fn closed(aside: &OpenAside, now_ms: u64) -> Aside {
    Aside { from_ms: aside.from_ms, members: aside.members.clone(), to_ms: aside.to_ms.unwrap_or(now_ms) }
}

/// The time of an aside that keeps the two ends of a delivery apart.
fn separates(aside: &Aside, delivery: &Delivery) -> Option<Span> {
    let apart = aside.members.contains(&delivery.from) != aside.members.contains(&delivery.to);
    apart.then_some(Span { from_ms: aside.from_ms, to_ms: aside.to_ms })
}

/// Where nothing arrived after the first delivery though both were there.
fn gaps(intervals: &[Span], together: &[Span]) -> Vec<Span> {
    let Some(first) = intervals.first() else { return Vec::new() };
    let mut left = Vec::new();
    for stay in together {
        let mut from_ms = stay.from_ms.max(first.from_ms);
        for interval in intervals.iter().filter(|interval| interval.shared(*stay).is_some()) {
            left.push(Span { from_ms, to_ms: interval.from_ms });
            from_ms = from_ms.max(interval.to_ms);
        }
        left.push(Span { from_ms, to_ms: stay.to_ms });
    }
    left.retain(|gap| gap.length_ms() >= SHORTEST_INTERRUPTION_MS);
    left
}

/// When each of two seats received the other's media of one kind.
fn both_ways(delivered: &[Delivery], one: u16, other: u16, kind: Modality) -> Vec<Span> {
    let find = |from, to| delivered.iter().find(|delivery| delivery.from == from && delivery.to == to && delivery.kind == kind);
    match (find(one, other), find(other, one)) {
        (Some(there), Some(back)) => span::shared(&there.intervals, &back.intervals),
        _ => Vec::new(),
    }
}

fn two_way(delivered: &[Delivery]) -> Vec<TwoWay> {
    let mut pairs: Vec<(u16, u16)> = delivered.iter().map(|d| (d.from.min(d.to), d.from.max(d.to))).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let length = |one, other, kind| span::total_ms(&both_ways(delivered, one, other, kind));
    let describe = |(one, other)| TwoWay {
        audio_ms: length(one, other, Modality::Audio),
        one,
        other,
        video_ms: length(one, other, Modality::Video),
    };
    pairs.into_iter().map(describe).filter(|pair| pair.audio_ms + pair.video_ms > 0).collect()
}

fn summary(delivered: &[Delivery], seats: &[Seat]) -> Summary {
    let physician = |seat: &&Seat| matches!(seat.role, Role::Doctor | Role::Colleague);
    let patient = |seat: &&Seat| seat.role == Role::Patient;
    let seconds = |kind| {
        let pairs = seats.iter().filter(physician).flat_map(|one| seats.iter().filter(patient).map(move |other| (one, other)));
        let spans = pairs.flat_map(|(one, other)| both_ways(delivered, one.seat, other.seat, kind)).collect();
        span::total_ms(&span::union(spans)) / 1_000
    };
    let video_two_way_s = seconds(Modality::Video);
    Summary { audio_two_way_s: seconds(Modality::Audio), video_two_way: video_two_way_s > 0, video_two_way_s }
}
