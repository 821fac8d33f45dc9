//! A knock at the relay's door before a run: is it there, does it take the token?
//!
//! One plain HTTP request to `/rtc/v1/validate`, so that a wrong address or key is one clear line and not a hundred
//! failed joins.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long each step of the knock may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most of an answer that is read, bytes; its first line is what counts.
const ANSWER: u64 = 4_096;

/// Where a relay is, taken from its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Host and port as written.
    pub authority: String,
    /// Path before `/rtc`, without a slash at its end.
    pub prefix: String,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

/// Reads `ws://host:port/prefix`; `http` is as good as `ws`, and `wss` or `https` mean TLS.
///
/// # Errors
/// One line when it is not that.
pub fn place(url: &str) -> Result<Place, String> {
    let wrong = || format!("--url {url}: expected ws://HOST:PORT or wss://HOST:PORT");
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let tls = match scheme {
        "ws" | "http" => false,
        "wss" | "https" => true,
        _ => return Err(wrong()),
    };
    let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    // The port follows the last colon, but not one inside the brackets of an IPv6 address.
    let port = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
    let good = !rest.contains(['?', '#', '@']) && port.is_none_or(|port| port.parse::<u16>().is_ok()) && !authority.is_empty();
    if !good || authority.contains(char::is_whitespace) {
        return Err(wrong());
    }
    let authority = match (port, tls) {
        (Some(_), _) => authority.to_owned(),
        (None, false) => format!("{authority}:80"),
        (None, true) => format!("{authority}:443"),
    };
    Ok(Place { authority, prefix: prefix.trim_end_matches('/').to_owned(), tls })
}

/// The addresses of a place.
///
/// # Errors
/// One line when the name is unknown.
pub fn addresses(place: &Place) -> Result<Vec<SocketAddr>, String> {
    let unknown = || format!("{}: no such host", place.authority);
    let found: Vec<_> = place.authority.to_socket_addrs().map_err(|_| unknown())?.collect();
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

/// Asks whether the relay is there and takes the token.
///
/// # Errors
/// One line when nobody answers, the answer is not a relay's, or it refuses the token.
pub fn knock(place: &Place, token: &str) -> Result<(), String> {
    let at = &place.authority;
    let mut last = format!("{at}: no such host");
    let mut stream = None;
    for address in addresses(place)? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(connected) => {
                stream = Some(connected);
                break;
            }
            Err(error) => last = format!("no relay answers at {at}: {}", short(&error)),
        }
    }
    let mut stream = stream.ok_or(last)?;
    if place.tls {
        // That somebody listens is all that is asked; the first client to join finds out the rest.
        return Ok(());
    }
    let status = ask(&mut stream, place, token).map_err(|error| format!("no relay answers at {at}: {}", short(&error)))?;
    match status {
        // Without a request to join a good token leads to 400; the token is looked at first.
        Some(200 | 400) => Ok(()),
        Some(401 | 403) => Err(format!("the relay at {at} refuses the token: check --key and --secret")),
        Some(503) => Err(format!("the relay at {at} is not ready, or draining")),
        Some(status) => Err(format!("{at} answers {status} where a relay's signalling should be; check --url")),
        None => Err(format!("{at} does not answer as a relay does; check --url")),
    }
}

fn ask(stream: &mut TcpStream, place: &Place, token: &str) -> std::io::Result<Option<u16>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let slash = if place.prefix.is_empty() { "" } else { "/" };
    let (prefix, authority) = (&place.prefix, &place.authority);
    let request = format!(
        "GET {slash}{prefix}/rtc/v1/validate HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()))
}

fn short(error: &std::io::Error) -> String {
    let kind = error.kind();
    if kind == std::io::ErrorKind::ConnectionRefused {
        return "connection refused".to_owned();
    }
    // Sockets with a timeout say either.
    if matches!(kind, std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock) {
        return "no answer in time".to_owned();
    }
    kind.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn urls_are_read_or_refused_in_one_line() {
        let good = |url: &str| place(url).map(|place| (place.authority, place.prefix));

        assert_eq!(good("ws://127.0.0.1:7880"), Ok(("127.0.0.1:7880".to_owned(), String::new())));
        assert_eq!(good("http://relay.test/media/"), Ok(("relay.test:80".to_owned(), "media".to_owned())));
        assert_eq!(good("ws://[::1]:9"), Ok(("[::1]:9".to_owned(), String::new())));
        assert_eq!(good("wss://relay.test"), Ok(("relay.test:443".to_owned(), String::new())));
        assert_eq!(good("ws://[::1]"), Ok(("[::1]:80".to_owned(), String::new())));
        for wrong in ["", "127.0.0.1:7880", "ws://", "ws://a:b", "wss://", "ws://a:1?x", "ftp://a", "ws://u@a:1", "ws://a b:1"] {
            assert!(place(wrong).is_err_and(|text| !text.contains('\n')), "{wrong}");
        }
    }

    fn answers(answer: &'static str) -> Place {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 2_048];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        });
        Place { authority, prefix: String::new(), tls: false }
    }

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(knock(&answers("HTTP/1.1 400 Bad Request\r\n\r\n"), "t"), Ok(()));
        assert!(knock(&answers("HTTP/1.1 401 Unauthorized\r\n\r\n"), "t").is_err_and(|text| text.contains("--secret")));
        assert!(knock(&answers("HTTP/1.1 404 Not Found\r\n\r\n"), "t").is_err_and(|text| text.contains("404")));
        assert!(knock(&answers("SSH-2.0-OpenSSH\r\n"), "t").is_err_and(|text| text.contains("does not answer as")));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let nobody = knock(&Place { authority: closed, prefix: String::new(), tls: false }, "t");
        assert!(nobody.is_err_and(|text| text.contains("connection refused")));
    }
}
