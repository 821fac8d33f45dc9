//! Whole logs for tests, for the independent verifier and for those who want to see one: valid in every part, and the
//! same for the same seed.

use super::Refused;
use super::checkpoint::EpochKey;
use super::event::Event;
use super::field::Chance;
use super::log::{Log, LogFault, Moment, State};
use super::note::PrivateKey;
use super::purge::{Plan, write_frontier};
use super::record::{Actor, Fact, Source};
use super::segment;
use super::tree::{Frontier, leaf_hash};
use super::types::{Boot, Build, By, Micros, Stamp, Word};
use super::words::{Clock, OpenReason, RetentionPolicy};
use std::collections::BTreeMap;

/// The first day of a sample log.
pub const FIRST_DAY: u64 = 20_700;

/// Entries of a sample log stand this far apart, in microseconds.
const STEP: u64 = 1_000_000;

/// The files of a log, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What a sample log is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Chance.
    pub seed: u64,
    /// Number of events, besides those about the log itself.
    pub events: u64,
    /// Number of days they are spread over, at least one.
    pub days: u64,
    /// Number of whole days that were purged.
    pub purged_days: u64,
}

/// The root key of sample logs. Anybody can have it, so it vouches for nothing.
///
/// # Errors
/// Never in practice.
pub fn root_key(seed: u64) -> Result<PrivateKey, Refused> {
    PrivateKey::new(Word::new("sample.example/root")?, Chance::new(seed).bytes())
}

pub(super) fn word(text: &str) -> Word {
    Word::new(text).expect("of the alphabet")
}

pub(super) fn log(seed: u64) -> Log {
    let mut chance = Chance::new(seed);
    let source = Source { node: word("n1"), region: word("FR/par1"), build: Build(chance.bytes()), boot: Boot(chance.bytes()) };
    Log::new(word("sample.example/fr1/t-1/n1/1"), source, State::default(), None)
}

pub(super) fn epoch_key(log: &Log, day: u64) -> EpochKey {
    let key = PrivateKey::new(log.origin().clone(), Chance::new(day).bytes()).expect("an origin names a key");
    EpochKey { epoch: u32::try_from(day).expect("a day of our age"), key }
}

pub(super) fn moment(day: u64, step: u64) -> Moment {
    let ts = Micros(day * Micros::DAY + Micros::DAY / 3 + step * STEP);
    let stamp = Stamp { ts, mono: (ts.0 - FIRST_DAY * Micros::DAY) * 1_000, clk: Clock::Synced, clk_err_ms: 4 };
    Moment { stamp, random: Chance::new(ts.0).bytes() }
}

pub(super) fn fact(number: u64) -> Fact {
    let mut chance = Chance::new(number);
    let names: Vec<_> = Event::NAMES.iter().filter(|name| !name.starts_with("audit.")).collect();
    let name = chance.one_of(&names).expect("the catalogue has events");
    let fact = Fact::sample(name, &mut chance).expect("a name of the catalogue");
    Fact { tenant: Some(word("t-1")), ..fact }
}

/// A log being put together.
struct Builder {
    log: Log,
    root: PrivateKey,
    files: Files,
    /// The open segment's name and the first entry of each day.
    segment: String,
    checkpoints: String,
    latest: String,
    day_starts: Vec<u64>,
}

