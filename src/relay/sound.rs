//! Sound on its way through: redundant packets (RFC 2198) passed on, taken apart or made, as each receiver's line needs it.
//!
//! A publisher's packet is looked at once; what each receiver gets of it is decided by whether it takes redundant packets and how
//! much its line loses. Nothing is decoded.

use super::link::{Inbound, Link};
use super::shard::Shard;
use super::tracks::{Layer, OutStream};
use crate::media::packet::{FIXED_HEADER_LEN, OutgoingHeader, RtpHeader, write_header};
use crate::media::red::{Block, earlier, primary, set_block_type, write_red};
use crate::model::Instant;
use crate::transport::outbox::Outbox;

/// Earlier packets that may be sent along with one, and looked for in one.
const GENERATIONS: usize = 2;

/// The longest packet made here.
const MAX_SOUND: usize = 1_200;

/// A publisher's packet, taken apart as far as its receivers need it.
pub(super) struct Sound<'a> {
    /// The whole payload, where it is a redundant one.
    redundant: Option<&'a [u8]>,
    /// The packet's own sound.
    own: &'a [u8],
    /// What went before it, the nearest first.
    earlier: [Option<Block<'a>>; GENERATIONS],
}

impl<'a> Sound<'a> {
    /// `None` where the payload is broken.
    pub(super) fn new(payload: &'a [u8], redundant: bool) -> Option<Self> {
        let own = if redundant { primary(payload)? } else { payload };
        Some(Self { redundant: redundant.then_some(payload), own, earlier: [None; GENERATIONS] })
    }

    /// Finds what went before in the cache, for receivers that need it.
    pub(super) fn find_earlier(&mut self, layer: &'a Layer, red: Option<u8>, sequence: u64, timestamp: u32) {
        let earlier = |back: u64| {
            let packet = layer.cache.find(sequence.checked_sub(back)?)?;
            let header = RtpHeader::parse(packet).ok()?;
            let payload = header.payload(packet).ok()?;
            let payload = if Some(header.payload_type) == red { primary(payload)? } else { payload };
            Some(Block { offset: timestamp.wrapping_sub(header.timestamp), payload })
        };
        for (back, slot) in (1..).zip(&mut self.earlier) {
            *slot = earlier(back);
        }
    }

    /// What a receiver gets: payload type and payload, written into `buffer` where it differs from what came.
    pub(super) fn form<'b>(&'b self, out: &OutStream, receiver: &Link, buffer: &'b mut SoundBuffer) -> (u8, &'b [u8]) {
        let plain = (out.payload_type, self.own);
        let Some(red) = out.red.filter(|_| receiver.bears_redundancy()) else { return plain };
        let len = match self.redundant {
            Some(whole) if whole.first().is_some_and(|first| first & 0x7f == out.payload_type) => return (red, whole),
            Some(whole) => {
                let Some(copy) = buffer.bytes.get_mut(..whole.len()) else { return plain };
                copy.copy_from_slice(whole);
                set_block_type(copy, out.payload_type);
                whole.len()
            }
            None => {
                let mut blocks = [Block { offset: 0, payload: &[] }; GENERATIONS];
                let mut count = 0;
                let wanted = usize::from(out.redundancy.generations());
                for (slot, block) in blocks.iter_mut().zip(self.earlier.iter().take(wanted).rev().flatten()) {
                    *slot = *block;
                    count += 1;
                }
                let blocks = blocks.get(..count).filter(|blocks| !blocks.is_empty());
                let Some(len) = blocks.and_then(|blocks| write_red(&mut buffer.bytes, out.payload_type, blocks, self.own)) else {
                    return plain;
                };
                len
            }
        };
        buffer.bytes.get(..len).map_or(plain, |payload| (red, payload))
    }
}

/// Room for one packet.
pub(super) struct SoundBuffer {
    bytes: [u8; MAX_SOUND],
}

impl SoundBuffer {
    pub(super) fn new() -> Self {
        Self { bytes: [0; MAX_SOUND] }
    }
}

/// The longest datagram of sound that is kept to go out twice: 20 ms at 128 kbit/s with what went before.
const MAX_ECHO: usize = 700;

/// A sealed packet of sound that goes out again beside the next one, the same to the last bit: a receiver that has it drops it.
///
/// For lines that lose much, and receivers that take no redundant packets or lose those as well. Nothing is sealed twice under
/// one number, which would give keys away.
#[derive(Debug)]
pub(super) struct Echo {
    len: usize,
    bytes: [u8; MAX_ECHO],
}

impl OutStream {
    /// Sends the packet before once more, where the line needs it; to be called before the next is written.
    pub(super) fn echo(&mut self, receiver: &mut Link, outbox: &mut Outbox, now: Instant) {
        let redundant = self.red.is_some();
        let wanted = receiver.line.as_ref().is_some_and(|line| line.echoes(redundant, now));
        if !wanted {
            self.echo = None;
            return;
        }
        let Some(echo) = &mut self.echo else {
            self.echo = Some(Box::new(Echo { len: 0, bytes: [0; MAX_ECHO] }));
            return;
        };
        let len = std::mem::take(&mut echo.len);
        let (Some(path), Some(datagram)) = (receiver.peer.path(), echo.bytes.get(..len).filter(|bytes| !bytes.is_empty())) else {
            return;
        };
        if outbox.push(path, true, datagram)
            && let Some(line) = &mut receiver.line
        {
            line.on_echo(len, now);
        }
    }

    /// Keeps what was just written for the next time.
    pub(super) fn keep_echo(&mut self, outbox: &mut Outbox) {
        let Some(echo) = &mut self.echo else { return };
        let Some(datagram) = outbox.last() else { return };
        if let Some(place) = echo.bytes.get_mut(..datagram.len()) {
            place.copy_from_slice(datagram);
            echo.len = datagram.len();
        }
    }
}

impl Shard {
    /// Takes out of a redundant packet what was lost before it: receivers that take no redundant packets get it too.
    pub(super) fn recover_sound(&mut self, link: usize, inbound: Inbound, header: &RtpHeader, payload: &[u8], now: Instant) {
        let Some(block_type) = payload.first().map(|first| first & 0x7f) else { return };
        for back in (1..=GENERATIONS as u16).rev() {
            let sequence = header.sequence.wrapping_sub(back);
            let stream =
                self.tracks.get(inbound.track).and_then(|track| track.layers.get(usize::from(inbound.layer))?.stream.as_ref());
            if !stream.is_some_and(|stream| stream.misses(sequence)) {
                continue;
            }
            let Some(block) = earlier(payload, usize::from(back)) else { continue };
            let lost = OutgoingHeader {
                marker: false,
                payload_type: block_type,
                sequence,
                timestamp: header.timestamp.wrapping_sub(block.offset),
                ssrc: header.ssrc,
            };
            let mut packet = [0u8; FIXED_HEADER_LEN + MAX_SOUND];
            let Some(start) = write_header(&mut packet, &lost, &[]) else { continue };
            let end = start + block.payload.len();
            let Some(place) = packet.get_mut(start..end) else { continue };
            place.copy_from_slice(block.payload);
            let Some(packet) = packet.get(..end) else { continue };
            if let Ok(header) = RtpHeader::parse(packet) {
                self.counters.recovered += 1;
                self.on_media(link, inbound, &header, packet, true, now);
            }
        }
    }
}
