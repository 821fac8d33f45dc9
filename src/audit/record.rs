//! One entry of the record: the envelope around an event.
//!
//! A [`Fact`] is what the author of an event knows; a log gives it its place, time and origin and makes an [`Entry`].

use super::Refused;
use super::event::{Event, Scope};
use super::field::{Chance, Field, put, read_text, take};
use super::json::{self, Object, Value};
use super::tree;
use super::types::{AdminRef, Auth, Boot, Build, ChannelRef, ConsultRef, Hash, Micros, ParticipantRef, RoomRef, Stamp};
use super::types::{TrackRef, Word, hex, unhex};
use super::words::{Clock, Outcome, Role};

/// Version of the schema.
pub const VERSION: u16 = 1;

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody in a room.
    Participant {
        /// Who.
        who: ParticipantRef,
        /// As what.
        role: Option<Role>,
        /// How the platform knows.
        auth: Option<Auth>,
    },
    /// A platform, by the id of its key.
    Platform(Word),
    /// An administrator of the operator.
    Admin(AdminRef),
    /// A node, by its name.
    Node(Word),
    /// The relay itself: a timer, a rule.
    System,
}

/// What it was done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A room.
    Room(RoomRef),
    /// Somebody in a room.
    Participant(ParticipantRef),
    /// A track.
    Track(TrackRef),
    /// A data channel.
    Channel(ChannelRef),
    /// A link to another node.
    Link(Word),
    /// A key, by its id.
    Key(Word),
    /// A log, by its origin.
    Log(Word),
    /// A configuration.
    Config(Hash),
}

/// What happened, as its author knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The tenant it concerns.
    pub tenant: Option<Word>,
    /// Who did it.
    pub actor: Actor,
    /// What it was done to.
    pub target: Option<Target>,
    /// In which room.
    pub room: Option<RoomRef>,
    /// In which consultation.
    pub consult: Option<ConsultRef>,
    /// What.
    pub event: Event,
}

impl Fact {
    /// A fact about the node.
    #[must_use]
    pub fn of_node(actor: Actor, event: Event) -> Self {
        Self { tenant: None, actor, target: None, room: None, consult: None, event }
    }

    /// A fact about a tenant.
    #[must_use]
    pub fn of_tenant(tenant: Word, actor: Actor, event: Event) -> Self {
        Self { tenant: Some(tenant), actor, target: None, room: None, consult: None, event }
    }

    /// Says in which room, and of which consultation.
    #[must_use]
    pub fn in_room(mut self, room: RoomRef, consult: Option<ConsultRef>) -> Self {
        self.room = Some(room);
        self.consult = consult;
        self
    }

    /// Says what it was done to.
    #[must_use]
    pub fn about(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }
}

/// Where entries come from: one run of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The node.
    pub node: Word,
    /// Its country and site: `FR/par1`.
    pub region: Word,
    /// Its software.
    pub build: Build,
    /// This run of it.
    pub boot: Boot,
}

/// A UUID of version 7: its time first, then chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Eid([u8; 16]);

impl Eid {
    /// Makes an id from a time and random bytes (RFC 9562, 5.7).
    #[must_use]
    pub fn new(at: Micros, random: [u8; 10]) -> Self {
        let [_, _, millis @ ..] = (at.0 / 1_000).to_be_bytes();
        let mut bytes = [0; 16];
        for (place, byte) in bytes.iter_mut().zip(millis.into_iter().chain(random)) {
            *place = byte;
        }
        bytes[6] = bytes[6] & 0x0F | 0x70;
        bytes[8] = bytes[8] & 0x3F | 0x80;
        Self(bytes)
    }

    /// The part that is chance: with the same time it makes the same id again.
    #[must_use]
    pub fn random(self) -> [u8; 10] {
        let [_, _, _, _, _, _, random @ ..] = self.0;
        random
    }

    /// The usual form, with dashes.
    #[must_use]
    pub fn to_text(self) -> String {
        let mut text = hex(&self.0);
        for at in [20, 16, 12, 8] {
            text.insert(at, '-');
        }
        text
    }

    /// Reads the usual form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let id = Self(unhex(&text.replace('-', ""))?);
        let fits = id.0[6] >> 4 == 7 && id.0[8] >> 6 == 2 && id.to_text() == text;
        fits.then_some(id)
    }
}

impl Field for Eid {
    fn write(&self) -> Option<Value> {
        Some(Value::Text(self.to_text()))
    }

