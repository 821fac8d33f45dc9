//! H.264 NAL unit headers (RFC 6184 section 5): single NAL units, STAP-A and FU-A.

use super::Facts;

const SLICE_IDR: u8 = 5;
const SPS: u8 = 7;
const ACCESS_UNIT_DELIMITER: u8 = 9;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// H.264 has no bit for "start of a frame". A parameter set or a delimiter proves one; the first slice of an IDR picture is
/// reported as a key frame start without `frame_start`, because a parameter set may have gone before it: the reader must see
/// from the packets before it whether it is the first of its frame.
pub(super) fn inspect(payload: &[u8]) -> Facts {
    let mut facts = Facts::default();
    let Some((&header, rest)) = payload.split_first() else { return facts };
    match header & 0x1f {
        1..=23 => note(&mut facts, header & 0x1f, rest),
        STAP_A => {
            let mut units = rest;
            // Each turn takes at least two bytes, so the payload bounds the loop.
            while let Some((size, tail)) = units.split_first_chunk::<2>() {
                let Some((unit, next)) = tail.split_at_checked(usize::from(u16::from_be_bytes(*size))) else { break };
                if let Some((&header, slice)) = unit.split_first() {
                    note(&mut facts, header & 0x1f, slice);
                }
                units = next;
            }
        }
        FU_A => {
            if let Some((&fragment, slice)) = rest.split_first()
                && fragment & 0x80 != 0
            {
                note(&mut facts, fragment & 0x1f, slice);
            }
        }
        _ => {}
    }
    facts.switching_point = facts.key_frame_start;
    facts
}

fn note(facts: &mut Facts, unit_type: u8, slice: &[u8]) {
    match unit_type {
        SPS => {
            facts.frame_start = true;
            facts.key_frame_start = true;
        }
        ACCESS_UNIT_DELIMITER => facts.frame_start = true,
        // first_mb_in_slice is an Exp-Golomb code: its first bit is set only for 0, the picture's first slice.
        SLICE_IDR if slice.first().is_some_and(|first| first & 0x80 != 0) => facts.key_frame_start = true,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// STAP-A with SPS (2 bytes), PPS (1 byte) and an IDR slice (2 bytes).
    const STAP: [u8; 12] = [24, 0, 2, 0x67, 0x42, 0, 1, 0x68, 0, 2, 0x65, 0x88];

    #[test]
    fn a_parameter_set_opens_a_key_frame() {
        for payload in [&[0x67, 0x42][..], &STAP, &[0x7c, 0x87, 0x42]] {
            let facts = inspect(payload);
            assert!(facts.frame_start && facts.key_frame_start, "{payload:?}");
        }
    }

    #[test]
    fn an_idr_slice_alone_does_not_prove_the_start_of_its_frame() {
        for payload in [&[0x65, 0x88][..], &[0x7c, 0x85, 0x88]] {
            let facts = inspect(payload);
            assert!(facts.key_frame_start && !facts.frame_start, "{payload:?}");
        }
        assert!(!inspect(&[0x65, 0x40]).key_frame_start, "a later slice of the picture");
        assert!(!inspect(&[0x7c, 0x05, 0x88]).key_frame_start, "a fragment in the middle");
        assert!(!inspect(&[0x7c, 0x45, 0x88]).key_frame_start, "the last fragment");
        assert!(!inspect(&[0x41, 0x9a]).key_frame_start, "a delta slice");
    }

    #[test]
    fn a_delimiter_before_an_idr_slice_proves_it() {
        let facts = inspect(&[24, 0, 2, 0x09, 0x10, 0, 2, 0x65, 0x88]);
        assert!(facts.frame_start && facts.key_frame_start);
    }

    #[test]
    fn truncations_and_lying_sizes_are_harmless() {
        for cut in 0..STAP.len() {
            let facts = inspect(&STAP[..cut]);
            assert_eq!(facts.key_frame_start, cut >= 5, "{cut}");
        }
        assert_eq!(inspect(&[24, 0xff, 0xff, 0x67]), Facts::default());
        assert_eq!(inspect(&[24, 0, 0, 0, 0]), Facts::default());
    }
}
