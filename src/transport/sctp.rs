//! Data channels of one peer: SCTP in DTLS with in-band opening (RFC 8831, 8832, 9260).
//!
//! The peer begins the association. It opens the channels, and we send on those; or we open them, where it only listens. A
//! channel the peer agreed out of band and only closes again is acknowledged and otherwise not noticed.
//!
//! Entry points: [`DataChannels::handle_packet`], [`DataChannels::poll_event`], [`DataChannels::send`],
//! [`DataChannels::announce`].

mod guard;

use crate::model::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use rtc_datachannel::message::Message;
use rtc_datachannel::message::message_channel_ack::DataChannelAck;
use rtc_datachannel::message::message_channel_open::{ChannelType, DataChannelOpen};
use rtc_sctp::{
    Association, Chunks, DatagramEvent, Endpoint, EndpointConfig, Event, Payload, PayloadProtocolIdentifier, ReliabilityType,
    ServerConfig, TimerConfig, TransportConfig,
};
use rtc_shared::TransportProtocol;
use rtc_shared::marshal::{Marshal, Unmarshal};
use thiserror::Error;

use guard::{Guard, Verdict};

/// Channels open at once; a client opens three.
const MAX_CHANNELS: usize = 16;
/// Streams the crate may know: the channels, and the speculative ones a client closes again.
const MAX_STREAMS: usize = 32;
/// Streams agreed on: clients use ids below 110.
const STREAM_IDS: u16 = 1024;
/// Longest label; ours have twelve bytes at most.
const MAX_LABEL: usize = 64;
/// Largest message in either direction: what clients clamp to, and what one can be.
const MAX_MESSAGE: u32 = 65_535;
/// Unsent bytes of a reliable channel.
const MAX_RELIABLE: usize = 1024 * 1024;
/// Unsent bytes of a lossy channel: about a quarter of a second at 2 Mbit/s, beyond which a message is stale.
const MAX_LOSSY: usize = 64 * 1024;
/// Events waiting to be polled; the caller drains after every packet, and one packet brings at most some forty.
const MAX_EVENTS: usize = 1024;
/// Packets waiting to be polled.
const MAX_OUT: usize = 2048;
/// The crate knows one peer, whatever path it comes from.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// A data channel: its SCTP stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u16);

/// What happened on the data channels.
#[derive(PartialEq, Eq)]
pub enum DataEvent {
    /// The peer opened a channel, or took one of ours; messages may go both ways.
    Open {
        /// Which one.
        channel: ChannelId,
        /// Its label, at most 64 bytes.
        label: String,
        /// Messages arrive in order.
        ordered: bool,
        /// Messages are repeated until they arrive.
        reliable: bool,
    },
    /// A message came.
    Message {
        /// On which channel.
        channel: ChannelId,
        /// The message, at most 65,535 bytes.
        bytes: Bytes,
        /// Binary, or text.
        binary: bool,
    },
    /// A channel is gone.
    Closed {
        /// Which one.
        channel: ChannelId,
    },
    /// The association is gone, and every channel with it.
    Failed,
}

impl fmt::Debug for DataEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { channel, ordered, reliable, .. } => f
                .debug_struct("Open")
                .field("channel", channel)
                .field("ordered", ordered)
                .field("reliable", reliable)
                .finish_non_exhaustive(),
            Self::Message { channel, bytes, binary } => {
                f.debug_struct("Message").field("channel", channel).field("len", &bytes.len()).field("binary", binary).finish()
            }
            Self::Closed { channel } => f.debug_struct("Closed").field("channel", channel).finish(),
            Self::Failed => f.write_str("Failed"),
        }
    }
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SendError {
    /// Peer: it does not take what is buffered; a lossy message is dropped, a reliable one may be tried later.
    #[error("send buffer full")]
    Full,
    /// Caller: there is no such channel, or no longer.
    #[error("channel not open")]
    NotOpen,
    /// Caller: larger than the peer or we allow.
    #[error("message too large")]
    TooLarge,
}

#[derive(Clone, Copy)]
struct Channel {
    reliable: bool,
}

/// A channel we open ourselves: ordered and repeated until it arrives, or neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnChannel {
    /// Its label, at most 64 bytes.
    pub label: String,
    /// Messages arrive, and in order.
    pub reliable: bool,
}

/// The association of one peer and its channels.
pub struct DataChannels {
    transport: TransportConfig,
    largest: usize,
    endpoint: Option<Endpoint>,
    association: Option<Association>,
    guard: Guard,
    init: Vec<u8>,
    init_ack: Vec<Bytes>,
    channels: BTreeMap<u16, Channel>,
    /// Channels of our own the peer has not taken yet, by stream.
    announced: BTreeMap<u16, OwnChannel>,
    out: VecDeque<Bytes>,
    events: VecDeque<DataEvent>,
    held: bool,
    failed: bool,
}

