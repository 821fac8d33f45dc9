//! The configuration: one TOML file and a few command-line words, turned into one typed [`Config`] in a single step.
//!
//! Nothing else in the house reads a file or an environment variable to learn how to behave, and only `node` and `cli`
//! know this room. It never prints a secret: not in `Debug`, not in an error, not in `check-config`.
//!
//! Entry points: [`Config::load`], [`Config::parse`], [`Config::with_dev_tenants`], [`Config::render`].

mod audit;
mod check;
mod error;
mod keys;
mod render;
mod rules;
mod tenants;
mod webhooks;

pub use audit::{AfterGrace, Audit};
pub use error::ConfigError;
pub use keys::{KEYS, KeyDoc};
pub use rules::{RuleLine, rule_lines};
pub use tenants::{Algorithm, IceServer, Key, KeyMaterial, Secret, Tenant};
pub use webhooks::Webhook;

use crate::telemetry::logs::{LogFormat, LogLevel};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shortest HS256 secret accepted outside dev mode, in bytes: the output length of SHA-256 (RFC 7518 section 3.2).
pub const SHORTEST_SECRET: usize = 32;

/// Most workers a node runs: the first character of a ufrag names the worker, and ice-char has 64 (RFC 8839 section 5.4).
pub const MOST_WORKERS: u16 = 64;

/// Longest pause between two looks at the sockets, in microseconds: what a call may lose to it unnoticed.
pub const MOST_COALESCE_US: u16 = 1_000;

/// Longest configuration file read, in bytes; the commented sample is under 16 KiB.
const LONGEST_FILE: u64 = 1024 * 1024;

/// Whether the node serves people or a developer's own browser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every rule holds.
    #[default]
    Production,
    /// Known keys are accepted, links are printed; never for real consultations.
    Dev,
}

/// Everything a node is told before it starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// HTTP and WebSocket.
    pub http: Http,
    /// UDP media.
    pub media: Media,
    /// Bounds on what clients may use.
    pub limits: Limits,
    /// How long rooms and seats outlive their people.
    pub rooms: Rooms,
    /// Operational log.
    pub log: Log,
    /// The audit record.
    pub audit: Audit,
    /// STUN and TURN servers told to clients.
    pub ice_servers: Vec<IceServer>,
    /// Who may use the node.
    pub tenants: Vec<Tenant>,
}

/// HTTP and WebSocket.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// TCP port.
    pub port: u16,
    /// Folder of the built consultation page; empty serves none.
    pub page_dir: PathBuf,
    /// Address people open, for join links; empty takes the address of the request that invites.
    pub public_url: String,
    /// Open connections from one address; 0 is unlimited.
    pub max_connections_per_address: u32,
    /// Open connections altogether; 0 is unlimited.
    pub max_connections: u32,
    /// Time a client has to send its request's head.
    #[serde(rename = "header_timeout_s", with = "seconds")]
    pub header_timeout: Duration,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            port: 7880,
            page_dir: PathBuf::from("web/dist"),
            public_url: String::new(),
            max_connections_per_address: 256,
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
        }
    }
}

/// UDP media.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// Local addresses the media sockets bind.
    pub bind: Vec<IpAddr>,
    /// The one UDP port all workers share.
    pub udp_port: u16,
    /// One port per worker instead of the shared one; empty keeps the shared port.
    pub udp_ports: Vec<u16>,
    /// Addresses told to clients; empty tells those of the network interfaces.
    pub advertise: Vec<IpAddr>,
    /// Worker threads; 0 is one per core.
    pub workers: u16,
    /// Whether each worker keeps to one core, where there are as many cores as workers and no CPU quota.
    pub pin_workers: bool,
    /// Whether the kernel cuts trains of datagrams when sending.
    pub gso: Use,
    /// Whether the kernel puts neighbouring datagrams together when receiving.
    pub gro: Use,
    /// Whether layers and frame rates follow what each receiver's line is estimated to bear.
    pub adapt: bool,
    /// Microseconds a worker with thick traffic may let pass to take more datagrams in one go; 0 never lets any pass.
    pub coalesce_us: u16,
}

/// Whether something the system may or may not have is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// Where it works.
    #[default]
    Auto,
    /// Never.
    Off,
}

