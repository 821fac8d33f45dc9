//! What a link does to datagrams, in numbers: [`Direction`] for one way, [`Profile`] for both.
//!
//! In TOML a profile is a name, or a table that starts from a named one and overrides what it names:
//!
//! ```toml
//! link = "island"
//! link = { base = "island", both = { loss = 0.02 }, down = { bits_per_s = 500_000 } }
//! ```

use super::named;
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::fmt;

/// Most steps and outages of one direction: a scenario of an hour with a change a minute.
const MAX_STEPS: usize = 64;
/// Longest delay, jitter or queue, in ms: a minute; beyond it nothing is a call any more.
const MAX_MS: f64 = 60_000.0;
/// Longest time from the start of a link to a step, in seconds: a day.
const MAX_S: f64 = 86_400.0;
/// Slowest bottleneck, in bits per second: a full datagram still passes within seconds.
const MIN_RATE: u64 = 1_000;

/// What one direction of a link does. Chances are fractions of 1 for each datagram; times count from the link's start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Direction {
    /// Chance of loss, each datagram by itself.
    pub loss: f64,
    /// Mean loss in bursts (Gilbert-Elliott), on top of `loss`.
    pub burst_loss: f64,
    /// Mean length of a burst, in datagrams.
    pub burst_packets: f64,
    /// Chance of loss within a burst.
    pub burst_depth: f64,
    /// Delay of the way, in ms.
    pub delay_ms: f64,
    /// Standard deviation of the delay, in ms; datagrams keep their order.
    pub jitter_ms: f64,
    /// How long the delay remembers what it was, in ms: 0 draws it anew for each datagram.
    pub jitter_memory_ms: f64,
    /// Chance that a datagram is held back so that later ones overtake it.
    pub reorder: f64,
    /// How long such a one is held back, in ms.
    pub reorder_ms: f64,
    /// Chance that a datagram arrives twice.
    pub duplicate: f64,
    /// The bottleneck over time, each step from its time on; none is no bottleneck.
    pub rates: Vec<RateStep>,
    /// After so many seconds the steps begin again; 0 never.
    pub rates_repeat_s: f64,
    /// Longest wait before the bottleneck, in ms at the rate of the moment; what comes then is dropped.
    pub queue_ms: f64,
    /// Most bytes before the bottleneck, in place of `queue_ms`.
    pub queue_bytes: Option<u64>,
    /// When nothing passes.
    pub outages: Vec<Outage>,
}

/// One step of a bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateStep {
    /// Seconds from the link's start.
    pub from_s: f64,
    /// Bits per second of whole IP packets; none is no bottleneck.
    pub bits_per_s: Option<u64>,
}

/// A time in which nothing passes: what is sent meanwhile is lost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// Seconds from the link's start.
    pub from_s: f64,
    /// Seconds from the link's start.
    pub to_s: f64,
}

impl Default for Direction {
    /// Everything passes at once.
    fn default() -> Self {
        Self {
            loss: 0.0,
            burst_loss: 0.0,
            burst_packets: 5.0,
            burst_depth: 1.0,
            delay_ms: 0.0,
            jitter_ms: 0.0,
            jitter_memory_ms: 20.0,
            reorder: 0.0,
            reorder_ms: 20.0,
            duplicate: 0.0,
            rates: Vec::new(),
            rates_repeat_s: 0.0,
            queue_ms: 200.0,
            queue_bytes: None,
            outages: Vec::new(),
        }
    }
}

impl Direction {
    /// The same with a bottleneck that does not change, in bits per second.
    #[must_use]
    pub fn with_rate(self, bits_per_s: u64) -> Self {
        Self { rates: vec![RateStep { from_s: 0.0, bits_per_s: Some(bits_per_s) }], ..self }
    }

    /// The share of datagrams that loss takes on average, without queues and outages.
    #[must_use]
    pub fn mean_loss(&self) -> f64 {
        1.0 - (1.0 - self.loss) * (1.0 - self.burst_loss)
    }

