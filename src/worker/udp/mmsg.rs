//! Many messages to many destinations in one call (`sendmmsg`), each of which may be a train the kernel cuts (`UDP_SEGMENT`).

use super::sending::{Refused, Wire};
use super::train::{DATAGRAMS_PER_CALL, MESSAGES_PER_CALL, Message};
use crate::relay::outbox::Outgoing;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage,
    getsockopt, recvmsg, sendmmsg, setsockopt, sockopt,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

/// Message headers for one make-up of control messages; the kernel refuses headers with room left over.
struct Headers<S>(Option<MultiHeaders<S>>);

/// Headers and addresses for the sockets of one family.
struct Family<S> {
    /// By what they carry: nothing, a source, a segment length, both.
    headers: [Headers<S>; 4],
    addresses: Vec<Option<S>>,
}

impl<S: SockaddrLike + Copy> Family<S> {
    fn new() -> Self {
        Self { headers: [const { Headers(None) }; 4], addresses: Vec::with_capacity(MESSAGES_PER_CALL) }
    }

    /// Sends some messages to the addresses put in before.
    fn send(
        &mut self,
        fd: RawFd,
        datagrams: &[Outgoing],
        bytes: &[u8],
        messages: &[Message],
        control: &[ControlMessage<'_>],
    ) -> Result<usize, Errno> {
        let mut places = [IoSlice::new(&[]); DATAGRAMS_PER_CALL];
        let mut used = 0;
        let mut ends = [0; MESSAGES_PER_CALL];
        for (message, end) in messages.iter().zip(&mut ends) {
            used += gather(datagrams, bytes, message, places.get_mut(used..).unwrap_or_default());
            *end = used;
        }
        let mut rest = places.get(..used).unwrap_or_default();
        let mut start = 0;
        let slices: [&[IoSlice<'_>]; MESSAGES_PER_CALL] = ends.map(|end| {
            let (slice, behind) = rest.split_at_checked(usize::saturating_sub(end, start)).unwrap_or_default();
            (rest, start) = (behind, end.max(start));
            slice
        });
        let (source, segment) = control.iter().fold((false, false), |(source, segment), message| {
            let cuts = matches!(message, ControlMessage::UdpGsoSegments(_));
            (source || !cuts, segment || cuts)
        });
        let Some(Headers(headers)) = self.headers.get_mut(usize::from(source) + 2 * usize::from(segment)) else { return Ok(0) };
        // Made at first use and kept: a warm call allocates nothing.
        let headers = headers.get_or_insert_with(|| MultiHeaders::preallocate(MESSAGES_PER_CALL, space::<S>(source, segment)));
        let slices = slices.iter().take(messages.len());
        sendmmsg(fd, headers, slices, &self.addresses, control, MsgFlags::MSG_DONTWAIT).map(Iterator::count)
    }
}

/// The places of a message's datagrams, of which those side by side are one; answers how many places there are.
fn gather<'a>(datagrams: &[Outgoing], bytes: &'a [u8], message: &Message, places: &mut [IoSlice<'a>]) -> usize {
    let mut used = 0;
    let mut at = 0..0;
    for datagram in datagrams.iter().skip(message.first).take(message.count) {
        if datagram.start == at.end && used > 0 {
            used -= 1;
        } else {
            at.start = datagram.start;
        }
        at.end = datagram.start + datagram.len;
        if let Some(place) = places.get_mut(used) {
            *place = IoSlice::new(bytes.get(at.clone()).unwrap_or_default());
            used += 1;
        }
    }
    used
}

/// Room for exactly the control messages of one make-up.
fn space<S: SockaddrLike>(source: bool, segment: bool) -> Option<Vec<u8>> {
    let v4 = S::size() == SockaddrIn::size();
    match (source, segment) {
        (false, false) => None,
        (false, true) => Some(cmsg_space!(u16)),
        (true, false) if v4 => Some(cmsg_space!(in_pktinfo)),
        (true, false) => Some(cmsg_space!(in6_pktinfo)),
        (true, true) if v4 => Some(cmsg_space!(in_pktinfo, u16)),
        (true, true) => Some(cmsg_space!(in6_pktinfo, u16)),
    }
}

/// Sends batches by `sendmmsg`.
pub(super) struct Mmsg {
    v4: Family<SockaddrIn>,
    v6: Family<SockaddrIn6>,
}

impl Mmsg {
    pub(super) fn new() -> Self {
        Self { v4: Family::new(), v6: Family::new() }
    }

