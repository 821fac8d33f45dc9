//! Sending a batch: voice first when the socket pushes back, and simpler means where the kernel refuses better ones.
//!
//! Knows no system call: a [`Wire`] carries messages and says what became of them, so that tests can push back as they like.

use super::train::{DATAGRAMS_PER_CALL, MESSAGES_PER_CALL, Message, SEGMENTS, Shared, message};
use crate::relay::outbox::{Batch, Outgoing};

/// Bytes kept for the next tick when the socket pushes back: 10 ms at 200 Mbit/s; what would wait longer is better dropped.
const HELD_BYTES: usize = 256 * 1024;

/// Ticks a picture's datagram is tried again: its frame is late by then, and the next one needs the room.
const TRIES: u8 = 1;

/// Ticks an urgent datagram is tried again: a voice packet is of use for some 100 ms, ticks under pressure are about 1 ms apart.
const URGENT_TRIES: u8 = 16;

/// Carries messages to the kernel.
pub(super) trait Wire {
    /// Sends the first so many of some messages, which share a socket, a source and a segment length; answers how many, at least 1.
    ///
    /// # Errors
    /// [`Refused`] says what became of the first one when none was sent.
    fn send(
        &mut self,
        datagrams: &[Outgoing],
        bytes: &[u8],
        messages: &[Message],
        segment: Option<u16>,
    ) -> Result<usize, Refused>;
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The socket or the queue below it is full; later it may work.
    Full,
    /// This message will not go, for example for want of a route; others may.
    Lost,
    /// The kernel refuses a train, or a source address: the same datagrams may go one by one.
    Train,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams sent.
    pub datagrams: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Urgent datagrams dropped since the socket was full for too long.
    pub full_urgent: u64,
    /// Other datagrams dropped since the socket was full.
    pub full: u64,
    /// Datagrams the kernel would not send, for example for want of a route.
    pub lost: u64,
}

/// Datagrams that wait for the next tick, in one buffer.
#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    datagrams: Vec<Outgoing>,
    tries: Vec<u8>,
}

/// Sends batches, and keeps a little of what did not go.
#[derive(Debug, Default)]
pub(super) struct Sending {
    held: Held,
    /// The buffers of the batch before, used again.
    spare: Held,
    /// Datagrams left over in the current batch, by index.
    left: Vec<usize>,
    messages: Vec<Message>,
    /// Sockets by number whose kernel path refuses trains.
    plain: u64,
}

impl Sending {
    /// Starts with trains (`gso`) or without.
    pub(super) fn new(gso: bool) -> Self {
        Self { plain: if gso { 0 } else { u64::MAX }, ..Self::default() }
    }

