//! People who send nothing cost next to nothing, and are heard at once when they speak again.

use crate::world::World;
use crate::world::person::Coming;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn silent_people_are_left_alone_until_they_speak_again() {
    let mut world = World::new(31);
    let people = ["doctor", "patient"].map(|name| world.seat(name, Coming::default()));
    world.run(3 * SECOND);
    world.assert_flows(&people);
    let reports = |world: &World| {
        people.map(|who| world.person(who).control.sender_reports_in + world.person(who).control.receiver_reports_in)
    };
    let speak = |world: &mut World, sending: bool| {
        for who in people {
            let now = world.now;
            world.person_mut(who).tracks.iter_mut().for_each(|track| {
                // What was not said is not said later.
                (track.sending, track.next_at) = (sending, track.next_at.map(|at| at.max(now)));
            });
        }
    };
    assert!(reports(&world).iter().all(|reports| *reports >= 3), "positive control");

    speak(&mut world, false);
    world.run(10 * SECOND);
    let (silent, wakeups, sent) = (reports(&world), world.wakeups, world.sent.len());
    world.run(20 * SECOND);
    assert_eq!(reports(&world), silent, "nothing to report");
    let (wakeups, sent) = (world.wakeups - wakeups, world.sent.len() - sent);
    assert!(wakeups <= 20, "{wakeups} in twenty seconds");
    assert!(sent <= 60, "answers to checks: {sent}");

    speak(&mut world, true);
    world.run(3 * SECOND);
    world.assert_flows(&people);
    let again = reports(&world);
    assert!(again.iter().zip(silent).all(|(again, silent)| *again >= silent + 3), "{again:?} after {silent:?}");
}
