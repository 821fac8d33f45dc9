//! A world for stories: a clock that only goes on when told, a network with a seed, one shard of the relay, and people on a
//! WebRTC stack that shares no code with it.
//!
//! [`World::join`] brings somebody in, [`World::run`] lets time pass, the rest is what people and the platform do. The world
//! drives the shard in the order of a worker's tick: commands, timers, datagrams, touched links, sending.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::wildcard_enum_match_arm, reason = "events of the other stack may grow")]

pub(crate) mod media;
pub(crate) mod net;
pub(crate) mod person;
pub(crate) mod rng;

use colloque::consultation::room::Defaults;
use colloque::consultation::{Policy, Refusal, RoomSettings};
use colloque::model::counters::{Counters, DropReason};
use colloque::model::roster::{Attributes, ClientFacts, ParticipantKind, Permissions, Text};
use colloque::model::{Identity, Now, Path, RoomKey, RoomName, SessionId, ShardId, TenantId, TrackSid};
use colloque::relay::command::{Act, AdminAction, AdminReply, By, Command, Fact, Join, Reply, Request, Resume};
use colloque::relay::event::Ticket;
use colloque::relay::link::Rate;
use colloque::relay::shard::{Disposition, Shard, ShardConfig};
use colloque::signal::livekit::LiveKitEnvelope;
use colloque::transport::peer::Transport;
use colloque::transport::srtp::Profile;
use media::Kind;
use net::{Bottleneck, End, Flight, Net, Weather};
use person::{Coming, Inbox, Person, Received, Sending};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use str0m::config::DtlsCert;

/// A person of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Who(pub(crate) usize);

/// A line of a person, both directions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) up: Weather,
    pub(crate) down: Weather,
}

/// What the shard is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Command,
    Timers,
    Media,
    Control,
    Stun,
    Dtls,
    Batch,
}

impl Call {
    fn of(bytes: &[u8]) -> Self {
        match bytes {
            [128..=191, 192..=223, ..] => Self::Control,
            [128..=191, ..] => Self::Media,
            [20..=63, ..] => Self::Dtls,
            _ => Self::Stun,
        }
    }
}

/// How the audit log answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// After a while.
    Prompt(Duration),
    /// It cannot write.
    Broken,
    /// Not at all.
    Silent,
}

/// A datagram the relay sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) at: Instant,
    pub(crate) to: SocketAddr,
    pub(crate) first: u8,
    pub(crate) second: u8,
    pub(crate) len: usize,
}

impl Left {
    /// SRTP, retransmissions included, but no SRTCP (RFC 7983, RFC 5761).
    pub(crate) fn is_media(&self) -> bool {
        (128..192).contains(&self.first) && !(192..=223).contains(&self.second)
    }

    pub(crate) fn is_dtls(&self) -> bool {
        (20..64).contains(&self.first)
    }
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) shard: Shard,
    pub(crate) people: Vec<Person>,
    /// How often the shard asked to be woken.
    pub(crate) wakeups: u64,
    pub(crate) lines: Vec<Line>,
    pub(crate) net: Net,
    /// Connectivity checks keep the person's own address all the same.
    pub(crate) spares_checks: bool,
    /// Address under which the relay sees a person, where it is not the person's own, and whether answers come back from there.
    pub(crate) translated: std::collections::BTreeMap<usize, (SocketAddr, bool)>,
    /// Every datagram the relay sent, in order.
    pub(crate) sent: Vec<Left>,
    /// Datagrams that reached the relay, kept while [`recording`](Self::recording).
    pub(crate) recorded: Vec<(SocketAddr, Vec<u8>)>,
    pub(crate) recording: bool,
    /// What reaches the relay at one moment is taken in together, as from a socket.
    pub(crate) batching: bool,
    /// Runs before (`true`) and after every call into the shard, for measuring.
    pub(crate) around: Option<fn(Call, bool)>,
    pub(crate) closed_rooms: usize,
    /// How the audit log answers; without one nothing waits for it.
    pub(crate) log: Log,
    answers: VecDeque<(Instant, RoomKey, Ticket, bool)>,
    recorded_facts: Vec<Fact>,
    /// Facts that were on disk from a number of sent datagrams on.
    pub(crate) durable: Vec<(u64, Fact)>,
    tickets: HashMap<Ticket, Fact>,
    sessions: u64,
}

