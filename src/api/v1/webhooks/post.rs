//! One POST after the other to one address, over a connection that is kept while both sides like it.
//!
//! https asks for a certificate the machine's store vouches for; plain http goes to loopback and private addresses only, whatever a
//! name resolves to. Redirects are not followed: events go where the configuration says.

use http::header::{self, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long one attempt may take, from the name to the end of the answer: a receiver takes an event first and works on it later.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer that is read to keep the connection, in bytes; nobody looks at what it says.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Who vouches for receivers behind https.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

/// The machine's store of certificates gives nothing that vouches for anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no certificate authorities on this machine: install ca-certificates, or name a file in SSL_CERT_FILE")]
pub struct NoTrust;

/// Reads the machine's certificate authorities, or those of `SSL_CERT_FILE`; `needed` when somebody is to be reached over https.
///
/// # Errors
/// [`NoTrust`].
pub fn trust(needed: bool) -> Result<Trust, NoTrust> {
    let mut roots = RootCertStore::empty();
    if needed {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(NoTrust);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|_| NoTrust)?;
    Ok(Trust(Arc::new(versions.with_root_certificates(roots).with_no_client_auth())))
}

/// The way to one address.
pub(super) struct Line {
    url: Uri,
    trust: Trust,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Line {
    pub(super) fn new(url: Uri, trust: Trust) -> Self {
        Self { url, trust, open: None }
    }

    /// Sends a body; `None` when no whole answer came in time.
    pub(super) async fn post(&mut self, body: &[u8], token: &str) -> Option<StatusCode> {
        // What goes wrong is said by the metrics as one outcome; a text could hold the address.
        let answer = timeout(PATIENCE, self.attempt(body, token)).await.ok().and_then(Result::ok);
        if answer.is_none() {
            self.open = None;
        }
        answer
    }

    async fn attempt(&mut self, body: &[u8], token: &str) -> Result<StatusCode, Error> {
        let request = self.request(body, token)?;
        let mut sender = match self.open.take() {
            Some(open) if !open.is_closed() => open,
            _ => self.connect().await?,
        };
        sender.ready().await.map_err(Error::other)?;
        let answer = sender.send_request(request).await.map_err(Error::other)?;
        let status = answer.status();
        let read = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        if read.is_ok() {
            self.open = Some(sender);
        }
        Ok(status)
    }

    fn request(&self, body: &[u8], token: &str) -> Result<Request<Full<Bytes>>, Error> {
        let mut token = HeaderValue::from_str(token).map_err(Error::other)?;
        token.set_sensitive(true);
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let host = self.url.authority().map_or("", |authority| authority.as_str());
        Request::post(path)
            .header(header::HOST, host)
            .header(header::AUTHORIZATION, token)
            .header(header::CONTENT_TYPE, "application/webhook+json")
            .header(header::USER_AGENT, "colloque")
            .body(Full::new(Bytes::copy_from_slice(body)))
            .map_err(Error::other)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let secure = self.url.scheme_str() == Some("https");
        let host = self.url.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = self.url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let places = tokio::net::lookup_host((host, port)).await?;
        let socket = reach(places.filter(|place| secure || is_private(place.ip()))).await?;
        // Small bodies, each waited for.
        socket.set_nodelay(true)?;
        if secure {
            let name = ServerName::try_from(host.to_owned()).map_err(Error::other)?;
            speak(TlsConnector::from(self.trust.0.clone()).connect(name, socket).await?).await
        } else {
            speak(socket).await
        }
    }
}

async fn reach(places: impl Iterator<Item = SocketAddr>) -> Result<TcpStream, Error> {
    let mut last = Error::from(ErrorKind::NotFound);
    for place in places {
        match TcpStream::connect(place).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn speak<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(Error::other)?;
    // It ends with its sender or with its peer.
    tokio::spawn(connection);
    Ok(sender)
}

/// Whether plain http may go there: loopback, link-local, and what RFC 1918 and RFC 4193 keep inside a site.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_inside() {
        for inside in ["127.0.0.1", "10.1.2.3", "192.168.0.9", "172.16.0.1", "::1", "fd00::1", "::ffff:10.0.0.1"] {
            assert!(is_private(inside.parse().expect("an address")), "{inside}");
        }
        for outside in ["203.0.113.7", "8.8.8.8", "172.32.0.1", "2001:db8::1", "::ffff:8.8.8.8"] {
            assert!(!is_private(outside.parse().expect("an address")), "{outside}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_no_answer() {
        let mut line = Line::new(Uri::from_static("http://127.0.0.1:1/hook"), trust(false).expect("nothing to read"));
        assert_eq!(line.post(b"{}", "token").await, None);
    }
}