    /// Whether every number is within its bounds.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), ProfileError> {
        let chances = [
            ("loss", self.loss, 1.0),
            ("burst_loss", self.burst_loss, 0.9),
            ("burst_depth", self.burst_depth, 1.0),
            ("reorder", self.reorder, 1.0),
            ("duplicate", self.duplicate, 1.0),
        ];
        let times = [
            ("delay_ms", self.delay_ms, MAX_MS),
            ("jitter_ms", self.jitter_ms, MAX_MS),
            ("jitter_memory_ms", self.jitter_memory_ms, MAX_MS),
            ("reorder_ms", self.reorder_ms, MAX_MS),
            ("queue_ms", self.queue_ms, MAX_MS),
            ("rates_repeat_s", self.rates_repeat_s, MAX_S),
        ];
        for (field, value, most) in chances.into_iter().chain(times) {
            ensure((0.0..=most).contains(&value), field)?;
        }
        ensure((1.0..=10_000.0).contains(&self.burst_packets), "burst_packets")?;
        ensure(self.burst_loss < self.burst_depth || self.burst_loss == 0.0, "burst_depth")?;
        ensure(self.rates.len() <= MAX_STEPS, "rates")?;
        for step in &self.rates {
            ensure((0.0..=MAX_S).contains(&step.from_s), "rates.from_s")?;
            ensure(step.bits_per_s.is_none_or(|rate| rate >= MIN_RATE), "rates.bits_per_s")?;
        }
        ensure(self.rates.is_sorted_by(|a, b| a.from_s < b.from_s), "rates.from_s")?;
        let last = self.rates.last().map_or(0.0, |step| step.from_s);
        // At least 0.1 s a round, so that a slow datagram crosses few of them.
        ensure(self.rates_repeat_s == 0.0 || self.rates_repeat_s >= last + 0.1, "rates_repeat_s")?;
        ensure(self.outages.len() <= MAX_STEPS, "outages")?;
        for outage in &self.outages {
            let sound = (0.0..=MAX_S).contains(&outage.from_s) && outage.from_s < outage.to_s && outage.to_s <= MAX_S;
            ensure(sound, "outages")?;
        }
        Ok(())
    }
}

/// Both directions of a link, seen from the client.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// The name it is asked for by.
    pub name: String,
    /// What it stands for, in one sentence.
    pub doc: String,
    /// From the client to the relay.
    pub up: Direction,
    /// From the relay to the client.
    pub down: Direction,
    /// Whether all clients behind one access share the link, as in one house.
    pub shared: bool,
}

impl Profile {
    /// Reads a profile from the text of a TOML table.
    ///
    /// # Errors
    /// What is not TOML, not a field or not within bounds.
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        toml::from_str(text).map_err(|error| ProfileError::Toml(error.message().to_owned()))
    }

    /// Reads a profile as the value of a key: a name in quotes, or an inline table that changes a named one.
    ///
    /// # Errors
    /// As [`from_toml`](Self::from_toml).
    pub fn from_value(text: &str) -> Result<Self, ProfileError> {
        #[derive(Deserialize)]
        struct Line {
            link: Profile,
        }
        let line: Line =
            toml::from_str(&format!("link = {text}")).map_err(|error| ProfileError::Toml(error.message().to_owned()))?;
        Ok(line.link)
    }
}

impl Default for Profile {
    /// The clean link.
    fn default() -> Self {
        let (up, down) = (Direction::default(), Direction::default());
        Self { name: "clean".to_owned(), doc: String::new(), up, down, shared: false }
    }
}

/// Why a profile cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// No profile has this name.
    #[error("no profile is called {0:?}; there are {names}", names = named::NAMES.join(", "))]
    Unknown(String),
    /// A number is outside its bounds.
    #[error("the profile's {0} is out of bounds")]
    Bounds(&'static str),
    /// The text is no profile.
    #[error("{0}")]
    Toml(String),
}

fn ensure(sound: bool, field: &'static str) -> Result<(), ProfileError> {
    if sound { Ok(()) } else { Err(ProfileError::Bounds(field)) }
}

/// A profile as a table has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    base: Option<String>,
    name: Option<String>,
    doc: Option<String>,
    shared: Option<bool>,
    #[serde(default)]
    both: Patch,
    #[serde(default)]
    up: Patch,
    #[serde(default)]
    down: Patch,
}

/// What a table overrides in one direction.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Patch {
    loss: Option<f64>,
    burst_loss: Option<f64>,
    burst_packets: Option<f64>,
    burst_depth: Option<f64>,
    delay_ms: Option<f64>,
    jitter_ms: Option<f64>,
    jitter_memory_ms: Option<f64>,
    reorder: Option<f64>,
    reorder_ms: Option<f64>,
    duplicate: Option<f64>,
    /// One rate for the whole time, in place of `rates`.
    bits_per_s: Option<u64>,
    rates: Option<Vec<RateStep>>,
    rates_repeat_s: Option<f64>,
    queue_ms: Option<f64>,
    queue_bytes: Option<u64>,
    outages: Option<Vec<Outage>>,
}