    fn read(value: Option<Value>) -> Result<Self, Refused> {
        Self::parse(&read_text(value)?).ok_or(Refused::BadField)
    }

    fn sample(chance: &mut Chance) -> Self {
        Self::new(Micros::sample(chance), chance.bytes())
    }
}

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The log's origin.
    pub log: Word,
    /// Its place, from 0 without gaps.
    pub seq: u64,
    /// The hash of the entry before, all zero for the first.
    pub prev: Hash,
    /// Its own id.
    pub eid: Eid,
    /// When.
    pub stamp: Stamp,
    /// Where it comes from.
    pub source: Source,
    /// What happened.
    pub fact: Fact,
}

impl Entry {
    /// The canonical bytes.
    ///
    /// # Errors
    /// [`Refused`] when a field is out of its bounds, a tenant is missing, or the entry is too long.
    pub fn encode(&self) -> Result<Vec<u8>, Refused> {
        self.check()?;
        let event = &self.fact.event;
        let mut object = Object::new();
        put(&mut object, "v", &VERSION);
        put(&mut object, "log", &self.log);
        put(&mut object, "seq", &self.seq);
        put(&mut object, "eid", &self.eid);
        put(&mut object, "prev", &self.prev);
        put(&mut object, "ts", &self.stamp.ts);
        put(&mut object, "mono", &self.stamp.mono);
        put(&mut object, "clk", &self.stamp.clk);
        put(&mut object, "clk_err_ms", &self.stamp.clk_err_ms);
        put(&mut object, "boot", &self.source.boot);
        put(&mut object, "build", &self.source.build);
        put(&mut object, "node", &self.source.node);
        put(&mut object, "region", &self.source.region);
        put(&mut object, "tenant", &self.fact.tenant);
        put(&mut object, "out", &event.outcome());
        object.insert("ev".to_owned(), Value::Text(event.name().to_owned()));
        if let Some(why) = event.why() {
            object.insert("why".to_owned(), Value::Text(why.to_owned()));
        }
        put(&mut object, "actor", &self.fact.actor);
        put(&mut object, "obj", &self.fact.target);
        put(&mut object, "room", &self.fact.room);
        put(&mut object, "consult", &self.fact.consult);
        object.insert("data".to_owned(), Value::Object(event.data()));
        json::write(&Value::Object(object))
    }

    /// Reads canonical bytes; whatever it takes encodes to the same bytes.
    ///
    /// # Errors
    /// [`Refused`] says what is not of the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refused> {
        let Value::Object(mut object) = json::parse(bytes)? else { return Err(Refused::Malformed) };
        if take::<u16>(&mut object, "v")? != VERSION {
            return Err(Refused::Version);
        }
        let name = read_text(object.remove("ev"))?;
        let Some(Value::Object(data)) = object.remove("data") else { return Err(Refused::BadField) };
        let event = Event::read(&name, object.remove("why"), data)?;
        if take::<Outcome>(&mut object, "out")? != event.outcome() {
            return Err(Refused::BadField);
        }
        let entry = Self {
            log: take(&mut object, "log")?,
            seq: take(&mut object, "seq")?,
            prev: take(&mut object, "prev")?,
            eid: take(&mut object, "eid")?,
            stamp: Stamp {
                ts: take(&mut object, "ts")?,
                mono: take(&mut object, "mono")?,
                clk: take(&mut object, "clk")?,
                clk_err_ms: take(&mut object, "clk_err_ms")?,
            },
            source: Source {
                node: take(&mut object, "node")?,
                region: take(&mut object, "region")?,
                build: take(&mut object, "build")?,
                boot: take(&mut object, "boot")?,
            },
            fact: Fact {
                tenant: take(&mut object, "tenant")?,
                actor: take(&mut object, "actor")?,
                target: take(&mut object, "obj")?,
                room: take(&mut object, "room")?,
                consult: take(&mut object, "consult")?,
                event,
            },
        };
        entry.check()?;
        if object.is_empty() { Ok(entry) } else { Err(Refused::UnknownField) }
    }

    /// The leaf hash of the entry's bytes.
    #[must_use]
    pub fn leaf(bytes: &[u8]) -> Hash {
        tree::leaf_hash(bytes)
    }

    fn check(&self) -> Result<(), Refused> {
        if self.fact.event.scope() == Scope::Tenant && self.fact.tenant.is_none() {
            return Err(Refused::NoTenant);
        }
        let in_bounds = self.stamp.clk_err_ms <= Stamp::LARGEST_ERROR_MS && self.stamp.ts <= Micros::LAST;
        if in_bounds { Ok(()) } else { Err(Refused::BadField) }
    }

    /// A valid entry of this event with any content, for tests and sample logs.
    #[must_use]
    pub fn sample(name: &str, chance: &mut Chance) -> Option<Self> {
        Some(Self {
            log: Word::sample(chance),
            seq: u64::sample(chance),
            prev: Hash::sample(chance),
            eid: Eid::sample(chance),
            stamp: Stamp {
                ts: Micros::sample(chance),
                mono: u64::sample(chance),
                clk: Clock::sample(chance),
                clk_err_ms: u32::try_from(chance.below(u64::from(Stamp::LARGEST_ERROR_MS) + 1)).ok()?,
            },
            source: Source {
                node: Word::sample(chance),
                region: Word::sample(chance),
                build: Build::sample(chance),
                boot: Boot::sample(chance),
            },
            fact: Fact::sample(name, chance)?,
        })
    }
}