impl fmt::Debug for DataChannels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataChannels").field("channels", &self.channels.len()).field("failed", &self.failed).finish()
    }
}

impl DataChannels {
    /// Awaits the peer's association; `max_message_size` is its `a=max-message-size`, capped at 65,535 bytes (0 means
    /// any size, RFC 8841, section 6).
    #[must_use]
    pub fn new(max_message_size: u32) -> Self {
        let largest = if max_message_size == 0 { MAX_MESSAGE } else { max_message_size.min(MAX_MESSAGE) };
        // The crate stops a timer for ever when its count runs out; ICE says when the peer is gone.
        let timers = TimerConfig { max_t3_rtx_retrans: usize::MAX, ..TimerConfig::default() };
        let transport = TransportConfig::default()
            .with_max_message_size(largest)
            .with_max_receive_buffer_size(guard::WINDOW)
            .with_max_num_inbound_streams(STREAM_IDS)
            .with_max_num_outbound_streams(STREAM_IDS)
            .with_timer_config(timers);
        Self {
            transport,
            largest: usize::try_from(largest).unwrap_or(usize::MAX),
            endpoint: None,
            association: None,
            guard: Guard::default(),
            init: Vec::new(),
            init_ack: Vec::new(),
            channels: BTreeMap::new(),
            announced: BTreeMap::new(),
            out: VecDeque::new(),
            events: VecDeque::new(),
            held: false,
            failed: false,
        }
    }

    /// Opens channels of our own once the association is there; each is [`Open`](DataEvent::Open) when the peer has taken it.
    /// More than it would allow the peer are left out.
    pub fn announce(&mut self, channels: Vec<OwnChannel>) {
        // The DTLS server has the odd streams (RFC 8832, section 6).
        let streams = (1..).step_by(2);
        self.announced = streams.zip(channels).take(MAX_CHANNELS).collect();
    }

    /// Says so to the peer (RFC 8832, section 5.1). What is said itself is repeated until it arrives, whatever the channel is.
    fn open_announced(&mut self, now: Instant) {
        let Some(association) = self.association.as_mut() else { return };
        for (id, channel) in &self.announced {
            let channel_type = if channel.reliable { ChannelType::Reliable } else { ChannelType::PartialReliableRexmitUnordered };
            let open = Message::DataChannelOpen(DataChannelOpen {
                channel_type,
                priority: 256,
                reliability_parameter: 0,
                label: channel.label.as_bytes().to_vec(),
                protocol: Vec::new(),
            });
            let (Ok(open), Ok(mut stream)) = (open.marshal(), association.open_stream(*id, PayloadProtocolIdentifier::Dcep))
            else {
                continue;
            };
            // A peer that closes the association at once needs no channel.
            let _ = stream.write_with_ppi(now.into(), &open, PayloadProtocolIdentifier::Dcep);
        }
    }

    /// The peer took a channel of ours.
    fn on_taken(&mut self, id: u16) {
        let Some(OwnChannel { label, reliable }) = self.announced.remove(&id) else { return };
        let Some(Ok(mut stream)) = self.association.as_mut().map(|association| association.stream(id)) else { return };
        let kind = if reliable { ReliabilityType::Reliable } else { ReliabilityType::Rexmit };
        if stream.set_reliability_params(!reliable, kind, 0).is_ok() {
            self.channels.insert(id, Channel { reliable });
            self.push_event(DataEvent::Open { channel: ChannelId(id), label, ordered: reliable, reliable });
        }
    }

