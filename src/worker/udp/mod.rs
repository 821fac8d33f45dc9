//! The UDP port: one unconnected socket per bound address and worker, read and written in batches.
//!
//! Receiving goes through quinn-udp (`recvmmsg`, and trains the kernel has put together); sending through `sendmmsg` across
//! destinations, of which each message may be a train. Where the kernel refuses trains or batches, single datagrams go instead.
//!
//! Entry points: [`bind_shared`], [`UdpPort::receive`], [`UdpPort::send`].

#[cfg(target_os = "linux")]
mod mmsg;
mod sending;
mod single;
mod train;

pub use sending::Sent;

use crate::model::Path;
use crate::relay::Received;
use crate::relay::outbox::{Batch, MAX_DATAGRAM, Outbox};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use sending::Sending;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

/// Bytes asked of the kernel for each direction: 4 MiB hold 10 ms of a full core's input, and more would only hide a stall.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// Bytes of one receive buffer where the kernel puts trains together: one is at most an IP packet.
const TRAIN_BUFFER: usize = 64 * 1024;

/// Bytes of one receive buffer otherwise: more than any media packet or handshake on an Ethernet.
const DATAGRAM_BUFFER: usize = 2 * 1024;

/// Bytes from one buffer's end to the next one's start: buffers a power of two apart would share the same few lines of the cache.
const STAGGER: usize = 192;

/// What the kernel is asked to do for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offload {
    /// Cut trains when sending (UDP segmentation offload).
    pub gso: bool,
    /// Put neighbours of one sender together when receiving (UDP receive offload).
    pub gro: bool,
}

impl Default for Offload {
    fn default() -> Self {
        Self { gso: true, gro: true }
    }
}

