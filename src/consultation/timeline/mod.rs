//! The support timeline: the story of a call for whoever answers the telephone, found by a six-digit code.
//!
//! It says what happened to each seat, whose matter it was, and the figures that are the evidence. It holds roles and
//! figures, never a name, an address, a reference or anything that was said; knowing a code shows nothing but this story.
//!
//! Entry points: [`Timelines::open`], [`Timeline::on_joined`], [`Timeline::on_fact`], [`Timeline::on_figures`],
//! [`Timeline::render`].

mod book;
mod fact;
mod line;
#[cfg(test)]
mod tests;

pub use book::{SupportCode, Timelines};
pub use fact::{Class, Fact, Kind, Leaving, StepCause, Transport};
pub use line::Figures;

use super::MemberId;
use crate::model::Instant;
use crate::model::roster::Role;
use line::{Episode, Line, Trouble};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Lines kept from the beginning, where most trouble of joining is.
const KEPT_FIRST: usize = 150;

/// Lines kept from the end. Between them the oldest give way; the story says how many.
const KEPT_LAST: usize = 350;

/// Most seats of one story; a consultation comes nowhere near.
const MOST_SEATS: usize = 64;

/// Silences that begin no further apart are one: the relay looks at each seat about once a second.
const TOGETHER: Duration = Duration::from_secs(2);

/// One line of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// When it began, since the call began.
    pub at: Duration,
    /// The seat, as role and number.
    pub seat: String,
    /// What happened.
    pub what: &'static str,
    /// Whose matter it is.
    pub class: Class,
    /// The evidence.
    pub figures: Vec<(&'static str, u64)>,
    /// Plain words.
    pub text: String,
    /// Whether it goes on.
    pub ongoing: bool,
}

struct SeatLine {
    role: Role,
    ordinal: u16,
    here: bool,
    line: Line,
}

/// The story of one call.
pub struct Timeline {
    began: Instant,
    seats: Vec<SeatLine>,
    members: BTreeMap<MemberId, usize>,
    first: Vec<Telling>,
    last: VecDeque<Telling>,
    left_out: u64,
}

impl Timeline {
    /// Begins the story.
    #[must_use]
    pub fn new(began: Instant) -> Self {
        Self { began, seats: Vec::new(), members: BTreeMap::new(), first: Vec::new(), last: VecDeque::new(), left_out: 0 }
    }

    /// A seat is here; `again` names the number it had before, where it came back.
    pub fn on_joined(&mut self, member: MemberId, role: Role, again: Option<MemberId>, at: Instant) {
        let at = self.since(at);
        let known = again.and_then(|before| self.members.remove(&before)).or_else(|| self.members.get(&member).copied());
        let index = known.unwrap_or(self.seats.len());
        if known.is_none() {
            if index >= MOST_SEATS {
                self.left_out += 1;
                return;
            }
            let before = self.seats.iter().filter(|seat| seat.role == role).count();
            let ordinal = u16::try_from(before).unwrap_or(u16::MAX).saturating_add(1);
            self.seats.push(SeatLine { role, ordinal, here: true, line: Line::default() });
        }
        self.members.insert(member, index);
        if let Some(seat) = self.seats.get_mut(index) {
            seat.here = true;
        }
        let name = self.name(index);
        let text = if known.is_some() { format!("{name} came back") } else { format!("{name} came") };
        self.push(Telling { at, seat: name, what: "joined", class: Class::Course, figures: Vec::new(), text, ongoing: false });
    }

    /// Something happened to a seat.
    pub fn on_fact(&mut self, member: MemberId, fact: Fact, at: Instant) {
        let at = self.since(at);
        let Some(index) = self.members.get(&member).copied() else { return };
        let class = self.class_of(index, fact);
        let other = fact.other().and_then(|other| self.members.get(&other)).map(|other| self.name(*other));
        let name = self.name(index);
        let mut text = fact.words(&name, other.as_deref().unwrap_or("somebody"));
        if let Fact::Frozen { .. } = fact {
            text.push_str(match class {
                Class::TheirNetwork => ": their own line was in trouble",
                Class::OtherSide => ": the sender's line was in trouble",
                Class::Course | Class::OwnChoice | Class::Decision | Class::Consent | Class::TheirDevice | Class::Relay => {
                    ": no line was in trouble, so a device or browser is likely"
                }
            });
        }
        // Who was replaced is here still, by another connection.
        if let Fact::Left(why) = fact
            && why != Leaving::Replaced
        {
            self.leave(index);
        }
        self.push(Telling { at, seat: name, what: fact.code(), class, figures: fact.figures(), text, ongoing: false });
    }

    /// Figures of a seat over about the last second. To be called about once a second for every seat.
    pub fn on_figures(&mut self, member: MemberId, figures: &Figures, at: Instant) {
        let at = self.since(at);
        let Some(index) = self.members.get(&member).copied() else { return };
        let Some(seat) = self.seats.get_mut(index) else { return };
        for episode in seat.line.take(figures, at) {
            self.tell(index, &episode);
        }
    }

    /// The story so far, with what goes on.
    #[must_use]
    pub fn lines(&self) -> Vec<Telling> {
        let mut all: Vec<_> = self.first.iter().chain(&self.last).cloned().collect();
        for (index, seat) in self.seats.iter().enumerate() {
            let told = seat.line.open().filter(|episode| episode.is_told());
            all.extend(told.map(|episode| Telling { ongoing: true, ..self.line_of(index, episode) }));
        }
        all.sort_by_key(|line| line.at);
        all
    }