/// What a test may set of the relay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Facts go to an audit log.
    pub(crate) audit: bool,
    pub(crate) connect_within: Duration,
    pub(crate) rate: Rate,
    pub(crate) departure_timeout_s: u32,
    pub(crate) resume_window: Duration,
    /// The SRTP profiles it takes.
    pub(crate) profiles: &'static [Profile],
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            audit: false,
            connect_within: Duration::from_secs(20),
            rate: Rate { packets: 3_000, bytes: 1_500_000 },
            departure_timeout_s: 20,
            resume_window: Duration::from_secs(30),
            profiles: &Profile::ALL,
        }
    }
}

pub(crate) const RELAY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 7_882);

fn transport(profiles: &[Profile]) -> Arc<Transport> {
    static TRANSPORT: OnceLock<Arc<Transport>> = OnceLock::new();
    if profiles != Profile::ALL {
        return Arc::new(Transport::with_profiles(&[RELAY], profiles).expect("a certificate"));
    }
    TRANSPORT.get_or_init(|| Arc::new(Transport::new(&[RELAY]).expect("a certificate"))).clone()
}

fn certificate() -> DtlsCert {
    static CERTIFICATE: OnceLock<DtlsCert> = OnceLock::new();
    let fresh = || str0m::crypto::from_feature_flags().dtls_provider.generate_certificate().expect("a certificate");
    CERTIFICATE.get_or_init(fresh).clone()
}

#[expect(clippy::disallowed_methods, reason = "a virtual clock starts somewhere")]
fn some_instant() -> Instant {
    Instant::now()
}

