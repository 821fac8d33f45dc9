//! Refused tokens on record: the first of each kind from each source at once, what follows within the minute as one entry with a
//! count, and never more entries than the disk can bear, whoever sends what.
//!
//! Entry points: [`Refusals`] as a [`Witness`], [`Refusals::look`] once a second.

use crate::audit::event::Event;
use crate::audit::record::{Actor, Fact};
use crate::audit::types::{NetRef, Word};
use crate::audit::words::TokenRefusal;
use crate::auth::{RefusedToken, Why, Witness};
use crate::model::Instant;
use crate::worker::audit_writer::Recorder;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long refusals of one kind are merged.
const WINDOW: Duration = Duration::from_secs(60);

/// Kinds of refusals of all sources in a window; beyond it they are counted as one. At half a kilobyte an entry, twice: 0.6 MB a
/// minute.
const MOST: usize = 600;

/// Kinds of refusals of one source in a window; beyond it they count under the first of its kinds.
const MOST_OF_SOURCE: u32 = 10;

/// What is merged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    net: NetRef,
    fam: u8,
    why: TokenRefusal,
    bearer: Option<(Word, Option<Word>)>,
}

#[derive(Debug)]
struct Merged {
    since: Instant,
    /// Since the first, which is on record.
    more: u32,
}

#[derive(Debug, Default)]
struct Inner {
    /// At most [`MOST`]; each goes when its window is over.
    kinds: HashMap<Kind, Merged>,
    /// How many kinds each source has there.
    sources: HashMap<NetRef, u32>,
    /// Refusals that found no room.
    beyond: u32,
    beyond_since: Option<Instant>,
}

/// Refused tokens on their way to the record.
#[derive(Debug)]
pub(super) struct Refusals {
    recorder: Recorder,
    inner: Mutex<Inner>,
}

#[expect(clippy::disallowed_methods, reason = "windows are measured where refusals come in")]
fn now() -> Instant {
    std::time::Instant::now().into()
}

impl Refusals {
    pub(super) fn new(recorder: Recorder) -> Self {
        Self { recorder, inner: Mutex::default() }
    }

    /// Writes what was merged in windows that are over.
    pub(super) fn look(&self) {
        for fact in self.inner().end_windows(now(), WINDOW) {
            self.write(fact);
        }
    }

    /// Writes everything that was merged: the node stops.
    pub(super) fn finish(&self) {
        for fact in self.inner().end_windows(now(), Duration::ZERO) {
            self.write(fact);
        }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, fact: Fact) {
        // A loss is counted by the recorder and shown by its figures.
        let _ = self.recorder.record(fact);
    }
}

impl Witness for Refusals {
    fn token_refused(&self, refused: &RefusedToken) {
        let Some((net, fam)) = self.recorder.address(refused.from.to_canonical()) else { return };
        let bearer = refused.bearer.as_ref().and_then(|(tenant, key)| {
            // A tenant without a log of its own stands in the node's.
            self.recorder.pseudonyms(tenant.as_str())?;
            Some((Word::new(tenant.as_str()).ok()?, Word::new(key).ok()))
        });
        let first = self.inner().take(Kind { net, fam, why: word(refused.why), bearer }, now());
        if let Some(fact) = first {
            self.write(fact);
        }
    }
}

impl Inner {
    /// Takes one refusal; answers what is written at once.
    fn take(&mut self, kind: Kind, now: Instant) -> Option<Fact> {
        if let Some(merged) = self.kinds.get_mut(&kind) {
            merged.more = merged.more.saturating_add(1);
            return None;
        }
        let of_source = self.sources.get(&kind.net).copied().unwrap_or(0);
        if of_source >= MOST_OF_SOURCE
            && let Some((_, merged)) = self.kinds.iter_mut().find(|(known, _)| known.net == kind.net)
        {
            merged.more = merged.more.saturating_add(1);
            return None;
        }
        if self.kinds.len() >= MOST {
            self.beyond = self.beyond.saturating_add(1);
            self.beyond_since.get_or_insert(now);
            return None;
        }
        *self.sources.entry(kind.net).or_default() += 1;
        let fact = kind.fact(1, Duration::ZERO);
        self.kinds.insert(kind, Merged { since: now, more: 0 });
        Some(fact)
    }

    /// Ends windows that began so long ago; answers what was merged in them.
    fn end_windows(&mut self, now: Instant, length: Duration) -> Vec<Fact> {
        let over = |since: Instant| now.saturating_duration_since(since) >= length;
        let mut facts = Vec::new();
        let sources = &mut self.sources;
        self.kinds.retain(|kind, merged| {
            if !over(merged.since) {
                return true;
            }
            if merged.more > 0 {
                facts.push(kind.fact(merged.more, now.saturating_duration_since(merged.since)));
            }
            if let Some(count) = sources.get_mut(&kind.net) {
                *count -= 1;
                if *count == 0 {
                    sources.remove(&kind.net);
                }
            }
            false
        });
        if let Some(since) = self.beyond_since.take_if(|since| over(*since)) {
            let ev = Word::new("token.refused").expect("a word of letters and a dot");
            let count = std::mem::take(&mut self.beyond);
            let event = Event::AuditSuppressed { count, ev, window_ms: millis(now.saturating_duration_since(since)) };
            facts.push(Fact::of_node(Actor::System, event));
        }
        facts
    }
}