impl Fact {
    /// A valid fact of this event with any content, for tests and sample logs.
    #[must_use]
    pub fn sample(name: &str, chance: &mut Chance) -> Option<Self> {
        let event = Event::sample(name, chance)?;
        let tenant = (event.scope() == Scope::Tenant || event.scope() != Scope::Node && chance.below(2) == 1)
            .then(|| Word::sample(chance));
        Some(Self {
            tenant,
            actor: Actor::sample(chance),
            target: Option::sample(chance),
            room: Option::sample(chance),
            consult: Option::sample(chance),
            event,
        })
    }
}

fn kind_and(kind: &str, reference: Option<Value>) -> Object {
    let mut object = Object::from([("kind".to_owned(), Value::Text(kind.to_owned()))]);
    object.extend(reference.map(|reference| ("ref".to_owned(), reference)));
    object
}

/// Takes `kind` and `ref` out of an object.
fn split_kind(value: Option<Value>) -> Result<(String, Option<Value>, Object), Refused> {
    let Some(Value::Object(mut object)) = value else { return Err(Refused::BadField) };
    let kind = read_text(object.remove("kind"))?;
    let reference = object.remove("ref");
    Ok((kind, reference, object))
}

impl Field for Actor {
    fn write(&self) -> Option<Value> {
        Some(Value::Object(match self {
            Self::Participant { who, role, auth } => {
                let mut object = kind_and("participant", who.write());
                put(&mut object, "role", role);
                put(&mut object, "auth", auth);
                object
            }
            Self::Platform(key) => kind_and("platform", key.write()),
            Self::Admin(account) => kind_and("admin", account.write()),
            Self::Node(node) => kind_and("node", node.write()),
            Self::System => kind_and("system", None),
        }))
    }

    fn read(value: Option<Value>) -> Result<Self, Refused> {
        let (kind, reference, mut rest) = split_kind(value)?;
        let actor = match kind.as_str() {
            "participant" => {
                Self::Participant { who: Field::read(reference)?, role: take(&mut rest, "role")?, auth: take(&mut rest, "auth")? }
            }
            "platform" => Self::Platform(Field::read(reference)?),
            "admin" => Self::Admin(Field::read(reference)?),
            "node" => Self::Node(Field::read(reference)?),
            "system" if reference.is_none() => Self::System,
            _ => return Err(Refused::BadField),
        };
        if rest.is_empty() { Ok(actor) } else { Err(Refused::UnknownField) }
    }

    fn sample(chance: &mut Chance) -> Self {
        match chance.below(8) {
            0 => Self::Platform(Word::sample(chance)),
            1 => Self::Admin(AdminRef::sample(chance)),
            2 => Self::Node(Word::sample(chance)),
            3 => Self::System,
            _ => Self::Participant {
                who: ParticipantRef::sample(chance),
                role: Option::sample(chance),
                auth: Option::sample(chance),
            },
        }
    }
}

impl Field for Target {
    fn write(&self) -> Option<Value> {
        Some(Value::Object(match self {
            Self::Room(room) => kind_and("room", room.write()),
            Self::Participant(who) => kind_and("participant", who.write()),
            Self::Track(track) => kind_and("track", track.write()),
            Self::Channel(channel) => kind_and("channel", channel.write()),
            Self::Link(node) => kind_and("link", node.write()),
            Self::Key(key) => kind_and("key", key.write()),
            Self::Log(log) => kind_and("log", log.write()),
            Self::Config(hash) => kind_and("config", hash.write()),
        }))
    }

