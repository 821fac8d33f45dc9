//! The UDP port: one unconnected socket per bound address and worker, read and written in batches.

use crate::model::Path;
use crate::relay::outbox::Outbox;
use mio::net::UdpSocket;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

/// Bytes asked of the kernel for each direction: 4 MiB hold 10 ms of a full core's input, and more would only hide a stall.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// Bytes of one receive buffer: the kernel may hand over a whole coalesced train of up to 64 KiB.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// Opens one of the sockets that share a port (`SO_REUSEPORT`).
///
/// # Errors
/// What the kernel says, for example that the address is not this host's.
pub fn bind_shared(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
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

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A worker's sockets.
#[derive(Debug)]
pub(super) struct UdpPort {
    sockets: Vec<Bound>,
    buffers: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Bound {
    socket: UdpSocket,
    state: UdpSocketState,
    wildcard: bool,
    /// Set by readiness, cleared when the socket is drained (readiness is edge-triggered).
    readable: bool,
}

impl UdpPort {
    pub(super) fn new(sockets: Vec<std::net::UdpSocket>, registry: &mio::Registry) -> io::Result<Self> {
        let mut bound = Vec::with_capacity(sockets.len());
        for (index, socket) in sockets.into_iter().enumerate() {
            let wildcard = socket.local_addr()?.ip().is_unspecified();
            let mut socket = UdpSocket::from_std(socket);
            let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
            registry.register(&mut socket, mio::Token(index), mio::Interest::READABLE)?;
            bound.push(Bound { socket, state, wildcard, readable: true });
        }
        // Zeroed pages cost nothing until a datagram touches them.
        let buffers = (0..BATCH_SIZE).map(|_| vec![0; RECEIVE_BUFFER]).collect();
        Ok(Self { sockets: bound, buffers })
    }

    pub(super) fn mark_readable(&mut self, socket: usize) {
        if let Some(bound) = self.sockets.get_mut(socket) {
            bound.readable = true;
        }
    }

    pub(super) fn is_readable(&self) -> bool {
        self.sockets.iter().any(|bound| bound.readable)
    }

    /// Receives one batch from each readable socket and hands every datagram over; answers how many there were.
    pub(super) fn receive(&mut self, mut take: impl FnMut(Path, &mut [u8])) -> usize {
        let mut received = 0;
        for (index, bound) in self.sockets.iter_mut().enumerate().filter(|(_, bound)| bound.readable) {
            let mut slices: Vec<IoSliceMut<'_>> = self.buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            let mut meta = [RecvMeta::default(); BATCH_SIZE];
            let count = match bound.state.recv(UdpSockRef::from(&bound.socket), &mut slices, &mut meta) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    bound.readable = false;
                    continue;
                }
                // An ICMP error of some earlier send; the socket itself is well.
                Err(_) => continue,
            };
            drop(slices);
            for (buffer, meta) in self.buffers.iter_mut().zip(&meta[..count]) {
                let local = if bound.wildcard { meta.dst_ip } else { None };
                let path = Path { socket: index as u8, local, remote: meta.addr };
                let Some(train) = buffer.get_mut(..meta.len) else { continue };
                for datagram in train.chunks_mut(meta.stride.max(1)) {
                    received += 1;
                    take(path, datagram);
                }
            }
        }
        received
    }

    /// Sends a batch; neighbours of equal length to one path leave as one train. Answers datagrams and bytes sent, and how many
    /// the socket would not take.
    pub(super) fn send(&self, outbox: &Outbox) -> Sent {
        let mut sent = Sent::default();
        let datagrams = outbox.datagrams();
        let mut next = 0;
        while let Some(first) = datagrams.get(next) {
            let Some(bound) = self.sockets.get(usize::from(first.path.socket)) else {
                next += 1;
                continue;
            };
            let longest = bound.state.max_gso_segments().max(1);
            let rest = datagrams.get(next..).unwrap_or_default();
            let train = train_len(rest, longest);
            let end = rest.get(train - 1).map_or(first.start + first.len, |last| last.start + last.len);
            let contents = outbox.bytes().get(first.start..end).unwrap_or_default();
            let transmit = Transmit {
                destination: first.path.remote,
                ecn: None,
                contents,
                segment_size: (train > 1).then_some(first.len),
                src_ip: first.path.local,
            };
            match bound.state.try_send(UdpSockRef::from(&bound.socket), &transmit) {
                Ok(()) => {
                    sent.datagrams += train as u64;
                    sent.bytes += contents.len() as u64;
                }
                Err(_) => sent.refused += train as u64,
            }
            next += train;
        }
        sent
    }
}

/// What became of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
    pub(super) refused: u64,
}

/// Datagrams at the head of a list that can leave together: one path, equal lengths, the last one may be shorter.
fn train_len(datagrams: &[crate::relay::outbox::Outgoing], longest: usize) -> usize {
    let Some(first) = datagrams.first() else { return 0 };
    let mut train = 1;
    for (previous, next) in datagrams.iter().zip(datagrams.iter().skip(1)) {
        let joins = next.path == first.path && previous.len == first.len && next.len <= first.len;
        if !joins || train == longest || (train + 1) * first.len > RECEIVE_BUFFER - 100 {
            break;
        }
        train += 1;
    }
    train
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(lengths: &[(u16, usize)]) -> Outbox {
        let mut outbox = Outbox::default();
        for (port, len) in lengths {
            let path = Path { socket: 0, local: None, remote: SocketAddr::from(([127, 0, 0, 1], *port)) };
            assert!(outbox.push(path, false, &vec![0; *len]));
        }
        outbox
    }

    #[test]
    fn a_train_is_of_one_path_and_length_and_ends_with_a_shorter_one() {
        let batch = outbox(&[(1, 1_000), (1, 1_000), (1, 300), (1, 300), (2, 300)]);
        assert_eq!(train_len(batch.datagrams(), 64), 3, "two full ones and a shorter last one");
        assert_eq!(train_len(&batch.datagrams()[3..], 64), 1, "another path follows");
        assert_eq!(train_len(batch.datagrams(), 2), 2, "bounded by what the kernel takes");
    }

    #[test]
    fn a_taken_port_is_noticed() {
        let holder = bind_shared(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = holder.local_addr().expect("bound");
        assert!(bind_shared(address).is_ok(), "workers share it");
        assert!(probe(address).is_err(), "a second relay must not");
    }
}
