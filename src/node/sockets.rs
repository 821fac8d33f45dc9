//! Local addresses: the sockets of doors and workers, and what clients are told of them.

use super::NodeError;
use crate::config::Media;
use crate::worker::udp::{bind_shared, probe};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

/// Connections that may wait to be accepted: a reconnecting hospital within one moment.
const BACKLOG: i32 = 1_024;

/// The media sockets of one worker, and the addresses its clients are told.
#[derive(Debug)]
pub(super) struct WorkerSockets {
    pub(super) sockets: Vec<UdpSocket>,
    pub(super) told: Vec<SocketAddr>,
}

/// Opens the media sockets of all workers.
pub(super) fn open_media(media: &Media, workers: usize) -> Result<Vec<WorkerSockets>, NodeError> {
    let mut opened = Vec::with_capacity(workers);
    for worker in 0..workers {
        let ports = media.ports();
        let Some(port) = ports.get(worker % ports.len()).copied() else { continue };
        let mut sockets = Vec::new();
        let mut told = Vec::new();
        for ip in &media.bind {
            let address = SocketAddr::new(*ip, port);
            if worker < ports.len() {
                match probe(address) {
                    Err(error) if is_absent_family(*ip, &error) => continue,
                    probed => probed.map_err(|error| refused("media.bind and media.udp_port", "udp", address, &error))?,
                }
            }
            match bind_shared(address) {
                Ok(socket) => sockets.push(socket),
                Err(error) if is_absent_family(*ip, &error) => continue,
                Err(error) => return Err(refused("media.bind and media.udp_port", "udp", address, &error)),
            }
            told.extend(told_for(media, *ip)?.into_iter().map(|ip| SocketAddr::new(ip, port)));
        }
        told.sort_unstable();
        told.dedup();
        if sockets.is_empty() {
            let text = "media.bind: none of its addresses exists on this host; name one that `ip address` shows";
            return Err(NodeError::Setup(text.to_owned()));
        }
        opened.push(WorkerSockets { sockets, told });
    }
    Ok(opened)
}

/// A wildcard of a family this host does not have is no mistake: the default asks for both families.
fn is_absent_family(ip: IpAddr, error: &io::Error) -> bool {
    let absent = matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable);
    // EAFNOSUPPORT has no stable kind.
    ip.is_unspecified() && ip.is_ipv6() && (absent || error.raw_os_error() == Some(97))
}

/// Addresses clients are told for one bound address.
fn told_for(media: &Media, bound: IpAddr) -> Result<Vec<IpAddr>, NodeError> {
    if !media.advertise.is_empty() {
        return Ok(media.advertise.clone());
    }
    if !bound.is_unspecified() {
        return Ok(vec![bound]);
    }
    let interfaces = if_addrs::get_if_addrs().map_err(|_| {
        NodeError::Setup("media.advertise: the network interfaces cannot be listed; name the addresses here".to_owned())
    })?;
    let same_family = |ip: &IpAddr| ip.is_ipv4() == bound.is_ipv4();
    let usable: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).filter(same_family).collect();
    // Loopback only where there is nothing else: Firefox never uses it, and others need not try.
    let outside: Vec<IpAddr> = usable.iter().copied().filter(|ip| !ip.is_loopback() && !is_link_local(*ip)).collect();
    Ok(if outside.is_empty() { usable } else { outside })
}

/// Link-local addresses need a zone that a candidate cannot carry (RFC 8839, section 5.1).
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Opens the HTTP listeners.
pub(super) fn open_http(bind: &[IpAddr], port: u16) -> Result<Vec<TcpListener>, NodeError> {
    bind.iter()
        .map(|ip| {
            let address = SocketAddr::new(*ip, port);
            listen(address).map_err(|error| refused("http.bind and http.port", "tcp", address, &error))
        })
        .collect()
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn refused(keys: &str, protocol: &str, address: SocketAddr, error: &io::Error) -> NodeError {
    let remedies = [
        (io::ErrorKind::AddrInUse, "is in use by another program; stop it or choose another port"),
        (io::ErrorKind::AddrNotAvailable, "is not an address of this host; name one that `ip address` shows"),
        (io::ErrorKind::PermissionDenied, "needs a privilege; choose a port above 1023 or grant CAP_NET_BIND_SERVICE"),
    ];
    let known = remedies.into_iter().find(|(kind, _)| *kind == error.kind());
    let remedy = known.map_or("cannot be opened on this host", |(_, remedy)| remedy);
    NodeError::Setup(format!("{keys}: {protocol} {address} {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_its_remedy() {
        let holder = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = holder.local_addr().expect("bound").port();
        let error = open_http(&[IpAddr::from([127, 0, 0, 1])], port).expect_err("taken").to_string();
        assert!(
            error.contains("http.port") && error.contains(&port.to_string()) && error.contains("choose another port"),
            "{error}"
        );
    }

    #[test]
    fn a_named_address_is_told_as_it_is() {
        let media = Media { bind: vec![IpAddr::from([127, 0, 0, 1])], ..Media::default() };
        assert_eq!(told_for(&media, media.bind[0]).expect("told"), media.bind);
        let behind_nat = Media { advertise: vec![IpAddr::from([203, 0, 113, 7])], ..media };
        assert_eq!(told_for(&behind_nat, behind_nat.bind[0]).expect("told"), behind_nat.advertise);
    }
}
