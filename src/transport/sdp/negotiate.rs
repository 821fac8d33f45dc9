//! What each section of an offer may become, and which codecs a publisher is asked to send.

use std::sync::Arc;

use super::{Direction, Offer, Role, Section, SectionKind};
use crate::model::{Codec, Extension, ExtensionMap, MediaKind};

/// What one section may become.
#[derive(Clone)]
pub struct SectionPlan {
    /// Its place in the offer and in the answer.
    pub index: usize,
    /// Its mid, which never changes.
    pub mid: Arc<str>,
    /// What it is about.
    pub kind: SectionKind,
    /// The client offers to send, and something we take.
    pub can_receive: bool,
    /// The client offers only to receive, so it is a place for somebody else's track.
    pub can_send: bool,
}

impl std::fmt::Debug for SectionPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SectionPlan")
            .field("index", &self.index)
            .field("kind", &self.kind)
            .field("can_receive", &self.can_receive)
            .field("can_send", &self.can_send)
            .finish_non_exhaustive()
    }
}

/// What every section of an offer may become, in the offer's order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One entry for each section.
    pub sections: Vec<SectionPlan>,
}

impl Plan {
    /// Reads an offer's sections.
    #[must_use]
    pub fn of(offer: &Offer) -> Self {
        let plan = |(index, section): (usize, &Section)| SectionPlan {
            index,
            mid: Arc::clone(&section.mid),
            kind: section.kind,
            can_receive: section.can_receive(),
            can_send: section.can_send(),
        };
        Self { sections: offer.sections.iter().enumerate().map(plan).collect() }
    }

    /// The sections that can carry the client's own media of a kind.
    pub fn receivable(&self, kind: MediaKind) -> impl Iterator<Item = &SectionPlan> {
        self.sections.iter().filter(move |section| section.can_receive && section.kind == SectionKind::Media(kind))
    }

    /// The sections that can carry somebody else's media of a kind.
    pub fn sendable(&self, kind: MediaKind) -> impl Iterator<Item = &SectionPlan> {
        self.sections.iter().filter(move |section| section.can_send && section.kind == SectionKind::Media(kind))
    }
}

impl Section {
    /// Whether the client offers to send media we take.
    #[must_use]
    pub fn can_receive(&self) -> bool {
        let sends = matches!(self.direction, Direction::SendOnly | Direction::SendRecv);
        !self.rejected && sends && self.has_media()
    }

    /// Whether the client offers to receive media, and sends none itself here.
    #[must_use]
    pub fn can_send(&self) -> bool {
        !self.rejected && self.direction == Direction::RecvOnly && self.has_media()
    }

    /// Whether the client puts redundant sound before plain.
    #[must_use]
    pub fn prefers_red(&self) -> bool {
        self.codecs.iter().find_map(|offered| offered.codec.filter(|codec| matches!(codec, Codec::Opus | Codec::Red)))
            == Some(Codec::Red)
    }

    fn has_media(&self) -> bool {
        self.media_kind().is_some() && self.codecs.iter().any(|codec| codec.codec.is_some())
    }

    /// Ids of the header extensions packets carry in a role; the answer accepts these and may name more.
    ///
    /// Never the video orientation: a publisher that may not signal it turns the picture itself, and so every
    /// viewer sees it upright, also those whose browser does not know the extension. Nor the audio level towards a
    /// viewer, who is told who speaks by signalling.
    #[must_use]
    pub fn accepted_extensions(&self, role: Role) -> ExtensionMap {
        let mut accepted = ExtensionMap::default();
        if let Some(kind) = self.media_kind() {
            let feeds_back = |name| self.codecs.iter().any(|codec| codec.feedback.contains(&name));
            for offered in &self.offered_extensions {
                // An extension flows from whoever sends the media, unless it was offered the other way only.
                let flows = match (offered.direction, role) {
                    (None | Some(Direction::SendRecv), _)
                    | (Some(Direction::SendOnly), Role::Receive)
                    | (Some(Direction::RecvOnly), Role::Send) => true,
                    (Some(Direction::SendOnly | Direction::RecvOnly | Direction::Inactive), _) => false,
                };
                let wanted = match offered.extension {
                    Extension::Mid | Extension::AbsCaptureTime => true,
                    Extension::Rid => role == Role::Receive,
                    Extension::RepairedRid => role == Role::Receive && kind == MediaKind::Video,
                    Extension::AudioLevel => role == Role::Receive && kind == MediaKind::Audio,
                    // Voice is counted in as well: one row of numbers goes over all that is sent to a viewer.
                    Extension::TransportCc => feeds_back("transport-cc"),
                    // Only what REMB is computed from; to viewers one of the two kinds of feedback is enough.
                    Extension::AbsSendTime => kind == MediaKind::Video && (role == Role::Receive || !feeds_back("transport-cc")),
                    Extension::DependencyDescriptor => kind == MediaKind::Video,
                    Extension::PlayoutDelay => role == Role::Send && kind == MediaKind::Video,
                    Extension::VideoOrientation => false,
                };
                if flows && wanted {
                    accepted.set(offered.extension, offered.id);
                }
            }
        }
        accepted
    }
}

