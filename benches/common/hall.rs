//! Many people of an independent stack, connected to one shard over lines without delay, in virtual time.
//!
//! The `World` of the tests looks at everybody in every step; here thousands connect at once, so each is looked at when its stack
//! asks for it. Media that the relay sends is thrown away: people answer checks and control packets but report nothing about
//! what they receive.
#![allow(dead_code, reason = "each bench uses a part of it")]

use super::meter::Spent;
use super::world::media::Kind;
use super::world::person::{Coming, Person, Sending};
use super::world::rng::Rng;
use super::world::{RELAY, room};
use colloque::consultation::room::Defaults;
use colloque::consultation::{Policy, RoomSettings};
use colloque::model::roster::{Attributes, ClientFacts, LeaveReason, ParticipantKind, Text};
use colloque::model::{Identity, Now, Path, SessionId, ShardId};
use colloque::relay::command::{Command, Join, Request};
use colloque::relay::event::{Event, EventSink, Gone};
use colloque::relay::link::Rate;
use colloque::relay::shard::{Shard, ShardConfig};
use colloque::signal::livekit::LiveKitEnvelope;
use colloque::transport::peer::Transport;
use colloque::transport::srtp::Profile;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use str0m::config::DtlsCert;

/// Time goes on in steps of at least this much.
const STEP: Duration = Duration::from_millis(1);

/// What the shard is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Command,
    Stun,
    Dtls,
    Packet,
    Timers,
    Batch,
}

impl Call {
    pub(crate) const ALL: [Self; 6] = [Self::Command, Self::Stun, Self::Dtls, Self::Packet, Self::Timers, Self::Batch];

    fn of(bytes: &[u8]) -> Self {
        match bytes.first() {
            Some(128..=191) => Self::Packet,
            Some(20..=63) => Self::Dtls,
            _ => Self::Stun,
        }
    }
}

/// A datagram on its way to the relay.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) at: Instant,
    pub(crate) from: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// SRTP, which its packet type tells from SRTCP (RFC 7983, RFC 5761).
pub(crate) fn is_media(bytes: &[u8]) -> bool {
    matches!(bytes, [128..=191, second, ..] if !(192..=223).contains(second))
}

type Post = Arc<Mutex<VecDeque<(usize, Event)>>>;

/// Takes the events for one person.
#[derive(Debug)]
struct Sink(usize, Post);

impl EventSink for Sink {
    fn push(&mut self, event: Event) -> Result<(), Gone> {
        self.1.lock().map_err(|_| Gone)?.push_back((self.0, event));
        Ok(())
    }
}

/// Everybody, and the shard.
pub(crate) struct Hall {
    pub(crate) shard: Shard,
    pub(crate) now: Instant,
    start: Instant,
    pub(crate) people: Vec<Person>,
    certificate: DtlsCert,
    by_address: HashMap<SocketAddr, usize>,
    /// When to look at whom; of the entries of a person only the one that is also in `due` counts.
    agenda: BinaryHeap<Reverse<(Instant, usize)>>,
    due: Vec<Option<Instant>>,
    post: Post,
    /// What people sent and the relay has not taken in.
    pub(crate) up: VecDeque<Datagram>,
    /// What each kind of call took.
    pub(crate) spent: [Spent; Call::ALL.len()],
    sessions: u64,
}

#[expect(clippy::disallowed_methods, reason = "a virtual clock starts somewhere")]
fn some_instant() -> Instant {
    Instant::now()
}

impl Hall {
    pub(crate) fn new() -> Self {
        Self::with_profiles(&Profile::ALL)
    }

    /// An empty hall whose relay takes these SRTP profiles.
    pub(crate) fn with_profiles(profiles: &[Profile]) -> Self {
        let config = ShardConfig {
            adapt: true,
            audit: false,
            id: ShardId(0),
            room_defaults: Defaults { empty_timeout_s: 300, departure_timeout_s: 0, max_participants: 0 },
            connect_within: Duration::from_secs(20),
            resume_window: Duration::from_secs(30),
            // No limit for the one publisher that stands for many.
            publisher_rate: Rate { packets: 100_000, bytes: 100_000_000 },
            transport: Arc::new(Transport::with_profiles(&[RELAY], profiles).expect("a certificate")),
            usual: Arc::default(),
            envelope: Arc::new(LiveKitEnvelope),
        };
        let start = some_instant();
        Self {
            shard: Shard::new(config),
            now: start,
            start,
            people: Vec::new(),
            certificate: str0m::crypto::from_feature_flags().dtls_provider.generate_certificate().expect("a certificate"),
            by_address: HashMap::new(),
            agenda: BinaryHeap::new(),
            due: Vec::new(),
            post: Post::default(),
            up: VecDeque::new(),
            spent: Default::default(),
            sessions: 0,
        }
    }

    /// A hall of rooms with everybody connected and nobody sending.
    pub(crate) fn of(rooms: usize, publishers: usize, viewers: usize) -> Self {
        Self::new().filled(rooms, publishers, viewers)
    }