impl Kind {
    fn fact(&self, count: u32, window: Duration) -> Fact {
        let kid = self.bearer.as_ref().and_then(|(_, kid)| kid.clone());
        let event = Event::TokenRefused { why: self.why, count, fam: self.fam, kid, net: self.net, window_ms: millis(window) };
        match &self.bearer {
            Some((tenant, _)) => Fact::of_tenant(tenant.clone(), Actor::System, event),
            None => Fact::of_node(Actor::System, event),
        }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn word(why: Why) -> TokenRefusal {
    match why {
        Why::Malformed => TokenRefusal::Malformed,
        Why::UnknownKey => TokenRefusal::UnknownKey,
        Why::Algorithm => TokenRefusal::BadAlg,
        Why::Signature => TokenRefusal::BadSignature,
        Why::Expired => TokenRefusal::Expired,
        Why::NotYet => TokenRefusal::NotYet,
        Why::Lifetime => TokenRefusal::TtlTooLong,
        Why::Revoked => TokenRefusal::Revoked,
        Why::InUse => TokenRefusal::Replayed,
        Why::Hidden => TokenRefusal::HiddenGrant,
        Why::Role => TokenRefusal::RoleUnknown,
        Why::Room => TokenRefusal::WrongRoom,
        Why::Full => TokenRefusal::RoomFull,
        Why::Early => TokenRefusal::TooEarly,
        Why::Over => TokenRefusal::RoomClosed,
        Why::Unrecorded => TokenRefusal::AuditUnavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{NetPseudonyms, SecretKey};
    use std::net::{IpAddr, Ipv4Addr};

    fn kind(address: u32, why: TokenRefusal) -> Kind {
        let (net, fam) = NetPseudonyms::new(SecretKey::new([7; 32])).address(IpAddr::V4(Ipv4Addr::from_bits(address)));
        Kind { net, fam, why, bearer: None }
    }

    fn counts(facts: &[Fact]) -> Vec<(&'static str, u32)> {
        let count = |fact: &Fact| {
            if let Event::TokenRefused { count, .. } = fact.event {
                return ("refused", count);
            }
            let Event::AuditSuppressed { count, .. } = fact.event else { panic!("{:?}", fact.event) };
            ("suppressed", count)
        };
        facts.iter().map(count).collect()
    }

    #[test]
    fn the_first_of_a_kind_is_written_at_once_and_the_rest_as_one() {
        let (mut inner, start) = (Inner::default(), now());
        let first = inner.take(kind(1, TokenRefusal::Expired), start).expect("the first");
        assert_eq!(counts(&[first]), [("refused", 1)]);
        for _ in 0..41 {
            assert!(inner.take(kind(1, TokenRefusal::Expired), start).is_none());
        }
        assert!(inner.take(kind(1, TokenRefusal::Revoked), start).is_some(), "another kind");
        assert!(inner.take(kind(2, TokenRefusal::Expired), start).is_some(), "another source");
        assert!(inner.end_windows(start + WINDOW / 2, WINDOW).is_empty());
        let merged = inner.end_windows(start + WINDOW, WINDOW);
        assert_eq!(counts(&merged), [("refused", 41)]);
        let Some(Event::TokenRefused { window_ms, .. }) = merged.first().map(|fact| fact.event.clone()) else { panic!("one") };
        assert_eq!(window_ms, 60_000);
        assert!(inner.kinds.is_empty() && inner.sources.is_empty(), "nothing is kept of what is over");
        assert!(inner.take(kind(1, TokenRefusal::Expired), start + WINDOW).is_some(), "a new minute");
    }

    #[test]
    fn a_flood_from_everywhere_writes_so_much_and_its_count() {
        let (mut inner, start) = (Inner::default(), now());
        let written = (0..100_000).filter(|address| inner.take(kind(*address, TokenRefusal::UnknownKey), start).is_some());
        assert_eq!(written.count(), MOST);
        let merged = inner.end_windows(start + WINDOW, WINDOW);
        assert_eq!(counts(&merged), [("suppressed", 100_000 - MOST as u32)]);
    }

    #[test]
    fn a_source_that_tries_everything_writes_so_much_and_its_count() {
        let (mut inner, start) = (Inner::default(), now());
        let tenant = |at: u32| {
            let tenant = Word::new(&format!("t{at}")).expect("a word");
            Kind { bearer: Some((tenant, None)), ..kind(1, TokenRefusal::Expired) }
        };
        assert_eq!((0..500).filter(|at| inner.take(tenant(*at), start).is_some()).count(), MOST_OF_SOURCE as usize);
        let merged: u32 = counts(&inner.end_windows(start + WINDOW, WINDOW)).iter().map(|(_, count)| count).sum();
        assert_eq!(merged, 500 - MOST_OF_SOURCE);
    }
}
