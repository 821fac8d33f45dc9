//! Sealing what goes to a peer.

use super::cipher::{Cipher, rtcp_ssrc, rtcp_word_offset};
use super::debt::Debt;
use super::keys::{Labels, SessionKeys};
use super::replay::{OutOfRange, Resume, Window, estimate};
use super::table::SsrcTable;
use super::{MAX_PACKET_LEN, MAX_RTCP_INDEX, Profile, RTCP_CLEAR_LEN, SrtpError, SrtpErrorCounts};
use crate::media::packet::RtpHeader;

/// Streams to a peer at one time: a track takes two SSRCs, so this is a room of some 60 cameras and microphones; 40 KiB.
const MAX_STREAMS: usize = 256;

/// 1024 packets, as at the receiving end.
type RtpWindow = Window<17>;

/// The SRTCP index used last; 0 before the first packet, which has 1.
#[derive(Debug, Default)]
struct RtcpIndex(u32);

impl Resume for RtcpIndex {
    fn highest(&self) -> Option<u64> {
        Some(self.0.into())
    }

    fn resumed(highest: u64) -> Self {
        Self(u32::try_from(highest).unwrap_or(MAX_RTCP_INDEX))
    }
}

/// Seals the RTP and RTCP packets for one peer; no two packets of a stream ever get the same index.
///
/// It cannot be cloned, because two senders with one key would use nonces twice.
pub struct SrtpSender {
    profile: Profile,
    rtp: Cipher,
    rtp_windows: SsrcTable<RtpWindow>,
    control: Box<Control>,
}

/// What media does not touch, kept apart so that what it does touch fits a few cache lines.
struct Control {
    cipher: Cipher,
    indexes: SsrcTable<RtcpIndex>,
    errors: SrtpErrorCounts,
}

impl SrtpSender {
    /// A sender with the outbound keys of [`SessionKeys::split`], which must serve no other sender.
    ///
    /// # Errors
    /// [`SrtpError::Library`] when the keys cannot be set up.
    pub fn new(keys: SessionKeys) -> Result<Self, SrtpError> {
        let rtp = Cipher::derive(&keys, Labels::RTP)?;
        let rtcp = Cipher::derive(&keys, Labels::RTCP)?;
        Ok(Self::with_ciphers(keys.profile(), rtp, rtcp))
    }

    pub(super) fn with_ciphers(profile: Profile, rtp: Cipher, rtcp: Cipher) -> Self {
        let control = Control { cipher: rtcp, indexes: SsrcTable::new(MAX_STREAMS), errors: SrtpErrorCounts::default() };
        Self { profile, rtp, rtp_windows: SsrcTable::new(MAX_STREAMS), control: Box::new(control) }
    }

    /// Seals the plain RTP packet in the first `len` bytes of `buf` in place; returns the length of the sealed one.
    ///
    /// A sequence number within 1024 of the stream's newest may be late; none is sealed twice. A stream's first sequence number
    /// should be below 2^15, else a receiver that misses the first packets guesses the rollover counter wrongly
    /// (RFC 3711 section 3.3.1).
    ///
    /// # Errors
    /// [`SrtpError::NoRoom`] without [`Profile::rtp_overhead`] bytes behind the packet, [`SrtpError::Malformed`] when
    /// `header_len` is not that of the packet's header, [`SrtpError::IndexReused`], [`SrtpError::IndexLimit`],
    /// [`SrtpError::TableFull`]; each is counted. Nothing of `buf` may be sent then.
    pub fn seal_rtp(&mut self, buf: &mut [u8], header_len: usize, len: usize) -> Result<usize, SrtpError> {
        let result = self.try_seal_rtp(buf, header_len, len, None, None);
        self.control.errors.watch(result)
    }

    /// The same for a packet of an outgoing batch, whose tag may come later.
    ///
    /// # Errors
    /// Those of [`seal_rtp`](Self::seal_rtp).
    pub(in crate::transport) fn seal_rtp_on(
        &mut self,
        debt: Debt<'_>,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
    ) -> Result<usize, SrtpError> {
        let result = self.try_seal_rtp(buf, header_len, len, None, Some(debt));
        self.control.errors.watch(result)
    }

    /// Seals the RTP packet whose header lies in the first `header_len` bytes of `buf`, and whose payload lies elsewhere, into
    /// `buf`, for an outgoing batch; returns the length of the sealed one. It saves a copy of the payload, and the tag may come later.
    ///
    /// # Errors
    /// Those of [`seal_rtp`](Self::seal_rtp).
    pub(in crate::transport) fn seal_rtp_from(
        &mut self,
        debt: Debt<'_>,
        buf: &mut [u8],
        header_len: usize,
        payload: &[u8],
    ) -> Result<usize, SrtpError> {
        let len = header_len.saturating_add(payload.len());
        let result = self.try_seal_rtp(buf, header_len, len, Some(payload), Some(debt));
        self.control.errors.watch(result)
    }

