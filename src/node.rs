//! The composition root: builds workers, doors and telemetry from a [`Config`], and ends them in order.
//!
//! Order of starting: the audit record, sockets (so that a taken port is said before anything else runs), workers, doors, the
//! ready line. Order of stopping: no new calls, everybody is told to leave, workers end, doors end, the audit record is signed.

mod accounts;
mod admission;
mod arranged;
pub mod audit;
mod calls;
mod changes;
mod chronicle;
mod facts;
mod files;
mod placement;
mod record;
mod refusals;
mod sockets;
mod webhooks;

use crate::api::health::Health as HealthPage;
use crate::api::scribe::Scribe;
use crate::api::twirp::RoomService;
use crate::api::v1::{Register, V1};
use crate::auth::{Key, KeyBytes, KeyRing, Revocations, RoomPolicy, Witness};
use crate::cli::ready::{DEV_ROOM, dev_links, ready_line};
use crate::config::{Config, KeyMaterial, Mode, Tenant, Use};
use crate::consultation::Policy;
use crate::consultation::room::Defaults;
use crate::model::{RoomKey, RoomName, ShardId};
use crate::relay::command::{Command, Recording, Relay};
use crate::relay::link::Rate;
use crate::relay::shard::ShardConfig;
use crate::signal::livekit::codec::Greeting;
use crate::signal::livekit::{Door, DoorConfig, IceServer, LiveKitEnvelope};
use crate::telemetry::health::Health;
use crate::telemetry::host::Ceiling;
use crate::telemetry::metrics::{self, Board, Doors};
use crate::transport::peer::Transport;
use crate::web::{HttpLimits, HttpState, Pages, router, serve};
use crate::worker::audit_writer::Recorder;
use crate::worker::udp::{Offload, probe_offload};
use crate::worker::{self, Observer, Settings, Workers};
use accounts::Accounts;
use calls::Calls;
use placement::Placement;
use record::Record;
use refusals::Refusals;
use std::collections::HashMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long a join may take until media is up: clients give up after 15 s, and a slow line deserves the whole of it.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);

/// How often memory and file descriptors are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long sockets get to carry the last goodbye when the node stops.
const GOODBYE: Duration = Duration::from_millis(1_500);

/// Threads of the doors: signalling and HTTP are light beside media, and one slow request must not hold up the rest.
const DOOR_THREADS: usize = 2;

/// Why a node did not start or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Something the configuration asks for cannot be had: a taken port, a missing folder.
    #[error("{0}")]
    Setup(String),
    /// A fault of ours.
    #[error("internal fault: {0}")]
    Internal(String),
}

/// Runs the node until it is told to stop.
///
/// # Errors
/// [`NodeError::Setup`] when a port or folder is not to be had, [`NodeError::Internal`] when a part of the node ends by fault.
pub fn run(config: Config, mode: Mode) -> Result<(), NodeError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = config.media.worker_count(cores);
    let keys = Arc::new(key_ring(&config.tenants, mode)?);
    let revocations = Arc::new(Mutex::new(Revocations::default()));
    let (register, removals) = arranged::open(&config.rooms.state_dir, register(&config.tenants), revocations.clone())?;
    let (register, removals) = (Arc::new(register), Arc::new(removals));
    let (facts, recorded) = facts::channel(revocations.clone());
    let (recorder, writer) = audit::open(&config)?;
    audit::started(&recorder, &config)?;
    let pages = Arc::new(pages(&config)?);
    let listeners = sockets::open_http(&config.http.bind, config.http.port)?;
    let board = Arc::new(Board::new(count));
    let health = Arc::new(Health::default());
    let record = Record::new(recorder.clone(), config.audit.after_grace);
    let (ledger, accounts) = open_accounts(&config, &recorder)?;
    let told = placement::Told { facts: facts.clone(), record, accounts: ledger.clone() };
    let placement = Placement::new(count, admission_limits(&config), wall_ms(), board.clone(), health.clone(), told);
    let placement = Arc::new(placement);
    let workers = start_workers(&config, count, &placement, recorder.is_on())?;
    placement.connect(workers.mailboxes.clone());

    let runtime = doors_runtime()?;
    let doors = Arc::new(Doors::default());
    let limits = http_limits(&config, &doors);
    let refusals = Arc::new(Refusals::new(recorder.clone()));
    let parts = Parts {
        keys,
        register: register.clone(),
        revocations,
        refusals: refusals.clone(),
        placement: placement.clone(),
        ledger,
        pages,
        board,
        doors,
        health: health.clone(),
    };
    let state = http_state(&config, mode, parts);
    runtime.spawn(facts::deliver(facts, recorded, register.clone()));
    runtime.spawn(arranged::look_after(register.clone(), removals.clone()));
    webhooks::start(&runtime, &config, &state.v1, &limits.counts)?;
    runtime.spawn(look_at_record(placement.clone(), refusals.clone()));
    runtime.spawn(look_at_host(Ceiling::find(u64::from(config.limits.max_memory_mib) << 20), placement.clone()));
    let served =
        runtime.block_on(serve_until_told(&config, mode, listeners, limits, state, &placement, &health, &register, &recorder));
    workers.join();
    if !runtime.block_on(arranged::flush(&register, &removals)) {
        tracing::error!("the newest of what was arranged could not be written to rooms.state_dir");
    }
    runtime.shutdown_timeout(GOODBYE);
    refusals.finish();
    placement.record().finish();
    audit::stopped(&recorder, &config, writer);
    // Last of all, so that what it signs names the last entries.
    accounts.stop();
    served
}