impl Builder {
    fn begin_day(&mut self, day: u64) -> Result<(), LogFault> {
        self.checkpoint()?;
        self.segment = segment::name(self.log.next());
        self.day_starts.push(self.log.next());
        let key = epoch_key(&self.log, day);
        let certificate = self.root.sign(key.certificate().to_text()).to_text();
        self.files.insert(format!("epochs/{:06}.cert", key.epoch), certificate.into_bytes());
        if self.log.next() == 0 {
            let root_key_id = word(&self.root.public().id_text());
            let opened = Event::AuditLogOpened {
                why: OpenReason::First,
                lineage: 1,
                prev_lineage_root: None,
                prev_lineage_size: None,
                root_key_id,
            };
            self.append(&Fact::of_tenant(word("t-1"), Actor::System, opened), moment(day, 0))?;
        }
        let out = self.files.entry(self.segment.clone()).or_default();
        let old = self.log.begin_epoch(key, Some(word("t-1")), moment(day, 1), out)?;
        if let Some(old) = old {
            let kid = word(&old.key.public().id_text());
            let gone = Event::AuditEpochDestroyed { epoch: old.epoch, kid };
            self.append(&Fact::of_tenant(word("t-1"), Actor::System, gone), moment(day, 2))?;
        }
        Ok(())
    }

    fn append(&mut self, fact: &Fact, moment: Moment) -> Result<(), Refused> {
        let out = self.files.entry(self.segment.clone()).or_default();
        self.log.append(fact, moment, out).map(|_| ())
    }

    fn checkpoint(&mut self) -> Result<(), LogFault> {
        if self.log.epoch().is_some()
            && let Some(note) = self.log.checkpoint()?
        {
            self.latest = note.to_text();
            self.checkpoints.push_str(&self.latest);
            self.checkpoints.push('\n');
        }
        Ok(())
    }

    /// Removes the segments before the given day's first entry, as a node does.
    fn purge(&mut self, before: u64, at: Moment) -> Result<(), LogFault> {
        let old: Vec<_> =
            self.files.keys().filter(|name| segment::first_of(name).is_some_and(|first| first < before)).cloned().collect();
        let (mut frontier, mut leaves) = (Frontier::default(), Vec::new());
        for name in &old {
            let bytes = self.files.get(name).map_or(&[][..], Vec::as_slice);
            leaves.extend(segment::read(bytes).0.into_iter().map(leaf_hash));
        }
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        let plan = Plan { from: 0, to: before - 1 };
        self.checkpoint()?;
        if let Some(fact) = plan.fact(&leaves, Some(word("t-1")), By::Policy, RetentionPolicy::Fr365) {
            self.append(&fact, at)?;
            self.checkpoint()?;
            self.files.insert("frontier".to_owned(), write_frontier(&frontier).into_bytes());
            self.files.retain(|name, _| !old.contains(name));
        }
        Ok(())
    }
}

/// Makes a log.
///
/// # Errors
/// Never in practice.
pub fn files(shape: Shape) -> Result<Files, LogFault> {
    let mut build = Builder {
        log: log(shape.seed),
        root: root_key(shape.seed)?,
        files: Files::new(),
        segment: String::new(),
        checkpoints: String::new(),
        latest: String::new(),
        day_starts: Vec::new(),
    };
    let mut chance = Chance::new(shape.seed);
    let days = shape.days.max(1);
    let mut step = 3;
    for number in 0..shape.events {
        let day = number * days / shape.events.max(1);
        while u64::try_from(build.day_starts.len()).unwrap_or(u64::MAX) <= day {
            let began = u64::try_from(build.day_starts.len()).unwrap_or(u64::MAX);
            build.begin_day(FIRST_DAY + began)?;
            step = 3;
        }
        build.append(&fact(shape.seed.wrapping_mul(1_000_003).wrapping_add(number)), moment(FIRST_DAY + day, step))?;
        step += 1;
        if chance.below(16) == 0 {
            build.checkpoint()?;
        }
    }
    let purged = usize::try_from(shape.purged_days).ok().and_then(|day| build.day_starts.get(day)).copied().unwrap_or(0);
    if purged > 0 {
        build.purge(purged, moment(FIRST_DAY + days - 1, step))?;
    }
    build.checkpoint()?;
    build.files.insert("checkpoints.log".to_owned(), build.checkpoints.into_bytes());
    build.files.insert("checkpoint".to_owned(), build.latest.into_bytes());
    Ok(build.files)
}