    fn read(value: Option<Value>) -> Result<Self, Refused> {
        let (kind, reference, rest) = split_kind(value)?;
        let target = match kind.as_str() {
            "room" => Self::Room(Field::read(reference)?),
            "participant" => Self::Participant(Field::read(reference)?),
            "track" => Self::Track(Field::read(reference)?),
            "channel" => Self::Channel(Field::read(reference)?),
            "link" => Self::Link(Field::read(reference)?),
            "key" => Self::Key(Field::read(reference)?),
            "log" => Self::Log(Field::read(reference)?),
            "config" => Self::Config(Field::read(reference)?),
            _ => return Err(Refused::BadField),
        };
        if rest.is_empty() { Ok(target) } else { Err(Refused::UnknownField) }
    }

    fn sample(chance: &mut Chance) -> Self {
        match chance.below(8) {
            0 => Self::Room(RoomRef::sample(chance)),
            1 => Self::Track(TrackRef::sample(chance)),
            2 => Self::Channel(ChannelRef::sample(chance)),
            3 => Self::Link(Word::sample(chance)),
            4 => Self::Key(Word::sample(chance)),
            5 => Self::Log(Word::sample(chance)),
            6 => Self::Config(Hash::sample(chance)),
            _ => Self::Participant(ParticipantRef::sample(chance)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_every_event_read_back_as_they_were() {
        let mut chance = Chance::new(7);
        for round in 0..1_300 {
            for name in Event::NAMES {
                let entry = Entry::sample(name, &mut chance).expect("a name of the catalogue");
                let bytes = entry.encode().unwrap_or_else(|refused| panic!("{name} in round {round}: {refused}"));
                let read = Entry::decode(&bytes).unwrap_or_else(|refused| panic!("{name} in round {round}: {refused}"));
                assert_eq!(read, entry, "{name}");
                assert_eq!(read.encode().unwrap(), bytes, "{name}");
            }
        }
    }

    #[test]
    fn a_field_nobody_knows_is_refused_at_every_depth() {
        let mut chance = Chance::new(8);
        let mut entry = Entry::sample("participant.joined", &mut chance).unwrap();
        entry.fact.actor = Actor::System;
        let text = String::from_utf8(entry.encode().unwrap()).unwrap();
        for (from, to) in [
            ("{\"actor\"", "{\"aa\":1,\"actor\""),
            ("\"actor\":{\"kind\"", "\"actor\":{\"a\":1,\"kind\""),
            ("\"data\":{", "\"data\":{\"aa\":1,"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            assert_eq!(Entry::decode(changed.as_bytes()), Err(Refused::UnknownField), "{to}");
        }
        let reason = text.replace("\"v\":1}", "\"v\":1,\"why\":\"user\"}");
        assert_eq!(Entry::decode(reason.as_bytes()), Err(Refused::UnknownField), "a reason this event has not");
        assert_eq!(Entry::decode(text.replace("\"v\":1}", "\"v\":2}").as_bytes()), Err(Refused::Version));
        assert_eq!(Entry::decode(text.replace("participant.joined", "participant.spied").as_bytes()), Err(Refused::UnknownEvent));
    }

    #[test]
    fn an_event_of_a_tenant_needs_its_tenant() {
        let mut chance = Chance::new(9);
        let mut entry = Entry::sample("room.locked", &mut chance).unwrap();
        entry.fact.tenant = None;
        assert_eq!(entry.encode(), Err(Refused::NoTenant));
    }

    #[test]
    fn an_entry_that_is_too_long_is_refused() {
        let mut chance = Chance::new(10);
        let mut entry = Entry::sample("room.aside_opened", &mut chance).unwrap();
        let crowd = || vec![ParticipantRef([7; 16]); 200];
        entry.fact.event = Event::RoomAsideOpened { by: super::super::types::By::Policy, members: crowd(), left_out: crowd() };
        assert_eq!(entry.encode(), Err(Refused::TooLong));
    }

    #[test]
    fn ids_are_of_version_seven() {
        let id = Eid::new(Micros(1_795_253_467_204_118), [0xFF; 10]);
        assert_eq!(id.to_text(), "01a1fd71-f844-7fff-bfff-ffffffffffff");
        assert_eq!(Eid::parse(&id.to_text()), Some(id));
        assert_eq!(Eid::parse("01a1fd71-f844-4fff-bfff-ffffffffffff"), None, "version 4");
        assert_eq!(Eid::parse("01a1fd71f8447fffbfffffffffffffff"), None);
    }
}