fn doors_runtime() -> Result<tokio::runtime::Runtime, NodeError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.worker_threads(DOOR_THREADS).thread_name("doors").enable_all().build();
    built.map_err(|_| internal("the doors' runtime cannot be started"))
}

/// A register that knows what tenants say of their consultations.
fn register(tenants: &[Tenant]) -> Register {
    Register::default().with_rules(tenants.iter().map(|tenant| (tenant.id.clone(), tenant.rules.clone())).collect())
}

/// Starts what keeps the accounts of consultations; without a record nothing is attested.
fn open_accounts(config: &Config, recorder: &Recorder) -> Result<(Arc<Accounts>, accounts::Running), NodeError> {
    let notary = if recorder.is_on() { Some(audit::notary(config)?) } else { None };
    Accounts::start(recorder.clone(), notary).map_err(|_| internal("the thread of the accounts cannot be started"))
}

#[expect(clippy::too_many_arguments, reason = "the composition root is where every part meets the others, once")]
async fn serve_until_told(
    config: &Config,
    mode: Mode,
    listeners: Vec<TcpListener>,
    limits: HttpLimits,
    state: HttpState,
    placement: &Arc<Placement>,
    health: &Health,
    register: &Register,
    recorder: &Recorder,
) -> Result<(), NodeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|_| internal("signals cannot be awaited"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|_| internal("signals cannot be awaited"))?;
    let (stop, stopped) = watch::channel(false);
    let first = listeners.first().and_then(|listener| listener.local_addr().ok());
    for listener in listeners {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(|_| internal("a listener cannot be used"))?;
        let mut stopped = stopped.clone();
        let shutdown = async move {
            // An error means that the node is gone, which is a stop as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        tokio::spawn(serve(listener, router(state.clone()), limits.clone(), shutdown));
    }
    health.set_ready(true);
    announce(config, mode, first, register);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    audit::draining(recorder, config, placement.open_rooms());
    health.set_ready(false);
    // A worker whose mailbox is full stops with its thread all the same when the process ends.
    let _ = placement.send(Command::Shutdown);
    // Every socket gets its goodbye out, or its time is up.
    let told = async {
        while limits.counts.signal_sessions.value() > 0 {
            tokio::time::sleep(GOODBYE / 50).await;
        }
    };
    // A client that does not take its goodbye finds the socket closed.
    let _ = tokio::time::timeout(GOODBYE, told).await;
    // Nobody listens when every listener has ended already.
    let _ = stop.send(true);
    Ok(())
}