    pub(super) fn on<'a>(&'a mut self, sockets: &'a [super::Bound]) -> OnSockets<'a> {
        OnSockets { mmsg: self, sockets }
    }

    fn send(
        &mut self,
        socket: &UdpSocket,
        datagrams: &[Outgoing],
        bytes: &[u8],
        messages: &[Message],
        segment: Option<u16>,
    ) -> Result<usize, Errno> {
        let Some(head) = messages.first().and_then(|message| datagrams.get(message.first)) else { return Ok(0) };
        let remotes = messages.iter().map(|message| datagrams.get(message.first).map(|datagram| datagram.path.remote));
        let cuts = segment.as_ref().map(ControlMessage::UdpGsoSegments);
        match head.path.remote {
            SocketAddr::V4(_) => {
                self.v4.addresses.clear();
                self.v4.addresses.extend(remotes.map(|remote| match remote {
                    Some(SocketAddr::V4(remote)) => Some(remote.into()),
                    Some(SocketAddr::V6(_)) | None => None,
                }));
                let info = head.path.local.and_then(source_v4);
                let from = info.as_ref().map(ControlMessage::Ipv4PacketInfo);
                with(from, cuts, |control| self.v4.send(socket.as_raw_fd(), datagrams, bytes, messages, control))
            }
            SocketAddr::V6(_) => {
                self.v6.addresses.clear();
                self.v6.addresses.extend(remotes.map(|remote| match remote {
                    Some(SocketAddr::V6(remote)) => Some(remote.into()),
                    Some(SocketAddr::V4(_)) | None => None,
                }));
                let info = head.path.local.and_then(source_v6);
                let from = info.as_ref().map(ControlMessage::Ipv6PacketInfo);
                with(from, cuts, |control| self.v6.send(socket.as_raw_fd(), datagrams, bytes, messages, control))
            }
        }
    }
}

fn source_v4(ip: IpAddr) -> Option<in_pktinfo> {
    let of = |ip: Ipv4Addr| in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
    let IpAddr::V4(ip) = ip else { return None };
    Some(in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: of(ip), ipi_addr: of(Ipv4Addr::UNSPECIFIED) })
}

fn source_v6(ip: IpAddr) -> Option<in6_pktinfo> {
    let of = |ip: Ipv6Addr| in6_addr { s6_addr: ip.octets() };
    let IpAddr::V6(ip) = ip else { return None };
    Some(in6_pktinfo { ipi6_addr: of(ip), ipi6_ifindex: 0 })
}

/// Puts control messages into a list without allocating.
fn with<'a, R>(
    from: Option<ControlMessage<'a>>,
    cuts: Option<ControlMessage<'a>>,
    send: impl FnOnce(&[ControlMessage<'a>]) -> R,
) -> R {
    match (from, cuts) {
        (None, None) => send(&[]),
        (Some(one), None) | (None, Some(one)) => send(&[one]),
        (Some(from), Some(cuts)) => send(&[from, cuts]),
    }
}

/// A batch sender and the sockets it sends on.
pub(super) struct OnSockets<'a> {
    mmsg: &'a mut Mmsg,
    sockets: &'a [super::Bound],
}