/// Opens one of the sockets that share a port (`SO_REUSEPORT`).
///
/// # Errors
/// What the kernel says, for example that the address is not this host's.
pub fn bind_shared(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(address)?;
    socket.set_reuse_port(true)?;
    // The kernel caps both at its own maximum; a smaller buffer works, only with less slack.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Looks whether a port is free. Two relays could share a port without noticing, since each shares it among its workers.
///
/// # Errors
/// What the kernel says, above all that the address is in use.
pub fn probe(address: SocketAddr) -> io::Result<()> {
    open(address)?.bind(&address.into())
}

/// Tries on the loopback what the kernel is to be asked for, and leaves out what does not work; a sandbox may accept an option and
/// not do what it means.
#[must_use]
pub fn probe_offload(wanted: Offload) -> Offload {
    // Where it cannot be tried, the first use will tell.
    let carried = |offload: Offload| carries_a_train(offload).unwrap_or(true);
    let gso = wanted.gso && carried(Offload { gro: false, ..wanted });
    let gro = wanted.gro && carried(Offload { gso, ..wanted });
    Offload { gso, gro }
}

/// Sends a train to itself and looks whether it arrives as it was.
fn carries_a_train(offload: Offload) -> io::Result<bool> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut port = UdpPort::new(vec![bind_shared(loopback)?], offload)?;
    let Some(bound) = port.sockets.first() else { return Ok(false) };
    let path = Path { socket: 0, local: None, remote: bound.socket.local_addr()? };
    let mut outbox = Outbox::default();
    let lengths = [600, 600, 200];
    let pushed = lengths.iter().all(|len| outbox.push(path, false, &[7; MAX_DATAGRAM][..*len]));
    let sent = port.send(outbox.finish());
    // The loopback delivers within the call that sends.
    let mut arrived = Vec::new();
    port.receive(|_, batch| arrived.extend(batch.iter().map(|datagram| datagram.len)));
    port.mark_all_readable();
    port.receive(|_, batch| arrived.extend(batch.iter().map(|datagram| datagram.len)));
    Ok(pushed && sent.datagrams == 3 && arrived == lengths && port.offload() == offload)
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A worker's sockets.
pub struct UdpPort {
    sockets: Vec<Bound>,
    buffers: Vec<u8>,
    buffer: usize,
    /// The datagrams of the batch at hand.
    batch: Vec<Received>,
    sending: Sending,
    #[cfg(target_os = "linux")]
    mmsg: mmsg::Mmsg,
}

struct Bound {
    socket: UdpSocket,
    state: UdpSocketState,
    wildcard: bool,
    /// Set when the socket is to be read, cleared when it was found empty.
    readable: bool,
    /// Set when the next look is to tell what the kernel has dropped.
    asked: bool,
    /// Datagrams the kernel has dropped, as it last said.
    dropped: u32,
}

impl UdpPort {
    /// Takes bound sockets over; their order is what [`Path::socket`] counts.
    ///
    /// # Errors
    /// What the kernel says to the options it is asked for.
    pub fn new(sockets: Vec<UdpSocket>, offload: Offload) -> io::Result<Self> {
        let mut bound = Vec::with_capacity(sockets.len());
        for socket in sockets {
            let wildcard = socket.local_addr()?.ip().is_unspecified();
            // Asks for offloads, for no fragmentation, and for what is told of each datagram.
            let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
            #[cfg(target_os = "linux")]
            mmsg::ask_for_less(&socket, wildcard, offload.gro)?;
            bound.push(Bound { socket, state, wildcard, readable: true, asked: false, dropped: 0 });
        }
        let gso = offload.gso && bound.iter().all(|bound| bound.state.max_gso_segments() > 1);
        let mut port = Self {
            sockets: bound,
            buffers: Vec::new(),
            // Grows to the longest trains of a batch ever seen: a train is at most 64 datagrams.
            batch: Vec::with_capacity(BATCH_SIZE * 2),
            buffer: DATAGRAM_BUFFER,
            sending: Sending::new(gso),
            #[cfg(target_os = "linux")]
            mmsg: mmsg::Mmsg::new(),
        };
        if port.offload().gro || cfg!(not(target_os = "linux")) {
            port.buffer = TRAIN_BUFFER;
        }
        // Zeroed pages cost nothing until a datagram touches them.
        port.buffers = vec![0; BATCH_SIZE * (port.buffer + STAGGER)];
        Ok(port)
    }

    /// What the kernel does for all of the sockets, as far as it has said so.
    #[must_use]
    pub fn offload(&self) -> Offload {
        let gso = (0..self.sockets.len()).all(|index| u8::try_from(index).is_ok_and(|index| !self.sending.is_plain(index)));
        #[cfg(target_os = "linux")]
        let gro = self.sockets.iter().all(|bound| mmsg::has_gro(&bound.socket));
        #[cfg(not(target_os = "linux"))]
        let gro = false;
        Offload { gso, gro }
    }

    /// The sockets, to wait for.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(|bound| bound.socket.as_fd())
    }

    /// Says that a socket has something to read.
    pub fn mark_readable(&mut self, socket: usize) {
        if let Some(bound) = self.sockets.get_mut(socket) {
            bound.readable = true;
        }
    }

    /// Says that any socket may have something to read: asking them costs less than asking which.
    pub fn mark_all_readable(&mut self) {
        self.sockets.iter_mut().for_each(|bound| bound.readable = true);
    }

    /// Whether a socket may have something to read.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.sockets.iter().any(|bound| bound.readable)
    }

    /// Whether datagrams wait for room in a socket.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.sending.is_holding()
    }

    /// Wants to know of each socket's next datagram how many were dropped before it; asking each time would cost too much.
    pub fn ask_dropped(&mut self) {
        self.sockets.iter_mut().for_each(|bound| bound.asked = cfg!(target_os = "linux"));
    }

    /// Datagrams that did not fit into a socket's receive buffer so far, as of the last time it was asked.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.sockets.iter().map(|bound| u64::from(bound.dropped)).sum()
    }

    /// Receives one batch from each readable socket and hands it over whole, datagrams by their place in its bytes; answers how many
    /// there were.
    pub fn receive(&mut self, mut take: impl FnMut(&mut [u8], &[Received])) -> usize {
        let mut received = 0;
        let stride = self.buffer + STAGGER;
        for (index, bound) in self.sockets.iter_mut().enumerate().filter(|(_, bound)| bound.readable) {
            self.batch.clear();
            if bound.asked
                && let Some(buffer) = self.buffers.get_mut(..self.buffer)
            {
                bound.receive_asked(index as u8, buffer, &mut self.batch);
                received += self.batch.len();
                take(buffer, &self.batch);
                if !bound.readable {
                    continue;
                }
                self.batch.clear();
            }
            let mut buffers = self.buffers.chunks_exact_mut(stride);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = std::array::from_fn(|_| {
                IoSliceMut::new(buffers.next().and_then(|all| all.get_mut(..self.buffer)).unwrap_or_default())
            });
            let mut meta = [RecvMeta::default(); BATCH_SIZE];
            let Ok(count) = bound.state.recv(UdpSockRef::from(&bound.socket), &mut slices, &mut meta) else {
                // Empty, or an ICMP error of some earlier send, after which waiting tells whether there is more.
                bound.readable = false;
                continue;
            };
            // Fewer than asked for: it was found empty, and need not be asked again to say so.
            bound.readable = count == BATCH_SIZE;
            for (at, meta) in meta[..count].iter().enumerate() {
                let local = if bound.wildcard { meta.dst_ip } else { None };
                let path = Path { socket: index as u8, local, remote: meta.addr };
                cut_train(&mut self.batch, path, at * stride, meta.len.min(self.buffer), meta.stride);
            }
            received += self.batch.len();
            take(&mut self.buffers, &self.batch);
        }
        received
    }

    /// Sends a batch, and first what the batch before left; neighbours of equal length to one path leave as one train.
    ///
    /// Where a socket takes no more, urgent datagrams go first; what still does not go is kept for the next call while it is little
    /// and young.
    pub fn send(&mut self, batch: &Batch) -> Sent {
        #[cfg(target_os = "linux")]
        let mut wire = self.mmsg.on(&self.sockets);
        #[cfg(not(target_os = "linux"))]
        let mut wire = single::Single(&self.sockets);
        self.sending.send(batch, &mut wire)
    }
}

impl Bound {
    /// Receives one datagram or train, and learns what the kernel has dropped before it.
    #[cfg(target_os = "linux")]
    fn receive_asked(&mut self, socket: u8, buffer: &mut [u8], batch: &mut Vec<Received>) {
        let told = match mmsg::receive_told(&self.socket, buffer) {
            Ok(told) => told,
            Err(error) => {
                self.readable = error.kind() != io::ErrorKind::WouldBlock;
                return;
            }
        };
        self.asked = false;
        self.dropped = self.dropped.max(told.dropped);
        let Some(remote) = told.remote else { return };
        let path = Path { socket, local: told.local.filter(|_| self.wildcard), remote };
        cut_train(batch, path, 0, told.len.min(buffer.len()), told.stride);
    }

    #[cfg(not(target_os = "linux"))]
    fn receive_asked(&mut self, _socket: u8, _buffer: &mut [u8], _batch: &mut Vec<Received>) {
        self.asked = false;
    }
}

/// Notes the datagrams of a train that the kernel put together.
fn cut_train(batch: &mut Vec<Received>, path: Path, start: usize, len: usize, stride: usize) {
    let stride = stride.max(1);
    for offset in (0..len).step_by(stride) {
        batch.push(Received { path, start: start + offset, len: stride.min(len - offset) });
    }
}

#[cfg(test)]
mod tests;
