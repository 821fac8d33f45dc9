//! What the rules of a room take: somebody joins, publishes, mutes, leaves, in rooms where everybody has sound and pictures and
//! receives everybody else's. Reconciling who receives what is in it, carrying the effects out is not.
#![expect(clippy::print_stdout, reason = "the numbers are the result")]

mod common;

use colloque::consultation::room::Defaults;
use colloque::consultation::{AddTrack, Command, MemberId, Policy, Room, RoomSettings, Seat, Section};
use colloque::model::roster::{Attributes, ClientFacts, LeaveReason, ParticipantKind, Text};
use colloque::model::{Codec, Identity, MediaKind, Now, ParticipantSid, RoomSid, TrackCid, TrackSid};
use common::meter::{self, Spent};
use common::world::media::Kind;
use common::world::person::{Coming, announcement};
use common::world::room;
use criterion::{BenchmarkId, Criterion, SamplingMode};
use std::hint::black_box;
use std::time::Instant;

/// Rooms that do the same between two looks at the clock, whose cost is then some 20 ns for each.
const ROOMS: usize = 16;

const SIZES: [u32; 2] = [3, 50];

/// What is measured. Whatever it changes is undone outside.
#[derive(Clone, Copy, Debug)]
enum Act {
    Join,
    Publish,
    Mute,
    Leave,
}

struct Hotel {
    rooms: Vec<Room>,
    now: Now,
    size: u32,
    muted: bool,
    spent: Spent,
    count: u64,
}

#[expect(clippy::disallowed_methods, reason = "a virtual clock starts somewhere")]
fn some_time() -> Now {
    Now { mono: Instant::now().into(), wall_ms: 1_800_000_000_000 }
}

fn seat(number: u32) -> Command {
    let coming = Coming::default();
    Command::Join(Box::new(Seat {
        sid: ParticipantSid::new(format!("PA_{number}")),
        identity: Identity::new(format!("person-{number}")),
        name: Text::default(),
        metadata: Text::default(),
        attributes: Attributes::default(),
        permissions: coming.permissions,
        kind: ParticipantKind::Standard,
        client: ClientFacts::default(),
        auto_subscribe: true,
        issued_at_s: 0,
        token: Default::default(),
    }))
}

fn track_sid(number: u32, kind: Kind) -> TrackSid {
    TrackSid::new(format!("TR_{kind:?}-{number}"))
}

/// What it takes to publish: the announcement and its media section.
fn publication(member: MemberId, number: u32, kind: Kind) -> [Command; 2] {
    let cid = format!("{kind:?}-{number}");
    let add: AddTrack = announcement(&cid, kind, 1);
    let (kind_of_media, codec) = match kind {
        Kind::Audio => (MediaKind::Audio, Codec::Opus),
        Kind::Video => (MediaKind::Video, Codec::Vp8),
    };
    let section = Section {
        mid: cid.as_str().into(),
        kind: kind_of_media,
        track_id: Some(TrackCid::new(cid)),
        codecs: vec![codec],
        rids: Vec::new(),
    };
    [Command::AddTrack { member, sid: track_sid(number, kind), add: Box::new(add) }, Command::Bind { member, section }]
}

fn apply(room: &mut Room, command: Command, now: Now) {
    black_box(room.apply(command, now).expect("allowed"));
}

fn member(room: &Room, number: u32) -> MemberId {
    room.id_of(&Identity::new(format!("person-{number}"))).expect("joined")
}

impl Hotel {
    fn new(size: u32) -> Self {
        let now = some_time();
        let defaults = Defaults { empty_timeout_s: 300, departure_timeout_s: 20, max_participants: 0 };
        let new = |_| Room::new(&room("call"), RoomSid::new("RM_1"), Policy::Open, &RoomSettings::default(), defaults, now);
        let mut hotel = Self { rooms: (0..ROOMS).map(new).collect(), now, size, muted: false, spent: Spent::default(), count: 0 };
        for number in 0..size {
            hotel.arrive(number);
            for kind in [Kind::Audio, Kind::Video] {
                hotel.publish(number, kind);
            }
        }
        let room = hotel.rooms.first().expect("some");
        assert_eq!((room.facts().participants, room.facts().publishers), (size, size));
        hotel
    }

    fn arrive(&mut self, number: u32) {
        for room in &mut self.rooms {
            apply(room, seat(number), self.now);
            let member = member(room, number);
            apply(room, Command::Connected(member), self.now);
        }
    }

    fn publish(&mut self, number: u32, kind: Kind) {
        for room in &mut self.rooms {
            for command in publication(member(room, number), number, kind) {
                apply(room, command, self.now);
            }
        }
    }

    fn depart(&mut self, number: u32) {
        for room in &mut self.rooms {
            let member = member(room, number);
            apply(room, Command::Leave { member, reason: LeaveReason::ClientInitiated }, self.now);
        }
    }

    /// Carries out one list of commands for each room, measured.
    fn measured(&mut self, commands: Vec<Vec<Command>>) {
        let (rooms, now) = (&mut self.rooms, self.now);
        self.spent.on(|| {
            for (room, commands) in rooms.iter_mut().zip(commands) {
                commands.into_iter().for_each(|command| apply(room, command, now));
            }
        });
        self.count += ROOMS as u64;
    }

    fn for_each_room(&self, command: impl Fn(&Room) -> Vec<Command>) -> Vec<Vec<Command>> {
        self.rooms.iter().map(command).collect()
    }

    fn act(&mut self, act: Act) {
        // The one who comes, does something and goes; the others stay.
        let guest = self.size;
        match act {
            Act::Join => {
                let commands = self.for_each_room(|_| vec![seat(guest)]);
                self.measured(commands);
                self.depart(guest);
            }
            Act::Publish => {
                self.arrive(guest);
                let commands = self.for_each_room(|room| publication(member(room, guest), guest, Kind::Audio).into());
                self.measured(commands);
                self.depart(guest);
            }
            Act::Mute => {
                self.muted = !self.muted;
                let (track, muted) = (track_sid(0, Kind::Audio), self.muted);
                let mute = |room: &Room| vec![Command::Mute { member: member(room, 0), track: track.clone(), muted }];
                let commands = self.for_each_room(mute);
                self.measured(commands);
            }
            Act::Leave => {
                self.arrive(guest);
                self.publish(guest, Kind::Audio);
                self.publish(guest, Kind::Video);
                let reason = LeaveReason::ClientInitiated;
                let commands = self.for_each_room(|room| vec![Command::Leave { member: member(room, guest), reason }]);
                self.measured(commands);
            }
        }
    }
}

fn room_commands(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("room_commands");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for size in SIZES {
        for act in [Act::Join, Act::Publish, Act::Mute, Act::Leave] {
            let mut hotel = None;
            group.bench_function(BenchmarkId::new(format!("{act:?}").to_lowercase(), size), |bencher| {
                let hotel = hotel.get_or_insert_with(|| Hotel::new(size));
                bencher.iter_custom(|iterations| {
                    let before = hotel.spent;
                    let rounds = iterations.div_ceil(ROOMS as u64);
                    (0..rounds).for_each(|_| hotel.act(act));
                    let spent = Spent { time: hotel.spent.time - before.time, allocations: 0 };
                    spent.scaled(rounds * ROOMS as u64, iterations)
                });
            });
            let Some(hotel) = hotel else { continue };
            let allocations = hotel.spent.allocations as f64 / hotel.count as f64;
            println!("room_commands/{act:?}/{size}: {allocations:.1} allocations");
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = meter::criterion();
    room_commands(&mut criterion);
    criterion.final_summary();
}
