//! The relay's words in those of the account and the story.

use crate::audit::Event;
use crate::audit::attestation::{ConsentState, Modality};
use crate::audit::types::{ConsentScope, Word};
use crate::consultation::timeline::{Kind, Leaving};
use crate::model::roster::{LeaveReason, Source};

/// What a source is to the attestation.
pub(super) fn modality(source: Source) -> Modality {
    match source {
        Source::Microphone => Modality::Audio,
        Source::ScreenShare | Source::ScreenShareAudio => Modality::Screen,
        // Instruments come without a source.
        Source::Camera | Source::Unknown => Modality::Video,
    }
}

/// What a source is to the story.
pub(super) fn kind(source: Source) -> Kind {
    match modality(source) {
        Modality::Audio => Kind::Audio,
        Modality::Video => Kind::Video,
        Modality::Screen => Kind::Screen,
    }
}

/// Why a stay ended, to the story.
pub(super) fn leaving(why: LeaveReason) -> Leaving {
    match why {
        LeaveReason::ClientInitiated => Leaving::User,
        LeaveReason::DuplicateIdentity => Leaving::Replaced,
        LeaveReason::ParticipantRemoved | LeaveReason::NotAdmitted => Leaving::Removed,
        LeaveReason::RoomDeleted | LeaveReason::TimeLimit => Leaving::Ended,
        LeaveReason::SignalClose | LeaveReason::ConnectionTimeout | LeaveReason::JoinFailure | LeaveReason::MediaFailure => {
            Leaving::NetworkLost
        }
        LeaveReason::ServerShutdown | LeaveReason::StateMismatch => Leaving::Relay,
    }
}

/// What became of a consent, its scopes and the text, as the record says.
#[expect(clippy::wildcard_enum_match_arm, reason = "other entries are no consents")]
pub(super) fn consent(event: &Event) -> Option<(ConsentState, Vec<Word>, Option<Word>)> {
    Some(match event {
        Event::ConsentGiven { scope, text_version, .. } => (ConsentState::Given, scopes(scope), Some(text_version.clone())),
        Event::ConsentRefused { scope } => (ConsentState::Refused, scopes(scope), None),
        Event::ConsentWithdrawn { scope, .. } => (ConsentState::Withdrawn, scopes(scope), None),
        Event::ConsentEmergencyOverride { .. } => (ConsentState::Overridden, Vec::new(), None),
        _ => return None,
    })
}

fn scopes(scope: &[ConsentScope]) -> Vec<Word> {
    let word = |scope: &ConsentScope| match scope {
        ConsentScope::Teleconsultation => Word::new("teleconsultation"),
        ConsentScope::ThirdPerson(role) => Word::new(&format!("third_person:{}", role.as_str())),
        ConsentScope::FileExchange => Word::new("file_exchange"),
        ConsentScope::Aside => Word::new("aside"),
    };
    scope.iter().filter_map(|scope| word(scope).ok()).collect()
}