    /// Holds messages back, those included that only wait to be repeated, or lets them go; a held message goes when its turn to be
    /// repeated comes after that.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
        if held {
            self.out.retain(|packet| !guard::carries_message(packet));
        }
    }

    /// Takes one SCTP packet, the content of a DTLS record.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        if self.failed {
            return;
        }
        match self.guard.check(packet) {
            Verdict::Feed => self.feed(now, packet),
            Verdict::Init => self.on_init(now, packet),
            Verdict::Drop => {}
            Verdict::Fail => self.fail(now),
        }
    }

    /// Answers an INIT; a repeated one gets the answer it got, for the crate would begin anew.
    fn on_init(&mut self, now: Instant, packet: &[u8]) {
        if self.association.is_some() && self.init == packet {
            let room = MAX_OUT.saturating_sub(self.out.len());
            self.out.extend(self.init_ack.iter().take(room).cloned());
            return;
        }
        let Some(init) = guard::plain_init(packet) else { return };
        let server = Arc::new(ServerConfig::new(self.transport.clone()));
        let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, Arc::new(EndpointConfig::new()), Some(server));
        let Some((_, DatagramEvent::NewAssociation(association))) = endpoint.handle(now.into(), PEER, None, init.into()) else {
            return;
        };
        self.endpoint = Some(endpoint);
        self.association = Some(association);
        self.guard.begin(packet);
        self.init = packet.to_vec();
        let before = self.out.len();
        self.advance(now);
        self.init_ack = self.out.iter().skip(before).cloned().collect();
    }

    fn feed(&mut self, now: Instant, packet: &[u8]) {
        let (Some(endpoint), Some(association)) = (self.endpoint.as_mut(), self.association.as_mut()) else { return };
        if let Some((_, DatagramEvent::AssociationEvent(event))) =
            endpoint.handle(now.into(), PEER, None, Bytes::copy_from_slice(packet))
        {
            association.handle_event(event);
        }
        self.advance(now);
    }

    /// Takes everything out of the crate that is ready.
    fn advance(&mut self, now: Instant) {
        let Some(association) = self.association.as_mut() else { return };
        let mut lost = Vec::new();
        let (mut failed, mut connected) = (false, false);
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => {
                    self.guard.establish();
                    connected = true;
                }
                Event::AssociationLost { id, .. } => lost.push(id),
                Event::HandshakeFailed { .. } => failed = true,
                Event::Stream(_) | Event::DatagramReceived | _ => {}
            }
        }
        // Streams are found below; the crate only wants its list of new ones emptied.
        while association.accept_stream().is_some() {}
        if connected {
            self.open_announced(now);
        }
        self.read_streams(now);
        for id in lost {
            if self.channels.remove(&id).is_some() {
                self.push_event(DataEvent::Closed { channel: ChannelId(id) });
            }
        }
        let Some(association) = self.association.as_mut() else { return };
        let ended = association.poll_endpoint_event().is_some() || (!association.is_handshaking() && association.is_closed());
        let crowded = association.stream_ids().len() > MAX_STREAMS;
        if failed || ended || crowded || self.events.len() > MAX_EVENTS {
            self.fail(now);
        } else {
            self.collect(now);
        }
    }

    fn read_streams(&mut self, now: Instant) {
        let mut ids = self.association.as_ref().map(Association::stream_ids).unwrap_or_default();
        // The crate keeps them in no order.
        ids.sort_unstable();
        for id in ids {
            // Each turn takes one message out; what can be held is bounded by the guard.
            while let Some(chunks) = self.read_message(id) {
                self.guard.note_delivered(chunks.len(), chunks.chunks.len());
                self.on_message(now, id, &chunks);
            }
        }
    }

    fn read_message(&mut self, id: u16) -> Option<Chunks> {
        self.association.as_mut()?.stream(id).ok()?.read_sctp().ok()?
    }

    fn on_message(&mut self, now: Instant, id: u16, chunks: &Chunks) {
        let Ok(bytes) = chunks.to_payload(usize::try_from(MAX_MESSAGE).unwrap_or(usize::MAX)) else { return };
        let (binary, empty) = match chunks.ppi {
            PayloadProtocolIdentifier::Dcep => return self.on_control(now, id, &bytes),
            PayloadProtocolIdentifier::Binary => (true, false),
            PayloadProtocolIdentifier::BinaryEmpty => (true, true),
            PayloadProtocolIdentifier::String => (false, false),
            PayloadProtocolIdentifier::StringEmpty => (false, true),
            PayloadProtocolIdentifier::Unknown | _ => return,
        };
        if self.channels.contains_key(&id) {
            let bytes = if empty { Bytes::new() } else { bytes.freeze() };
            self.push_event(DataEvent::Message { channel: ChannelId(id), bytes, binary });
        }
    }

    /// Takes a DATA_CHANNEL_OPEN or the answer to ours (RFC 8832, section 5).
    fn on_control(&mut self, now: Instant, id: u16, mut bytes: &[u8]) {
        let open = match Message::unmarshal(&mut bytes) {
            Ok(Message::DataChannelOpen(open)) => open,
            Ok(Message::DataChannelAck(_)) => return self.on_taken(id),
            Ok(_) | Err(_) => return,
        };
        if self.channels.contains_key(&id) || self.announced.contains_key(&id) {
            return;
        }
        let Some(association) = self.association.as_mut() else { return };
        let Ok(mut stream) = association.stream(id) else { return };
        let label = Some(&open.label).filter(|label| label.len() <= MAX_LABEL).and_then(|l| std::str::from_utf8(l).ok());
        let Some(label) = label.filter(|_| self.channels.len() < MAX_CHANNELS) else {
            let _ = stream.close(now.into());
            return;
        };
        let (unordered, kind) = reliability(&open);
        let value = open.reliability_parameter;
        let acknowledged = stream.set_reliability_params(unordered, kind, value).is_ok()
            && Message::DataChannelAck(DataChannelAck)
                .marshal()
                .is_ok_and(|ack| stream.write_with_ppi(now.into(), &ack, PayloadProtocolIdentifier::Dcep).is_ok());
        if acknowledged {
            let reliable = kind == ReliabilityType::Reliable;
            self.channels.insert(id, Channel { reliable });
            self.push_event(DataEvent::Open { channel: ChannelId(id), label: label.to_owned(), ordered: !unordered, reliable });
        }
    }

    fn push_event(&mut self, event: DataEvent) {
        self.events.push_back(event);
    }

    fn collect(&mut self, now: Instant) {
        let Some(association) = self.association.as_mut() else { return };
        while self.out.len() < MAX_OUT {
            let Some(transmit) = association.poll_transmit(now.into()) else { break };
            if let Payload::RawEncode(packets) = transmit.message {
                for packet in packets {
                    if self.held && guard::carries_message(&packet) {
                        continue;
                    }
                    self.guard.note_sent(&packet);
                    self.out.push_back(packet);
                }
            }
        }
    }

    fn fail(&mut self, now: Instant) {
        if let Some(association) = self.association.as_mut() {
            let _ = association.abort();
        }
        self.collect(now);
        self.failed = true;
        self.endpoint = None;
        self.association = None;
        self.channels.clear();
        self.push_event(DataEvent::Failed);
    }

    /// The next SCTP packet, to be sent as a DTLS record.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Bytes> {
        if self.out.is_empty() {
            self.collect(now);
        }
        self.out.pop_front()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<DataEvent> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.association.as_ref().and_then(Association::poll_timeout).map(Instant::from)
    }

    /// Repeats and acknowledges what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(association) = self.association.as_mut() {
            association.handle_timeout(now.into());
            self.advance(now);
        }
    }

    /// Sends a binary message on a channel the peer opened.
    ///
    /// # Errors
    ///
    /// [`SendError::NotOpen`], [`SendError::TooLarge`], or [`SendError::Full`] where 1 MiB of a reliable or 64 KiB of a
    /// lossy channel wait already.
    pub fn send(&mut self, channel: ChannelId, message: &[u8], now: Instant) -> Result<(), SendError> {
        let reliable = self.channels.get(&channel.0).ok_or(SendError::NotOpen)?.reliable;
        if message.len() > self.largest {
            return Err(SendError::TooLarge);
        }
        let limit = if reliable { MAX_RELIABLE } else { MAX_LOSSY };
        if self.buffered(channel).saturating_add(message.len()) > limit {
            return Err(SendError::Full);
        }
        let mut stream = self.association.as_mut().and_then(|a| a.stream(channel.0).ok()).ok_or(SendError::NotOpen)?;
        // SCTP cannot carry nothing (RFC 8831, section 6.6).
        let (payload, kind) = if message.is_empty() {
            (&[0][..], PayloadProtocolIdentifier::BinaryEmpty)
        } else {
            (message, PayloadProtocolIdentifier::Binary)
        };
        stream.write_with_ppi(now.into(), payload, kind).map_err(|_| SendError::NotOpen)?;
        self.collect(now);
        Ok(())
    }

    /// Bytes of a channel the peer has not acknowledged.
    pub fn buffered(&mut self, channel: ChannelId) -> usize {
        let stream = self.association.as_mut().and_then(|association| association.stream(channel.0).ok());
        stream.and_then(|stream| stream.buffered_amount().ok()).unwrap_or(0)
    }
}

