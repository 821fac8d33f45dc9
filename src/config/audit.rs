//! The `[audit]` section: where the audit record lies and how long it is kept.

use super::error::Fault;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// The audit record.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Folder of the record; empty keeps none.
    pub dir: PathBuf,
    /// Organisation and deployment, the beginning of every log's name.
    pub deployment: String,
    /// This node's name.
    pub node: String,
    /// Country and site of this node.
    pub region: String,
    /// File with the root key: the private one, or only the public half.
    pub root_key_file: PathBuf,
    /// File with the key that signs attestations; empty is `attestation.key` in the folder of the record.
    pub attestation_key_file: PathBuf,
    /// Days entries are kept.
    pub retention_days: u16,
    /// MiB set aside for events while the log cannot be written.
    pub reserve_mib: u16,
    /// How long running calls go on while the log cannot be written.
    #[serde(rename = "grace_min", with = "minutes")]
    pub grace: Duration,
    /// What becomes of running calls after that.
    pub after_grace: AfterGrace,
    /// A file that is touched whenever the machine's clock is synchronised.
    pub clock_file: PathBuf,
}

/// What becomes of running calls that cannot be put on record for longer than the grace time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterGrace {
    /// They end.
    #[default]
    Close,
    /// They go on.
    GoOn,
}

impl AfterGrace {
    /// The word in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::GoOn => "go_on",
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            deployment: "colloque/main".to_owned(),
            node: "node-1".to_owned(),
            region: "FR".to_owned(),
            root_key_file: PathBuf::new(),
            attestation_key_file: PathBuf::new(),
            retention_days: 365,
            reserve_mib: 64,
            grace: Duration::from_secs(15 * 60),
            after_grace: AfterGrace::Close,
            clock_file: PathBuf::from("/run/systemd/timesync/synchronized"),
        }
    }
}

/// Characters of names in the record, besides letters and digits.
const IN_NAMES: &[u8] = b"._-";

impl Audit {
    /// Whether a record is kept.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.dir.as_os_str().is_empty()
    }

    /// The file with the key that signs attestations.
    #[must_use]
    pub fn attestation_key(&self) -> PathBuf {
        if self.attestation_key_file.as_os_str().is_empty() {
            self.dir.join("attestation.key")
        } else {
            self.attestation_key_file.clone()
        }
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        let sound = |text: &str, slash: bool, most: usize| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || IN_NAMES.contains(&byte) || slash && byte == b'/';
            (1..=most).contains(&text.len()) && text.bytes().all(fits) && !text.split('/').any(str::is_empty)
        };
        super::check::ensure(sound(&self.deployment, true, 40), "audit.deployment", || format!("{:?}", self.deployment))?;
        super::check::ensure(sound(&self.node, false, 16), "audit.node", || format!("{:?}", self.node))?;
        super::check::ensure(sound(&self.region, true, 32), "audit.region", || format!("{:?}", self.region))?;
        let days = self.retention_days;
        super::check::ensure((90..=1_095).contains(&days), "audit.retention_days", || days.to_string())?;
        super::check::ensure(self.reserve_mib <= 4_096, "audit.reserve_mib", || self.reserve_mib.to_string())?;
        let minutes = self.grace.as_secs() / 60;
        super::check::ensure(minutes <= 60, "audit.grace_min", || minutes.to_string())?;
        if self.is_on() && self.root_key_file.as_os_str().is_empty() {
            return Err(Fault::new(
                "audit.root_key_file",
                None,
                "the file of the root key, because audit.dir is set",
                "make one with colloque audit init --config FILE after naming it here, for example root_key_file = \"audit-root.key\"",
            ));
        }
        Ok(())
    }
}

/// Whole minutes in TOML, a [`Duration`] inside.
mod minutes {
    use serde::{Deserialize, Deserializer};
    use std::time::Duration;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u16::deserialize(deserializer).map(|minutes| Duration::from_secs(u64::from(minutes) * 60))
    }
}