    /// The story as JSON: a code, the length in seconds, and the lines.
    #[must_use]
    pub fn render(&self, code: &SupportCode, now: Instant) -> Value {
        let line = |line: Telling| {
            let figures: serde_json::Map<_, _> =
                line.figures.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            json!({
                "at_s": line.at.as_secs(),
                "class": line.class.as_str(),
                "figures": figures,
                "ongoing": line.ongoing,
                "seat": line.seat,
                "text": line.text,
                "what": line.what,
            })
        };
        json!({
            "code": code.to_text(),
            "lasted_s": self.since(now).as_secs(),
            "left_out": self.left_out,
            "lines": self.lines().into_iter().map(line).collect::<Vec<_>>(),
        })
    }

    fn since(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.began)
    }

    /// The role, with a number where there are several.
    fn name(&self, index: usize) -> String {
        let Some(seat) = self.seats.get(index) else { return "somebody".to_owned() };
        let several = self.seats.iter().filter(|other| other.role == seat.role).count() > 1;
        let role = seat.role.as_str();
        if several { format!("{role} {}", seat.ordinal) } else { role.to_owned() }
    }

    /// Whose matter a fact is, with what is known of the lines.
    fn class_of(&self, index: usize, fact: Fact) -> Class {
        let Fact::Frozen { from, .. } = fact else { return fact.class() };
        let troubled = |index: usize, kinds: &[Trouble]| self.seats.get(index).is_some_and(|seat| seat.line.troubled(kinds));
        let sender = self.members.get(&from).copied();
        if sender.is_some_and(|sender| troubled(sender, &[Trouble::LossUp, Trouble::Silence])) {
            Class::OtherSide
        } else if troubled(index, &[Trouble::LossDown, Trouble::Narrow]) {
            Class::TheirNetwork
        } else {
            Class::TheirDevice
        }
    }

    fn leave(&mut self, index: usize) {
        let Some(seat) = self.seats.get_mut(index) else { return };
        seat.here = false;
        let over: Vec<_> = seat.line.close().collect();
        for episode in over {
            self.tell(index, &episode);
        }
    }

    fn tell(&mut self, index: usize, episode: &Episode) {
        if episode.is_told() {
            let line = self.line_of(index, episode);
            self.push(line);
        }
    }

    fn push(&mut self, line: Telling) {
        if self.first.len() < KEPT_FIRST {
            self.first.push(line);
            return;
        }
        if self.last.len() >= KEPT_LAST {
            self.last.pop_front();
            self.left_out += 1;
        }
        self.last.push_back(line);
    }

    /// An episode in words, with whose matter it is.
    fn line_of(&self, index: usize, episode: &Episode) -> Telling {
        let (who, s) = (self.name(index), episode.length().as_secs());
        let (percent, worst) = (episode.percent(), episode.bad);
        let for_s = ("for_s", s);
        let (what, class, figures, text) = match episode.trouble {
            Trouble::LossUp => {
                let text = format!("{who}'s line lost {percent} % of packets for {s} s");
                ("loss_up", Class::TheirNetwork, vec![("lost_percent", percent), for_s], text)
            }
            Trouble::LossDown => {
                let text = format!("{percent} % of packets to {who} were lost for {s} s");
                ("loss_down", Class::TheirNetwork, vec![("lost_percent", percent), for_s], text)
            }
            Trouble::Narrow => {
                let text = format!("the line to {who} carried as little as {worst} kbit/s for {s} s");
                ("narrow", Class::TheirNetwork, vec![("kbps", worst), for_s], text)
            }
            Trouble::Slow => {
                let text = format!("the round trip to {who} took up to {worst} ms for {s} s");
                ("slow", Class::TheirNetwork, vec![("rtt_ms", worst), for_s], text)
            }
            Trouble::Silence => self.silence(index, episode),
        };
        Telling { at: episode.from, seat: who, what, class, figures, text, ongoing: false }
    }

    /// Nobody's packets came: is it this seat, or are all of them silent?
    fn silence(&self, index: usize, episode: &Episode) -> (&'static str, Class, Vec<(&'static str, u64)>, String) {
        let (who, s) = (self.name(index), episode.length().as_secs());
        let alive = u64::from(episode.signalling);
        let near = |other: &Episode| other.trouble == Trouble::Silence && other.from.abs_diff(episode.from) <= TOGETHER;
        let others = self.seats.iter().enumerate().filter(|(other, seat)| *other != index && seat.here);
        let told = |name: &str| {
            let mut all = self.first.iter().chain(&self.last);
            all.any(|line| line.what == "silence" && line.seat == name && line.at.abs_diff(episode.from) <= TOGETHER)
        };
        let silent = |other: usize, seat: &SeatLine| seat.line.open().any(near) || told(&self.name(other));
        let (all, too) = others.fold((0_u64, 0_u64), |(all, too), (other, seat)| (all + 1, too + u64::from(silent(other, seat))));
        let figures = vec![("for_s", s), ("signalling_alive", alive), ("others_silent", too)];
        let (class, why) = if all > 0 && too == all {
            (Class::Relay, "and nobody else's came either: the relay or its network")
        } else if !episode.signalling {
            (Class::TheirNetwork, "and its signalling was gone too: their connection")
        } else if episode.heard_before {
            (Class::TheirNetwork, "while its signalling lived: their network")
        } else {
            (Class::TheirNetwork, "and none ever had, while its signalling lived: a firewall on their side is likely")
        };
        ("silence", class, figures, format!("no packets from {who} for {s} s, {why}"))
    }
}