/// Whether a channel is unordered, and how it is repeated.
fn reliability(open: &DataChannelOpen) -> (bool, ReliabilityType) {
    match open.channel_type {
        ChannelType::ReliableUnordered => (true, ReliabilityType::Reliable),
        ChannelType::PartialReliableRexmit => (false, ReliabilityType::Rexmit),
        ChannelType::PartialReliableRexmitUnordered => (true, ReliabilityType::Rexmit),
        ChannelType::PartialReliableTimed => (false, ReliabilityType::Timed),
        ChannelType::PartialReliableTimedUnordered => (true, ReliabilityType::Timed),
        ChannelType::Reliable | _ => (false, ReliabilityType::Reliable),
    }
}

#[cfg(test)]
mod tests {
    use super::guard::seal;
    use super::*;
    use rtc_sctp::{AssociationHandle, ClientConfig, StreamEvent};
    use std::time::Duration;

    const LOSSY: ChannelType = ChannelType::PartialReliableRexmitUnordered;

    /// The peer: the same crate as a client, without our guard.
    struct Client {
        endpoint: Endpoint,
        handle: AssociationHandle,
        association: Association,
        connected: bool,
        lost: Vec<u16>,
        received: Vec<(u16, PayloadProtocolIdentifier, Vec<u8>)>,
    }

    impl Client {
        fn new(now: Instant) -> Self {
            let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, Arc::new(EndpointConfig::new()), None);
            let (handle, association) = endpoint.connect(now.into(), ClientConfig::default(), PEER).unwrap();
            Self { endpoint, handle, association, connected: false, lost: Vec::new(), received: Vec::new() }
        }

