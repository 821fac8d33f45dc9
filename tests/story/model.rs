//! Random days: joins, leaves, mutes, wishes and permissions against a reference model of a few lines.
//!
//! Two things must hold whatever happens: no packet reaches someone the model does not allow at the moment it leaves the relay,
//! and what the model allows arrives once the weather is fair.

use crate::world::media::Kind;
use crate::world::net::Weather;
use crate::world::person::Coming;
use crate::world::rng::Rng;
use crate::world::{Who, World};
use colloque::model::Identity;
use colloque::relay::command::{Request, SubscriptionPermission, TrackPermission};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const KINDS: [Kind; 2] = [Kind::Audio, Kind::Video];

type Routes = BTreeSet<(Who, Who, Kind)>;

#[derive(Debug, Default)]
struct Seat {
    subscribe: bool,
    publishes: BTreeSet<Kind>,
    muted: BTreeSet<Kind>,
    unwanted: BTreeSet<(Who, Kind)>,
    /// `None`: everybody. Otherwise who may receive what.
    audience: Option<BTreeSet<(Who, Kind)>>,
}

#[derive(Debug, Default)]
struct Model {
    seats: BTreeMap<Who, Seat>,
}

impl Model {
    fn allows(&self) -> Routes {
        let mut routes = Routes::new();
        for (to, receiver) in self.seats.iter().filter(|(_, seat)| seat.subscribe) {
            for (from, publisher) in self.seats.iter().filter(|(from, _)| *from != to) {
                for kind in &publisher.publishes {
                    let audible = !publisher.muted.contains(kind);
                    let wanted = !receiver.unwanted.contains(&(*from, *kind));
                    let open = publisher.audience.as_ref().is_none_or(|named| named.contains(&(*to, *kind)));
                    if audible && wanted && open {
                        routes.insert((*to, *from, *kind));
                    }
                }
            }
        }
        routes
    }
}

struct Day {
    world: World,
    model: Model,
    rng: Rng,
    /// What was allowed from a number of sent datagrams on.
    history: Vec<(u64, Routes)>,
    log: Vec<String>,
}

impl Day {
    fn new(seed: u64) -> Self {
        Self { world: World::new(seed), model: Model::default(), rng: Rng::new(seed), history: Vec::new(), log: Vec::new() }
    }

    /// From now on the model's present state counts.
    fn note(&mut self, what: String) {
        self.log.push(format!("{}: {what}", self.world.sent.len()));
        self.history.push((self.world.sent.len() as u64, self.model.allows()));
    }

    fn pick(&mut self) -> Option<Who> {
        let present: Vec<Who> = self.model.seats.keys().copied().collect();
        (!present.is_empty()).then(|| present[self.rng.below(present.len())])
    }

    /// Somebody, somebody else and one of the latter's tracks.
    fn pick_route(&mut self) -> Option<(Who, Who, Kind)> {
        let (to, from) = (self.pick()?, self.pick()?);
        let kind = KINDS[self.rng.below(2)];
        (to != from && self.model.seats[&from].publishes.contains(&kind)).then_some((to, from, kind))
    }

    fn something_happens(&mut self) {
        match self.rng.below(16) {
            0..=2 => self.somebody_joins(),
            3 => self.somebody_leaves(),
            4..=6 => self.somebody_mutes(),
            7..=9 => self.somebody_changes_a_wish(),
            10..=11 => self.somebody_changes_its_audience(),
            12..=13 => self.the_platform_permits(),
            14 => self.somebody_loses_its_socket(),
            _ => self.somebody_moves(),
        }
    }

    fn somebody_joins(&mut self) {
        if self.model.seats.len() >= 5 || self.world.people.len() >= 14 {
            return;
        }
        let mut coming = Coming { audio: self.rng.chance(0.9), video: usize::from(self.rng.chance(0.7)), ..Coming::default() };
        coming.permissions.subscribe = self.rng.chance(0.8);
        let who = Who(self.world.people.len());
        let mut publishes = BTreeSet::new();
        publishes.extend(coming.audio.then_some(Kind::Audio));
        publishes.extend((coming.video > 0).then_some(Kind::Video));
        let seat = Seat { subscribe: coming.permissions.subscribe, publishes, ..Seat::default() };
        self.model.seats.insert(who, seat);
        self.note(format!("{who:?} joins: {coming:?}"));
        let name = format!("person-{}", who.0);
        assert_eq!(self.world.join(&name, coming), who);
        let bad = Weather { jitter: SECOND / 50, twice: 0.02, ..Weather::losing(0.02) };
        (self.world.line(who).up, self.world.line(who).down) = (bad, bad);
    }

    fn somebody_leaves(&mut self) {
        let Some(who) = self.pick() else { return };
        self.model.seats.remove(&who);
        self.note(format!("{who:?} leaves"));
        self.world.leave(who);
    }

    fn somebody_mutes(&mut self) {
        let Some(who) = self.pick() else { return };
        let kind = KINDS[self.rng.below(2)];
        let seat = self.model.seats.get_mut(&who).expect("picked");
        if !seat.publishes.contains(&kind) {
            return;
        }
        let muted = !seat.muted.remove(&kind);
        if muted {
            seat.muted.insert(kind);
        }
        self.note(format!("{who:?} {kind:?} muted: {muted}"));
        self.world.mute(who, kind, muted);
    }

