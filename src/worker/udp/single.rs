//! One message per call: for kernels without `sendmmsg`, and systems that are not Linux.

use super::Bound;
use super::sending::Refused;
#[cfg(not(target_os = "linux"))]
use super::sending::Wire;
use super::train::Message;
use crate::relay::outbox::Outgoing;
use quinn_udp::{Transmit, UdpSockRef};
use std::io;

/// Sends the first message.
pub(super) fn send(bound: &Bound, datagrams: &[Outgoing], bytes: &[u8], messages: &[Message]) -> Result<usize, Refused> {
    let Some(message) = messages.first() else { return Ok(0) };
    let Some(head) = datagrams.get(message.first) else { return Err(Refused::Lost) };
    if message.count > 1 {
        // Its datagrams may lie apart.
        return Err(Refused::Train);
    }
    let transmit = Transmit {
        destination: head.path.remote,
        ecn: None,
        contents: bytes.get(head.start..head.start + head.len).unwrap_or_default(),
        segment_size: None,
        src_ip: head.path.local,
    };
    match bound.state.try_send(UdpSockRef::from(&bound.socket), &transmit) {
        Ok(()) => Ok(1),
        Err(error) => Err(match (error.kind(), error.raw_os_error()) {
            // 12 and 105 are ENOMEM and ENOBUFS on Linux.
            (io::ErrorKind::WouldBlock, _) | (_, Some(12 | 105)) => Refused::Full,
            _ => Refused::Lost,
        }),
    }
}

/// Sends on some sockets, message by message.
#[cfg(not(target_os = "linux"))]
pub(super) struct Single<'a>(pub(super) &'a [Bound]);

#[cfg(not(target_os = "linux"))]
impl Wire for Single<'_> {
    fn send(
        &mut self,
        datagrams: &[Outgoing],
        bytes: &[u8],
        messages: &[Message],
        _segment: Option<u16>,
    ) -> Result<usize, Refused> {
        let socket = messages.first().and_then(|message| datagrams.get(message.first)).map(|datagram| datagram.path.socket);
        let bound = socket.and_then(|socket| self.0.get(usize::from(socket))).ok_or(Refused::Lost)?;
        send(bound, datagrams, bytes, messages)
    }
}
