//! The plaintext half of a DTLS 1.2 handshake as a server receives it: records, fragments, ClientHello.
//!
//! Everything here is unauthenticated input, so it is bounded and checked before the DTLS crate sees it: messages are
//! put together here, each is handed on exactly once, in order, of the type its place asks for, in one record. What the
//! crate would keep for ever (repeated fragments) or recurse over (one-byte fragments) never reaches it.
//!
//! Entry points: [`records`], [`Reassembly::push`], [`parse_client_hello`].

/// Bytes of a record header (RFC 6347, section 4.1).
pub(super) const RECORD_HEADER: usize = 13;
/// Bytes of a handshake header (RFC 6347, section 4.2.2).
pub(super) const HANDSHAKE_HEADER: usize = 12;
/// Records read from one datagram; a client's last flight has five.
const MAX_RECORDS: usize = 16;
/// Fragments read from one record.
const MAX_FRAGMENTS: usize = 16;
/// Largest message: a ClientHello with post-quantum key shares has about 2,000 bytes, a certificate about 500.
const MAX_MESSAGE: usize = 4096;
/// What a client sends in the clear, by message sequence: ClientHello, ClientHello with cookie, Certificate,
/// ClientKeyExchange, CertificateVerify (RFC 6347, section 4.2.4, with client authentication).
const EXPECTED: [u8; MESSAGES] = [1, 1, 11, 16, 15];
/// How many messages that are.
pub(super) const MESSAGES: usize = 5;

/// Content types (RFC 5246, section 6.2.1).
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, the one suite we accept.
const CIPHER_SUITE: u16 = 0xc02b;
const ECDSA_P256_SHA256: u16 = 0x0403;
/// P-256, P-384, X25519.
const GROUPS: [u16; 3] = [23, 24, 29];
const VERSION_1_2: [u8; 2] = [254, 253];

/// One record of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) kind: u8,
    pub(super) epoch: u16,
    pub(super) body: &'a [u8],
    /// Header and body.
    pub(super) whole: &'a [u8],
}

fn split_record(datagram: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (head, _) = datagram.split_first_chunk::<RECORD_HEADER>()?;
    let [kind, 254, 253 | 255, e0, e1, _, _, _, _, _, _, l0, l1] = *head else { return None };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let (whole, rest) = datagram.split_at_checked(RECORD_HEADER + length)?;
    let body = whole.get(RECORD_HEADER..)?;
    (!body.is_empty()).then_some((Record { kind, epoch: u16::from_be_bytes([e0, e1]), body, whole }, rest))
}

/// The records of a datagram, up to the first that is malformed.
pub(super) fn records(datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (record, after) = split_record(rest)?;
        rest = after;
        Some(record)
    })
    .take(MAX_RECORDS)
}

/// A record of epoch 0 around `body`, with a sequence number of our own counting.
pub(super) fn plain_record(kind: u8, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut record = Vec::with_capacity(RECORD_HEADER + body.len());
    record.extend_from_slice(&[kind, 254, 253, 0, 0, 0, 0]);
    record.extend_from_slice(&sequence.to_be_bytes());
    record.extend_from_slice(&length.to_be_bytes());
    record.extend_from_slice(body);
    record
}

struct Fragment<'a> {
    kind: u8,
    length: usize,
    sequence: u16,
    offset: usize,
    bytes: &'a [u8],
}

fn u24([a, b, c]: [u8; 3]) -> usize {
    usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
}

fn split_fragment(body: &[u8]) -> Option<(Fragment<'_>, &[u8])> {
    let (head, rest) = body.split_first_chunk::<HANDSHAKE_HEADER>()?;
    let [kind, l0, l1, l2, s0, s1, o0, o1, o2, f0, f1, f2] = *head;
    let (length, offset) = (u24([l0, l1, l2]), u24([o0, o1, o2]));
    let (bytes, rest) = rest.split_at_checked(u24([f0, f1, f2]))?;
    let whole = length <= MAX_MESSAGE && offset + bytes.len() <= length;
    whole.then_some((Fragment { kind, length, sequence: u16::from_be_bytes([s0, s1]), offset, bytes }, rest))
}

/// A message under reassembly: its bytes and which of them have come.
struct Partial {
    bytes: Vec<u8>,
    seen: Vec<bool>,
}

/// What a record of fragments brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pushed {
    /// It repeated the message before the one awaited: the answer to that was lost.
    pub(super) repeats: bool,
}

/// Puts a client's messages together; at most [`MESSAGES`] of [`MAX_MESSAGE`] bytes and their marks, 40 KiB.
#[derive(Default)]
pub(super) struct Reassembly {
    next: usize,
    partial: [Option<Partial>; MESSAGES],
}

impl Reassembly {
    /// Index of the message awaited.
    pub(super) fn next(&self) -> usize {
        self.next
    }

