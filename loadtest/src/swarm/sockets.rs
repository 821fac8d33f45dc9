//! UDP sockets: batches in with the kernel's time of arrival, batches out.

use crate::client::Batch;
use mio::net::UdpSocket;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd as _;

/// Datagrams of one system call.
const SLOTS: usize = 16;
/// Longest datagram taken whole: media and DTLS keep to an Ethernet frame.
const LONGEST: usize = 2_048;
/// Bytes a client's socket may hold: a second of 16 Mbit/s.
const BUFFER: usize = 2 << 20;

/// A socket on any free port, and the address it is known by to ICE.
///
/// The address is a label: nobody is told of it, a relay finds out by itself where a client sends from.
pub(crate) fn bind() -> io::Result<(UdpSocket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // The system may give less.
    let _ = socket.set_recv_buffer_size(BUFFER);
    setsockopt(&socket, ReceiveTimestampns, &true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    let socket = UdpSocket::from_std(socket.into());
    let port = socket.local_addr()?.port();
    Ok((socket, SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), port))))
}

/// A received datagram in its slot.
#[derive(Clone, Copy)]
pub(crate) struct Got {
    pub(crate) slot: usize,
    pub(crate) len: usize,
    pub(crate) from: SocketAddr,
    /// ns of the wall clock by the kernel.
    pub(crate) arrived: Option<u64>,
}

/// Buffers and headers of a thread, used for all of its sockets.
pub(crate) struct Io {
    buffers: Box<[[u8; LONGEST]; SLOTS]>,
    receiving: MultiHeaders<SockaddrIn>,
    sending: MultiHeaders<SockaddrIn>,
    got: Vec<Got>,
}

fn receiving() -> MultiHeaders<SockaddrIn> {
    MultiHeaders::preallocate(SLOTS, Some(cmsg_space!(TimeSpec)))
}

impl Io {
    pub(crate) fn new() -> Self {
        Self {
            buffers: Box::new([[0; LONGEST]; SLOTS]),
            receiving: receiving(),
            sending: MultiHeaders::preallocate(SLOTS, None),
            got: Vec::with_capacity(SLOTS),
        }
    }

    /// Reads what waits in a socket, as much as one call takes; `true` when there may be more.
    #[expect(clippy::wildcard_enum_match_arm, reason = "other control messages were not asked for")]
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        self.got.clear();
        let mut vectors = self.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let mut stale = false;
        match recvmmsg(socket.as_raw_fd(), &mut self.receiving, vectors.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
            Ok(results) => {
                for (slot, message) in results.enumerate() {
                    let Some(address) = message.address else { continue };
                    let arrived = message.cmsgs().ok().and_then(|mut all| {
                        all.find_map(|one| match one {
                            ControlMessageOwned::ScmTimestampns(at) => {
                                Some(at.tv_sec() as u64 * 1_000_000_000 + at.tv_nsec() as u64)
                            }
                            _ => None,
                        })
                    });
                    stale |= arrived.is_none();
                    let from = SocketAddr::V4(SocketAddrV4::new(address.ip(), address.port()));
                    self.got.push(Got { slot, len: message.bytes, from, arrived });
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if stale {
            // The kernel wrote a shorter control length than it was given; the headers would keep it.
            self.receiving = receiving();
        }
        Ok(self.got.len() == SLOTS)
    }

    /// What the last call read, one by one.
    pub(crate) fn each(&mut self, mut take: impl FnMut(Got, &mut [u8])) {
        for got in &self.got {
            if let Some(bytes) = self.buffers.get_mut(got.slot).and_then(|buffer| buffer.get_mut(..got.len.min(LONGEST))) {
                take(*got, bytes);
            }
        }
    }

    /// Sends a batch and empties it; the number of datagrams the system did not take.
    pub(crate) fn send(&mut self, socket: &UdpSocket, batch: &mut Batch) -> u64 {
        let mut refused = 0;
        if batch.len() == 1 {
            refused += batch.iter().filter(|(bytes, to)| socket.send_to(bytes, *to).is_err()).count();
        } else {
            let all: Vec<([IoSlice<'_>; 1], Option<SockaddrIn>)> = batch
                .iter()
                .filter_map(|(bytes, to)| match to {
                    SocketAddr::V4(to) => Some(([IoSlice::new(bytes)], Some(SockaddrIn::from(to)))),
                    SocketAddr::V6(_) => None,
                })
                .collect();
            for part in all.chunks(SLOTS) {
                refused += self.send_part(socket, part);
            }
        }
        batch.clear();
        refused as u64
    }

    fn send_part(&mut self, socket: &UdpSocket, mut part: &[([IoSlice<'_>; 1], Option<SockaddrIn>)]) -> usize {
        let mut refused = 0;
        while !part.is_empty() {
            let addresses: [Option<SockaddrIn>; SLOTS] = std::array::from_fn(|at| part.get(at).and_then(|one| one.1));
            let none: [ControlMessage<'_>; 0] = [];
            let vectors = part.iter().map(|one| &one.0);
            let sent = sendmmsg(socket.as_raw_fd(), &mut self.sending, vectors, addresses, none, MsgFlags::MSG_DONTWAIT);
            match sent.map(Iterator::count) {
                Ok(sent) if sent > 0 => part = part.get(sent..).unwrap_or_default(),
                // The first one is in the way.
                _ => {
                    refused += 1;
                    part = part.get(1..).unwrap_or_default();
                }
            }
        }
        refused
    }
}
