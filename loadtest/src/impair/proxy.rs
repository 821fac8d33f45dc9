//! A UDP proxy that puts an impaired link between real browsers and a relay.
//!
//! Browsers are sent to a listen address in place of the relay's; each client address gets a socket of its own towards
//! the relay, so the relay sees distinct peers. Datagrams are opaque. One thread forwards; a second only reads command
//! lines. Entry points: [`Proxy::open`], [`Proxy::run`]; [`Args`] for the command line.

use super::link::Link;
use super::named;
use super::profile::{Direction, Profile};
use crate::random::seed_for;
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::net::UdpSocket;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use serde_json::json;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most clients at a time: a test has a handful of browsers; each client holds a socket.
const MAX_CLIENTS: usize = 256;
/// A client that is silent this long in both directions is forgotten: twice the relay's patience.
const IDLE: Duration = Duration::from_secs(60);
/// Longest wait without anything due, so that idle clients are found.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Datagrams read from one socket before the others have their turn.
const BATCH: usize = 64;
/// Longest command line, in bytes.
const MAX_LINE: u64 = 1_024;
/// Stands for a table among the words of a command.
const TABLE: &str = "{}";
/// Clients `next` can be told about in advance, by bounding commands that wait.
const MAX_NEXT: usize = 64;

const TIMER: Token = Token(0);
const COMMAND: Token = Token(1);
const LISTENERS: usize = 2;
/// Tokens of clients begin here; listeners stay below.
const CLIENTS: usize = 1_000;

/// What the proxy is told on the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address browsers send to; may be repeated, and may name its own profile: ADDRESS=PROFILE. A profile is a name, or
    /// an inline table of TOML that changes one: '{ base = "island", both = { loss = 0.02 } }'.
    #[arg(long, required = true)]
    pub listen: Vec<String>,
    /// Address of the relay's media port.
    #[arg(long)]
    pub to: SocketAddr,
    /// Profile of clients whose listen address names none.
    #[arg(long, default_value = "clean")]
    pub profile: String,
    /// Source of all chance.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Loopback address for command lines over TCP.
    #[arg(long)]
    pub control: Option<SocketAddr>,
}

struct Listener {
    socket: UdpSocket,
    profile: Profile,
}

struct Client {
    number: u64,
    listener: usize,
    address: SocketAddr,
    upstream: UdpSocket,
    up: Link<Vec<u8>>,
    down: Link<Vec<u8>>,
    names: [String; 2],
    rebinds: u64,
    heard: Instant,
}

/// A command line and where its answer goes.
type Command = (String, Sender<String>);

/// The proxy, its sockets open.
pub struct Proxy {
    poll: Poll,
    timer: TimerFd,
    listeners: Vec<Listener>,
    clients: Vec<Option<Client>>,
    next: Vec<Profile>,
    to: SocketAddr,
    seed: u64,
    seen: u64,
    refused: u64,
    unsent: u64,
    commands: Receiver<Command>,
    control: Option<SocketAddr>,
    done: bool,
}

