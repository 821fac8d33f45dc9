//! One opening of a consultation's room: its facts as they come in, turned into the account's and the story's.

use super::{Noted, Site, told};
use crate::audit::Micros;
use crate::audit::attestation::{Account, ConsentFact, ConsentState, LogRange, Member, Place, Statement};
use crate::audit::pseudonym::{RoomPseudonyms, TenantPseudonyms};
use crate::audit::types::{ParticipantRef, RoomRef, Word};
use crate::consultation::timeline::{Fact as Told, StepCause, SupportCode, Timeline, Transport};
use crate::consultation::{Fact, Gate, MemberId};
use crate::model::Instant;
use crate::model::roster::{Role, Source};
use crate::model::{Identity, RoomKey, TrackSid};
use crate::node::chronicle::role_of;
use crate::relay::event::{Happening, Recorded, Tally};
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

/// Consents that may wait for their entry: the writer takes some 25 ms for one.
const MOST_CONSENTS_WAITING: usize = 32;

/// A track that falls silent so soon after somebody else silenced it did so because of that.
const SILENCED: Duration = Duration::from_secs(2);

/// What an account needs of the record.
struct Book {
    account: Account,
    refs: RoomPseudonyms,
    range: Option<LogRange>,
    /// Consents that happened and have no entry yet.
    waiting: VecDeque<(ParticipantRef, ConsentState, Instant)>,
}

/// One opening of a consultation's room.
pub(super) struct Opening {
    pub(super) key: RoomKey,
    pub(super) code: Option<SupportCode>,
    /// When it opened.
    pub(super) opened: Micros,
    /// When it ended, and when it is given up waiting for its last entry.
    pub(super) closed: Option<Instant>,
    /// Its last entry stands in the record.
    pub(super) recorded: bool,
    book: Option<Book>,
    numbers: HashMap<Identity, u32>,
    tracks: HashMap<TrackSid, (Identity, Source)>,
    aside: HashSet<Identity>,
    silenced: Option<(Identity, Source, Instant)>,
}

impl Opening {
    pub(super) fn new(recorded: &Recorded, keys: Option<(&TenantPseudonyms, &Site)>, code: Option<SupportCode>) -> Self {
        let opened = Micros(recorded.at.wall_ms.saturating_mul(1_000));
        let book = keys.and_then(|(keys, site)| {
            let refs = keys.room(recorded.sid.as_str());
            let place = Place {
                build: site.build.clone(),
                consult: Word::new(&keys.consultation(recorded.room.name.as_str()).to_text()).ok()?,
                node: site.node.clone(),
                region: site.region.clone(),
                room: Word::new(&refs.room().to_text()).ok()?,
            };
            let account = Account::new(place, recorded.at.mono, opened);
            Some(Book { account, refs, range: None, waiting: VecDeque::new() })
        });
        Self {
            key: recorded.room.clone(),
            code,
            opened,
            closed: None,
            recorded: false,
            book,
            numbers: HashMap::new(),
            tracks: HashMap::new(),
            aside: HashSet::new(),
            silenced: None,
        }
    }

    /// The room's reference in the record.
    pub(super) fn room_ref(&self) -> Option<RoomRef> {
        self.book.as_ref().map(|book| book.refs.room())
    }

    /// Whether something may be stated of it.
    pub(super) fn is_attested(&self) -> bool {
        self.book.is_some()
    }

    pub(super) fn on_loss(&mut self) {
        if let Some(book) = &mut self.book {
            book.account.on_loss();
        }
    }

    /// What can be stated now, and whether it is the last word; nothing before the first entry stands in the record.
    pub(super) fn statement(&self, last: bool, now: Instant, wall: Micros) -> Option<Statement> {
        let book = self.book.as_ref()?;
        let range = book.range.clone()?;
        Some(book.account.statement(range, last, self.closed.unwrap_or(now), wall))
    }