    fn try_seal_rtp(
        &mut self,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
        payload: Option<&[u8]>,
        debt: Option<Debt<'_>>,
    ) -> Result<usize, SrtpError> {
        let sealed_len = sealed_len(len, self.profile.rtp_overhead())?;
        let packet = buf.get_mut(..sealed_len).ok_or(SrtpError::NoRoom)?;
        let plain = packet.get(..if payload.is_some() { header_len } else { len });
        let header = RtpHeader::parse(plain.ok_or(SrtpError::NoRoom)?)?;
        if header.header_len != header_len {
            // A longer one would leave part of the payload in the clear.
            return Err(SrtpError::Malformed);
        }
        let cipher = &self.rtp;
        self.rtp_windows.with(header.ssrc, |window| {
            let index = estimate(window.highest(), header.sequence).map_err(|out| match out {
                OutOfRange::Below => SrtpError::IndexReused,
                OutOfRange::Above => SrtpError::IndexLimit,
            })?;
            if !window.is_free(index) {
                return Err(SrtpError::IndexReused);
            }
            window.take(index);
            match payload {
                Some(payload) => cipher.seal_rtp_from(packet, header_len, payload, header.ssrc, index, debt),
                None => cipher.seal_rtp(packet, header_len, header.ssrc, index, debt),
            }
        })?;
        Ok(sealed_len)
    }

    /// Seals the plain, possibly compound RTCP packet in the first `len` bytes of `buf` in place; returns the length of the
    /// sealed one.
    ///
    /// Indexes count from 1 for each SSRC of a first header.
    ///
    /// # Errors
    /// [`SrtpError::NoRoom`] without [`Profile::rtcp_overhead`] bytes behind the packet, [`SrtpError::TooShort`] or
    /// [`SrtpError::Malformed`] for no RTCP packet, [`SrtpError::IndexLimit`] after 2^31 - 1 packets,
    /// [`SrtpError::TableFull`]; each is counted. Nothing of `buf` may be sent then.
    pub fn seal_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let result = self.try_seal_rtcp(buf, len);
        self.control.errors.watch(result)
    }

    fn try_seal_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        if len < RTCP_CLEAR_LEN {
            return Err(SrtpError::TooShort);
        }
        let sealed_len = sealed_len(len, self.profile.rtcp_overhead())?;
        let packet = buf.get_mut(..sealed_len).ok_or(SrtpError::NoRoom)?;
        let ssrc = rtcp_ssrc(packet)?;
        let offset = rtcp_word_offset(self.profile, sealed_len).ok_or(SrtpError::NoRoom)?;
        let Control { cipher, indexes, .. } = &mut *self.control;
        indexes.with(ssrc, |last| {
            if last.0 >= MAX_RTCP_INDEX {
                return Err(SrtpError::IndexLimit);
            }
            last.0 += 1;
            let word = packet.get_mut(offset..).and_then(<[u8]>::first_chunk_mut).ok_or(SrtpError::NoRoom)?;
            *word = (last.0 | 1 << 31).to_be_bytes();
            cipher.seal_rtcp(packet, ssrc, last.0)
        })?;
        Ok(sealed_len)
    }

    /// Frees the state of an ended stream.
    ///
    /// Its last index is kept: should its SSRC be used again, every index up to that one counts as sealed.
    pub fn forget(&mut self, ssrc: u32) {
        self.rtp_windows.end(ssrc);
        self.control.indexes.end(ssrc);
    }

    /// Number of streams with state, RTP and RTCP counted apart.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.rtp_windows.len() + self.control.indexes.len()
    }

    /// Asks for the key and the streams' states.
    pub(crate) fn warm(&self) {
        self.rtp.warm();
        self.rtp_windows.warm();
    }

    /// What was refused so far.
    #[must_use]
    pub fn errors(&self) -> &SrtpErrorCounts {
        &self.control.errors
    }

    /// Puts a stream near the end of its indexes.
    #[cfg(test)]
    pub(super) fn wind_on(&mut self, ssrc: u32, rtp: u64, rtcp: u32) {
        self.rtp_windows
            .with(ssrc, |window| {
                window.take(rtp);
                Ok(())
            })
            .unwrap();
        self.control
            .indexes
            .with(ssrc, |last| {
                last.0 = rtcp;
                Ok(())
            })
            .unwrap();
    }
}

fn sealed_len(len: usize, overhead: usize) -> Result<usize, SrtpError> {
    len.checked_add(overhead).filter(|sealed| *sealed <= MAX_PACKET_LEN).ok_or(SrtpError::Malformed)
}