        fn handle(&mut self, now: Instant, packet: &[u8]) {
            if let Some((handle, DatagramEvent::AssociationEvent(event))) =
                self.endpoint.handle(now.into(), PEER, None, Bytes::copy_from_slice(packet))
            {
                assert_eq!(handle, self.handle);
                self.association.handle_event(event);
            }
            while let Some(event) = self.association.poll() {
                match event {
                    Event::Connected => self.connected = true,
                    Event::AssociationLost { id, .. } => self.lost.push(id),
                    Event::Stream(StreamEvent::Readable { .. }) | _ => {}
                }
            }
            for id in self.association.stream_ids() {
                while let Ok(Some(chunks)) = self.association.stream(id).unwrap().read_sctp() {
                    self.received.push((id, chunks.ppi, chunks.to_payload(1 << 20).unwrap().to_vec()));
                }
            }
        }

        fn poll(&mut self, now: Instant) -> Vec<Bytes> {
            let mut out = Vec::new();
            while let Some(transmit) = self.association.poll_transmit(now.into()) {
                if let Payload::RawEncode(packets) = transmit.message {
                    out.extend(packets);
                }
            }
            out
        }

        fn open(&mut self, now: Instant, id: u16, label: &str, channel_type: ChannelType) {
            let open = Message::DataChannelOpen(DataChannelOpen {
                channel_type,
                priority: 256,
                reliability_parameter: 0,
                label: label.as_bytes().to_vec(),
                protocol: Vec::new(),
            });
            let mut stream = self.association.open_stream(id, PayloadProtocolIdentifier::Binary).unwrap();
            stream.write_with_ppi(now.into(), &open.marshal().unwrap(), PayloadProtocolIdentifier::Dcep).unwrap();
            let (unordered, kind) =
                if channel_type == LOSSY { (true, ReliabilityType::Rexmit) } else { (false, ReliabilityType::Reliable) };
            stream.set_reliability_params(unordered, kind, 0).unwrap();
        }