impl Use {
    /// The word in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            bind: vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
            udp_port: 7882,
            udp_ports: Vec::new(),
            advertise: Vec::new(),
            workers: 0,
            pin_workers: true,
            gso: Use::Auto,
            gro: Use::Auto,
            adapt: true,
            coalesce_us: 700,
        }
    }
}

impl Media {
    /// The ports in use: the list where there is one, else the shared port.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        if self.udp_ports.is_empty() { std::slice::from_ref(&self.udp_port) } else { &self.udp_ports }
    }

    /// How many workers to start on a machine with `cores` cores: at least one, at most [`MOST_WORKERS`].
    #[must_use]
    pub fn worker_count(&self, cores: usize) -> usize {
        let wanted = match (self.udp_ports.len(), usize::from(self.workers)) {
            (0, 0) => cores,
            (0, workers) => workers,
            (ports, _) => ports,
        };
        wanted.clamp(1, usize::from(MOST_WORKERS))
    }
}

/// Bounds on what clients may use.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Participants in one room; 0 is unlimited.
    pub participants_per_room: u32,
    /// Participants on this node; 0 is unlimited.
    pub max_participants: u32,
    /// Rooms on this node; 0 is unlimited.
    pub max_rooms: u32,
    /// Joins one worker takes per second; 0 is unlimited.
    pub max_joins_per_s: u32,
    /// Share of its time a worker may spend working before new rooms are refused, in per cent; 0 switches the rule off.
    pub max_busy_percent: u32,
    /// 99th percentile of the time packets stay in the relay before new rooms are refused; zero switches the rule off.
    #[serde(rename = "max_delay_ms", with = "milliseconds")]
    pub max_delay: Duration,
    /// Memory of the process in MiB, of which new rooms are refused at nine tenths; 0 takes what the control group or the machine
    /// has.
    pub max_memory_mib: u32,
    /// Datagrams per second one publisher may send; 0 is unlimited.
    pub publisher_packets_per_s: u32,
    /// Bytes per second one publisher may send; 0 is unlimited.
    pub publisher_bytes_per_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            participants_per_room: 0,
            max_participants: 0,
            max_rooms: 0,
            max_joins_per_s: 200,
            max_busy_percent: 80,
            max_delay: Duration::from_millis(3),
            max_memory_mib: 0,
            publisher_packets_per_s: 4_000,
            publisher_bytes_per_s: 3_000_000,
        }
    }
}

/// How long rooms and seats outlive their people.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rooms {
    /// A room nobody has joined closes after this.
    #[serde(rename = "empty_timeout_s", with = "seconds")]
    pub empty_timeout: Duration,
    /// A room its last participant has left closes after this.
    #[serde(rename = "departure_timeout_s", with = "seconds")]
    pub departure_timeout: Duration,
    /// A participant that has fallen silent is kept for this long after its last connectivity check.
    #[serde(rename = "resume_window_s", with = "seconds")]
    pub resume_window: Duration,
    /// Folder in which arranged consultations outlive the node; empty keeps them in memory.
    pub state_dir: PathBuf,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            empty_timeout: Duration::from_secs(300),
            departure_timeout: Duration::from_secs(20),
            resume_window: Duration::from_secs(30),
            state_dir: PathBuf::new(),
        }
    }
}

/// Operational log.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least severe level written.
    pub level: LogLevel,
    /// The form of a line.
    pub format: LogFormat,
}

/// The file as TOML has it, before tenants' keys are read.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawConfig {
    http: Http,
    media: Media,
    limits: Limits,
    rooms: Rooms,
    log: Log,
    audit: Audit,
    ice_servers: Vec<IceServer>,
    tenants: Vec<tenants::RawTenant>,
}