    /// Whether something waits for the next tick.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.datagrams.is_empty()
    }

    /// Whether a socket sends no trains.
    pub(super) fn is_plain(&self, socket: u8) -> bool {
        socket >= 64 || self.plain >> socket & 1 == 1
    }

    /// Sends what was held and then the batch.
    pub(super) fn send(&mut self, batch: &Batch, wire: &mut impl Wire) -> Sent {
        let mut sent = Sent::default();
        let mut before = std::mem::replace(&mut self.held, std::mem::take(&mut self.spare));
        let mut full = false;
        if !before.datagrams.is_empty() {
            full = self.send_all(&before.datagrams, &before.bytes, wire, &mut sent);
            self.keep(&before.datagrams, &before.bytes, &before.tries, &mut sent);
        }
        if full {
            // Nothing new is tried but what is urgent.
            self.left.clear();
            self.left.extend(0..batch.datagrams().len());
            self.send_urgent(batch.datagrams(), batch.bytes(), wire, &mut sent);
        } else {
            self.send_all(batch.datagrams(), batch.bytes(), wire, &mut sent);
        }
        self.keep(batch.datagrams(), batch.bytes(), &[], &mut sent);
        before.bytes.clear();
        before.datagrams.clear();
        before.tries.clear();
        self.spare = before;
        sent
    }

    /// Sends a list in its order. When the socket pushes back, the urgent ones of the rest are tried once more; what is left after
    /// that stands in `left`. Answers whether the socket pushed back.
    fn send_all(&mut self, datagrams: &[Outgoing], bytes: &[u8], wire: &mut impl Wire, sent: &mut Sent) -> bool {
        self.left.clear();
        let mut next = 0;
        while next < datagrams.len() {
            match self.send_call(datagrams, bytes, next, wire, sent) {
                Ok(after) => next = after,
                Err(stuck) => {
                    self.left.extend(stuck..datagrams.len());
                    self.send_urgent(datagrams, bytes, wire, sent);
                    return true;
                }
            }
        }
        false
    }

    /// Tries the urgent ones of what is left, one by one since they stand apart, until the socket pushes back again.
    fn send_urgent(&mut self, datagrams: &[Outgoing], bytes: &[u8], wire: &mut impl Wire, sent: &mut Sent) {
        let mut full = false;
        let mut left = std::mem::take(&mut self.left);
        left.retain(|index| {
            let Some(urgent) = datagrams.get(*index).filter(|datagram| datagram.urgent && !full) else { return true };
            let Some(single) = message(datagrams, *index, 1) else { return false };
            match wire.send(datagrams, bytes, &[single], None) {
                Ok(_) => sent.count(1, urgent.len),
                Err(Refused::Full) => full = true,
                Err(Refused::Lost | Refused::Train) => sent.lost += 1,
            }
            full
        });
        self.left = left;
    }

    /// One call from `first` on: as many messages as can leave together. Answers the index of the first datagram that was not
    /// dealt with; as an error when the socket is full.
    fn send_call(
        &mut self,
        datagrams: &[Outgoing],
        bytes: &[u8],
        first: usize,
        wire: &mut impl Wire,
        sent: &mut Sent,
    ) -> Result<usize, usize> {
        let Some(head) = datagrams.get(first) else { return Ok(datagrams.len()) };
        let (socket, local) = (head.path.socket, head.path.local);
        let longest = if self.is_plain(socket) { 1 } else { SEGMENTS };
        let mut shared = Shared::default();
        let mut next = first;
        self.messages.clear();
        while self.messages.len() < MESSAGES_PER_CALL
            && datagrams.get(next).is_some_and(|datagram| (datagram.path.socket, datagram.path.local) == (socket, local))
            && let Some(message) = message(datagrams, next, longest)
            && next + message.count - first <= DATAGRAMS_PER_CALL
            && shared.admits(&message)
        {
            next += message.count;
            self.messages.push(message);
        }
        match wire.send(datagrams, bytes, &self.messages, shared.segment()) {
            Ok(count) => {
                let gone = self.messages.get(..count.max(1)).unwrap_or(&self.messages);
                gone.iter().for_each(|message| sent.count(message.count, message.len));
                Ok(gone.last().map_or(next, |last| last.first + last.count))
            }
            Err(Refused::Full) => Err(first),
            Err(Refused::Lost) => {
                let lost = self.messages.first().map_or(1, |message| message.count);
                sent.lost += lost as u64;
                Ok(first + lost)
            }
            Err(Refused::Train) => self.send_one_by_one(datagrams, bytes, socket, wire, sent),
        }
    }

    /// The kernel refused a call: its first message is sent as single datagrams. Where that works, the kernel does not do trains
    /// on this socket; where it does not, the fault lies with the destination.
    fn send_one_by_one(
        &mut self,
        datagrams: &[Outgoing],
        bytes: &[u8],
        socket: u8,
        wire: &mut impl Wire,
        sent: &mut Sent,
    ) -> Result<usize, usize> {
        let Some(refused) = self.messages.first().copied() else { return Ok(datagrams.len()) };
        let with_trains = self.messages.iter().any(|message| message.count > 1);
        for index in refused.first..refused.first + refused.count {
            let Some(single) = message(datagrams, index, 1) else { continue };
            match wire.send(datagrams, bytes, &[single], None) {
                Ok(_) => {
                    sent.count(1, single.len);
                    if with_trains {
                        self.plain |= 1_u64.checked_shl(u32::from(socket)).unwrap_or(0);
                    }
                }
                Err(Refused::Full) => return Err(index),
                Err(Refused::Lost | Refused::Train) => sent.lost += 1,
            }
        }
        Ok(refused.first + refused.count)
    }

    /// Keeps what is left for the next tick, urgent ones first, while there is room and it has not waited too long already.
    fn keep(&mut self, datagrams: &[Outgoing], bytes: &[u8], tries: &[u8], sent: &mut Sent) {
        for wanted in [true, false] {
            for index in &self.left {
                let Some(datagram) = datagrams.get(*index).filter(|datagram| datagram.urgent == wanted) else { continue };
                let tried = tries.get(*index).copied().unwrap_or(0);
                let most = if datagram.urgent { URGENT_TRIES } else { TRIES };
                let contents = bytes.get(datagram.start..datagram.start + datagram.len).unwrap_or_default();
                if tried < most && self.held.bytes.len() + contents.len() <= HELD_BYTES {
                    let start = self.held.bytes.len();
                    self.held.bytes.extend_from_slice(contents);
                    self.held.datagrams.push(Outgoing { start, ..*datagram });
                    self.held.tries.push(tried + 1);
                } else if datagram.urgent {
                    sent.full_urgent += 1;
                } else {
                    sent.full += 1;
                }
            }
        }
        self.left.clear();
    }
}