        fn write(&mut self, now: Instant, id: u16, data: &[u8]) {
            let mut stream = self.association.stream(id).unwrap();
            stream.write_with_ppi(now.into(), data, PayloadProtocolIdentifier::Binary).unwrap();
        }
    }

    struct Line {
        client: Client,
        server: DataChannels,
        now: Instant,
        log: Vec<Vec<u8>>,
        carried: usize,
    }

    impl Line {
        fn new() -> Self {
            let now = Instant::now();
            Self { client: Client::new(now), server: DataChannels::new(65_535), now, log: Vec::new(), carried: 0 }
        }

        fn connected() -> Self {
            let mut line = Self::new();
            line.carry();
            assert!(line.client.connected);
            line.client.open(line.now, 2, "_reliable", ChannelType::Reliable);
            line.client.open(line.now, 4, "_lossy", LOSSY);
            line.carry();
            line
        }

        fn carry(&mut self) {
            self.carry_if(|_| true);
        }

        fn carry_if(&mut self, mut keep: impl FnMut(usize) -> bool) {
            for _ in 0..10_000 {
                let up = self.client.poll(self.now);
                let mut idle = up.is_empty();
                for packet in up {
                    self.carried += 1;
                    self.log.push(packet.to_vec());
                    if keep(self.carried) {
                        self.server.handle_packet(self.now, &packet);
                    }
                }
                while let Some(packet) = self.server.poll_packet(self.now) {
                    idle = false;
                    self.carried += 1;
                    if keep(self.carried) {
                        self.client.handle(self.now, &packet);
                    }
                }
                if idle {
                    return;
                }
            }
        }

        fn run(&mut self, steps: u32, mut keep: impl FnMut(usize) -> bool) {
            for _ in 0..steps {
                self.now += Duration::from_millis(100);
                self.client.association.handle_timeout(self.now.into());
                self.server.handle_timeout(self.now);
                self.carry_if(&mut keep);
            }
        }

        fn events(&mut self) -> Vec<DataEvent> {
            std::iter::from_fn(|| self.server.poll_event()).collect()
        }
    }

    fn message(id: u16, bytes: &[u8]) -> DataEvent {
        DataEvent::Message { channel: ChannelId(id), bytes: Bytes::copy_from_slice(bytes), binary: true }
    }

    fn opened(id: u16, label: &str, certain: bool) -> DataEvent {
        DataEvent::Open { channel: ChannelId(id), label: label.to_owned(), ordered: certain, reliable: certain }
    }

    #[test]
    fn channels_of_our_own_open_when_the_peer_takes_them() {
        let mut line = Line::new();
        let own = |label: &str, reliable| OwnChannel { label: label.into(), reliable };
        line.server.announce(vec![own("_reliable", true), own("_lossy", false)]);
        // What opens them is lost at first: it is repeated, also for the channel that repeats no message.
        let mut left = 0;
        line.carry_if(|_| {
            left += 1;
            left < 5
        });
        line.run(40, |_| true);
        assert_eq!(line.events(), [], "nobody has taken them yet");
        let of_kind = |line: &Line, kind| -> Vec<(u16, Vec<u8>)> {
            line.client.received.iter().filter(|(_, ppi, _)| *ppi == kind).map(|(id, _, data)| (*id, data.clone())).collect()
        };
        let opens = of_kind(&line, PayloadProtocolIdentifier::Dcep);
        let streams: std::collections::BTreeSet<u16> = opens.into_iter().map(|open| open.0).collect();
        assert_eq!(streams, [1, 3].into(), "the odd streams are the DTLS server's");
        for id in streams {
            let ack = Message::DataChannelAck(DataChannelAck).marshal().unwrap();
            let mut stream = line.client.association.stream(id).unwrap();
            stream.write_with_ppi(line.now.into(), &ack, PayloadProtocolIdentifier::Dcep).unwrap();
        }
        line.carry();
        let open = |id, label: &str, sure| DataEvent::Open {
            channel: ChannelId(id),
            label: label.into(),
            ordered: sure,
            reliable: sure,
        };
        assert_eq!(line.events(), [open(1, "_reliable", true), open(3, "_lossy", false)]);
        for (id, text) in [(1, b"a"), (3, b"b")] {
            assert_eq!(line.server.send(ChannelId(id), text, line.now), Ok(()));
        }
        line.carry();
        let mut got = of_kind(&line, PayloadProtocolIdentifier::Binary);
        got.sort();
        assert_eq!(got, [(1, b"a".to_vec()), (3, b"b".to_vec())]);
    }

    #[test]
    fn channels_open_and_carry_messages_both_ways() {
        let mut line = Line::connected();
        assert_eq!(line.events(), [opened(2, "_reliable", true), opened(4, "_lossy", false)]);
        line.client.write(line.now, 2, b"up");
        line.client.write(line.now, 4, b"lossy up");
        line.server.send(ChannelId(2), b"down", line.now).unwrap();
        line.server.send(ChannelId(4), b"", line.now).unwrap();
        line.carry();
        assert_eq!(line.events(), [message(2, b"up"), message(4, b"lossy up")]);
        let data: Vec<_> = line.client.received.iter().filter(|(_, ppi, _)| *ppi != PayloadProtocolIdentifier::Dcep).collect();
        assert!(data.contains(&&(2, PayloadProtocolIdentifier::Binary, b"down".to_vec())));
        assert!(data.contains(&&(4, PayloadProtocolIdentifier::BinaryEmpty, vec![0])));
        assert_eq!(line.client.received.len() - data.len(), 2, "both openings were acknowledged");
    }

    #[test]
    fn the_largest_message_passes_and_a_larger_one_does_not() {
        let mut line = Line::connected();
        line.events();
        let largest = vec![7; 65_535];
        line.client.write(line.now, 2, &largest);
        line.server.send(ChannelId(2), &largest, line.now).unwrap();
        line.run(20, |_| true);
        assert_eq!(line.events(), [message(2, &largest)]);
        assert_eq!(line.client.received.last().unwrap().2, largest);
        assert_eq!(line.server.buffered(ChannelId(2)), 0);
        assert_eq!(line.server.send(ChannelId(2), &[0; 65_536], line.now), Err(SendError::TooLarge));
        assert_eq!(line.server.send(ChannelId(3), b"x", line.now), Err(SendError::NotOpen));
    }

    #[test]
    fn an_oversized_message_is_not_delivered() {
        let mut line = Line::connected();
        line.events();
        line.client.write(line.now, 2, &vec![1; 262_144]);
        line.run(100, |_| true);
        assert!(!line.events().iter().any(|event| matches!(event, DataEvent::Message { .. })));
    }

    #[test]
    fn a_speculative_stream_may_be_reset_and_a_channel_closed() {
        let mut line = Line::connected();
        line.events();
        for id in 100..103 {
            line.client.association.open_stream(id, PayloadProtocolIdentifier::Binary).unwrap();
            line.client.association.stream(id).unwrap().close(line.now.into()).unwrap();
        }
        line.run(5, |_| true);
        assert_eq!(line.events(), []);
        line.client.association.stream(4).unwrap().close(line.now.into()).unwrap();
        line.run(5, |_| true);
        assert_eq!(line.events(), [DataEvent::Closed { channel: ChannelId(4) }]);
        assert_eq!(line.server.send(ChannelId(4), b"x", line.now), Err(SendError::NotOpen));
        line.client.write(line.now, 2, b"still here");
        line.carry();
        assert_eq!(line.events(), [message(2, b"still here")]);
    }

    #[test]
    fn long_labels_and_too_many_channels_are_closed() {
        let mut line = Line::connected();
        line.client.open(line.now, 6, &"x".repeat(65), ChannelType::Reliable);
        for id in 10..26 {
            line.client.open(line.now, id, "more", ChannelType::Reliable);
        }
        line.run(10, |_| true);
        let opened = line.events().iter().filter(|event| matches!(event, DataEvent::Open { .. })).count();
        assert_eq!(opened, MAX_CHANNELS);
        assert!(line.client.lost.contains(&6) && line.client.lost.contains(&25), "{:?}", line.client.lost);
        line.client.write(line.now, 2, b"still here");
        line.carry();
        assert!(line.events().contains(&message(2, b"still here")));
    }

    #[test]
    fn more_streams_than_any_client_has_end_the_association() {
        let mut line = Line::connected();
        for id in 200..240 {
            line.client.association.open_stream(id, PayloadProtocolIdentifier::Binary).unwrap();
            line.client.write(line.now, id, b"x");
        }
        line.carry();
        assert_eq!(line.events().last(), Some(&DataEvent::Failed));
        assert_eq!(line.server.poll_timeout(), None);
    }

    #[test]
    fn send_buffers_are_bounded_and_lossy_messages_dropped_first() {
        let mut line = Line::connected();
        line.run(5, |_| true);
        let chunk = [0; 16 * 1024];
        let mut fill = |channel| (0..1000).take_while(|_| line.server.send(ChannelId(channel), &chunk, line.now).is_ok()).count();
        assert_eq!((fill(4), fill(2)), (4, 64));
        assert_eq!(line.server.send(ChannelId(2), b"x", line.now), Err(SendError::Full));
        line.run(50, |_| true);
        assert_eq!(line.server.buffered(ChannelId(2)), 0);
        assert_eq!(line.server.send(ChannelId(2), b"x", line.now), Ok(()));
    }

    #[test]
    fn reliable_messages_survive_loss() {
        let mut state = 1_u32;
        let mut arrives = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 24 > 40
        };
        let mut line = Line::new();
        line.run(100, &mut arrives);
        line.client.open(line.now, 2, "_reliable", ChannelType::Reliable);
        line.run(100, &mut arrives);
        for number in 0..50_u8 {
            line.client.write(line.now, 2, &[number; 3000]);
            line.server.send(ChannelId(2), &[number; 3000], line.now).unwrap();
        }
        line.run(3000, &mut arrives);
        let messages: Vec<_> = line.events().into_iter().filter(|event| matches!(event, DataEvent::Message { .. })).collect();
        assert_eq!(messages, (0..50_u8).map(|number| message(2, &[number; 3000])).collect::<Vec<_>>());
        let received: Vec<_> =
            line.client.received.iter().filter(|(_, ppi, _)| *ppi == PayloadProtocolIdentifier::Binary).collect();
        assert_eq!(received.len(), 50);
    }

    #[test]
    fn a_repeated_init_is_answered_alike_and_a_late_one_not_at_all() {
        let mut line = Line::new();
        let init = line.client.poll(line.now).remove(0);
        line.server.handle_packet(line.now, &init);
        let first = line.server.poll_packet(line.now).unwrap();
        line.server.handle_packet(line.now, &init);
        assert_eq!(line.server.poll_packet(line.now).unwrap(), first);
        assert_eq!(line.server.poll_packet(line.now), None);
        line.client.handle(line.now, &first);
        line.carry();
        assert!(line.client.connected);
        line.server.handle_packet(line.now, &init);
        assert_eq!(line.server.poll_packet(line.now), None);
        line.client.open(line.now, 2, "_reliable", ChannelType::Reliable);
        line.carry();
        assert_eq!(line.events(), [opened(2, "_reliable", true)]);
    }

    #[test]
    fn sequence_numbers_wrap_around() {
        for first in [0, 1, u32::MAX] {
            let mut line = Line::new();
            let mut init = line.client.poll(line.now).remove(0).to_vec();
            init[28..32].copy_from_slice(&first.to_be_bytes());
            seal(&mut init);
            line.server.handle_packet(line.now, &init);
            let init_ack = line.server.poll_packet(line.now).unwrap();
            let mut data = init[..12].to_vec();
            data[4..8].copy_from_slice(&init_ack[16..20]);
            assert_eq!(init_ack[32..34], [0, 7], "the state cookie comes first");
            let cookie = &init_ack[36..32 + usize::from(init_ack[35])];
            let mut packet = data.clone();
            packet.extend([10, 0, 0, 4 + cookie.len() as u8]);
            packet.extend(cookie);
            seal(&mut packet);
            line.server.handle_packet(line.now, &packet);
            let open = DataChannelOpen {
                channel_type: ChannelType::Reliable,
                priority: 0,
                reliability_parameter: 0,
                label: b"wrap".to_vec(),
                protocol: Vec::new(),
            };
            let open = Message::DataChannelOpen(open).marshal().unwrap();
            // The opening in three fragments, of which the last comes first.
            for (number, flags, part) in [(2, 5, &open[8..]), (0, 6, &open[..4]), (1, 4, &open[4..8])] {
                let mut packet = data.clone();
                packet.extend([0, flags, 0, 16 + part.len() as u8]);
                packet.extend(first.wrapping_add(number).to_be_bytes());
                packet.extend([0, 2, 0, 0, 0, 0, 0, 50]);
                packet.extend(part);
                seal(&mut packet);
                line.server.handle_packet(line.now, &packet);
            }
            assert_eq!(line.events(), [opened(2, "wrap", true)], "from {first}");
        }
    }

    #[test]
    fn truncated_and_flipped_packets_never_panic() {
        let mut line = Line::connected();
        line.client.write(line.now, 2, &[5; 1500]);
        line.carry();
        line.client.association.stream(4).unwrap().close(line.now.into()).unwrap();
        line.run(3, |_| true);
        let mut sealed = line.log[0].clone();
        seal(&mut sealed);
        assert_eq!(sealed, line.log[0], "positive control of the checksum");
        // The tag is the server's, so the packets of one line are played to that same line; a line that failed is
        // made anew with the same messages.
        for number in 0..line.log.len() {
            let size = line.log[number].len();
            for index in (0..size).step_by(if size > 300 { 7 } else { 1 }) {
                for (cut, bits) in [(true, 0), (false, 0xff), (false, 0x01), (false, 0x80)] {
                    if line.server.failed {
                        line = Line::connected();
                        line.client.write(line.now, 2, &[5; 1500]);
                        line.carry();
                        line.client.association.stream(4).unwrap().close(line.now.into()).unwrap();
                        line.run(3, |_| true);
                    }
                    let Some(mut packet) = line.log.get(number).cloned() else { continue };
                    if cut {
                        packet.truncate(index);
                    } else if let Some(byte) = packet.get_mut(index) {
                        *byte ^= bits;
                    }
                    seal(&mut packet);
                    line.server.handle_packet(line.now, &packet);
                    while line.server.poll_packet(line.now).is_some() {}
                    line.events();
                }
            }
        }
    }

    #[test]
    fn random_chunks_under_the_right_tag_never_panic() {
        let mut state = 0x1234_5678_9abc_def0_u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32
        };
        let mut line = Line::connected();
        let mut fed = BTreeMap::<u8, u32>::new();
        for _ in 0..40_000 {
            if line.server.failed {
                line = Line::connected();
            }
            let mut packet = line.log.last().unwrap()[..12].to_vec();
            for _ in 0..=random() % 3 {
                let kind = [0, 3, 4, 6, 7, 8, 10, 14, 130, 192, 1, 9][random() as usize % 12];
                let mut length = random() as usize % 8 * 4;
                // Small numbers, so that lengths and types inside the chunks are often right.
                let mut value: Vec<u8> = (0..length).map(|_| if random() % 2 == 0 { 0 } else { (random() % 20) as u8 }).collect();
                // And a header of a parameter that fits, for the kinds that have one.
                let parameter: Option<[u8; 2]> = match kind {
                    4 => Some([0, 1]),
                    6 => Some([0, 12]),
                    130 if length == 12 => Some([0, 16]),
                    130 => Some([0, 13]),
                    _ => None,
                };
                if let (Some([t0, t1]), true) = (parameter, length >= 4) {
                    value[..4].copy_from_slice(&[t0, t1, 0, length as u8]);
                }
                if kind == 0 || kind == 192 {
                    // Near the present TSN.
                    let tsn = line.server.guard.last_acknowledged().wrapping_add(random() % 6);
                    value.resize(value.len().max(4), 0);
                    value[..4].copy_from_slice(&tsn.to_be_bytes());
                    length = value.len();
                }
                if kind == 3 {
                    // Near what the client last acknowledged, with as many blocks as it says.
                    let sack = line.log.iter().rfind(|packet| packet[12] == 3).map_or([0; 4], |p| p[16..20].try_into().unwrap());
                    let blocks = random() % 4;
                    value = u32::from_be_bytes(sack).wrapping_add(random() % 4).to_be_bytes().to_vec();
                    value.extend((random() % 70_000).to_be_bytes());
                    value.extend([0, blocks as u8, 0, 0]);
                    value.extend((0..blocks * 2).flat_map(|_| [0, (random() % 6) as u8]));
                    length = value.len();
                }
                packet.extend([kind, (random() % 8) as u8]);
                packet.extend((4 + length as u16).to_be_bytes());
                packet.extend(value);
            }
            seal(&mut packet);
            let mut judge = Guard::default();
            judge.establish();
            if judge.check(&packet) != Verdict::Drop {
                *fed.entry(packet[12]).or_default() += 1;
            }
            line.server.handle_packet(line.now, &packet);
            while line.server.poll_packet(line.now).is_some() {}
            line.events();
            if random() % 16 == 0 {
                let _ = line.server.send(ChannelId(2), &[1; 5000], line.now);
                line.run(3, |_| true);
                line.log.truncate(12);
            }
        }
        for kind in [0, 3, 4, 6, 8, 10, 14, 130] {
            assert!(fed.get(&kind).is_some_and(|count| *count > 50), "the crate saw too few of kind {kind}: {fed:?}");
        }
    }
}