impl Config {
    /// Reads and checks a file; secret files it names are read too, relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`] when a file cannot be read, or names the first key that is wrong.
    pub fn load(file: &Path, mode: Mode) -> Result<Self, ConfigError> {
        let place = file.display().to_string();
        let too_long = std::fs::metadata(file).is_ok_and(|facts| facts.len() > LONGEST_FILE);
        if too_long {
            return Err(ConfigError::unreadable(&place, "larger than 1 MiB"));
        }
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError::unreadable(&place, &error.kind().to_string()))?;
        Self::parse(&text, &place, file.parent().unwrap_or_else(|| Path::new("")), mode)
    }

    /// Parses and checks TOML text; `place` is what errors call it, `folder` is where secret files are looked for.
    ///
    /// # Errors
    /// [`ConfigError`] names the first key that is wrong, its line, and what to write instead.
    pub fn parse(text: &str, place: &str, folder: &Path, mode: Mode) -> Result<Self, ConfigError> {
        let source = error::Source { text, place };
        let raw: RawConfig = toml::from_str(text).map_err(|error| source.explain(&error))?;
        let RawConfig { http, media, limits, rooms, log, mut audit, ice_servers, tenants } = raw;
        // Paths in the file are relative to it; an empty one stays empty.
        for path in [&mut audit.dir, &mut audit.root_key_file, &mut audit.attestation_key_file] {
            if !path.as_os_str().is_empty() {
                *path = folder.join(&*path);
            }
        }
        let tenants = tenants::resolve(tenants, folder, mode).map_err(|fault| source.locate(fault))?;
        let config = Self { http, media, limits, rooms, log, audit, ice_servers, tenants };
        config.check().map_err(|fault| source.locate(fault))?;
        Ok(config)
    }

    /// Checks the whole after command-line words were put in.
    ///
    /// # Errors
    /// [`ConfigError`] names the first key that is wrong and what to write instead.
    pub fn recheck(&self) -> Result<(), ConfigError> {
        self.check().map_err(|fault| error::Source { text: "", place: "command line" }.locate(fault))
    }

    /// Checks that somebody can use the node.
    ///
    /// # Errors
    /// [`ConfigError`] when no tenant has a key.
    pub fn require_keys(&self, place: &str) -> Result<(), ConfigError> {
        if self.tenants.iter().any(|tenant| !tenant.keys.is_empty()) {
            return Ok(());
        }
        Err(error::Source { text: "", place }.locate(error::Fault::new(
            "tenants",
            None,
            "at least one tenant with a key",
            "add [[tenants]] as config/colloque.toml shows, or pass --key KEY:SECRET, or try --dev",
        )))
    }

    /// Adds a key to the open tenant of the command line.
    ///
    /// # Errors
    /// [`ConfigError`] when the id or the secret will not do.
    pub fn add_key(&mut self, id: &str, secret: Secret, mode: Mode) -> Result<(), ConfigError> {
        let source = error::Source { text: "", place: "command line" };
        let key = tenants::hs256_key(id, secret, mode, "--key").map_err(|fault| source.locate(fault))?;
        self.open_tenant("default").keys.push(key);
        self.recheck()
    }

    /// Adds the two tenants of dev mode: `devkey` with the known secret `secret`, and `clinic` with a secret made now.
    ///
    /// # Errors
    /// [`ConfigError`] when the file already uses one of the two names.
    pub fn with_dev_tenants(mut self) -> Result<Self, ConfigError> {
        self.tenants.extend(tenants::dev_tenants()?);
        self.recheck()?;
        Ok(self)
    }

    /// Finds a key and its tenant by the key's id.
    #[must_use]
    pub fn key(&self, id: &str) -> Option<(&Tenant, &Key)> {
        self.tenants.iter().find_map(|tenant| tenant.keys.iter().find(|key| key.id == id).map(|key| (tenant, key)))
    }

    fn open_tenant(&mut self, name: &str) -> &mut Tenant {
        let at = self.tenants.iter().position(|tenant| tenant.id.as_str() == name).unwrap_or_else(|| {
            self.tenants.push(Tenant::open(name));
            self.tenants.len() - 1
        });
        &mut self.tenants[at]
    }
}

/// Whole seconds in TOML, a [`Duration`] inside.
mod seconds {
    use serde::{Deserialize, Deserializer};
    use std::time::Duration;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u32::deserialize(deserializer).map(|seconds| Duration::from_secs(u64::from(seconds)))
    }
}

/// Whole milliseconds in TOML, a [`Duration`] inside.
mod milliseconds {
    use serde::{Deserialize, Deserializer};
    use std::time::Duration;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u32::deserialize(deserializer).map(|milliseconds| Duration::from_millis(u64::from(milliseconds)))
    }
}

#[cfg(test)]
mod tests;
