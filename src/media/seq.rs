//! Sequence numbers that do not wrap (RFC 3550 appendix A.1, in 64 bits).

/// Extends 16-bit RTP sequence numbers to 64 bits.
///
/// The first number starts in cycle 1, so that a packet reordered before it still has an index above zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeqExtender {
    highest: Option<u64>,
}

impl SeqExtender {
    /// The extended number nearest to the highest one seen; moves the highest forward, never back.
    pub fn extend(&mut self, sequence: u16) -> u64 {
        let extended = self.peek(sequence);
        if self.highest.is_none_or(|highest| extended > highest) {
            self.highest = Some(extended);
        }
        extended
    }

    /// The same without moving anything.
    #[must_use]
    pub fn peek(&self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else {
            return (1 << 16) | u64::from(sequence);
        };
        let distance = sequence.wrapping_sub(highest as u16) as i16;
        highest.saturating_add_signed(i64::from(distance))
    }

    /// The highest extended number seen.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_forward_and_takes_late_packets_back() {
        let mut extender = SeqExtender::default();
        assert_eq!(extender.extend(65_534), 0x1_FFFE);
        assert_eq!(extender.extend(1), 0x2_0001);
        assert_eq!(extender.extend(65_535), 0x1_FFFF, "late, across the wrap");
        assert_eq!(extender.highest(), Some(0x2_0001), "never moves back");
    }
}