    fn somebody_changes_a_wish(&mut self) {
        let Some((to, from, kind)) = self.pick_route() else { return };
        let seat = self.model.seats.get_mut(&to).expect("picked");
        let subscribe = seat.unwanted.remove(&(from, kind));
        if !subscribe {
            seat.unwanted.insert((from, kind));
        }
        self.note(format!("{to:?} wants {kind:?} of {from:?}: {subscribe}"));
        self.world.subscribe(to, from, kind, subscribe);
    }

    fn somebody_changes_its_audience(&mut self) {
        let Some(from) = self.pick() else { return };
        let others: Vec<Who> = self.model.seats.keys().copied().filter(|who| *who != from).collect();
        let everybody = self.rng.chance(0.4);
        let mut participants = Vec::new();
        let mut named = BTreeSet::new();
        let publishes: Vec<Kind> = self.model.seats[&from].publishes.iter().copied().collect();
        for who in others {
            let kinds: Vec<Kind> = publishes.iter().copied().filter(|_| self.rng.chance(0.5)).collect();
            let all_tracks = self.rng.chance(0.2);
            named.extend(if all_tracks { &publishes } else { &kinds }.iter().map(|kind| (who, *kind)));
            participants.push(TrackPermission {
                participant: None,
                identity: Some(Identity::new(self.world.person(who).name.as_str())),
                all_tracks,
                tracks: kinds.iter().map(|kind| self.world.track(from, *kind)).collect(),
            });
        }
        self.model.seats.get_mut(&from).expect("picked").audience = (!everybody).then_some(named);
        self.note(format!("{from:?} opens to {participants:?}, everybody {everybody}"));
        let permission = SubscriptionPermission { all_participants: everybody, participants };
        self.world.request(from, Request::SubscriptionPermission(permission));
    }

    fn the_platform_permits(&mut self) {
        let Some(who) = self.pick() else { return };
        let seat = self.model.seats.get_mut(&who).expect("picked");
        seat.subscribe = !seat.subscribe;
        let subscribe = seat.subscribe;
        // A publisher that lost the permission would have to announce its tracks anew: that has a story of its own.
        let publish = seat.publishes.is_empty() || self.rng.chance(0.95);
        if !publish {
            seat.publishes.clear();
        }
        self.note(format!("{who:?} may subscribe: {subscribe}, publish: {publish}"));
        self.world.permit(who, |permissions| (permissions.subscribe, permissions.publish) = (subscribe, publish));
    }

    fn somebody_loses_its_socket(&mut self) {
        let Some(who) = self.pick().filter(|who| self.world.person(*who).connected) else { return };
        self.note(format!("{who:?} loses its socket"));
        self.world.lose_socket(who);
        self.world.run(SECOND / 4);
        self.world.resume(who);
    }

    fn somebody_moves(&mut self) {
        let Some(who) = self.pick().filter(|who| self.world.person(*who).connected) else { return };
        self.note(format!("{who:?} moves"));
        let port = 20_000 + self.rng.below(20_000) as u16;
        self.world.move_to(who, SocketAddr::from(([203, 0, 113, who.0 as u8], port)));
    }

    fn check_nobody_got_what_was_not_allowed(&self) -> usize {
        let mut checked = 0;
        for to in (0..self.world.people.len()).map(Who) {
            for one in &self.world.person(to).received {
                let then = self.history.partition_point(|(from, _)| *from < one.left);
                let allowed = &self.history[then - 1].1;
                let route = (to, Who(usize::from(one.mark.from)), one.mark.kind);
                assert!(allowed.contains(&route), "{route:?} {:?} at {}: {}", one.mark, one.left, self.log.join("\n"));
                checked += 1;
            }
        }
        checked
    }

    fn check_what_is_allowed_arrives(&mut self) -> usize {
        let fair: Vec<Who> = self.model.seats.keys().copied().collect();
        for who in &fair {
            (self.world.line(*who).up, self.world.line(*who).down) = (Weather::FAIR, Weather::FAIR);
        }
        self.world.run(12 * SECOND);
        let since = self.world.now;
        self.world.run(SECOND);
        let routes = self.model.allows();
        for (to, from, kind) in &routes {
            let count = self.world.count(*to, *from, *kind, since);
            assert!(count >= 20, "{kind:?} of {from:?} to {to:?}: {count}\n{}", self.log.join("\n"));
        }
        routes.len()
    }
}

#[test]
fn nobody_receives_what_the_model_forbids_and_everybody_what_it_allows() {
    let (mut packets, mut routes, mut steps) = (0, 0, 0);
    for seed in 1..=12 {
        let mut day = Day::new(seed);
        (0..3).for_each(|_| day.somebody_joins());
        for step in 1..=60 {
            let pause = Duration::from_millis(day.rng.below(400) as u64);
            day.world.run(pause);
            day.something_happens();
            if step % 20 == 0 {
                routes += day.check_what_is_allowed_arrives();
            }
            steps += 1;
        }
        packets += day.check_nobody_got_what_was_not_allowed();
        assert_eq!(day.world.counters().panics, 0);
    }
    println!("{steps} steps, {packets} packets checked, {routes} routes open when looked at");
    assert!(packets > 50_000 && routes > 50, "the days were not idle: {packets}, {routes}");
}
