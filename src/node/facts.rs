//! Facts of consultations on their way from the workers to the register of the API.

use crate::api::v1::Register;
use crate::auth::Revocations;
use crate::relay::command::{Closing, Fact};
use crate::relay::event::Recorded;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Facts on their way: some 3 MB, and what a thousand consultations make in the moment they all begin.
const ON_THE_WAY: usize = 16_384;

/// Where workers leave facts; never waits.
#[derive(Debug)]
pub(super) struct Facts {
    sender: mpsc::Sender<Recorded>,
    lost: AtomicBool,
    revocations: Arc<Mutex<Revocations>>,
}

/// Both ends.
pub(super) fn channel(revocations: Arc<Mutex<Revocations>>) -> (Arc<Facts>, mpsc::Receiver<Recorded>) {
    let (sender, receiver) = mpsc::channel(ON_THE_WAY);
    (Arc::new(Facts { sender, lost: AtomicBool::new(false), revocations }), receiver)
}

impl Facts {
    /// Leaves a fact; one that finds no place is lost, and the readers of events are told so.
    pub(super) fn leave(&self, fact: Recorded) {
        self.revoke(&fact);
        if self.sender.try_send(fact).is_err() {
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Tokens of who was taken out, and of what is over, open nothing any more: at once, so that no door lets them in before
    /// the rest of the node has heard of it. A consultation that ended because nobody was there may be gone back to.
    #[expect(clippy::wildcard_enum_match_arm, reason = "other facts end nobody's right to come")]
    fn revoke(&self, recorded: &Recorded) {
        let revocations = || self.revocations.lock().unwrap_or_else(PoisonError::into_inner);
        let (room, at_s) = (&recorded.room, recorded.at.wall_ms / 1_000);
        match &recorded.fact {
            Fact::Removed { seat, .. } | Fact::AdmitRefused { seat, .. } => {
                revocations().revoke(room.clone(), seat.clone(), at_s);
            }
            Fact::RoomClosed { why: Closing::Ended | Closing::TimeLimit | Closing::Unrecorded, .. } => {
                revocations().close(room.clone(), at_s);
            }
            _ => {}
        }
    }
}

/// Hands facts over as long as the doors' runtime lives.
pub(super) async fn deliver(facts: Arc<Facts>, mut receiver: mpsc::Receiver<Recorded>, register: Arc<Register>) {
    while let Some(recorded) = receiver.recv().await {
        register.on_fact(&recorded.room, &recorded.sid, recorded.at.wall_ms, &recorded.fact);
        if facts.lost.swap(false, Ordering::Relaxed) {
            register.on_lost_facts();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Claims, Grants, Key, KeyRing, RoomPolicy, VideoClaims};
    use crate::model::{Identity, Now, RoomSid, TenantId};
    use crate::relay::command::By;

    const SECRET: &str = "a secret of a length that nobody guesses";

    fn grants(issued: u64) -> Grants {
        let secret = zeroize::Zeroizing::new(SECRET.to_owned());
        let key = || Key::shared("k", TenantId::new("t"), RoomPolicy::Consultation, &secret).expect("long enough");
        let video = VideoClaims { room_join: Some(true), room: Some("c".to_owned()), ..VideoClaims::default() };
        let claims = Claims {
            sub: Some("p".to_owned()),
            iat: Some(issued),
            exp: Some(issued + 600),
            video: Some(video),
            ..Claims::default()
        };
        let token = key().mint(&claims).expect("a shared secret signs");
        KeyRing::new([key()]).expect("one key").verify(&token, issued).expect("a good token")
    }

    fn after(fact: Fact) -> Arc<Mutex<Revocations>> {
        let revocations = Arc::new(Mutex::new(Revocations::default()));
        let (facts, _receiver) = channel(revocations.clone());
        let at = Now { mono: test_instant(), wall_ms: 100_900 };
        facts.leave(Recorded { room: grants(1).room(), sid: RoomSid::new("RM"), at, fact, ticket: None });
        revocations
    }

    fn test_instant() -> crate::model::Instant {
        crate::model::Instant::now()
    }

    fn joins(revocations: &Arc<Mutex<Revocations>>, issued: u64) -> bool {
        revocations.lock().expect("no panic").check_join(&grants(issued)).is_ok()
    }

    #[test]
    fn tokens_from_before_a_removal_open_nothing_and_later_ones_do() {
        let removed = after(Fact::Removed { seat: Identity::new("p"), by: By::Platform });
        assert!(!joins(&removed, 99) && !joins(&removed, 100) && joins(&removed, 101));
        let other = after(Fact::Removed { seat: Identity::new("r"), by: By::Platform });
        assert!(joins(&other, 99), "somebody else was removed");
    }

    #[test]
    fn tokens_from_before_the_end_do_not_open_it_again_unless_it_was_only_empty() {
        let ended = |why| after(Fact::RoomClosed { why, by: By::Policy, lasted_s: 1, seats: 1, peak: 1 });
        for why in [Closing::Ended, Closing::TimeLimit, Closing::Unrecorded] {
            let ended = ended(why);
            assert!(!joins(&ended, 99) && joins(&ended, 101), "{why:?}");
        }
        for why in [Closing::Empty, Closing::NodeStopped] {
            assert!(joins(&ended(why), 99), "{why:?}");
        }
    }
}