    /// Whether every plaintext message has come.
    pub(super) fn is_complete(&self) -> bool {
        self.next >= MESSAGES
    }

    /// Takes the fragments of one handshake record.
    pub(super) fn push(&mut self, body: &[u8]) -> Pushed {
        let mut pushed = Pushed::default();
        let mut rest = body;
        for _ in 0..MAX_FRAGMENTS {
            let Some((fragment, after)) = split_fragment(rest) else { break };
            rest = after;
            let sequence = usize::from(fragment.sequence);
            pushed.repeats |= sequence + 1 == self.next;
            if sequence >= self.next {
                self.insert(&fragment);
            }
        }
        pushed
    }

    fn insert(&mut self, fragment: &Fragment<'_>) {
        let sequence = usize::from(fragment.sequence);
        // Before the cookie came back the peer may be anyone, and there is nothing to come out of order.
        let far = self.next < 2 && sequence > self.next;
        if far || EXPECTED.get(sequence) != Some(&fragment.kind) {
            return;
        }
        let Some(slot) = self.partial.get_mut(sequence) else { return };
        // A message of another length replaces the one begun: a forged fragment must not block the true message.
        let begun = slot.take().filter(|partial| partial.bytes.len() == fragment.length);
        let partial =
            slot.insert(begun.unwrap_or_else(|| Partial { bytes: vec![0; fragment.length], seen: vec![false; fragment.length] }));
        let range = fragment.offset..fragment.offset + fragment.bytes.len();
        if let (Some(bytes), Some(seen)) = (partial.bytes.get_mut(range.clone()), partial.seen.get_mut(range)) {
            bytes.copy_from_slice(fragment.bytes);
            seen.fill(true);
        }
    }

    /// The awaited message's body, once it is complete; [`Self::accept`] or [`Self::reject`] must follow.
    pub(super) fn ready(&self) -> Option<&[u8]> {
        let partial = self.partial.get(self.next)?.as_ref()?;
        partial.seen.iter().all(|seen| *seen).then_some(&partial.bytes)
    }

    /// Takes the complete message as one handshake fragment and awaits the next.
    pub(super) fn accept(&mut self) -> Option<Vec<u8>> {
        let partial = self.partial.get_mut(self.next)?.take()?;
        let kind = *EXPECTED.get(self.next)?;
        let sequence = u8::try_from(self.next).ok()?;
        self.next += 1;
        let [_, l0, l1, l2] = u32::try_from(partial.bytes.len()).ok()?.to_be_bytes();
        let mut message = Vec::with_capacity(HANDSHAKE_HEADER + partial.bytes.len());
        message.extend_from_slice(&[kind, l0, l1, l2, 0, sequence, 0, 0, 0, l0, l1, l2]);
        message.extend_from_slice(&partial.bytes);
        Some(message)
    }

    /// Throws the complete message away and awaits it anew.
    pub(super) fn reject(&mut self) {
        if let Some(slot) = self.partial.get_mut(self.next) {
            *slot = None;
        }
    }
}

/// The parts of a ClientHello that decide whether and how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientHello<'a> {
    pub(super) random: [u8; 32],
    pub(super) cookie: &'a [u8],
    /// Offers our cipher suite, group, signature and the extended master secret.
    pub(super) suits: bool,
    /// The use_srtp profiles (RFC 5764, section 4.1.2), two bytes each.
    pub(super) srtp: &'a [u8],
}

impl ClientHello<'_> {
    /// Whether it offers an SRTP profile.
    pub(super) fn offers(&self, profile: u16) -> bool {
        contains(self.srtp, profile)
    }
}

fn contains(list: &[u8], value: u16) -> bool {
    list.as_chunks::<2>().0.contains(&value.to_be_bytes())
}