/// Tells consultations whether the audit log can be written, and the log of tokens that were refused, as long as the doors' runtime lives.
async fn look_at_record(placement: Arc<Placement>, refusals: Arc<Refusals>) {
    let mut told = Recording::Works;
    loop {
        let state = placement.record().state();
        // While it fails it is said again and again: to consultations that opened since, too.
        if (state != Recording::Works || told != state) && placement.send(Command::Recording(state)).is_ok() {
            told = state;
        }
        refusals.look();
        placement.record().look();
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Tells the admission how memory and file descriptors stand, as long as the doors' runtime lives.
async fn look_at_host(ceiling: Ceiling, placement: Arc<Placement>) {
    loop {
        placement.on_host(ceiling.read());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn admission_limits(config: &Config) -> admission::Limits {
    let limits = &config.limits;
    admission::Limits {
        participants: limits.max_participants.into(),
        rooms: limits.max_rooms.into(),
        joins_per_s: limits.max_joins_per_s.into(),
        busy_permille: u64::from(limits.max_busy_percent) * 10,
        delay: limits.max_delay,
    }
}

fn start_workers(config: &Config, count: usize, placement: &Arc<Placement>, audit: bool) -> Result<Workers, NodeError> {
    let opened = sockets::open_media(&config.media, count)?;
    let transport = Transport::new(&[]).map_err(|_| internal("the DTLS certificate cannot be made"))?;
    let rate = |limit| if limit == 0 { u32::MAX } else { limit };
    let usual =
        Arc::new(config.tenants.iter().map(|tenant| (tenant.id.clone(), tenant.rules.usual())).collect::<HashMap<_, _>>());
    let shards = opened
        .into_iter()
        .enumerate()
        .map(|(index, opened)| {
            let shard = ShardConfig {
                adapt: config.media.adapt,
                audit,
                id: ShardId(u8::try_from(index).unwrap_or(u8::MAX)),
                room_defaults: Defaults {
                    empty_timeout_s: seconds(config.rooms.empty_timeout),
                    departure_timeout_s: seconds(config.rooms.departure_timeout),
                    max_participants: config.limits.participants_per_room,
                },
                connect_within: CONNECT_WITHIN,
                resume_window: config.rooms.resume_window,
                publisher_rate: Rate {
                    packets: rate(config.limits.publisher_packets_per_s),
                    bytes: rate(config.limits.publisher_bytes_per_s),
                },
                transport: Arc::new(transport.at(&opened.told)),
                usual: usual.clone(),
                envelope: Arc::new(LiveKitEnvelope),
            };
            (shard, opened.sockets)
        })
        .collect();
    let observer: Arc<dyn Observer> = placement.clone();
    let settings = Settings {
        pin: config.media.pin_workers,
        coalesce: Duration::from_micros(u64::from(config.media.coalesce_us)),
        offload: probe_offload(Offload { gso: config.media.gso == Use::Auto, gro: config.media.gro == Use::Auto }),
    };
    worker::start(shards, settings, &observer).map_err(|_| internal("the workers cannot be started"))
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// What the doors lead to.
struct Parts {
    keys: Arc<KeyRing>,
    register: Arc<Register>,
    revocations: Arc<Mutex<Revocations>>,
    refusals: Arc<Refusals>,
    placement: Arc<Placement>,
    ledger: Arc<Accounts>,
    pages: Arc<Pages>,
    board: Arc<Board>,
    doors: Arc<Doors>,
    health: Arc<Health>,
}

fn http_state(config: &Config, mode: Mode, parts: Parts) -> HttpState {
    let Parts { keys, register, revocations, refusals, placement, ledger, pages, board, doors, health } = parts;
    let wall_ms: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(wall_ms);
    let door_config = DoorConfig {
        greeting: Greeting { ice_servers: ice_servers(config), ..Greeting::default() },
        dev: mode == Mode::Dev,
        sockets_per_address: unlimited(config.http.max_connections_per_address),
        sockets: unlimited(config.http.max_connections),
        counts: doors.clone(),
    };
    let relay: Arc<dyn Relay> = placement.clone();
    let door = Door::new(relay.clone(), keys.clone(), revocations.clone(), door_config, wall_ms.clone())
        .with_plans(register.clone())
        .with_witness(refusals.clone());
    let witness: Arc<dyn Witness> = refusals;
    let scribe: Arc<dyn Scribe> = Arc::new(Calls(placement.clone()));
    let v1 = V1 {
        relay: relay.clone(),
        keys: keys.clone(),
        revocations: revocations.clone(),
        wall_ms: wall_ms.clone(),
        register: register.clone(),
        ledger,
        witness: witness.clone(),
        scribe: scribe.clone(),
        public_url: public_url(config),
    };
    let render = Arc::new(move || {
        metrics::render(&board.snapshot(), &doors, &health, &placement.admitting(), placement.record().shown().as_ref())
    });
    HttpState {
        door: Arc::new(door),
        rooms: RoomService { relay: relay.clone(), keys, revocations, register, wall_ms, witness, scribe },
        v1,
        health: HealthPage { relay, metrics: Some(render) },
        pages,
    }
}

fn http_limits(config: &Config, doors: &Arc<Doors>) -> HttpLimits {
    HttpLimits {
        connections_per_address: unlimited(config.http.max_connections_per_address),
        connections: unlimited(config.http.max_connections),
        header_timeout: config.http.header_timeout,
        counts: doors.clone(),
        ..HttpLimits::default()
    }
}

/// The address people open, where one is configured, without the slash at its end.
fn public_url(config: &Config) -> Option<Arc<str>> {
    let url = config.http.public_url.trim_end_matches('/');
    (!url.is_empty()).then(|| url.into())
}

fn unlimited(limit: u32) -> usize {
    if limit == 0 { usize::MAX } else { limit as usize }
}

fn ice_servers(config: &Config) -> Vec<IceServer> {
    let told = |server: &crate::config::IceServer| IceServer {
        urls: server.urls.clone(),
        username: server.username.clone(),
        credential: server
            .credential
            .as_ref()
            .map(|credential| String::from_utf8_lossy(credential.expose()).into_owned())
            .unwrap_or_default()
            .into(),
    };
    config.ice_servers.iter().map(told).collect()
}

fn pages(config: &Config) -> Result<Pages, NodeError> {
    let folder = &config.http.page_dir;
    if folder.as_os_str().is_empty() {
        return Ok(Pages::default());
    }
    if !folder.join("index.html").is_file() {
        tracing::warn!("http.page_dir holds no index.html: the page is not served; build it with `npm run build` in web/");
        return Ok(Pages::default());
    }
    Pages::read(folder).map_err(|_| {
        NodeError::Setup(format!("http.page_dir = {folder:?}: cannot be read as a page; name the folder of the built page"))
    })
}

fn key_ring(tenants: &[Tenant], mode: Mode) -> Result<KeyRing, NodeError> {
    let keys = tenants.iter().flat_map(|tenant| tenant.keys.iter().map(move |key| (tenant, key))).map(|(tenant, key)| {
        let policy = match tenant.policy {
            Policy::Open => RoomPolicy::Open,
            Policy::Consultation => RoomPolicy::Consultation,
        };
        let bytes = match &key.material {
            KeyMaterial::Hs256(secret) => KeyBytes::Hs256(secret.expose()),
            KeyMaterial::EdDsa(public) => KeyBytes::EdDsa(public),
            KeyMaterial::Es256(public) => KeyBytes::Es256(public),
        };
        // Dev mode prints links for the day; their lifetime is not a platform's concern.
        let lifetime = if mode == Mode::Dev { None } else { tenant.join_lifetime.map(|lifetime| lifetime.as_secs()) };
        Key::checked(&key.id, tenant.id.clone(), policy, bytes).map(|key| key.with_join_lifetime(lifetime))
    });
    let keys: Vec<Key> = keys.collect::<Result<_, _>>().map_err(|error| NodeError::Setup(format!("tenants.keys: {error}")))?;
    KeyRing::new(keys).map_err(|error| NodeError::Setup(format!("tenants.keys: {error}")))
}

/// Says that the node takes calls, and in dev mode how to open one.
fn announce(config: &Config, mode: Mode, http: Option<SocketAddr>, register: &Register) {
    let Some(http) = http else { return };
    let mut text = ready_line(http, config.media.ports());
    text.push('\n');
    if mode == Mode::Dev {
        text.push_str(&demo_links(config, http, register));
    }
    let mut out = std::io::stdout().lock();
    // The node runs whether or not anybody reads its first line.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Links to one consultation for a doctor, a patient and a companion.
fn demo_links(config: &Config, http: SocketAddr, register: &Register) -> String {
    let clinic = config.tenants.iter().find(|tenant| tenant.policy == Policy::Consultation);
    let Some((clinic, key)) = clinic.and_then(|tenant| Some((tenant, tenant.keys.first()?))) else { return String::new() };
    let room = RoomKey { tenant: clinic.id.clone(), name: RoomName::new(DEV_ROOM) };
    let links = register.arrange_demo(&room, &key.id, wall_ms() / 1_000);
    let links: Vec<_> = links.iter().map(|(role, code)| (role.as_str(), code.as_str())).collect();
    dev_links(http, &links)
}

#[expect(clippy::disallowed_methods, reason = "the doors' wall clock: token times are given in it")]
fn wall_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn internal(text: &str) -> NodeError {
    NodeError::Internal(text.to_owned())
}
