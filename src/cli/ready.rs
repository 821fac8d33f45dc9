//! The lines a person or a script sees when a node has started.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Said before a node starts in dev mode.
pub const DEV_WARNING: &str = "colloque: DEV MODE: anyone can make tokens with the known key devkey and its known secret; \
                               never use it for real consultations";

/// The room of the development links.
pub const DEV_ROOM: &str = "demo";

/// The one line that says a node takes calls, for example `colloque ready: http http://127.0.0.1:7880, media udp 7882`.
#[must_use]
pub fn ready_line(http: SocketAddr, udp_ports: &[u16]) -> String {
    let ports: Vec<_> = udp_ports.iter().map(u16::to_string).collect();
    format!("colloque ready: http http://{http}, media udp {}", ports.join(" "))
}

/// Links that open the consultation page, one line per seat: a role and the code of its link.
///
/// The code stands behind `#`: a browser does not send that part, so no server log holds it.
#[must_use]
pub fn dev_links(http: SocketAddr, seats: &[(&str, &str)]) -> String {
    let host = match http.ip() {
        // A browser gives camera and microphone to localhost without TLS, and 0.0.0.0 is no address to open.
        ip if ip.is_loopback() || ip.is_unspecified() => "localhost".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let width = seats.iter().map(|(role, _)| role.len()).max().unwrap_or(0);
    seats.iter().fold(String::new(), |mut text, (role, code)| {
        let _infallible = writeln!(text, "  {role:<width$}  http://{host}:{}/#code={code}", http.port());
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_one_known_line() {
        let http = SocketAddr::from(([127, 0, 0, 1], 7880));
        assert_eq!(ready_line(http, &[7882]), "colloque ready: http http://127.0.0.1:7880, media udp 7882");
        assert_eq!(ready_line(http, &[7882, 7883]), "colloque ready: http http://127.0.0.1:7880, media udp 7882 7883");
    }

    #[test]
    fn links_open_on_localhost_and_keep_the_code_from_the_server() {
        let links = dev_links(SocketAddr::from(([0, 0, 0, 0], 7880)), &[("doctor", "a.b.c"), ("patient", "d.e.f")]);
        assert_eq!(links, "  doctor   http://localhost:7880/#code=a.b.c\n  patient  http://localhost:7880/#code=d.e.f\n");
        let six = dev_links("[2001:db8::1]:80".parse().expect("an address"), &[("doctor", "t")]);
        assert!(six.contains("http://[2001:db8::1]:80/#code=t"), "{six}");
    }
}