fn split_vec8(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

fn split_vec16(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// Reads a ClientHello of DTLS 1.2 (RFC 5246, section 7.4.1.2; RFC 6347, section 4.2.1).
pub(super) fn parse_client_hello(body: &[u8]) -> Option<ClientHello<'_>> {
    let (version, rest) = body.split_first_chunk::<2>()?;
    let (random, rest) = rest.split_first_chunk::<32>()?;
    let (_session, rest) = split_vec8(rest)?;
    let (cookie, rest) = split_vec8(rest)?;
    let (suites, rest) = split_vec16(rest)?;
    let (compressions, rest) = split_vec8(rest)?;
    let (mut extensions, rest) = split_vec16(rest)?;
    if *version != VERSION_1_2 || !rest.is_empty() {
        return None;
    }
    let mut suits = contains(suites, CIPHER_SUITE) && compressions.contains(&0);
    let mut master_secret = false;
    let mut srtp = &[][..];
    // Every turn takes at least four bytes off, so a message of MAX_MESSAGE bounds the loop.
    while !extensions.is_empty() {
        let (kind, rest) = extensions.split_first_chunk::<2>()?;
        let (data, rest) = split_vec16(rest)?;
        extensions = rest;
        match u16::from_be_bytes(*kind) {
            10 => suits &= GROUPS.iter().any(|group| split_vec16(data).is_some_and(|(list, _)| contains(list, *group))),
            13 => suits &= split_vec16(data).is_some_and(|(list, _)| contains(list, ECDSA_P256_SHA256)),
            14 => srtp = split_vec16(data)?.0,
            23 => master_secret = true,
            _ => {}
        }
    }
    Some(ClientHello { random: *random, cookie, suits: suits && master_secret, srtp })
}

/// The cookie of a HelloVerifyRequest datagram (RFC 6347, section 4.2.1), where it is one.
pub(super) fn issued_cookie(datagram: &[u8]) -> Option<&[u8]> {
    let record = records(datagram).next()?;
    let (head, body) = record.body.split_first_chunk::<HANDSHAKE_HEADER>()?;
    let (_version, rest) = body.split_first_chunk::<2>()?;
    let (cookie, _) = split_vec8(rest)?;
    (record.kind == HANDSHAKE && head.first() == Some(&3)).then_some(cookie)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(kind: u8, sequence: u8, length: usize, offset: usize, bytes: &[u8]) -> Vec<u8> {
        let three = |value: usize| [(value >> 16) as u8, (value >> 8) as u8, value as u8];
        let mut out = vec![kind];
        out.extend(three(length));
        out.extend([0, sequence]);
        out.extend(three(offset));
        out.extend(three(bytes.len()));
        out.extend(bytes);
        out
    }

    #[test]
    fn fragments_come_together_in_any_order_and_overlapping() {
        let mut reassembly = Reassembly::default();
        reassembly.push(&fragment(1, 0, 6, 4, b"ef"));
        assert_eq!(reassembly.ready(), None);
        reassembly.push(&fragment(1, 0, 6, 0, b"abc"));
        reassembly.push(&fragment(1, 0, 6, 2, b"cde"));
        assert_eq!(reassembly.ready(), Some(&b"abcdef"[..]));
        assert_eq!(reassembly.accept().unwrap(), fragment(1, 0, 6, 0, b"abcdef"));
        assert_eq!(reassembly.next(), 1);
    }

    #[test]
    fn two_messages_share_a_record() {
        let mut reassembly = Reassembly { next: 2, ..Reassembly::default() };
        reassembly.push(&fragment(11, 2, 4, 0, b"ab"));
        reassembly.push(&[fragment(11, 2, 4, 2, b"cd"), fragment(16, 3, 1, 0, b"k")].concat());
        assert_eq!(reassembly.ready(), Some(&b"abcd"[..]));
        reassembly.accept();
        assert_eq!(reassembly.ready(), Some(&b"k"[..]));
    }

    #[test]
    fn out_of_place_oversized_and_repeated_messages_are_not_kept() {
        let mut reassembly = Reassembly::default();
        for bad in [
            fragment(1, 1, 1, 0, b"x"),
            fragment(11, 0, 1, 0, b"x"),
            fragment(1, 9, 1, 0, b"x"),
            fragment(1, 0, MAX_MESSAGE + 1, 0, b"x"),
            fragment(1, 0, 1, 1, b"x"),
        ] {
            reassembly.push(&bad);
            assert!(reassembly.partial.iter().all(Option::is_none));
        }
        reassembly.push(&fragment(1, 0, 1, 0, b"x"));
        assert!(reassembly.ready().is_some(), "positive control");
        reassembly.accept();
        assert!(reassembly.push(&fragment(1, 0, 1, 0, b"x")).repeats);
        assert!(reassembly.partial.iter().all(Option::is_none));
    }

    #[test]
    fn a_forged_length_does_not_block_the_true_message() {
        let mut reassembly = Reassembly::default();
        reassembly.push(&fragment(1, 0, 4000, 0, b"x"));
        reassembly.push(&fragment(1, 0, 2, 0, b"ab"));
        assert_eq!(reassembly.ready(), Some(&b"ab"[..]));
    }

    #[test]
    fn no_length_of_anything_panics() {
        let record = plain_record(HANDSHAKE, 7, &fragment(1, 0, 6, 0, b"abcdef"));
        for length in 0..record.len() {
            assert_eq!(records(&record[..length]).count(), 0);
        }
        assert_eq!(records(&record).count(), 1);
        let hello = [&VERSION_1_2[..], &[0; 120]].concat();
        for length in 0..hello.len() {
            let _ = parse_client_hello(&hello[..length]);
            let _ = Reassembly::default().push(&hello[..length]);
            let _ = issued_cookie(&hello[..length]);
        }
    }
}