impl Wire for OnSockets<'_> {
    fn send(
        &mut self,
        datagrams: &[Outgoing],
        bytes: &[u8],
        messages: &[Message],
        segment: Option<u16>,
    ) -> Result<usize, Refused> {
        let socket = messages.first().and_then(|message| datagrams.get(message.first)).map(|datagram| datagram.path.socket);
        let Some(bound) = socket.and_then(|socket| self.sockets.get(usize::from(socket))) else { return Err(Refused::Lost) };
        loop {
            return match self.mmsg.send(&bound.socket, datagrams, bytes, messages, segment) {
                Ok(count) => Ok(count),
                Err(Errno::EINTR) => continue,
                // EAGAIN: the socket's buffer is full; ENOBUFS: the interface's queue.
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => Err(Refused::Full),
                // EIO: no checksum in the driver; EINVAL: no such control message, or a segment that does not fit the path.
                Err(Errno::EIO | Errno::EINVAL | Errno::EMSGSIZE | Errno::EOPNOTSUPP) => Err(Refused::Train),
                // Kernels before 3.0, and sandboxes that forbid the call.
                Err(Errno::ENOSYS) => super::single::send(bound, datagrams, bytes, messages),
                Err(_) => Err(Refused::Lost),
            };
        }
    }
}

/// Leaves out what quinn-udp asks the kernel to tell of each datagram and nobody here reads, which costs a quarter of a receive, and
/// asks for the count of what did not fit into the socket's buffer. What is refused costs only time.
pub(super) fn ask_for_less(socket: &UdpSocket, wildcard: bool, gro: bool) -> io::Result<()> {
    let _ = setsockopt(socket, sockopt::ReceiveTimestampns, &false);
    let _ = setsockopt(socket, sockopt::RxqOvfl, &1);
    if socket.local_addr()?.is_ipv4() {
        let _ = setsockopt(socket, sockopt::IpRecvTos, &false);
        if !wildcard {
            let _ = setsockopt(socket, sockopt::Ipv4PacketInfo, &false);
        }
    } else {
        let _ = setsockopt(socket, sockopt::Ipv6RecvTClass, &false);
        if !wildcard {
            let _ = setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &false);
        }
    }
    if !gro {
        // A kernel that does not know it does not do it.
        let _ = setsockopt(socket, sockopt::UdpGroSegment, &false);
    }
    Ok(())
}

/// One datagram or train, and what the kernel says of its socket.
pub(super) struct Told {
    pub(super) len: usize,
    pub(super) stride: usize,
    pub(super) remote: Option<SocketAddr>,
    pub(super) local: Option<IpAddr>,
    /// Datagrams that did not fit into the buffer since the socket was opened, modulo 2^32; the kernel is silent while there are none.
    pub(super) dropped: u32,
}

/// Receives one datagram or train the slow way, which tells what was dropped; allocates.
pub(super) fn receive_told(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Told> {
    let mut control = cmsg_space!(in6_pktinfo, in_pktinfo, i32, u32);
    control.resize(control.capacity(), 0);
    let mut slices = [IoSliceMut::new(buffer)];
    let received = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let remote = received.address.and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|address| SocketAddr::from(*address));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::from(*address)))
    });
    let mut told = Told { len: received.bytes, stride: received.bytes, remote, local: None, dropped: 0 };
    for control in received.cmsgs()? {
        if let ControlMessageOwned::Ipv4PacketInfo(info) = control {
            told.local = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
        } else if let ControlMessageOwned::Ipv6PacketInfo(info) = control {
            told.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
        } else if let ControlMessageOwned::UdpGroSegments(stride) = control {
            told.stride = usize::try_from(stride).unwrap_or(told.len);
        } else if let ControlMessageOwned::RxqOvfl(dropped) = control {
            told.dropped = dropped;
        }
    }
    Ok(told)
}

/// Whether the kernel puts neighbours of one sender together on a socket.
pub(super) fn has_gro(socket: &UdpSocket) -> bool {
    getsockopt(socket, sockopt::UdpGroSegment).unwrap_or(false)
}