impl Sent {
    fn count(&mut self, datagrams: usize, bytes: usize) {
        self.datagrams += datagrams as u64;
        self.bytes += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Path;
    use crate::relay::outbox::Outbox;
    use std::net::SocketAddr;

    /// Takes as many datagrams as it has room for; remembers their first bytes in order.
    #[derive(Default)]
    struct Fake {
        room: usize,
        refuses_trains: bool,
        unreachable: Option<u16>,
        gone: Vec<u8>,
        calls: usize,
    }

    impl Wire for Fake {
        fn send(
            &mut self,
            datagrams: &[Outgoing],
            bytes: &[u8],
            messages: &[Message],
            segment: Option<u16>,
        ) -> Result<usize, Refused> {
            self.calls += 1;
            let mut done = 0;
            for message in messages {
                let path = datagrams[message.first].path;
                let refused = if self.unreachable == Some(path.remote.port()) {
                    // As Linux answers for a source address that is gone: the same error as for a train it cannot cut.
                    Some(if message.count > 1 { Refused::Train } else { Refused::Lost })
                } else if self.refuses_trains && segment.is_some() {
                    Some(Refused::Train)
                } else {
                    (self.room < message.count).then_some(Refused::Full)
                };
                match refused {
                    Some(refused) if done == 0 => return Err(refused),
                    Some(_) => break,
                    None => {}
                }
                self.room -= message.count;
                let train = &datagrams[message.first..message.first + message.count];
                self.gone.extend(train.iter().map(|datagram| bytes[datagram.start]));
                done += 1;
            }
            Ok(done)
        }
    }

    /// Datagrams of (mark, port, length, urgent).
    fn outbox(list: &[(u8, u16, usize, bool)]) -> Outbox {
        let mut outbox = Outbox::default();
        for (mark, port, len, urgent) in list {
            let path = Path { socket: 0, local: None, remote: SocketAddr::from(([127, 0, 0, 1], *port)) };
            assert!(outbox.push(path, *urgent, &vec![*mark; *len]));
        }
        outbox
    }

    /// A frame of three to each of two people, and a voice packet to each after it.
    fn talk() -> Outbox {
        let mut list: Vec<_> =
            [1, 2].iter().flat_map(|port| (0..3).map(|n| (10 * *port as u8 + n, *port, 1_000, false))).collect();
        list.extend([(1, 1, 100, true), (2, 2, 100, true)]);
        outbox(&list)
    }

    #[test]
    fn trains_and_singles_leave_in_one_call_and_in_order() {
        let mut wire = Fake { room: 100, ..Fake::default() };
        let sent = Sending::new(true).send(talk().finish(), &mut wire);
        assert_eq!(wire.gone, [10, 11, 12, 20, 21, 22, 1, 2]);
        assert_eq!(wire.calls, 1);
        assert_eq!(sent, Sent { datagrams: 8, bytes: 6_200, ..Sent::default() });
    }

    #[test]
    fn without_trains_the_same_arrives() {
        let mut wire = Fake { room: 100, ..Fake::default() };
        let sent = Sending::new(false).send(talk().finish(), &mut wire);
        assert_eq!(wire.gone, [10, 11, 12, 20, 21, 22, 1, 2]);
        assert_eq!(sent.datagrams, 8);
    }

    #[test]
    fn a_kernel_that_refuses_trains_is_asked_once() {
        let mut wire = Fake { room: 100, refuses_trains: true, ..Fake::default() };
        let mut sending = Sending::new(true);
        let sent = sending.send(talk().finish(), &mut wire);
        assert_eq!((sent.datagrams, sent.lost), (8, 0));
        assert_eq!(wire.gone, [10, 11, 12, 20, 21, 22, 1, 2]);
        assert!(sending.is_plain(0) && !sending.is_plain(1), "other sockets keep theirs");
        wire.calls = 0;
        sending.send(talk().finish(), &mut wire);
        assert_eq!(wire.calls, 1, "no second try");
    }

    #[test]
    fn one_destination_that_cannot_be_reached_does_not_end_trains_for_all() {
        let mut wire = Fake { room: 100, unreachable: Some(1), ..Fake::default() };
        let mut sending = Sending::new(true);
        let sent = sending.send(talk().finish(), &mut wire);
        assert_eq!((sent.datagrams, sent.lost), (4, 4));
        assert_eq!(wire.gone, [20, 21, 22, 2]);
        assert!(!sending.is_plain(0));
    }

    #[test]
    fn voice_goes_first_of_what_is_left_when_the_socket_is_full() {
        // Room for the first train and one more datagram: the second frame pushes back, a voice packet still fits.
        let mut wire = Fake { room: 4, ..Fake::default() };
        let mut sending = Sending::new(true);
        let sent = sending.send(talk().finish(), &mut wire);
        assert_eq!(wire.gone, [10, 11, 12, 1], "the first voice before the second frame");
        assert_eq!((sent.datagrams, sent.full, sent.full_urgent), (4, 0, 0), "the rest is held");
        assert!(sending.is_holding());
        wire.room = 100;
        sending.send(outbox(&[(30, 1, 500, false)]).finish(), &mut wire);
        assert_eq!(wire.gone[4..], [2, 20, 21, 22, 30], "voice, then the frame, then what is new");
        assert!(!sending.is_holding());
    }

    #[test]
    fn a_socket_that_stays_full_drops_pictures_soon_and_voice_later() {
        let mut wire = Fake::default();
        let mut sending = Sending::new(true);
        sending.send(talk().finish(), &mut wire);
        let mut none = Outbox::default();
        let none = none.finish();
        let second = sending.send(none, &mut wire);
        assert_eq!((second.full, second.full_urgent), (6, 0));
        let later: Vec<Sent> = (0..URGENT_TRIES).map(|_| sending.send(none, &mut wire)).collect();
        assert_eq!(later.iter().map(|sent| sent.full_urgent).sum::<u64>(), 2);
        assert!(!sending.is_holding());
    }

    #[test]
    fn what_is_held_is_bounded_and_voice_has_the_first_claim() {
        let mut wire = Fake::default();
        let mut sending = Sending::new(true);
        let mut list = vec![(7, 1, 1_000, false); 400];
        list.extend(vec![(8, 1, 100, true); 20]);
        let sent = sending.send(outbox(&list).finish(), &mut wire);
        assert_eq!(sent.full_urgent, 0);
        let held = (HELD_BYTES - 20 * 100) / 1_000;
        assert_eq!(sent.full as usize, 400 - held);
    }
}