impl Patch {
    fn apply(&self, to: &mut Direction) {
        let numbers = [
            (self.loss, &mut to.loss),
            (self.burst_loss, &mut to.burst_loss),
            (self.burst_packets, &mut to.burst_packets),
            (self.burst_depth, &mut to.burst_depth),
            (self.delay_ms, &mut to.delay_ms),
            (self.jitter_ms, &mut to.jitter_ms),
            (self.jitter_memory_ms, &mut to.jitter_memory_ms),
            (self.reorder, &mut to.reorder),
            (self.reorder_ms, &mut to.reorder_ms),
            (self.duplicate, &mut to.duplicate),
            (self.queue_ms, &mut to.queue_ms),
        ];
        for (new, field) in numbers {
            *field = new.unwrap_or(*field);
        }
        // Another bottleneck takes the rhythm of the old one with it.
        if let Some(rates) = &self.rates {
            (to.rates, to.rates_repeat_s) = (rates.clone(), 0.0);
        }
        if let Some(bits_per_s) = self.bits_per_s {
            (to.rates, to.rates_repeat_s) = (vec![RateStep { from_s: 0.0, bits_per_s: Some(bits_per_s) }], 0.0);
        }
        to.rates_repeat_s = self.rates_repeat_s.unwrap_or(to.rates_repeat_s);
        // A new bound in time lifts an old one in bytes.
        if self.queue_ms.is_some() || self.queue_bytes.is_some() {
            to.queue_bytes = self.queue_bytes;
        }
        if let Some(outages) = &self.outages {
            to.outages.clone_from(outages);
        }
    }
}

impl TryFrom<Table> for Profile {
    type Error = ProfileError;

    fn try_from(table: Table) -> Result<Self, ProfileError> {
        let base = table.base.as_deref().unwrap_or("clean");
        let mut profile = named::profile(base).ok_or_else(|| ProfileError::Unknown(base.to_owned()))?;
        let plain = table.name.is_none();
        profile.name = table.name.unwrap_or_else(|| format!("{base}, changed"));
        if let Some(doc) = table.doc {
            profile.doc = doc;
        } else if !plain {
            profile.doc.clear();
        }
        profile.shared = table.shared.unwrap_or(profile.shared);
        for (direction, patch) in [(&mut profile.up, &table.up), (&mut profile.down, &table.down)] {
            table.both.apply(direction);
            patch.apply(direction);
            direction.check()?;
        }
        Ok(profile)
    }
}

impl<'de> Deserialize<'de> for Profile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable)
    }
}

struct NameOrTable;

impl<'de> de::Visitor<'de> for NameOrTable {
    type Value = Profile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a profile or a table that changes one")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Profile, E> {
        named::profile(name).ok_or_else(|| E::custom(ProfileError::Unknown(name.to_owned())))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Profile, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        Profile::try_from(table).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Scenario {
        link: Profile,
    }

    fn link(text: &str) -> Result<Profile, String> {
        toml::from_str::<Scenario>(text).map(|scenario| scenario.link).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_name_stands_for_its_profile() {
        assert_eq!(link("link = 'island'").expect("known"), named::profile("island").expect("known"));
        let wrong = link("link = 'iland'").expect_err("unknown");
        assert!(wrong.contains("iland") && wrong.contains("care-home"), "{wrong}");
    }

    #[test]
    fn a_table_changes_only_what_it_names() {
        let island = named::profile("island").expect("known");

        let changed = link(
            "[link]\nbase = 'island'\nboth = { loss = 0.02 }\ndown = { bits_per_s = 500_000, queue_bytes = 9000, loss = 0.03 }",
        )
        .expect("sound");

        assert_eq!(changed.up, Direction { loss: 0.02, ..island.up });
        let down = Direction { loss: 0.03, queue_bytes: Some(9_000), ..island.down.with_rate(500_000) };
        assert_eq!((changed.down, changed.name.as_str()), (down, "island, changed"));
    }

    #[test]
    fn a_table_alone_begins_with_the_clean_link() {
        let made = Profile::from_toml("name = 'mine'\n[up]\nrates = [{ from_s = 0, bits_per_s = 1000000 }, { from_s = 5 }]");
        let made = made.expect("sound");
        assert_eq!((made.name.as_str(), made.doc.as_str(), &made.down), ("mine", "", &Direction::default()));
        assert_eq!(made.up.rates[1], RateStep { from_s: 5.0, bits_per_s: None });
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        for (text, field) in [
            ("up = { loss = 1.5 }", "loss"),
            ("up = { loss = nan }", "loss"),
            ("down = { delay_ms = -1 }", "delay_ms"),
            ("both = { bits_per_s = 10 }", "bits_per_s"),
            ("both = { burst_packets = 0 }", "burst_packets"),
            ("both = { burst_loss = 0.5, burst_depth = 0.4 }", "burst_depth"),
            ("up = { outages = [{ from_s = 3, to_s = 2 }] }", "outages"),
            ("up = { rates = [{ from_s = 3 }, { from_s = 2 }] }", "rates.from_s"),
            ("up = { rates = [{ from_s = 3 }], rates_repeat_s = 3 }", "rates_repeat_s"),
            ("up = { los = 0.1 }", "los"),
            ("base = 'nowhere'", "nowhere"),
        ] {
            let error = Profile::from_toml(text).expect_err(text).to_string();
            assert!(error.contains(field), "{text}: {error}");
        }
    }
}
