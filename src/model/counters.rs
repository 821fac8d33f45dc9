//! What one shard counts: plain numbers, copied out as one value once a second and summed by telemetry.

use std::time::Duration;

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every value, in the order of its discriminant.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The metric label.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    /// Why a received datagram or packet went no further.
    DropReason {
        /// Shorter than its kind allows, or of no known kind.
        Malformed = "malformed",
        /// From an address that passed no connectivity check.
        UnknownAddress = "unknown_address",
        /// A check for a user fragment nobody has.
        UnknownUfrag = "unknown_ufrag",
        /// A check whose integrity or fingerprint is wrong.
        StunAuth = "stun_auth",
        /// SRTP or SRTCP whose tag is wrong.
        SrtpAuth = "srtp_auth",
        /// Seen before, or older than the replay window.
        Replay = "replay",
        /// Media before the keys are known.
        NoKeys = "no_keys",
        /// An SSRC no negotiated section explains.
        UnknownSsrc = "unknown_ssrc",
        /// Publisher over its packet or byte rate.
        RateLimit = "rate_limit",
        /// RTCP that does not parse.
        BadRtcp = "bad_rtcp",
        /// DTLS that was refused.
        BadDtls = "bad_dtls",
        /// A data message that does not parse or is too large.
        BadData = "bad_data",
        /// A data message its sender may not send.
        DataRefused = "data_refused",
        /// A receiver's data channel was full.
        DataBackpressure = "data_backpressure",
        /// A datagram came while the socket's receive buffer was full: the worker did not keep up.
        ReceiveFull = "receive_full",
        /// The socket was full, and pictures or data gave way.
        SendFull = "send_full",
        /// The socket was full for so long that voice or control was lost.
        SendFullUrgent = "send_full_urgent",
        /// The kernel would not send a packet, for example for want of a route.
        SendLost = "send_lost",
        /// A picture's packet waited too long for its receiver's line, which is full.
        LineFull = "line_full",
        /// A hand-over ring between workers was full.
        HandOverFull = "hand_over_full",
        /// A table keyed by remote input is at its bound.
        TableFull = "table_full",
    }
}

reasons! {
    /// Why a participant's transport failed.
    FailureReason {
        /// No connectivity check succeeded in time.
        IceTimeout = "ice_timeout",
        /// Consent expired: 30 s without a valid check (RFC 7675).
        ConsentExpired = "consent_expired",
        /// The DTLS handshake failed or did not end in time.
        DtlsHandshake = "dtls_handshake",
        /// The client's certificate is not the one its SDP announced.
        Fingerprint = "fingerprint",
        /// No SRTP profile in common.
        NoSrtpProfile = "no_srtp_profile",
        /// The peer closed DTLS.
        DtlsClosed = "dtls_closed",
        /// A fault of ours, contained.
        Internal = "internal",
    }
}

reasons! {
    /// Why a receiver's picture stood still.
    FreezeCause {
        /// Packets were lost on their way to the relay.
        Loss = "loss",
        /// A key frame had to be waited for.
        KeyFrame = "key_frame",
        /// Whole pictures came late.
        Stall = "stall",
        /// The publisher sent nothing for half a second or longer.
        Source = "source",
    }
}

reasons! {
    /// What was done for a receiver whose picture stood still.
    FreezeRepair {
        /// A key frame was asked for.
        KeyFrame = "key_frame",
        /// Another layer was chosen.
        Layer = "layer",
    }
}

reasons! {
    /// Why a new call is not taken.
    Pressure {
        /// The worker spends too much of its time working.
        Worker = "worker_busy",
        /// Packets stay too long in the relay.
        Delay = "delay",
        /// Packets are dropped on their way out or between workers.
        Drops = "drops",
        /// Too many commands wait for the worker.
        Mailbox = "mailbox",
        /// Memory comes to its end.
        Memory = "memory",
        /// File descriptors come to their end.
        Handles = "file_descriptors",
        /// More joins in this second than a worker takes.
        JoinRate = "join_rate",
        /// As many participants as are allowed.
        Participants = "participants",
        /// As many rooms as are allowed.
        Rooms = "rooms",
        /// The node starts, stops or has a fault.
        NotOpen = "not_open",
        /// The audit log cannot be written, or its disk is nearly full.
        Record = "audit_log",
    }
}

/// Upper bounds of the forwarding-delay histogram, in microseconds; the last bucket is open.
pub const DELAY_BOUNDS_US: [u64; 12] = [50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000];

/// Upper bounds of the histogram of lines' estimates, in kbit/s: voice alone, a small, a middling, a large picture, several; the last
/// bucket is open.
pub const ESTIMATE_BOUNDS_KBPS: [u64; 12] = [64, 128, 200, 300, 500, 800, 1_200, 2_000, 3_000, 5_000, 10_000, 20_000];

