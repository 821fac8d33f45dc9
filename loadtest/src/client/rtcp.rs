//! The few RTCP messages a client reads and writes (RFC 3550, RFC 4585, RFC 5104, transport-wide feedback).

/// What the other end says of one's own streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A packet is missing at the other end.
    Nack { ssrc: u32, sequence: u16 },
    /// A key frame is wanted.
    KeyFrame { ssrc: u32 },
    /// A receiver report names the stream: its first packets have come.
    Reported { ssrc: u32 },
    /// Of a packet by its transport-wide number: it came so many µs after the one reported before, or not at all.
    Transport { sequence: u16, delta: Option<i32> },
}

/// Reads a compound and hands on what it says.
pub(crate) fn read(mut compound: &[u8], mut told: impl FnMut(Told)) {
    while let Some((head, rest)) = compound.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
        let Some((body, next)) = rest.split_at_checked(len) else { return };
        let (kind, count) = (head[1], head[0] & 0x1f);
        match (kind, count) {
            (200, _) => reports(body.get(24..).unwrap_or_default(), &mut told),
            (201, _) => reports(body.get(4..).unwrap_or_default(), &mut told),
            (205, 1) => nacks(body, &mut told),
            (205, 15) => transport(body, &mut told),
            (206, 1) => {
                if let Some(ssrc) = word(body, 4) {
                    told(Told::KeyFrame { ssrc });
                }
            }
            (206, 4) => {
                for entry in body.get(8..).unwrap_or_default().chunks_exact(8) {
                    if let Some(ssrc) = word(entry, 0) {
                        told(Told::KeyFrame { ssrc });
                    }
                }
            }
            _ => {}
        }
        compound = next;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|word| u32::from_be_bytes(*word))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|half| u16::from_be_bytes(*half))
}

fn reports(blocks: &[u8], told: &mut impl FnMut(Told)) {
    for block in blocks.chunks_exact(24) {
        if let Some(ssrc) = word(block, 0) {
            told(Told::Reported { ssrc });
        }
    }
}

fn nacks(body: &[u8], told: &mut impl FnMut(Told)) {
    let Some(ssrc) = word(body, 4) else { return };
    for entry in body.get(8..).unwrap_or_default().chunks_exact(4) {
        let (Some(first), Some(mask)) = (half(entry, 0), half(entry, 2)) else { return };
        told(Told::Nack { ssrc, sequence: first });
        (0..16)
            .filter(|bit| mask & (1 << bit) != 0)
            .for_each(|bit| told(Told::Nack { ssrc, sequence: first.wrapping_add(bit + 1) }));
    }
}

/// draft-holmer-rmcat-transport-wide-cc-extensions-01, section 3.1.
fn transport(body: &[u8], told: &mut impl FnMut(Told)) {
    let (Some(base), Some(count)) = (half(body, 8), half(body, 10)) else { return };
    let mut symbols = Vec::with_capacity(usize::from(count).min(1_024));
    let mut at = 16;
    while symbols.len() < usize::from(count) {
        let Some(chunk) = half(body, at) else { return };
        at += 2;
        if chunk & 0x8000 == 0 {
            let run = usize::from(chunk & 0x1fff).min(usize::from(count) - symbols.len());
            symbols.extend(std::iter::repeat_n((chunk >> 13 & 3) as u8, run));
            if run == 0 {
                return;
            }
        } else if chunk & 0x4000 == 0 {
            symbols.extend((0..14).map(|bit| (chunk >> (13 - bit) & 1) as u8));
        } else {
            symbols.extend((0..7).map(|pair| (chunk >> (12 - 2 * pair) & 3) as u8));
        }
    }
    for (offset, symbol) in symbols.iter().take(usize::from(count)).enumerate() {
        let sequence = base.wrapping_add(offset as u16);
        let delta = match symbol {
            1 => {
                at += 1;
                body.get(at - 1).map(|small| i32::from(*small) * 250)
            }
            2 => {
                at += 2;
                half(body, at - 2).map(|large| i32::from(large as i16) * 250)
            }
            _ => None,
        };
        told(Told::Transport { sequence, delta });
    }
}

/// Head of a packet whose body is written next; [`close`] fills in its length.
fn open(out: &mut Vec<u8>, count: u8, kind: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0x80 | count, kind, 0, 0]);
    start
}

fn close(out: &mut Vec<u8>, start: usize) {
    while !(out.len() - start).is_multiple_of(4) {
        out.push(0);
    }
    let words = ((out.len() - start) / 4 - 1) as u16;
    if let Some(length) = out.get_mut(start + 2..start + 4) {
        length.copy_from_slice(&words.to_be_bytes());
    }
}

fn put(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
}

/// A sender report; `ntp` is the time of RFC 3550 section 4.
pub(crate) fn sender_report(out: &mut Vec<u8>, ssrc: u32, ntp: u64, timestamp: u32, packets: u32, bytes: u32) {
    let start = open(out, 0, 200);
    put(out, &[ssrc, (ntp >> 32) as u32, ntp as u32, timestamp, packets, bytes]);
    close(out, start);
}

