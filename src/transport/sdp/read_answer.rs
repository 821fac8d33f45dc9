//! The client's answer to our own offer.
//!
//! It has the form of an offer and is read as one, with three things more to see to: the sections are those we offered, each
//! in its place; the client takes the active DTLS role, for we are the server; and what it refused says so.

use std::sync::Arc;

use super::{Offer, SdpError, SectionKind, Setup};

/// Reads an answer; `offered` are the mids and kinds of our sections, in their order.
///
/// # Errors
///
/// [`SdpError::Mismatch`] where the sections are others, [`SdpError::SetupRole`] where the client would not open the DTLS
/// association, and whatever a description can be refused for. Each is the peer's fault.
pub fn read_answer<'a>(text: &str, offered: impl Iterator<Item = (&'a Arc<str>, SectionKind)>) -> Result<Offer, SdpError> {
    let answer = Offer::parse(text)?;
    if answer.setup != Setup::Active {
        return Err(SdpError::SetupRole);
    }
    let mut answered = answer.sections.iter();
    for (mid, kind) in offered {
        let section = answered.next().ok_or(SdpError::Mismatch)?;
        // A section that was refused need not say which it is.
        let named = section.mid == *mid || (section.rejected && section.mid.is_empty());
        if section.kind != kind || !named {
            return Err(SdpError::Mismatch);
        }
    }
    if answered.next().is_some() {
        return Err(SdpError::Mismatch);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MediaKind;
    use crate::transport::sdp::fixtures::small;

    const AUDIO: SectionKind = SectionKind::Media(MediaKind::Audio);

    fn read(text: &str, offered: &[(&str, SectionKind)]) -> Result<(), SdpError> {
        let offered: Vec<(Arc<str>, SectionKind)> = offered.iter().map(|(mid, kind)| (Arc::from(*mid), *kind)).collect();
        read_answer(text, offered.iter().map(|(mid, kind)| (mid, *kind))).map(|_| ())
    }

    #[test]
    fn an_answer_fits_its_offer_or_is_refused() {
        let good = small("").replace("actpass", "active");
        assert_eq!(read(&good, &[("0", AUDIO)]), Ok(()));
        assert_eq!(read(&good, &[("1", AUDIO)]), Err(SdpError::Mismatch));
        assert_eq!(read(&good, &[("0", SectionKind::Application)]), Err(SdpError::Mismatch));
        assert_eq!(read(&good, &[("0", AUDIO), ("1", AUDIO)]), Err(SdpError::Mismatch), "one is missing");
        assert_eq!(read(&good, &[]), Err(SdpError::Mismatch), "one too many");
    }

    #[test]
    fn only_the_active_role_is_left_to_a_client() {
        for role in ["passive", "actpass"] {
            let text = small("").replace("actpass", role);
            assert_eq!(read(&text, &[("0", AUDIO)]), Err(SdpError::SetupRole), "{role}");
        }
    }

    #[test]
    fn a_refused_section_may_be_nameless() {
        let good = small("").replace("actpass", "active");
        let text = format!("{good}m=video 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\n");
        assert_eq!(read(&text, &[("0", AUDIO), ("1", SectionKind::Media(MediaKind::Video))]), Ok(()));
    }
}