pub(crate) fn room(name: &str) -> RoomKey {
    RoomKey { tenant: TenantId::new("clinic"), name: RoomName::new(name) }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, Rules::default())
    }

    pub(crate) fn with(seed: u64, rules: Rules) -> Self {
        let config = ShardConfig {
            adapt: true,
            audit: rules.audit,
            resume_window: rules.resume_window,
            id: ShardId(0),
            room_defaults: Defaults { empty_timeout_s: 300, departure_timeout_s: rules.departure_timeout_s, max_participants: 0 },
            connect_within: rules.connect_within,
            publisher_rate: rules.rate,
            transport: transport(rules.profiles),
            usual: Arc::default(),
            envelope: Arc::new(LiveKitEnvelope),
        };
        let start = some_instant();
        Self {
            now: start,
            start,
            shard: Shard::new(config),
            people: Vec::new(),
            lines: Vec::new(),
            net: Net::new(seed),
            spares_checks: false,
            translated: std::collections::BTreeMap::new(),
            sent: Vec::new(),
            recorded: Vec::new(),
            recording: false,
            batching: false,
            around: None,
            closed_rooms: 0,
            log: Log::Prompt(Duration::ZERO),
            answers: VecDeque::new(),
            recorded_facts: Vec::new(),
            durable: Vec::new(),
            tickets: HashMap::new(),
            wakeups: 0,
            sessions: 0,
        }
    }

    // People.

    pub(crate) fn join(&mut self, name: &str, coming: Coming) -> Who {
        self.join_room("consultation", name, coming)
    }

    pub(crate) fn join_room(&mut self, name_of_room: &str, name: &str, coming: Coming) -> Who {
        let who = Who(self.people.len());
        let number = who.0 as u8;
        let address = SocketAddr::from(([198, 51, 100, number], 40_000 + (who.0 >> 8) as u16));
        let mut person = Person::new(number, name, room(name_of_room), address, certificate(), &coming, self.now);
        let (offer, tracks) = if coming.is_offered {
            (None, Vec::new())
        } else {
            let (offer, tracks) = person.first_offer(&coming);
            (Some(offer), tracks)
        };
        self.sessions += 1;
        person.session = SessionId(self.sessions);
        let join = Join {
            room: person.room.clone(),
            policy: if coming.attributes.is_empty() { Policy::Open } else { Policy::Consultation },
            room_settings: RoomSettings::default(),
            identity: Identity::new(name),
            name: Text::default(),
            metadata: Text::default(),
            attributes: Attributes(
                coming.attributes.iter().map(|(key, value)| (format!("consultation.{key}"), value.clone())).collect(),
            ),
            permissions: coming.permissions,
            kind: ParticipantKind::Standard,
            client: ClientFacts { protocol: 17, ..ClientFacts::default() },
            auto_subscribe: coming.auto_subscribe,
            adaptive_stream: false,
            two_connections: coming.is_offered,
            offer,
            tracks,
            issued_at_s: if coming.issued_at_s == 0 { self.wall_s() } else { coming.issued_at_s },
            token: Default::default(),
            plan: None,
            session: person.session,
            events: Box::new(person.inbox.clone()),
        };
        person.issued_at_s = join.issued_at_s;
        self.people.push(person);
        self.lines.push(Line { up: Weather::FAIR, down: Weather::FAIR });
        self.command(Command::Join(Box::new(join)));
        who
    }

    /// Joins, and waits until media is up and flows.
    pub(crate) fn seat(&mut self, name: &str, coming: Coming) -> Who {
        let who = self.join(name, coming);
        self.run_until(Duration::from_secs(10), |world| world.people[who.0].connected);
        assert!(self.people[who.0].connected, "{name} connects");
        who
    }

    pub(crate) fn person(&self, who: Who) -> &Person {
        &self.people[who.0]
    }

    pub(crate) fn person_mut(&mut self, who: Who) -> &mut Person {
        &mut self.people[who.0]
    }

    pub(crate) fn line(&mut self, who: Who) -> &mut Line {
        &mut self.lines[who.0]
    }

    /// Makes a person's line as narrow as this from now on.
    pub(crate) fn narrow(&mut self, who: Who, bits_per_second: u64) {
        let (address, now) = (self.people[who.0].address, self.now);
        let narrow = self.net.bottlenecks.entry(address).or_insert_with(|| Bottleneck::new(bits_per_second, now));
        narrow.bits_per_second = bits_per_second;
    }

    /// How long a datagram to a person waits in its line.
    pub(crate) fn queue(&self, who: Who) -> Duration {
        self.net.bottlenecks.get(&self.people[who.0].address).map_or(Duration::ZERO, |narrow| narrow.queue(self.now))
    }

    /// What the relay takes a person's line to bear, in kbit/s.
    pub(crate) fn estimate(&self, who: Who) -> u64 {
        let sid = self.people[who.0].sid.as_ref();
        self.shard.estimates().find(|(of, _)| Some(*of) == sid).map_or(0, |(_, rate)| rate.bps() / 1_000)
    }

    pub(crate) fn track(&self, who: Who, kind: Kind) -> TrackSid {
        self.person(who).track(kind)
    }

    /// Lets a person use its stack and sends what comes of it.
    pub(crate) fn act<T>(&mut self, who: Who, act: impl FnOnce(&mut Person) -> T) -> T {
        let mut out = Vec::new();
        let person = &mut self.people[who.0];
        let done = act(person);
        person.drain(self.now, 0, &mut out);
        self.send_up(who.0, out);
        done
    }

    pub(crate) fn restart_ice(&mut self, who: Who) {
        let offer = self.people[who.0].restart_ice();
        self.request(who, Request::Offer(offer));
    }

    pub(crate) fn move_to(&mut self, who: Who, address: SocketAddr) {
        self.act(who, |person| person.move_to(address));
    }

    /// From now on the relay sees somebody come from another address, of which the person knows nothing; `back` says whether what
    /// is sent there arrives.
    pub(crate) fn translate(&mut self, who: Who, outside: SocketAddr, back: bool) {
        self.translated.insert(who.0, (outside, back));
    }

    pub(crate) fn resume(&mut self, who: Who) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let person = &mut self.people[who.0];
        let inbox = Inbox::default();
        (person.session, person.inbox) = (session, inbox.clone());
        let resume = Resume {
            room: person.room.clone(),
            identity: Identity::new(person.name.as_str()),
            participant: person.sid.clone(),
            issued_at_s: person.issued_at_s,
            session,
            events: Box::new(inbox),
        };
        self.command(Command::Resume(Box::new(resume)));
    }

    pub(crate) fn lose_socket(&mut self, who: Who) {
        let person = &self.people[who.0];
        person.inbox.close();
        let participant = person.sid.clone().expect("joined");
        let (room, session) = (person.room.clone(), person.session);
        self.command(Command::SocketClosed { room, participant, session });
    }

    pub(crate) fn request(&mut self, who: Who, request: Request) {
        let person = &self.people[who.0];
        let Some(participant) = person.sid.clone() else { return };
        let (room, session) = (person.room.clone(), person.session);
        self.command(Command::Request { room, participant, session, request });
    }

    pub(crate) fn mute(&mut self, who: Who, kind: Kind, muted: bool) {
        let track = self.track(who, kind);
        self.request(who, Request::Mute { track, muted });
    }

    pub(crate) fn subscribe(&mut self, who: Who, to: Who, kind: Kind, subscribe: bool) {
        let tracks = vec![self.track(to, kind)];
        self.request(who, Request::Subscribe { tracks, subscribe });
    }

    pub(crate) fn leave(&mut self, who: Who) {
        self.request(who, Request::Leave(colloque::model::roster::LeaveReason::ClientInitiated));
    }

    /// Somebody acts in the consultation.
    pub(crate) fn consult(&mut self, by: By, act: Act) -> Result<(), Refusal> {
        self.admin("consultation", AdminAction::Consult { by, act: Box::new(act), asked_at: self.now.into() }).map(|_| ())
    }

    /// A person acts with its own token.
    pub(crate) fn acts(&mut self, who: Who, act: Act) -> Result<(), Refusal> {
        let by = By::Seat(self.seat_of(who));
        self.consult(by, act)
    }

    pub(crate) fn seat_of(&self, who: Who) -> Identity {
        Identity::new(self.person(who).name.as_str())
    }

    /// Facts put on record since the last call.
    pub(crate) fn facts(&mut self) -> Vec<Fact> {
        self.collect_facts();
        std::mem::take(&mut self.recorded_facts)
    }

    fn collect_facts(&mut self) {
        for recorded in self.shard.drain_facts() {
            if let Some(ticket) = recorded.ticket {
                self.tickets.insert(ticket, recorded.fact.clone());
                match self.log {
                    Log::Prompt(delay) => self.answers.push_back((self.now + delay, recorded.room, ticket, true)),
                    Log::Broken => self.answers.push_back((self.now, recorded.room, ticket, false)),
                    Log::Silent => {}
                }
            }
            self.recorded_facts.push(recorded.fact);
        }
    }

    /// The log answers what it has to.
    fn log_answers(&mut self) -> bool {
        self.collect_facts();
        if self.answers.front().is_none_or(|(at, ..)| *at > self.now) {
            return false;
        }
        let Some((_, room, ticket, durable)) = self.answers.pop_front() else { return false };
        if durable {
            let fact = self.tickets[&ticket].clone();
            self.durable.push((self.sent.len() as u64, fact));
        }
        let command = if durable { Command::Durable { room, ticket } } else { Command::NotDurable { room, ticket } };
        self.on_shard(Call::Command, |shard, now| shard.on_command(command, now));
        true
    }

    pub(crate) fn admin(&mut self, name_of_room: &str, action: AdminAction) -> Result<AdminReply, Refusal> {
        let answer = self.ask(name_of_room, action);
        let mut got = answer.try_recv().ok();
        // With an audit log the answer may wait for it.
        self.run_until(Duration::from_secs(3), |_| {
            got = got.take().or_else(|| answer.try_recv().ok());
            got.is_some()
        });
        got.expect("answered")
    }

    /// Asks without waiting for the answer.
    pub(crate) fn ask(&mut self, name_of_room: &str, action: AdminAction) -> mpsc::Receiver<Result<AdminReply, Refusal>> {
        let (sender, receiver) = mpsc::channel();
        let reply = Reply(Box::new(move |answer| {
            // A test may have lost interest.
            let _ = sender.send(answer);
        }));
        self.command(Command::Admin { room: room(name_of_room), action, reply });
        receiver
    }

    pub(crate) fn permit(&mut self, who: Who, change: impl FnOnce(&mut Permissions)) {
        let mut permissions = Coming::default().permissions;
        change(&mut permissions);
        let action = AdminAction::UpdateParticipant {
            identity: Identity::new(self.people[who.0].name.as_str()),
            metadata: Text::default(),
            name: Text::default(),
            permissions: Some(permissions),
            attributes: Attributes::default(),
        };
        self.admin("consultation", action).expect("a member");
    }

    // Time.

    pub(crate) fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Lets time pass until something is so, or the time is over; answers whether it is so.
    pub(crate) fn run_until(&mut self, time: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.now + time;
        loop {
            if done(self) {
                return true;
            }
            let next = self.next().filter(|next| *next <= until);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            self.step();
        }
        self.now = until;
        false
    }

    fn next(&self) -> Option<Instant> {
        let people = self.people.iter().filter_map(Person::next).min();
        let answer = self.answers.front().map(|(at, ..)| *at);
        [self.net.next(), self.shard.poll_timeout().map(Into::into), people, answer].into_iter().flatten().min()
    }

    fn step(&mut self) {
        if self.shard.poll_timeout().is_some_and(|at| at <= self.now.into()) {
            self.wakeups += 1;
            self.on_shard(Call::Timers, |shard, now| shard.handle_timeout(now));
        }
        let mut batch = Vec::new();
        while let Some(flight) = self.net.arrive(self.now) {
            match flight.to {
                End::Relay => {
                    if self.recording {
                        self.recorded.push((flight.from, flight.bytes.clone()));
                    }
                    if self.batching {
                        batch.push((flight.from, flight.bytes));
                    } else {
                        self.inject(flight.from, flight.bytes);
                    }
                }
                End::Person(index) => {
                    let mut out = Vec::new();
                    let person = &mut self.people[index];
                    if person.address == flight.at {
                        person.on_datagram(self.now, flight.from, &flight.bytes, flight.left, &mut out);
                    }
                    self.send_up(index, out);
                }
            }
        }
        self.inject_batch(&batch);
        self.finish();
        for index in 0..self.people.len() {
            if self.people[index].next().is_some_and(|at| at <= self.now) {
                let mut out = Vec::new();
                self.people[index].on_time(self.now, &mut out);
                self.send_up(index, out);
            }
        }
    }

    /// Puts a datagram right into the relay's socket.
    pub(crate) fn inject(&mut self, from: SocketAddr, mut bytes: Vec<u8>) {
        let path = Path { socket: 0, local: None, remote: from };
        let disposition = self.on_shard(Call::of(&bytes), |shard, now| shard.handle_datagram(now, path, &mut bytes));
        if disposition != Disposition::Taken {
            self.shard.count_unknown(1);
        }
        self.finish();
    }

    /// Puts datagrams into the relay's socket that are received together.
    pub(crate) fn inject_batch(&mut self, datagrams: &[(SocketAddr, Vec<u8>)]) {
        let (mut buffer, mut batch) = (Vec::new(), Vec::new());
        for (from, bytes) in datagrams {
            let path = Path { socket: 0, local: None, remote: *from };
            batch.push(colloque::relay::Received { path, start: buffer.len(), len: bytes.len() });
            buffer.extend_from_slice(bytes);
        }
        let mut unknown = 0;
        self.on_shard(Call::Media, |shard, now| shard.handle_batch(now, &mut buffer, &batch, |_, _, _| unknown += 1));
        self.shard.count_unknown(unknown);
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.on_shard(Call::Command, |shard, now| shard.on_command(command, now));
        self.finish();
    }

    /// Those who read slowly no longer are told what waits.
    pub(crate) fn catch_up(&mut self) {
        self.finish();
    }

    /// Seconds since the Unix epoch.
    pub(crate) fn wall_s(&self) -> u64 {
        self.wall_ms() / 1_000
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn wall_ms(&self) -> u64 {
        1_800_000_000_000 + self.now.saturating_duration_since(self.start).as_millis() as u64
    }

    fn finish(&mut self) {
        loop {
            self.on_shard(Call::Batch, |shard, now| shard.finish_batch(now));
            self.flush();
            if !(self.deliver_events() | self.log_answers()) {
                break;
            }
        }
    }

    fn on_shard<T>(&mut self, call: Call, act: impl FnOnce(&mut Shard, Now) -> T) -> T {
        let now = Now { mono: self.now.into(), wall_ms: self.wall_ms() };
        if let Some(around) = self.around {
            around(call, true);
        }
        let answer = act(&mut self.shard, now);
        if let Some(around) = self.around {
            around(call, false);
        }
        answer
    }

    fn flush(&mut self) {
        let batch = self.shard.outbox().finish();
        for datagram in batch.datagrams() {
            let bytes = batch.bytes()[datagram.start..datagram.start + datagram.len].to_vec();
            let to = datagram.path.remote;
            let byte = |at| bytes.get(at).copied().unwrap_or_default();
            self.sent.push(Left { at: self.now, to, first: byte(0), second: byte(1), len: bytes.len() });
            let reached = |(index, person): (usize, &Person)| match self.translated.get(&index) {
                Some((outside, back)) => *outside == to && *back || self.spares_checks && person.address == to,
                None => person.address == to,
            };
            if let Some(index) = self.people.iter().enumerate().position(reached) {
                let at = self.people[index].address;
                let flight = Flight { to: End::Person(index), from: RELAY, at, bytes, left: self.sent.len() as u64 };
                self.net.send(self.now, self.lines[index].down, flight);
            }
        }
        self.shard.outbox().clear();
        self.shard.drain_address_changes().for_each(drop);
        self.closed_rooms += self.shard.drain_closed_rooms().count();
    }

    fn deliver_events(&mut self) -> bool {
        let mut any = false;
        for index in 0..self.people.len() {
            while let Some(event) = self.people[index].next_event() {
                any = true;
                let news = matches!(event, colloque::relay::event::Event::Roster(_));
                let requests = self.people[index].on_event(event);
                if news {
                    let named = self.people[index].roster.keys().cloned().collect();
                    self.people[index].rosters.push((self.sent.len() as u64, named));
                }
                let mut out = Vec::new();
                self.people[index].drain(self.now, 0, &mut out);
                self.send_up(index, out);
                for request in requests {
                    let person = &self.people[index];
                    let Some(participant) = person.sid.clone() else { continue };
                    let (room, session) = (person.room.clone(), person.session);
                    let command = Command::Request { room, participant, session, request };
                    self.on_shard(Call::Command, |shard, now| shard.on_command(command, now));
                }
            }
        }
        any
    }

    fn send_up(&mut self, index: usize, out: Vec<Sending>) {
        for Sending { from, to, bytes } in out {
            // A phone that changed network cannot send from where it was.
            if to == RELAY && from == self.people[index].address {
                let check = bytes.first().is_some_and(|first| *first < 4);
                let other = self.translated.get(&index).filter(|_| !(check && self.spares_checks));
                let from = other.map_or(from, |(outside, _)| *outside);
                let flight = Flight { to: End::Relay, from, at: to, bytes, left: 0 };
                self.net.send(self.now, self.lines[index].up, flight);
            }
        }
    }

    // What can be seen.

    pub(crate) fn counters(&mut self) -> Counters {
        self.shard.counters().clone()
    }

    /// Everything dropped so far, for whatever reason.
    pub(crate) fn all_drops(&mut self) -> u64 {
        let counters = self.shard.counters();
        DropReason::ALL.iter().map(|reason| counters.drops(*reason)).sum()
    }

    pub(crate) fn drops(&mut self, reason: DropReason) -> u64 {
        self.shard.counters().drops(reason)
    }

    /// Packets a person received of somebody since a moment.
    pub(crate) fn received(&self, who: Who, from: Who, kind: Kind, since: Instant) -> impl Iterator<Item = &Received> {
        let of = from.0 as u8;
        let wanted = move |one: &&Received| one.at >= since && one.mark.from == of && one.mark.kind == kind;
        self.person(who).received.iter().filter(wanted)
    }

    pub(crate) fn count(&self, who: Who, from: Who, kind: Kind, since: Instant) -> usize {
        self.received(who, from, kind, since).count()
    }

    /// Media datagrams that left the relay for an address since a number of sent datagrams.
    pub(crate) fn media_to(&self, address: SocketAddr, since: usize) -> usize {
        self.sent.iter().skip(since).filter(|left| left.to == address && left.is_media()).count()
    }

    /// Whether everybody named receives everybody else's voice and picture within the next second.
    pub(crate) fn assert_flows(&mut self, people: &[Who]) {
        let since = self.now;
        self.run(Duration::from_secs(1));
        for (who, from) in people.iter().flat_map(|who| people.iter().map(move |from| (*who, *from))) {
            if who == from {
                continue;
            }
            for kind in [Kind::Audio, Kind::Video] {
                if self.person(from).tracks.iter().any(|track| track.kind == kind) {
                    let count = self.count(who, from, kind, since);
                    assert!(count >= 20, "{kind:?} of {} at {}: {count}", self.person(from).name, self.person(who).name);
                }
            }
        }
    }
}