    /// The same hall with so many rooms more, everybody connected and nobody sending.
    pub(crate) fn filled(mut self, rooms: usize, publishers: usize, viewers: usize) -> Self {
        let hall = &mut self;
        // No room that is there already gets the name of another.
        let first = hall.people.len();
        for number in first..first + rooms {
            let coming = std::iter::repeat_n(Coming::default(), publishers);
            for coming in coming.chain(std::iter::repeat_n(Coming::viewer(), viewers)) {
                hall.join(&format!("room-{number}"), &coming);
            }
        }
        hall.connect();
        self
    }

    /// Lets everybody connect and renegotiate.
    pub(crate) fn connect(&mut self) {
        for _ in 0..100 {
            self.run(Duration::from_millis(20));
            if self.people.iter().all(|person| person.connected) {
                break;
            }
        }
        assert!(self.people.iter().all(|person| person.connected), "everybody connects");
        self.run(Duration::from_millis(500));
    }

    pub(crate) fn join(&mut self, name_of_room: &str, coming: &Coming) -> usize {
        let index = self.people.len();
        let name = format!("person-{index}");
        let [_, a, b, c] = (index as u32).to_be_bytes();
        let address = SocketAddr::from(([10, a, b, c], 40_000));
        let certificate = self.certificate.clone();
        let mut person = Person::new(index as u8, &name, room(name_of_room), address, certificate, coming, self.now);
        let (offer, tracks) = person.first_offer(coming);
        // Silence until it is asked to speak.
        person.tracks.iter_mut().for_each(|track| track.packets_per_frame = 0);
        self.sessions += 1;
        person.session = SessionId(self.sessions);
        let join = Join {
            room: person.room.clone(),
            policy: Policy::Open,
            room_settings: RoomSettings::default(),
            identity: Identity::new(name),
            name: Text::default(),
            metadata: Text::default(),
            attributes: Attributes::default(),
            permissions: coming.permissions.clone(),
            kind: ParticipantKind::Standard,
            client: ClientFacts::default(),
            auto_subscribe: true,
            adaptive_stream: false,
            two_connections: false,
            offer: Some(offer),
            tracks,
            issued_at_s: 0,
            token: Default::default(),
            plan: None,
            session: person.session,
            events: Box::new(Sink(index, self.post.clone())),
        };
        self.people.push(person);
        self.due.push(None);
        self.by_address.insert(address, index);
        self.on_shard(Call::Command, |shard, now| shard.on_command(Command::Join(Box::new(join)), now));
        self.settle();
        index
    }

    /// Everybody leaves, and is forgotten.
    pub(crate) fn clear(&mut self) {
        for person in std::mem::take(&mut self.people) {
            let participant = person.sid.clone().expect("joined");
            let request = Request::Leave(LeaveReason::ClientInitiated);
            let command = Command::Request { room: person.room.clone(), participant, session: person.session, request };
            self.on_shard(Call::Command, |shard, now| shard.on_command(command, now));
        }
        self.on_shard(Call::Batch, |shard, now| shard.finish_batch(now));
        self.now += Duration::from_secs(1);
        self.on_shard(Call::Timers, |shard, now| shard.handle_timeout(now));
        self.on_shard(Call::Batch, |shard, now| shard.finish_batch(now));
        self.shard.outbox().clear();
        self.forget_news();
        self.post.lock().expect("nobody panics with it").clear();
        self.up.clear();
        self.agenda.clear();
        self.due.clear();
        self.by_address.clear();
        assert_eq!(self.shard.counters().rooms, 0, "all rooms are closed");
    }

    /// From now on everybody who publishes sends voice 50 times a second, and 25 pictures a second of so many packets with
    /// 1,000 bytes each.
    pub(crate) fn speak(&mut self, packets_per_picture: u8) {
        for track in self.people.iter_mut().flat_map(|person| &mut person.tracks) {
            track.packets_per_frame = if track.kind == Kind::Audio { 1 } else { packets_per_picture };
            track.packet_len = 1_000;
        }
    }

    /// From now on everybody who publishes sends voice 50 times a second and 30 pictures a second of 4 to 9 packets, each with up
    /// to 1,150 bytes on the wire before protection: whole frames of one person, in no order of persons. It is the load of the
    /// tool that measures the least a relay may cost.
    pub(crate) fn speak_as_browsers(&mut self) {
        /// Header and extensions of this stack.
        const HEADER: usize = 36;
        let mut rng = Rng::new(7);
        for track in self.people.iter_mut().flat_map(|person| &mut person.tracks) {
            let (every, len) = match track.kind {
                Kind::Audio => (Duration::from_millis(20), 100 - HEADER),
                Kind::Video => (Duration::from_nanos(33_333_333), 1_150 - HEADER),
            };
            (track.packets_per_frame, track.packet_len, track.every) = (1, len, every);
            track.varied = Some(Rng::new(rng.next()));
            track.next_at = track.next_at.map(|at| at + every.mul_f64(rng.below(1_000) as f64 / 1_000.0));
        }
    }