/// One block of a receiver report.
pub(crate) struct Block {
    pub(crate) ssrc: u32,
    pub(crate) fraction: u8,
    pub(crate) lost: u32,
    pub(crate) highest: u32,
    pub(crate) last_report: u32,
    pub(crate) since: u32,
}

/// A receiver report with at most 31 blocks.
pub(crate) fn receiver_report(out: &mut Vec<u8>, ssrc: u32, blocks: &[Block]) {
    let blocks = blocks.get(..31).unwrap_or(blocks);
    let start = open(out, blocks.len() as u8, 201);
    put(out, &[ssrc]);
    for block in blocks {
        let loss = u32::from(block.fraction) << 24 | block.lost.min(0x7f_ffff);
        put(out, &[block.ssrc, loss, block.highest, 0, block.last_report, block.since]);
    }
    close(out, start);
}

/// A picture loss indication.
pub(crate) fn pli(out: &mut Vec<u8>, ssrc: u32, media: u32) {
    let start = open(out, 1, 206);
    put(out, &[ssrc, media]);
    close(out, start);
}

/// A generic NACK of sequence numbers in rising order.
pub(crate) fn nack(out: &mut Vec<u8>, ssrc: u32, media: u32, missing: &[u16]) {
    let start = open(out, 1, 205);
    put(out, &[ssrc, media]);
    let mut rest = missing.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut mask = 0_u16;
        while let Some(bit) = rest.peek().map(|next| next.wrapping_sub(first)).filter(|bit| (1..=16).contains(bit)) {
            mask |= 1 << (bit - 1);
            rest.next();
        }
        put(out, &[u32::from(first) << 16 | u32::from(mask)]);
    }
    close(out, start);
}

/// Transport-wide feedback on packets in rising order; `at` is µs of the receiver's clock.
pub(crate) fn transport_feedback(out: &mut Vec<u8>, ssrc: u32, media: u32, number: u8, packets: &[(u16, u64)]) {
    let (Some((base, first_at)), Some((last, _))) = (packets.first().copied(), packets.last()) else { return };
    let count = last.wrapping_sub(base).wrapping_add(1);
    let start = open(out, 15, 205);
    let reference = first_at / 64_000;
    put(out, &[ssrc, media, u32::from(base) << 16 | u32::from(count), (reference as u32) << 8 | u32::from(number)]);
    let mut symbols = vec![0_u8; usize::from(count)];
    let mut deltas = Vec::with_capacity(packets.len());
    let mut before = reference * 256;
    for (sequence, at) in packets {
        let ticks = (at / 250) as i64 - before as i64;
        before = at / 250;
        if let Some(symbol) = symbols.get_mut(usize::from(sequence.wrapping_sub(base))) {
            *symbol = if (0..=255).contains(&ticks) { 1 } else { 2 };
            deltas.push(ticks);
        }
    }
    for chunk in symbols.chunks(7) {
        let bits = chunk.iter().enumerate().fold(0_u16, |bits, (pair, symbol)| bits | u16::from(*symbol) << (12 - 2 * pair));
        out.extend_from_slice(&(0xc000 | bits).to_be_bytes());
    }
    for ticks in deltas {
        if (0..=255).contains(&ticks) {
            out.push(ticks as u8);
        } else {
            out.extend_from_slice(&(ticks.clamp(-32_768, 32_767) as i16).to_be_bytes());
        }
    }
    close(out, start);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Told> {
        let mut told = Vec::new();
        read(bytes, |one| told.push(one));
        told
    }

    #[test]
    fn a_nack_is_read_as_written() {
        let mut out = Vec::new();
        nack(&mut out, 1, 2, &[10, 11, 26, 27]);

        let sequences: Vec<u16> =
            all(&out).iter().map(|told| if let Told::Nack { sequence, .. } = told { *sequence } else { 0 }).collect();

        assert_eq!(sequences, [10, 11, 26, 27]);
    }

    #[test]
    fn transport_feedback_is_read_as_written() {
        let mut out = Vec::new();
        transport_feedback(&mut out, 1, 2, 0, &[(65_535, 1_000_000), (1, 1_020_000), (2, 1_200_000), (3, 1_199_000)]);

        let told = all(&out);

        let deltas: Vec<Option<i32>> =
            told.iter().map(|told| if let Told::Transport { delta, .. } = told { *delta } else { None }).collect();
        assert_eq!(deltas.len(), 5);
        assert_eq!(deltas[1..], [None, Some(20_000), Some(180_000), Some(-1_000)]);
    }

    #[test]
    fn a_report_and_a_request_in_one_compound() {
        let mut out = Vec::new();
        let block = Block { ssrc: 9, fraction: 0, lost: 0, highest: 0, last_report: 0, since: 0 };
        receiver_report(&mut out, 1, &[block]);
        pli(&mut out, 1, 7);

        assert_eq!(all(&out), [Told::Reported { ssrc: 9 }, Told::KeyFrame { ssrc: 7 }]);
    }

    #[test]
    fn every_truncation_is_harmless() {
        let mut out = Vec::new();
        transport_feedback(&mut out, 1, 2, 0, &[(1, 1_000_000), (20, 1_020_000)]);
        nack(&mut out, 1, 2, &[10, 11]);
        (0..out.len()).for_each(|cut| drop(all(&out[..cut])));
    }
}