impl Proxy {
    /// Opens all sockets.
    ///
    /// # Errors
    /// An unknown profile, an address in use, a control address that is not on the loopback.
    pub fn open(args: &Args) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_fd().as_raw_fd()), TIMER, Interest::READABLE)?;
        let mut listeners = Vec::new();
        for (index, text) in args.listen.iter().take(CLIENTS - LISTENERS).enumerate() {
            let (address, name) = text.split_once('=').unwrap_or((text, &args.profile));
            let profile = find(name).map_err(io::Error::other)?;
            let mut socket = UdpSocket::bind(address.parse().map_err(io::Error::other)?)?;
            poll.registry().register(&mut socket, Token(LISTENERS + index), Interest::READABLE)?;
            listeners.push(Listener { socket, profile });
        }
        let waker = Arc::new(Waker::new(poll.registry(), COMMAND)?);
        let (sender, commands) = bounded(16);
        let control = args.control.map(|address| listen_for_commands(address, sender, waker)).transpose()?;
        Ok(Self {
            poll,
            timer,
            listeners,
            clients: Vec::new(),
            next: Vec::new(),
            to: args.to,
            seed: args.seed,
            seen: 0,
            refused: 0,
            unsent: 0,
            commands,
            control,
            done: false,
        })
    }

    /// The addresses browsers send to.
    ///
    /// # Errors
    /// Those of the sockets.
    pub fn listening(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(|listener| listener.socket.local_addr()).collect()
    }

    /// Where command lines are read, if anywhere.
    #[must_use]
    pub fn control(&self) -> Option<SocketAddr> {
        self.control
    }

    /// Forwards until the command `quit`.
    ///
    /// # Errors
    /// Those of waiting; a datagram that cannot be sent is counted and lost.
    #[expect(clippy::disallowed_methods, reason = "the proxy is where time comes in")]
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        let mut buffer = vec![0; 65_536];
        let mut again = false;
        let mut swept = Instant::now();
        while !self.done {
            self.arm(Instant::now())?;
            let wait = if again { Duration::ZERO } else { HEARTBEAT };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now = Instant::now();
            // Read every socket: edges are told once, and a batch may have left something behind.
            again = self.read(now, &mut buffer);
            self.send(Instant::now());
            while let Ok((line, answer)) = self.commands.try_recv() {
                let text = self.command(&line, Instant::now()).unwrap_or_else(|error| format!("error: {error}"));
                answer.try_send(text).ok();
            }
            if now - swept > HEARTBEAT {
                swept = now;
                self.forget_idle(now);
            }
        }
        Ok(())
    }

    /// Sets the timer to what is due first: `poll` alone waits in whole milliseconds.
    fn arm(&self, now: Instant) -> io::Result<()> {
        let due = self.clients.iter().flatten().flat_map(|client| [client.up.next_at(), client.down.next_at()]).flatten().min();
        let Some(due) = due else { return Ok(()) };
        // A zero would disarm it.
        let wait = due.saturating_duration_since(now).max(Duration::from_nanos(1));
        self.timer.set(Expiration::OneShot(TimeSpec::from_duration(wait)), TimerSetTimeFlags::empty())?;
        Ok(())
    }

    /// Reads what has come; says whether more may wait.
    fn read(&mut self, now: Instant, buffer: &mut [u8]) -> bool {
        let mut more = false;
        for listener in 0..self.listeners.len() {
            let mut left = BATCH;
            while left > 0 {
                let Ok((len, from)) = self.listeners[listener].socket.recv_from(buffer) else { break };
                left -= 1;
                if let Some(client) = self.client(listener, from, now) {
                    client.heard = now;
                    client.up.push(now, buffer[..len].to_vec(), len);
                }
            }
            more |= left == 0;
        }
        for client in self.clients.iter_mut().flatten() {
            let mut left = BATCH;
            while left > 0 {
                let Ok(len) = client.upstream.recv(buffer) else { break };
                left -= 1;
                client.heard = now;
                client.down.push(now, buffer[..len].to_vec(), len);
            }
            more |= left == 0;
        }
        more
    }

    fn send(&mut self, now: Instant) {
        for client in self.clients.iter_mut().flatten() {
            while let Some(datagram) = client.up.poll(now) {
                self.unsent += u64::from(client.upstream.send(&datagram).is_err());
            }
            let socket = &self.listeners[client.listener].socket;
            while let Some(datagram) = client.down.poll(now) {
                self.unsent += u64::from(socket.send_to(&datagram, client.address).is_err());
            }
        }
    }

    /// The client of this address, a new one if need be; none when there are too many.
    fn client(&mut self, listener: usize, address: SocketAddr, now: Instant) -> Option<&mut Client> {
        let known = |one: &Option<Client>| one.as_ref().is_some_and(|one| one.listener == listener && one.address == address);
        if let Some(slot) = self.clients.iter().position(known) {
            return self.clients[slot].as_mut();
        }
        let slot = self.clients.iter().position(Option::is_none).unwrap_or(self.clients.len());
        let upstream = (slot < MAX_CLIENTS).then(|| self.upstream(slot)).and_then(Result::ok);
        let Some(upstream) = upstream else {
            self.refused += 1;
            return None;
        };
        let profile = if self.next.is_empty() { self.listeners[listener].profile.clone() } else { self.next.remove(0) };
        let number = self.seen;
        self.seen += 1;
        let seed = |way| seed_for(self.seed, 2 * number + way);
        let client = Client {
            number,
            listener,
            address,
            upstream,
            up: Link::new(&profile.up, seed(0)),
            down: Link::new(&profile.down, seed(1)),
            names: [profile.name.clone(), profile.name],
            rebinds: 0,
            heard: now,
        };
        if slot == self.clients.len() {
            self.clients.push(None);
        }
        self.clients[slot] = Some(client);
        self.clients[slot].as_mut()
    }

    fn upstream(&self, slot: usize) -> io::Result<UdpSocket> {
        let any = if self.to.is_ipv4() { IpAddr::from([0, 0, 0, 0]) } else { IpAddr::from([0_u16; 8]) };
        let mut socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(self.to)?;
        self.poll.registry().register(&mut socket, Token(CLIENTS + slot), Interest::READABLE)?;
        Ok(socket)
    }

    fn forget_idle(&mut self, now: Instant) {
        for client in &mut self.clients {
            if client.as_ref().is_some_and(|client| now - client.heard > IDLE) {
                *client = None;
            }
        }
    }

    /// Does what a line says and answers with one line.
    fn command(&mut self, line: &str, now: Instant) -> Result<String, String> {
        // A table has spaces of its own; `TABLE` stands for it among the words.
        let table = line.find('{').zip(line.rfind('}')).filter(|(from, to)| from < to);
        let (line, table) = match table {
            Some((from, to)) => (format!("{}{TABLE}{}", &line[..from], &line[to + 1..]), &line[from..=to]),
            None => (line.to_owned(), ""),
        };
        let find = |word: &str| find(if word == TABLE { table } else { word });
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let mut only: Option<u64> = None;
        if let Some(at) = words.iter().position(|word| *word == "client") {
            let number = words.get(at + 1).and_then(|word| word.parse().ok()).ok_or("client needs a number")?;
            only = Some(number);
            words.drain(at..=at + 1);
        }
        if only.is_some_and(|number| !self.clients.iter().flatten().any(|client| client.number == number)) {
            return Err("no such client".to_owned());
        }
        let chosen = move |client: &&mut Client| only.is_none_or(|number| client.number == number);
        match words.as_slice() {
            ["profile", name, way @ ..] => {
                let profile = find(name)?;
                let (up, down) = ways(way)?;
                if only.is_none() && up && down {
                    self.listeners.iter_mut().for_each(|listener| listener.profile = profile.clone());
                }
                let set = |link: &mut Link<Vec<u8>>, direction: &Direction| link.change(now, direction);
                for client in self.clients.iter_mut().flatten().filter(chosen) {
                    if up {
                        set(&mut client.up, &profile.up);
                        client.names[0].clone_from(&profile.name);
                    }
                    if down {
                        set(&mut client.down, &profile.down);
                        client.names[1].clone_from(&profile.name);
                    }
                }
            }
            ["next", name] if self.next.len() < MAX_NEXT => self.next.push(find(name)?),
            ["outage", ms] => {
                let time = Duration::from_millis(ms.parse::<u32>().map_err(|_| "outage needs milliseconds")?.into());
                for client in self.clients.iter_mut().flatten().filter(chosen) {
                    client.up.silence(now, time);
                    client.down.silence(now, time);
                }
            }
            ["rebind"] => {
                for slot in 0..self.clients.len() {
                    if !self.clients[slot].as_mut().is_some_and(|client| chosen(&&mut *client)) {
                        continue;
                    }
                    let fresh = self.upstream(slot).map_err(|error| error.to_string())?;
                    if let Some(client) = &mut self.clients[slot] {
                        client.upstream = fresh;
                        client.rebinds += 1;
                    }
                }
            }
            ["stats"] => return Ok(self.stats(now)),
            ["quit"] => self.done = true,
            _ => {
                return Err(
                    "profile NAME|TABLE [up|down|both], next NAME|TABLE, outage MS, rebind (all but next: client N), stats, quit"
                        .into(),
                );
            }
        }
        Ok("ok".to_owned())
    }

    /// Everything counted, as one line of JSON; no addresses.
    fn stats(&mut self, now: Instant) -> String {
        let way = |name: &str, link: &mut Link<Vec<u8>>| {
            json!({
                "profile": name, "counts": link.counts(), "queue": link.queue_delay(), "backlog_bytes": link.backlog(),
                "wait_us": u64::try_from(link.wait(now).as_micros()).unwrap_or(u64::MAX), "bits_per_s": link.rate(now),
            })
        };
        let clients = self.clients.iter_mut().flatten().map(|client| {
            json!({
                "client": client.number, "listener": client.listener, "rebinds": client.rebinds,
                "up": way(&client.names[0], &mut client.up), "down": way(&client.names[1], &mut client.down),
            })
        });
        let clients: Vec<_> = clients.collect();
        json!({ "seen": self.seen, "refused": self.refused, "unsent": self.unsent, "clients": clients }).to_string()
    }
}