    /// From now on nobody sends media.
    pub(crate) fn be_silent(&mut self) {
        self.people.iter_mut().flat_map(|person| &mut person.tracks).for_each(|track| track.packets_per_frame = 0);
    }

    pub(crate) fn time(&self) -> Now {
        self.time_at(self.now)
    }

    pub(crate) fn time_at(&self, at: Instant) -> Now {
        let elapsed = at.saturating_duration_since(self.start).as_millis() as u64;
        Now { mono: at.into(), wall_ms: 1_800_000_000_000 + elapsed }
    }

    fn on_shard<T>(&mut self, call: Call, act: impl FnOnce(&mut Shard, Now) -> T) -> T {
        let now = self.time();
        self.spent[call as usize].on(|| act(&mut self.shard, now))
    }

    /// Lets time pass for people and relay alike.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            let person = self.agenda.peek().map(|Reverse((at, _))| *at);
            let next = person.into_iter().chain(self.shard.poll_timeout().map(Into::into)).min().unwrap_or(until);
            self.now = next.max(self.now + STEP).min(until);
            self.on_shard(Call::Timers, |shard, now| shard.handle_timeout(now));
            self.let_people_act(self.now, usize::MAX);
            self.settle();
        }
    }

    /// Lets people act until a moment, or until they have sent so many datagrams; the relay hears nothing of it yet.
    pub(crate) fn let_people_act(&mut self, until: Instant, datagrams: usize) {
        while self.up.len() < datagrams {
            let Some(Reverse((at, index))) = self.agenda.peek().copied().filter(|Reverse((at, _))| *at <= until) else {
                self.now = self.now.max(until);
                return;
            };
            self.agenda.pop();
            if self.due[index] != Some(at) {
                continue;
            }
            self.due[index] = None;
            self.now = self.now.max(at);
            let mut out = Vec::new();
            self.people[index].on_time(self.now, &mut out);
            self.after(index, out);
        }
    }

    fn after(&mut self, index: usize, out: Vec<Sending>) {
        let to_relay = out.into_iter().filter(|sending| sending.to == RELAY);
        self.up.extend(to_relay.map(|sending| Datagram { at: self.now, from: sending.from, bytes: sending.bytes }));
        if let Some(next) = self.people[index].next()
            && self.due[index].is_none_or(|due| next < due)
        {
            self.due[index] = Some(next);
            self.agenda.push(Reverse((next, index)));
        }
    }

    /// Carries datagrams and events to and fro until nobody has anything to say.
    pub(crate) fn settle(&mut self) {
        loop {
            while let Some(mut datagram) = self.up.pop_front() {
                let path = Path { socket: 0, local: None, remote: datagram.from };
                let call = Call::of(&datagram.bytes);
                self.on_shard(call, |shard, now| shard.handle_datagram(now, path, &mut datagram.bytes));
            }
            self.on_shard(Call::Batch, |shard, now| shard.finish_batch(now));
            let letters = self.take_letters();
            self.deliver(letters);
            let heard = self.hear();
            if !heard && self.up.is_empty() {
                return;
            }
        }
    }

    /// Empties the outbox and keeps what is not media.
    pub(crate) fn take_letters(&mut self) -> Vec<(usize, Vec<u8>)> {
        let batch = self.shard.outbox().finish();
        let letters = batch.datagrams().iter().filter_map(|datagram| {
            let bytes = &batch.bytes()[datagram.start..datagram.start + datagram.len];
            let index = self.by_address.get(&datagram.path.remote).filter(|_| !is_media(bytes))?;
            Some((*index, bytes.to_vec()))
        });
        let letters = letters.collect::<Vec<_>>();
        self.shard.outbox().clear();
        self.forget_news();
        letters
    }

    fn forget_news(&mut self) {
        self.shard.drain_address_changes().for_each(drop);
        self.shard.drain_closed_rooms().for_each(drop);
    }

    pub(crate) fn deliver(&mut self, letters: Vec<(usize, Vec<u8>)>) {
        for (index, bytes) in letters {
            let mut out = Vec::new();
            self.people[index].on_datagram(self.now, RELAY, &bytes, 0, &mut out);
            self.after(index, out);
        }
    }

    /// Hands events to people and their answers to the relay; whether there were any.
    pub(crate) fn hear(&mut self) -> bool {
        let mut any = false;
        loop {
            let next = self.post.lock().expect("nobody panics with it").pop_front();
            let Some((index, event)) = next else { return any };
            any = true;
            let person = &mut self.people[index];
            let requests = person.on_event(event);
            // What a test would look at.
            person.heard.clear();
            let mut out = Vec::new();
            person.drain(self.now, 0, &mut out);
            self.after(index, out);
            for request in requests {
                let person = &self.people[index];
                let Some(participant) = person.sid.clone() else { continue };
                let command = Command::Request { room: person.room.clone(), participant, session: person.session, request };
                self.on_shard(Call::Command, |shard, now| shard.on_command(command, now));
            }
        }
    }
}
