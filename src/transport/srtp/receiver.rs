//! Opening what a peer sent.

use super::cipher::{Cipher, rtcp_ssrc, rtcp_word_offset};
use super::hmac::HmacKey;
use super::keys::{Labels, SessionKeys};
use super::proof::Datagram;
use super::replay::{Resume, Window, estimate};
use super::table::SsrcTable;
use super::{MAX_PACKET_LEN, MAX_RTCP_INDEX, Profile, RTCP_CLEAR_LEN, SrtpError, SrtpErrorCounts};
use crate::media::packet::RtpHeader;

/// Streams of a peer at one time: three layers with retransmission for camera and screen, and sound, are below 20.
const MAX_STREAMS: usize = 64;

/// 1024 packets: a key frame at several Mbit/s is a few hundred packets, and they reorder.
type RtpWindow = Window<17>;
/// 128 packets; RTCP is sparse.
type RtcpWindow = Window<3>;

/// An RTP packet that was opened where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedRtp {
    /// Its header.
    pub header: RtpHeader,
    /// Length of the plain packet in bytes, header included; what follows in the buffer is rubbish.
    pub len: usize,
    /// The 48-bit packet index: rollover counter and sequence number.
    pub index: u64,
}

/// Opens the SRTP and SRTCP packets of one peer.
pub struct SrtpReceiver {
    profile: Profile,
    rtp: Cipher,
    rtp_windows: SsrcTable<RtpWindow>,
    control: Box<Control>,
}

/// What media does not touch, kept apart so that what it does touch fits a few cache lines.
struct Control {
    cipher: Cipher,
    windows: SsrcTable<RtcpWindow>,
    errors: SrtpErrorCounts,
}

impl SrtpReceiver {
    /// A receiver with the inbound keys of [`SessionKeys::split`].
    ///
    /// # Errors
    /// [`SrtpError::Library`] when the keys cannot be set up.
    pub fn new(keys: SessionKeys) -> Result<Self, SrtpError> {
        let rtp = Cipher::derive(&keys, Labels::RTP)?;
        let rtcp = Cipher::derive(&keys, Labels::RTCP)?;
        Ok(Self::with_ciphers(keys.profile(), rtp, rtcp))
    }

    pub(super) fn with_ciphers(profile: Profile, rtp: Cipher, rtcp: Cipher) -> Self {
        let control = Control { cipher: rtcp, windows: SsrcTable::new(MAX_STREAMS), errors: SrtpErrorCounts::default() };
        Self { profile, rtp, rtp_windows: SsrcTable::new(MAX_STREAMS), control: Box::new(control) }
    }

    /// Opens an SRTP packet in place.
    ///
    /// # Errors
    /// Any kind that is the peer's fault, each counted. The content of `packet` is undefined then; the receiver is as it was.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<OpenedRtp, SrtpError> {
        self.open_datagram(&mut Datagram::new(packet))
    }

    /// Opens an SRTP packet in place, of which something may be known already.
    ///
    /// # Errors
    /// Those of [`open_rtp`](Self::open_rtp).
    pub fn open_datagram(&mut self, packet: &mut Datagram<'_>) -> Result<OpenedRtp, SrtpError> {
        let result = self.try_open_rtp(packet);
        self.control.errors.watch(result)
    }

    /// What the tag of an SRTP packet of a known stream is made of, as its index looks now: key, rollover counter and length of
    /// what is signed. Nothing where it would be no use: for GCM, and for what was seen before.
    pub(super) fn foresee(&self, packet: &[u8]) -> Option<(HmacKey, [u8; 4], usize)> {
        let Cipher::Cm(cm) = &self.rtp else { return None };
        let [_, _, high, low, _, _, _, _, ssrc @ ..] = *packet.first_chunk::<12>().filter(|_| packet.len() <= MAX_PACKET_LEN)?;
        let window = self.rtp_windows.peek(u32::from_be_bytes(ssrc))?;
        let index = estimate(window.highest(), u16::from_be_bytes([high, low])).ok()?;
        if window.is_free(index) { cm.signed(packet.len(), index) } else { None }
    }

    fn try_open_rtp(&mut self, packet: &mut Datagram<'_>) -> Result<OpenedRtp, SrtpError> {
        let len = packet.as_slice().len();
        if len > MAX_PACKET_LEN {
            return Err(SrtpError::Malformed);
        }
        let header = RtpHeader::parse(packet.as_slice())?;
        if len < header.header_len + self.profile.tag_len() {
            return Err(SrtpError::TooShort);
        }
        let cipher = &self.rtp;
        self.rtp_windows.with(header.ssrc, |window| {
            let index = estimate(window.highest(), header.sequence).map_err(|_| SrtpError::Replay)?;
            if !window.is_free(index) {
                return Err(SrtpError::Replay);
            }
            let len = cipher.open_rtp(packet, header.header_len, header.ssrc, index)?;
            window.take(index);
            Ok(OpenedRtp { header, len, index })
        })
    }

    /// Opens an SRTCP packet in place; returns the length of the plain, possibly compound packet in bytes.
    ///
    /// # Errors
    /// Any kind that is the peer's fault, each counted. The content of `packet` is undefined then; the receiver is as it was.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let result = self.try_open_rtcp(packet);
        self.control.errors.watch(result)
    }

    fn try_open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        if packet.len() > MAX_PACKET_LEN {
            return Err(SrtpError::Malformed);
        }
        if packet.len() < RTCP_CLEAR_LEN + self.profile.rtcp_overhead() {
            return Err(SrtpError::TooShort);
        }
        let ssrc = rtcp_ssrc(packet)?;
        let word = rtcp_word_offset(self.profile, packet.len()).and_then(|offset| packet.get(offset..)?.first_chunk());
        let word = u32::from_be_bytes(*word.ok_or(SrtpError::TooShort)?);
        let (encrypted, index) = (word > MAX_RTCP_INDEX, word & MAX_RTCP_INDEX);
        let Control { cipher, windows, .. } = &mut *self.control;
        windows.with(ssrc, |window| {
            if !window.is_free(index.into()) {
                return Err(SrtpError::Replay);
            }
            let len = cipher.open_rtcp(packet, ssrc, index, encrypted)?;
            window.take(index.into());
            Ok(len)
        })
    }

    /// Frees the state of an ended stream.
    ///
    /// Its last index is kept: should the stream come back, it goes on from there and nothing old is accepted.
    pub fn forget(&mut self, ssrc: u32) {
        self.rtp_windows.end(ssrc);
        self.control.windows.end(ssrc);
    }

    /// Number of streams with state, RTP and RTCP counted apart.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.rtp_windows.len() + self.control.windows.len()
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
}