/// A profile by its name, or by a table that changes one.
fn find(text: &str) -> Result<Profile, String> {
    if text.starts_with('{') {
        return Profile::from_value(text).map_err(|error| error.to_string());
    }
    named::profile(text)
        .ok_or_else(|| format!("no profile is called {text:?}; there are {}, or a table", named::NAMES.join(", ")))
}

fn ways(words: &[&str]) -> Result<(bool, bool), String> {
    match words {
        [] | ["both"] => Ok((true, true)),
        ["up"] => Ok((true, false)),
        ["down"] => Ok((false, true)),
        _ => Err("up, down or both".to_owned()),
    }
}

fn listen_for_commands(address: SocketAddr, sender: Sender<Command>, waker: Arc<Waker>) -> io::Result<SocketAddr> {
    if !address.ip().is_loopback() {
        return Err(io::Error::other("the control address must be on the loopback"));
    }
    let listener = TcpListener::bind(address)?;
    let local = listener.local_addr()?;
    std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        // One connection after the other: commands come from one test.
        for stream in listener.incoming().flatten() {
            if converse(&stream, &sender, &waker).is_none() {
                return;
            }
        }
    })?;
    Ok(local)
}

/// Passes lines on and answers back; none when the proxy is gone.
fn converse(mut stream: &TcpStream, sender: &Sender<Command>, waker: &Waker) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok();
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        match lines.by_ref().take(MAX_LINE).read_line(&mut line) {
            Ok(1..) => {}
            _ => return Some(()),
        }
        let (answer, answered) = bounded(1);
        sender.send((line.clone(), answer)).ok()?;
        waker.wake().ok()?;
        let text = answered.recv_timeout(Duration::from_secs(10)).ok()?;
        if writeln!(stream, "{text}").is_err() {
            return Some(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket as Socket;

    /// A proxy before an echo that answers with the sender's port, two bytes, and what came.
    fn start() -> (SocketAddr, TcpStream) {
        let echo = Socket::bind("127.0.0.1:0").expect("bound");
        let to = echo.local_addr().expect("bound");
        std::thread::spawn(move || {
            let mut buffer = [0; 2_000];
            while let Ok((len, from)) = echo.recv_from(&mut buffer) {
                let answer = [&from.port().to_be_bytes()[..], &buffer[..len]].concat();
                echo.send_to(&answer, from).ok();
            }
        });
        let listen = vec!["127.0.0.1:0".to_owned()];
        let control = Some("127.0.0.1:0".parse().expect("address"));
        let proxy = Proxy::open(&Args { listen, to, profile: "clean".to_owned(), seed: 7, control }).expect("open");
        let listening = proxy.listening().expect("bound")[0];
        let control = TcpStream::connect(proxy.control().expect("asked for")).expect("connected");
        std::thread::spawn(move || proxy.run());
        (listening, control)
    }

    fn browser(to: SocketAddr) -> Socket {
        let socket = Socket::bind("127.0.0.1:0").expect("bound");
        socket.connect(to).expect("connected");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        socket
    }

    fn tell(mut control: &TcpStream, line: &str) -> String {
        writeln!(control, "{line}").expect("written");
        let mut answer = String::new();
        BufReader::new(control).read_line(&mut answer).expect("answered");
        answer.trim().to_owned()
    }

    fn ask(socket: &Socket, bytes: &[u8]) -> (u16, Vec<u8>) {
        socket.send(bytes).expect("sent");
        let mut buffer = [0; 2_000];
        let len = socket.recv(&mut buffer).expect("answered");
        (u16::from_be_bytes([buffer[0], buffer[1]]), buffer[2..len].to_vec())
    }

    #[test]
    fn bytes_pass_unchanged_and_clients_have_their_own_ports() {
        let (to, control) = start();
        let (one, two) = (browser(to), browser(to));
        let mut ports = Vec::new();
        for number in 0..200_usize {
            let bytes: Vec<u8> = (0..number * 6).map(|at| (at * 7 + number) as u8).collect();
            let (first, second) = (ask(&one, &bytes), ask(&two, &bytes));
            assert_eq!((&first.1, &second.1), (&bytes, &bytes));
            ports.extend([first.0, second.0]);
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 2);
        let stats: serde_json::Value = serde_json::from_str(&tell(&control, "stats")).expect("JSON");
        assert_eq!(stats["clients"][1]["up"]["counts"]["delivered"], 200);
        assert_eq!(tell(&control, "quit"), "ok");
    }

    #[test]
    fn a_rebind_shows_the_relay_another_port() {
        let (to, control) = start();
        let one = browser(to);
        let before = ask(&one, b"a").0;
        assert_eq!(tell(&control, "rebind client 0"), "ok");
        assert_ne!(ask(&one, b"b").0, before);
        assert_eq!(tell(&control, "rebind client 5"), "error: no such client");
    }

    #[test]
    fn an_outage_loses_and_profiles_change_one_client() {
        let (to, control) = start();
        let (one, two) = (browser(to), browser(to));
        ask(&one, b"a");
        assert_eq!(tell(&control, "next island"), "ok");
        ask(&two, b"a");
        assert_eq!(tell(&control, "outage 4000000 client 0"), "ok");
        one.send(b"lost").expect("sent");
        ask(&two, b"b");
        assert_eq!(tell(&control, "profile loss-5 down client 1"), "ok");
        let stats: serde_json::Value = serde_json::from_str(&tell(&control, "stats")).expect("JSON");
        assert_eq!(stats["clients"][0]["up"]["counts"]["dropped_outage"], 1);
        assert_eq!(stats["clients"][0]["up"]["profile"], "clean");
        assert_eq!(
            (&stats["clients"][1]["up"]["profile"], &stats["clients"][1]["down"]["profile"]),
            (&json!("island"), &json!("loss-5"))
        );
        assert!(tell(&control, "profile nowhere").starts_with("error: no profile"));
        let table = r#"profile { base = "island", down = { bits_per_s = 300_000, queue_ms = 50 } } client 0"#;
        assert_eq!(tell(&control, table), "ok");
        let stats: serde_json::Value = serde_json::from_str(&tell(&control, "stats")).expect("JSON");
        assert_eq!(stats["clients"][0]["down"]["profile"], "island, changed");
        assert_eq!(stats["clients"][0]["down"]["bits_per_s"], 300_000);
        assert_eq!(stats["clients"][1]["down"]["bits_per_s"], serde_json::Value::Null);
        assert!(tell(&control, "profile { base = \"island\", dwn = {} }").starts_with("error: unknown field"));
    }
}
