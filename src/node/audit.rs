//! Builds the audit record's writer from the configuration.

use super::NodeError;
use super::accounts::store::{self, Store};
use super::accounts::{Notary, Site};
use crate::audit::note::{PrivateKey, PublicKey};
use crate::audit::record::Source;
use crate::audit::tree::sha256;
use crate::audit::types::{Boot, Build, Sandbox};
use crate::audit::{Actor, Event, Fact, Hash, Word};
use crate::config::{Audit, Config};
use crate::worker::audit_writer::disk::Folder;
use crate::worker::audit_writer::{self, Recorder, Retention, Root, Running, Settings, SystemClock, TenantLog, keys};
use std::fs;
use std::sync::Arc;

/// Opens the record; without a folder nothing is recorded.
///
/// # Errors
/// [`NodeError::Setup`] when the folder, its logs or its keys will not do: a node that cannot record must not serve.
pub fn open(config: &Config) -> Result<(Recorder, Option<Running>), NodeError> {
    if !config.audit.is_on() {
        return Ok((Recorder::none(), None));
    }
    let disk = folder(&config.audit)?;
    let (settings, source) = settings(config)?;
    let started = audit_writer::start(settings, source, Box::new(disk), Arc::new(SystemClock));
    let (recorder, running) = started.map_err(|fault| NodeError::Setup(format!("audit: {fault}")))?;
    Ok((recorder, Some(running)))
}

/// Records that the node starts, and waits until that is durable: nothing is served before.
///
/// # Errors
/// [`NodeError::Setup`] when it cannot be recorded.
pub fn started(recorder: &Recorder, config: &Config) -> Result<(), NodeError> {
    let (tell, told) = crossbeam_channel::bounded(1);
    let event = Event::NodeStarted {
        build: Build(build()),
        config_hash: sha256(config.render().as_bytes()),
        prev_stop: recorder.prev_stop(),
        sandbox: Sandbox { landlock_abi: 0, mlock: false, nodump: false, seccomp: false },
    };
    recorder.record_durable(of_node(config, event)?, move |result| {
        // The receiver waits right below.
        let _ = tell.send(result);
    });
    let durable = told.recv().map_err(|_| NodeError::Internal("the audit record ended at the start".to_owned()))?;
    durable.map_err(|fault| NodeError::Setup(format!("audit: {fault}")))
}

/// Records that the node stopped in order, and ends the writer.
pub fn stopped(recorder: &Recorder, config: &Config, writer: Option<Running>) {
    if let Ok(fact) = of_node(config, Event::NodeStopped { rooms_open: 0 }) {
        // The writer logs what it cannot write.
        let _ = recorder.record(fact);
    }
    if let Some(writer) = writer {
        writer.stop();
    }
}

/// What signs and keeps attestations; the key is made where there is none.
///
/// # Errors
/// [`NodeError::Setup`] when the key or the folder will not do.
pub(super) fn notary(config: &Config) -> Result<Notary, NodeError> {
    let audit = &config.audit;
    let word = |key: &str, text: &str| Word::new(text).map_err(|fault| NodeError::Setup(format!("{key}: {fault}")));
    let hash: String = build().iter().map(|byte| format!("{byte:02x}")).collect();
    let site = Site {
        build: word("the build", &hash)?,
        node: word("audit.node", &audit.node)?,
        region: word("audit.region", &audit.region)?,
    };
    let key =
        store::key(&audit.attestation_key()).map_err(|fault| NodeError::Setup(format!("audit.attestation_key_file: {fault}")))?;
    let folder = audit.dir.join("attestations");
    let store = Store::open(folder, u64::from(audit.retention_days))
        .map_err(|error| NodeError::Setup(format!("audit.dir: {}: {error}", audit.dir.display())))?;
    Ok(Notary { key, store, site })
}

fn of_node(config: &Config, event: Event) -> Result<Fact, NodeError> {
    let node = Word::new(&config.audit.node).map_err(|fault| NodeError::Setup(format!("audit.node: {fault}")))?;
    Ok(Fact::of_node(Actor::Node(node), event))
}

/// The record's folder, locked for this process.
///
/// # Errors
/// [`NodeError::Setup`] when it cannot be made or another process has it.
pub fn folder(audit: &Audit) -> Result<Folder, NodeError> {
    Folder::lock(&audit.dir).map_err(|error| NodeError::Setup(format!("audit.dir: {}: {error}", audit.dir.display())))
}

/// What the writer is told.
///
/// # Errors
/// [`NodeError::Setup`] names the key that will not do.
pub fn settings(config: &Config) -> Result<(Settings, Source), NodeError> {
    let audit = &config.audit;
    let word = |key: &str, text: &str| Word::new(text).map_err(|fault| NodeError::Setup(format!("{key}: {fault}")));
    let retention = Retention::from_days(audit.retention_days).unwrap_or(Retention::DEFAULT);
    let tenants = config.tenants.iter().map(|tenant| {
        let name = word("tenants.name", tenant.id.as_str())?;
        Ok(TenantLog { name, retention })
    });
    let settings = Settings {
        deployment: word("audit.deployment", &audit.deployment)?,
        node: word("audit.node", &audit.node)?,
        root: root(audit)?,
        tenants: tenants.collect::<Result<_, NodeError>>()?,
        retention,
        reserve: u64::from(audit.reserve_mib) << 20,
        grace: audit.grace,
    };
    let boot = keys::random().map_err(|error| NodeError::Setup(format!("audit: {error}")))?;
    let source = Source {
        node: settings.node.clone(),
        region: word("audit.region", &audit.region)?,
        build: Build(build()),
        boot: Boot(boot),
    };
    Ok((settings, source))
}

/// The first bytes of the hash of the running binary; zero where it cannot be read.
fn build() -> [u8; 8] {
    let bytes = std::env::current_exe().and_then(fs::read).unwrap_or_default();
    let Hash([a, b, c, d, e, f, g, h, ..]) = sha256(&bytes);
    if bytes.is_empty() { [0; 8] } else { [a, b, c, d, e, f, g, h] }
}

fn root(audit: &Audit) -> Result<Root, NodeError> {
    let file = audit.root_key_file.display();
    let text = fs::read_to_string(&audit.root_key_file)
        .map_err(|error| NodeError::Setup(format!("audit.root_key_file: {file}: {error}; make it with colloque audit init")))?;
    let here = PrivateKey::parse(&text).map(Root::Here);
    let root = here.or_else(|_| PublicKey::parse(&text).map(Root::Away));
    root.map_err(|_| NodeError::Setup(format!("audit.root_key_file: {file}: expected a key as colloque audit init makes it")))
}