/// The counters of one shard; everything but the gauges only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Gauge: open rooms.
    pub rooms: u64,
    /// Gauge: participants in them.
    pub participants: u64,
    /// Gauge: published tracks.
    pub tracks: u64,
    /// Gauge: transports.
    pub peers: u64,
    /// Gauge: the share of time the worker was at work, in thousandths, smoothed over about two seconds.
    pub busy_permille: u16,
    /// Gauge: the kernel cuts trains of datagrams for the worker's sockets.
    pub gso: bool,
    /// Gauge: the kernel puts neighbouring datagrams together for them.
    pub gro: bool,
    /// Datagrams received.
    pub packets_in: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// Datagrams sent.
    pub packets_out: u64,
    /// Bytes of them.
    pub bytes_out: u64,
    /// Packets forwarded to a receiver.
    pub forwarded: u64,
    /// Retransmissions sent to receivers.
    pub retransmitted: u64,
    /// Lost packets of sound taken out of redundant ones.
    pub recovered: u64,
    /// Probes for more bandwidth sent to receivers.
    pub probes: u64,
    /// Bytes sent only to fill such probes.
    pub padding_bytes: u64,
    /// Packets among them that were sent before and went out again unasked.
    pub padding_repeats: u64,
    /// Times a receiver's line made a picture pause.
    pub tracks_paused: u64,
    /// Times a paused picture went on.
    pub tracks_resumed: u64,
    /// Times a receiver's line made a picture go on smaller.
    pub layer_downs: u64,
    /// NACKed packets asked of publishers.
    pub nack_out: u64,
    /// NACKed packets asked by receivers.
    pub nack_in: u64,
    /// Key-frame requests sent to publishers.
    pub pli_out: u64,
    /// Key-frame requests received.
    pub pli_in: u64,
    /// Connectivity checks answered.
    pub stun_answered: u64,
    /// Connectivity checks sent to where a peer's media came from unexpectedly.
    pub stun_sent: u64,
    /// DTLS handshakes completed.
    pub dtls_completed: u64,
    /// Transports that negotiated AES-GCM.
    pub srtp_gcm: u64,
    /// Transports that fell back to AES-CM with HMAC-SHA1.
    pub srtp_cm_sha1: u64,
    /// Nominations that moved a running call to a new address.
    pub path_changes: u64,
    /// Data messages received.
    pub data_in: u64,
    /// Data messages sent.
    pub data_out: u64,
    /// Joins accepted.
    pub joins: u64,
    /// Sockets resumed.
    pub resumes: u64,
    /// Panics contained to one peer.
    pub panics: u64,
    /// Facts of consultations that nobody fetched in time.
    pub facts_lost: u64,
    /// Commands taken back because what they gave could not be put on record.
    pub facts_refused: u64,
    drops: [u64; DropReason::ALL.len()],
    failures: [u64; FailureReason::ALL.len()],
    freezes: [u64; FreezeCause::ALL.len()],
    repairs: [u64; FreezeRepair::ALL.len()],
    delays: [u64; DELAY_BOUNDS_US.len() + 1],
    delay_sum_us: u64,
    estimates: [u64; ESTIMATE_BOUNDS_KBPS.len() + 1],
    estimate_sum_kbps: u64,
}

impl Counters {
    /// Counts one drop.
    pub fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// Counts some drops of one reason.
    pub fn drop_many(&mut self, reason: DropReason, count: u64) {
        self.drops[reason as usize] += count;
    }

    /// Drops so far for a reason.
    #[must_use]
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Counts one failed transport.
    pub fn fail(&mut self, reason: FailureReason) {
        self.failures[reason as usize] += 1;
    }

    /// Failed transports so far for a reason.
    #[must_use]
    pub fn failures(&self, reason: FailureReason) -> u64 {
        self.failures[reason as usize]
    }

    /// Counts one freeze of a receiver's picture.
    pub fn freeze(&mut self, cause: FreezeCause) {
        self.freezes[cause as usize] += 1;
    }

    /// Freezes so far for a cause.
    #[must_use]
    pub fn freezes(&self, cause: FreezeCause) -> u64 {
        self.freezes[cause as usize]
    }

    /// Counts one repair of a picture that stood still.
    pub fn repair(&mut self, repair: FreezeRepair) {
        self.repairs[repair as usize] += 1;
    }

    /// Repairs so far of a kind.
    #[must_use]
    pub fn repairs(&self, repair: FreezeRepair) -> u64 {
        self.repairs[repair as usize]
    }

    /// Records how long `packets` forwarded packets stayed in the relay, from the wake-up that received them to the send call.
    pub fn delay(&mut self, delay: Duration, packets: u64) {
        let us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        let bucket = DELAY_BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(DELAY_BOUNDS_US.len());
        self.delays[bucket] += packets;
        self.delay_sum_us = self.delay_sum_us.saturating_add(us.saturating_mul(packets));
    }

    /// Takes note of what a line was estimated to bear.
    pub fn estimate(&mut self, kbps: u64) {
        let bucket = ESTIMATE_BOUNDS_KBPS.iter().position(|bound| kbps <= *bound).unwrap_or(ESTIMATE_BOUNDS_KBPS.len());
        self.estimates[bucket] += 1;
        self.estimate_sum_kbps = self.estimate_sum_kbps.saturating_add(kbps);
    }

    /// Looks per bucket of [`ESTIMATE_BOUNDS_KBPS`] (not cumulative; one more bucket than bounds), and the sum in kbit/s.
    #[must_use]
    pub fn estimates(&self) -> (&[u64], u64) {
        (&self.estimates, self.estimate_sum_kbps)
    }

    /// Packets per bucket of [`DELAY_BOUNDS_US`] (not cumulative; one more bucket than bounds), and the sum in microseconds.
    #[must_use]
    pub fn delays(&self) -> (&[u64], u64) {
        (&self.delays, self.delay_sum_us)
    }
}
