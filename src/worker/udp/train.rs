//! What leaves together: datagrams become messages (a single one, or a train the kernel cuts), messages become calls.

use crate::relay::outbox::Outgoing;

/// Messages one call takes: from 32 on a call costs nothing measurable beside what is in it.
pub(super) const MESSAGES_PER_CALL: usize = 64;

/// Segments of one train at most: what every kernel with UDP segmentation takes (`UDP_MAX_SEGMENTS` was 64 before Linux 6.6).
pub(super) const SEGMENTS: usize = 64;

/// Datagrams of one call at most, each of which may lie in a place of its own: 256 of them are 4 KiB of places.
pub(super) const DATAGRAMS_PER_CALL: usize = 256;

/// Bytes of one train at most: an IP packet's 65,535, less the longest headers.
const TRAIN_BYTES: usize = 65_535 - 100;

/// Neighbouring datagrams of one path: one datagram, or a train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Index of its first datagram.
    pub(super) first: usize,
    /// How many datagrams it carries.
    pub(super) count: usize,
    /// Bytes of all of them.
    pub(super) len: usize,
    /// Length of every segment but the last.
    pub(super) segment: usize,
}

/// The message at the head of a list of which `first` is the index of its head; no longer than `longest` datagrams.
pub(super) fn message(datagrams: &[Outgoing], first: usize, longest: usize) -> Option<Message> {
    let rest = datagrams.get(first..)?;
    let head = rest.first()?;
    let (mut count, mut len) = (1, head.len);
    for (previous, next) in rest.iter().zip(rest.iter().skip(1)) {
        let joins = next.path == head.path && previous.len == head.len && next.len <= head.len;
        if !joins || count >= longest || (count + 1) * head.len > TRAIN_BYTES {
            break;
        }
        count += 1;
        len += next.len;
    }
    Some(Message { first, count, len, segment: head.len })
}

/// What the messages of one call have in common, since a call has one segment length for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shared {
    /// Segment length of its trains; none has been taken yet while it is `None`.
    segment: Option<usize>,
    /// The longest single datagram so far.
    longest: usize,
}

impl Shared {
    /// Takes a message in if it can leave with those before it. A datagram of at most the segment length is not cut, so it may go
    /// with trains.
    pub(super) fn admits(&mut self, message: &Message) -> bool {
        let fits = match (message.count, self.segment) {
            (1, None) => true,
            (1, Some(segment)) => message.segment <= segment,
            (_, None) => self.longest <= message.segment,
            (_, Some(segment)) => message.segment == segment,
        };
        if fits && message.count > 1 {
            self.segment = Some(message.segment);
        } else if fits {
            self.longest = self.longest.max(message.segment);
        }
        fits
    }

    /// The segment length to tell the kernel; `None` when every message is one datagram.
    pub(super) fn segment(&self) -> Option<u16> {
        self.segment.and_then(|segment| u16::try_from(segment).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Path;
    use crate::relay::outbox::{Batch, Outbox};
    use std::net::SocketAddr;

    fn outbox(lengths: &[(u16, usize)]) -> Outbox {
        let mut outbox = Outbox::default();
        for (port, len) in lengths {
            let path = Path { socket: 0, local: None, remote: SocketAddr::from(([127, 0, 0, 1], *port)) };
            assert!(outbox.push(path, false, &vec![0; *len]));
        }
        outbox
    }

    fn count(batch: &Batch, first: usize, longest: usize) -> usize {
        message(batch.datagrams(), first, longest).expect("one").count
    }

    #[test]
    fn a_train_is_of_one_path_and_length_and_ends_with_a_shorter_one() {
        let mut outbox = outbox(&[(1, 1_000), (1, 1_000), (1, 300), (1, 300), (2, 300)]);
        let batch = outbox.finish();
        assert_eq!(count(batch, 0, 64), 3, "two full ones and a shorter last one");
        assert_eq!(count(batch, 3, 64), 1, "another path follows");
        assert_eq!(count(batch, 0, 2), 2, "bounded by what the kernel takes");
        assert_eq!(count(batch, 0, 1), 1, "without segmentation every datagram goes alone");
        assert_eq!(message(batch.datagrams(), 5, 64), None);
    }

    #[test]
    fn what_a_room_of_three_gets_leaves_in_trains() {
        let mut outbox = outbox(&[(1, 1_000), (2, 1_000), (1, 1_000), (2, 1_000), (1, 400), (2, 400)]);
        assert_eq!(count(outbox.finish(), 0, 64), 1, "as it was made");
        let batch = outbox.gather();
        let train = message(batch.datagrams(), 0, 64).expect("one");
        assert_eq!((train.count, train.len, count(batch, 3, 64)), (3, 2_400, 3));
    }

    #[test]
    fn a_train_stays_below_an_ip_packet() {
        let mut outbox = outbox(&vec![(1, 1_200); 64]);
        let batch = outbox.finish();
        let train = message(batch.datagrams(), 0, 64).expect("one");
        assert_eq!((train.count, train.len), (54, 54 * 1_200));
    }

    #[test]
    fn a_call_has_one_segment_length_and_singles_no_longer_than_it() {
        let of = |count, segment| Message { first: 0, count, len: 0, segment };
        let mut shared = Shared::default();
        assert!(shared.admits(&of(1, 100)) && shared.admits(&of(1, 1_100)) && shared.segment().is_none());
        assert!(!shared.admits(&of(3, 1_000)), "1,100 would be cut");
        assert!(shared.admits(&of(3, 1_150)) && shared.admits(&of(1, 1_150)));
        assert!(!shared.admits(&of(1, 1_151)) && !shared.admits(&of(2, 1_149)));
        assert_eq!(shared.segment(), Some(1_150));
    }
}