    /// Seats are as many as ever came; the rules bound them.
    fn number(&mut self, seat: &Identity) -> u32 {
        if let Some(number) = self.numbers.get(seat) {
            return *number;
        }
        let number = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX).saturating_add(1);
        self.numbers.insert(seat.clone(), number);
        number
    }

    fn account(&mut self, act: impl FnOnce(&mut Account, &RoomPseudonyms)) {
        if let Some(book) = &mut self.book {
            act(&mut book.account, &book.refs);
        }
    }

    /// Takes in what was decided.
    pub(super) fn on_fact(&mut self, recorded: &Recorded, story: Option<&mut Timeline>) {
        let at = recorded.at.mono;
        self.count(&recorded.fact, at);
        if let Some(story) = story {
            self.tell(&recorded.fact, story, at);
        }
        if let Fact::Unpublished { track, .. } = &recorded.fact {
            self.tracks.remove(track);
        }
        if let Fact::RoomClosed { .. } = recorded.fact {
            self.closed.get_or_insert(at);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the account needs few of the facts")]
    fn count(&mut self, fact: &Fact, at: Instant) {
        match fact {
            Fact::Joined { seat, role } => {
                let (member, role) = (Member(self.number(seat)), role_of(*role));
                self.account(|account, refs| {
                    if let Ok(word) = Word::new(&refs.participant(seat.as_str()).to_text()) {
                        account.on_joined(member, &word, role, at);
                    }
                });
            }
            Fact::Left { seat, .. } => self.of_seat(seat, |account, member| account.on_left(member, at)),
            Fact::GateOpened { seat } => self.of_seat(seat, |account, member| account.on_gate(member, true, at)),
            Fact::GateClosed { seat, why } if *why != Gate::Absent => {
                self.of_seat(seat, |account, member| account.on_gate(member, false, at));
            }
            Fact::Published { seat, track, source, .. } => {
                self.tracks.insert(track.clone(), (seat.clone(), *source));
                let kind = told::modality(*source);
                self.of_seat(seat, |account, member| account.on_muted(member, kind, false, at));
            }
            Fact::Unpublished { seat, track } => {
                if let Some((_, source)) = self.tracks.get(track) {
                    let kind = told::modality(*source);
                    self.of_seat(seat, |account, member| account.on_muted(member, kind, true, at));
                }
            }
            Fact::ConsentGiven { seat, .. } => self.wait_for_consent(seat, ConsentState::Given, at),
            Fact::ConsentRefused { seat, .. } => self.wait_for_consent(seat, ConsentState::Refused, at),
            Fact::ConsentWithdrawn { seat, .. } => self.wait_for_consent(seat, ConsentState::Withdrawn, at),
            Fact::EmergencyOverride { seat, .. } => self.wait_for_consent(seat, ConsentState::Overridden, at),
            Fact::AsideOpened { members, .. } | Fact::AsideChanged { members, .. } => {
                let members: Vec<_> = members.iter().map(|seat| Member(self.number(seat))).collect();
                self.account(|account, _| account.on_aside(&members, at));
            }
            Fact::AsideClosed { .. } => self.account(|account, _| account.on_aside_closed(at)),
            _ => {}
        }
    }

    fn of_seat(&mut self, seat: &Identity, act: impl FnOnce(&mut Account, Member)) {
        let member = Member(self.number(seat));
        self.account(|account, _| act(account, member));
    }

    fn wait_for_consent(&mut self, seat: &Identity, state: ConsentState, at: Instant) {
        let Some(book) = &mut self.book else { return };
        if book.waiting.len() >= MOST_CONSENTS_WAITING {
            // Its entry never came, so it was refused.
            book.waiting.pop_front();
        }
        book.waiting.push_back((book.refs.participant(seat.as_str()), state, at));
    }

    /// Takes in that an entry stands in the record.
    pub(super) fn on_entry(&mut self, log: Word, seq: u64, noted: &Noted, now: Instant) {
        let seat = |numbers: &HashMap<Identity, u32>, refs: &RoomPseudonyms, who: ParticipantRef| {
            numbers.iter().find(|(seat, _)| refs.participant(seat.as_str()) == who).map(|(_, number)| Member(*number))
        };
        let Some(book) = &mut self.book else { return };
        let range = book.range.get_or_insert_with(|| LogRange { from_seq: seq, origin: log.clone(), to_seq: seq });
        if range.origin != log {
            // The log was begun anew; the range says what the old one holds.
            return book.account.on_loss();
        }
        range.to_seq = range.to_seq.max(seq);
        range.from_seq = range.from_seq.min(seq);
        match noted {
            Noted::Consent(who, event) => {
                let Some((state, scope, text_version)) = told::consent(event) else { return };
                let found = book.waiting.iter().rposition(|(of, what, _)| of == who && *what == state);
                let at = found.and_then(|index| book.waiting.remove(index)).map_or(now, |(_, _, at)| at);
                if let Some(member) = seat(&self.numbers, &book.refs, *who) {
                    book.account.on_consent(member, ConsentFact { state, scope, text_version, seq }, at);
                }
            }
            Noted::Closed => self.recorded = true,
            Noted::Other => {}
        }
    }

    /// Takes in what was delivered.
    pub(super) fn on_tally(&mut self, tally: &Tally, mut story: Option<&mut Timeline>) {
        for one in &tally.delivered {
            let (to, from) = (Member(self.number(&one.to)), Member(self.number(&one.from)));
            let kind = told::modality(one.source);
            self.account(|account, _| account.on_delivered(to, from, kind, (one.since, one.until)));
        }
        for happened in &tally.happened {
            let member = self.number(&happened.seat);
            if let Happening::Muted(source) | Happening::Unmuted(source) = happened.what {
                let (kind, muted) = (told::modality(source), happened.what == Happening::Muted(source));
                self.account(|account, _| account.on_muted(Member(member), kind, muted, happened.at));
            }
            if let Some(story) = story.as_deref_mut()
                && let Some(fact) = self.happening(&happened.seat, &happened.what, happened.at)
            {
                story.on_fact(MemberId(member), fact, happened.at);
            }
        }
        let Some(story) = story else { return };
        for (seat, figures) in &tally.lines {
            story.on_figures(MemberId(self.number(seat)), figures, tally.at.mono);
        }
    }

    fn happening(&mut self, seat: &Identity, what: &Happening, at: Instant) -> Option<Told> {
        Some(match what {
            Happening::Connected => Told::Connected(Transport::Udp),
            Happening::Moved => Told::Moved(Transport::Udp),
            Happening::NoPath => Told::NoPath,
            Happening::NoHandshake => Told::NoHandshake,
            Happening::SignalLost => Told::SignalLost,
            Happening::Muted(source) => {
                let by_other = self.silenced.as_ref().is_some_and(|(of, what, when)| {
                    of == seat && what == source && at.max(*when).saturating_duration_since(at.min(*when)) < SILENCED
                });
                if by_other {
                    return None;
                }
                Told::Muted(told::kind(*source))
            }
            Happening::Unmuted(source) => Told::Unmuted(told::kind(*source)),
            Happening::Paused { from } => {
                Told::SteppedDown { from: MemberId(self.number(from)), height: 0, cause: StepCause::Bandwidth }
            }
            Happening::Resumed { from } => Told::SteppedUp { from: MemberId(self.number(from)), height: 0 },
        })
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the story needs few of the facts")]
    fn tell(&mut self, fact: &Fact, story: &mut Timeline, at: Instant) {
        let (seat, what) = match fact {
            Fact::TokenAccepted { seat, role, .. } => return self.comes(seat, *role, story, at),
            Fact::Waiting { seat, .. } => (seat, Told::Waiting),
            Fact::Admitted { seat, .. } => (seat, Told::Admitted),
            Fact::AdmitRefused { seat, .. } => (seat, Told::TurnedAway),
            Fact::Resumed { seat, gap_s } => (seat, Told::Resumed { gap_s: *gap_s }),
            Fact::Left { seat, why, .. } => (seat, Told::Left(told::leaving(*why))),
            Fact::ConsentGiven { seat, .. } => (seat, Told::ConsentGiven),
            Fact::ConsentRefused { seat, .. } => (seat, Told::ConsentRefused),
            Fact::ConsentWithdrawn { seat, .. } => (seat, Told::ConsentWithdrawn),
            Fact::GateOpened { seat } => (seat, Told::GateOpened),
            Fact::GateClosed { seat, why } if *why != Gate::Absent => (seat, Told::GateShut),
            Fact::Published { seat, source, .. } => (seat, Told::Published(told::kind(*source))),
            Fact::Unpublished { seat, track } => {
                let Some((_, source)) = self.tracks.get(track) else { return };
                (seat, Told::Unpublished(told::kind(*source)))
            }
            Fact::Muted { seat, track, .. } => {
                let Some((_, source)) = self.tracks.get(track) else { return };
                self.silenced = Some((seat.clone(), *source, at));
                (seat, Told::MutedByOther(told::kind(*source)))
            }
            Fact::AsideOpened { members, left_out, .. } => {
                self.aside = members.iter().cloned().collect();
                let apart = members.iter().map(|seat| (seat, Told::AsideEntered));
                for (seat, what) in apart.chain(left_out.iter().map(|seat| (seat, Told::LeftOut))) {
                    story.on_fact(MemberId(self.number(seat)), what, at);
                }
                return;
            }
            Fact::AsideClosed { .. } => {
                for seat in std::mem::take(&mut self.aside) {
                    story.on_fact(MemberId(self.number(&seat)), Told::AsideLeft, at);
                }
                return;
            }
            _ => return,
        };
        story.on_fact(MemberId(self.number(seat)), what, at);
    }

    fn comes(&mut self, seat: &Identity, role: Role, story: &mut Timeline, at: Instant) {
        let number = MemberId(self.number(seat));
        story.on_joined(number, role, None, at);
    }
}