/// Which codecs the relay takes from publishers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveCodecs {
    /// Whether redundant audio is taken beside Opus, which stays the preferred one.
    pub allow_red: bool,
}

impl ReceiveCodecs {
    /// Every codec in order of preference. VP8 comes first: each browser sends it in simulcast and decodes it.
    pub const PREFERENCE: [Codec; 6] = [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1, Codec::Opus, Codec::Red];

    /// Whether a publisher may send a codec.
    #[must_use]
    pub fn supported(self, codec: Codec) -> bool {
        match codec {
            Codec::Opus | Codec::Vp8 | Codec::H264 | Codec::Vp9 | Codec::Av1 => true,
            Codec::Red => self.allow_red,
        }
    }

    /// Payload types to accept in a section, the preferred one first; one for each codec.
    ///
    /// `first` is what the publisher asked for; it goes to the front where it is offered and taken. Empty where
    /// nothing fits.
    #[must_use]
    pub fn choose(self, section: &Section, first: Option<Codec>) -> Vec<u8> {
        let rest = Self::PREFERENCE.into_iter().filter(|codec| Some(*codec) != first);
        first
            .into_iter()
            .chain(rest)
            .filter(|codec| self.supported(*codec))
            .filter_map(|codec| section.pick(codec, None))
            .map(|codec| codec.payload_type)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::sdp::fixtures::{CHROMIUM_CAMERA, CHROMIUM_FIRST, FIREFOX_FIRST};

    fn names(section: &Section, chosen: &[u8]) -> Vec<Codec> {
        chosen.iter().filter_map(|payload_type| section.codec(*payload_type)?.codec).collect()
    }

    #[test]
    fn a_first_offer_is_a_pool_of_places_to_send() {
        for text in [CHROMIUM_FIRST, FIREFOX_FIRST] {
            let plan = Plan::of(&Offer::parse(text).expect("a fixture"));
            let mids = |kind| plan.sendable(kind).map(|section| section.mid.to_string()).collect::<Vec<_>>();
            assert_eq!(mids(MediaKind::Audio), ["0", "1", "2"]);
            assert_eq!(mids(MediaKind::Video), ["3", "4", "5"]);
            assert_eq!(plan.receivable(MediaKind::Audio).count() + plan.receivable(MediaKind::Video).count(), 0);
        }
    }

    #[test]
    fn a_publication_is_appended_to_the_pool() {
        let plan = Plan::of(&Offer::parse(CHROMIUM_CAMERA).expect("a fixture"));
        let places: Vec<usize> = plan.receivable(MediaKind::Video).map(|section| section.index).collect();
        assert_eq!(places, [8]);
        assert_eq!(plan.sendable(MediaKind::Video).count(), 3);
    }

    #[test]
    fn the_order_is_ours_unless_the_publisher_asks() {
        let offer = Offer::parse(CHROMIUM_CAMERA).expect("a fixture");
        let video = offer.section("8").expect("the camera");
        let order = |first| names(video, &ReceiveCodecs::default().choose(video, first));
        assert_eq!(order(None), [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1]);
        assert_eq!(order(Some(Codec::Vp9)), [Codec::Vp9, Codec::Vp8, Codec::H264, Codec::Av1]);
        assert_eq!(order(Some(Codec::Red))[0], Codec::Vp8, "one that is not offered changes nothing");
    }

    #[test]
    fn redundant_sound_is_preferred_by_whoever_puts_it_first() {
        let offer = Offer::parse(CHROMIUM_CAMERA).expect("a fixture");
        let audio = offer.section("7").expect("the microphone");
        assert!(!audio.prefers_red(), "as browsers do by themselves");
        let mut asked = audio.clone();
        asked.codecs.sort_by_key(|offered| offered.codec != Some(Codec::Red));
        assert!(asked.prefers_red());
        let chosen = names(&asked, &ReceiveCodecs { allow_red: true }.choose(&asked, Some(Codec::Red)));
        assert_eq!(chosen, [Codec::Red, Codec::Opus]);
    }

    #[test]
    fn red_is_taken_only_where_it_is_allowed() {
        let offer = Offer::parse(CHROMIUM_CAMERA).expect("a fixture");
        let audio = offer.section("7").expect("the microphone");
        assert_eq!(names(audio, &ReceiveCodecs::default().choose(audio, Some(Codec::Red))), [Codec::Opus]);
        assert_eq!(names(audio, &ReceiveCodecs { allow_red: true }.choose(audio, None)), [Codec::Opus, Codec::Red]);
    }
}
