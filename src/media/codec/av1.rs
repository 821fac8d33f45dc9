//! AV1: the mandatory fields of the dependency descriptor (AV1 RTP specification appendix A.8.2) and, without one, the
//! aggregation header of the payload (section 4.4).

use super::Facts;

pub(super) fn inspect(payload: &[u8], dependency_descriptor: Option<&[u8]>) -> Facts {
    if let Some(facts) = dependency_descriptor.and_then(descriptor) {
        return facts;
    }
    // Z|Y|W W|N: N marks the first packet of a coded video sequence, and such a packet continues nothing (Z = 0).
    let opens_sequence = payload.first().is_some_and(|header| header & 0x88 == 0x08);
    Facts { frame_start: opens_sequence, key_frame_start: opens_sequence, switching_point: opens_sequence, ..Facts::default() }
}

/// The layers of a frame stand in the template structure, which this does not keep: temporal and spatial stay unknown.
fn descriptor(bytes: &[u8]) -> Option<Facts> {
    let (mandatory, extended) = bytes.split_first_chunk::<3>()?;
    let frame_start = mandatory.first()? & 0x80 != 0;
    let frame_end = mandatory.first()? & 0x40 != 0;
    // A new template structure is attached to the first packet of a key frame, and in practice to nothing else.
    let structure = extended.first().is_some_and(|flags| flags & 0x80 != 0);
    let key_frame_start = frame_start && structure;
    Some(Facts { frame_start, frame_end, key_frame_start, switching_point: key_frame_start, ..Facts::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attached_structure_at_a_frame_start_is_a_key_frame() {
        let facts = inspect(&[0x10], Some(&[0x80, 0, 1, 0x80, 0]));
        assert!(facts.frame_start && facts.key_frame_start && !facts.frame_end);
        let delta = inspect(&[0x18], Some(&[0xc1, 0, 2]));
        assert!(delta.frame_start && delta.frame_end && !delta.key_frame_start, "the descriptor outranks the payload");
        assert!(!inspect(&[0x10], Some(&[0x80, 0, 3, 0x40])).key_frame_start, "extended, but no structure");
        assert!(!inspect(&[0x90], Some(&[0x00, 0, 1, 0x80])).key_frame_start, "not the first packet of its frame");
    }

    #[test]
    fn without_a_descriptor_the_aggregation_header_tells() {
        assert!(inspect(&[0x18, 0x0a], None).key_frame_start);
        assert!(!inspect(&[0x10, 0x0a], None).key_frame_start);
        assert!(!inspect(&[0x98, 0x0a], None).key_frame_start, "a continuation opens nothing");
        assert!(inspect(&[0x18], Some(&[0x80, 0])).key_frame_start, "a descriptor cut short counts as none");
        assert_eq!(inspect(&[], None), Facts::default());
    }
}
