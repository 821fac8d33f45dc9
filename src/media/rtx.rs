//! Retransmission payloads (RFC 4588 section 4): the original sequence number, then the original payload.

/// Writes a retransmission payload and answers its length; `None` where `out` is too small.
#[must_use]
pub fn write_rtx_payload(out: &mut [u8], original_sequence: u16, payload: &[u8]) -> Option<usize> {
    let (head, tail) = out.split_first_chunk_mut::<2>()?;
    let room = tail.get_mut(..payload.len())?;
    *head = original_sequence.to_be_bytes();
    room.copy_from_slice(payload);
    Some(2 + payload.len())
}

/// The original sequence number and payload; `None` for padding, which probes send on a retransmission stream.
#[must_use]
pub fn parse_rtx(payload: &[u8]) -> Option<(u16, &[u8])> {
    let (original, rest) = payload.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*original), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = [0; 8];
        let len = write_rtx_payload(&mut out, 0xfedc, &[1, 2, 3]).unwrap();
        assert_eq!(parse_rtx(&out[..len]), Some((0xfedc, &[1, 2, 3][..])));
    }

    #[test]
    fn short_buffers_are_refused_untouched() {
        let mut out = [7; 4];
        assert_eq!(write_rtx_payload(&mut out, 1, &[1, 2, 3]), None);
        assert_eq!(out, [7; 4]);
        assert_eq!(write_rtx_payload(&mut [0; 1], 1, &[]), None);
        assert_eq!((parse_rtx(&[]), parse_rtx(&[1])), (None, None));
    }
}
