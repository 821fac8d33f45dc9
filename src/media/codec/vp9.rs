//! The VP9 payload descriptor (RFC 9628 section 4.2).

use super::Facts;

pub(super) fn inspect(payload: &[u8]) -> Facts {
    parse(payload).unwrap_or_default()
}

fn parse(payload: &[u8]) -> Option<Facts> {
    let (&first, mut rest) = payload.split_first()?;
    let has = |bit: u8| first & bit != 0;
    let (picture_id, inter_predicted, layers, flexible) = (has(0x80), has(0x40), has(0x20), has(0x10));
    if picture_id {
        let long = rest.first()? & 0x80 != 0;
        rest = rest.get(if long { 2 } else { 1 }..)?;
    }
    let mut facts = Facts { frame_start: has(0x08), frame_end: has(0x04), intra: !inter_predicted, ..Facts::default() };
    if layers {
        let (&octet, tail) = rest.split_first()?;
        facts.temporal = Some(octet >> 5);
        facts.spatial = Some(octet >> 1 & 0x07);
        facts.switching_point = octet & 0x10 != 0;
        // TL0PICIDX follows outside flexible mode.
        rest = if flexible { tail } else { tail.get(1..)? };
    }
    if flexible && inter_predicted {
        // At most three reference differences (RFC 9628 section 4.2).
        for _ in 0..3 {
            let (&octet, tail) = rest.split_first()?;
            rest = tail;
            if octet & 0x01 == 0 {
                break;
            }
        }
    }
    facts.key_frame_start = facts.frame_start && !inter_predicted && facts.spatial.unwrap_or(0) == 0;
    facts.switching_point |= facts.key_frame_start;
    Some(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_is_not_predicted_and_starts_at_the_lowest_spatial_layer() {
        // I, L, B; long picture id; TID 0, U 0, SID 0; TL0PICIDX; data.
        let facts = inspect(&[0xa8, 0x81, 0x02, 0x00, 5, 0xff]);
        assert!(facts.key_frame_start && facts.frame_start && !facts.frame_end);
        assert_eq!((facts.temporal, facts.spatial), (Some(0), Some(0)));
        assert!(!inspect(&[0xa8, 0x81, 0x02, 0x02, 5, 0xff]).key_frame_start, "spatial layer 1 of the same picture");
        assert!(!inspect(&[0xe8, 0x81, 0x02, 0x00, 5, 0xff]).key_frame_start, "predicted");
        assert!(!inspect(&[0xa4, 0x81, 0x02, 0x00, 5, 0xff]).frame_start, "the last packet of the frame");
    }

    #[test]
    fn reads_layers_in_flexible_mode() {
        // I, P, L, F, B, E; short picture id; TID 2, U, SID 1; two reference differences; data.
        let facts = inspect(&[0xfc, 0x11, 0x52, 0x03, 0x02, 0xff]);
        assert_eq!((facts.temporal, facts.spatial), (Some(2), Some(1)));
        assert!(facts.switching_point && facts.frame_start && facts.frame_end && !facts.key_frame_start);
    }

    #[test]
    fn a_descriptor_cut_short_is_nothing_known() {
        for cut in 0..5 {
            assert_eq!(inspect(&[0xa8, 0x81, 0x02, 0x00, 5][..cut]), Facts::default(), "{cut}");
            assert_eq!(inspect(&[0xfc, 0x11, 0x52, 0x03, 0x02][..cut]), Facts::default(), "{cut}");
        }
    }
}
