//! Sends syslog over TLS (RFC 5425, IHE ITI-20): mutual authentication, TLS 1.2 or 1.3, never in clear and never over UDP.

use super::super::Failure;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Port of syslog over TLS (RFC 5425 section 4.1).
const PORT: u16 = 6514;

/// How long the receiver may take to answer or to take bytes; an export waits for a person at a terminal.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who receives, and what the two sides show each other.
pub(super) struct Receiver<'a> {
    /// `HOST` or `HOST:PORT`.
    pub(super) place: &'a str,
    /// Certificates of those who may vouch for the receiver.
    pub(super) ca: &'a Path,
    /// Our certificate and those above it.
    pub(super) cert: &'a Path,
    /// Its private key.
    pub(super) key: &'a Path,
}

/// A connection to a receiver.
pub(super) struct Sender {
    stream: StreamOwned<ClientConnection, TcpStream>,
    place: String,
}

impl Sender {
    /// Connects and shakes hands.
    pub(super) fn connect(receiver: &Receiver<'_>) -> Result<Self, Failure> {
        let (host, port) = split(receiver.place)?;
        let wrong = |error: &dyn std::fmt::Display| Failure::Setup(format!("--syslog {}: {error}", receiver.place));
        let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong(&"this is no host name or address"))?;
        let config = config(receiver)?;
        let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|error| wrong(&error))?;
        let mut socket = open(host, port).map_err(|error| wrong(&error))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(|error| wrong(&error))?;
        }
        Ok(Self { stream: StreamOwned::new(connection, socket), place: receiver.place.to_owned() })
    }

    /// Ends the stream, and hears whether the receiver objected: in TLS 1.3 it may refuse our certificate after the handshake.
    /// Syslog has no answer that says a message was kept.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.stream.conn.send_close_notify();
        let ended = self.stream.flush().and_then(|()| {
            let mut rest = Vec::new();
            Read::by_ref(&mut self.stream).take(1_024).read_to_end(&mut rest)
        });
        match ended {
            Err(error) if !matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                Err(Failure::Setup(format!("--syslog {}: {error}", self.place)))
            }
            _ => Ok(()),
        }
    }
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Host and port; an IPv6 address with a port stands in brackets.
fn split(place: &str) -> Result<(&str, u16), Failure> {
    let wrong = || Failure::Usage("--syslog: expected HOST or HOST:PORT".to_owned());
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (place, PORT),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() { Err(wrong()) } else { Ok((host, port)) }
}

fn open(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(socket) => {
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.set_write_timeout(Some(PATIENCE))?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn config(receiver: &Receiver<'_>) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--syslog-ca", receiver.ca)? {
        roots.add(certificate).map_err(|error| Failure::Setup(format!("--syslog-ca {}: {error}", receiver.ca.display())))?;
    }
    let own = certificates("--syslog-cert", receiver.cert)?;
    let key = PrivateKeyDer::from_pem_file(receiver.key).map_err(|error| {
        Failure::Setup(format!("--syslog-key {}: expected a private key in PEM: {error}", receiver.key.display()))
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(|error| Failure::Internal(error.to_string()))?.with_root_certificates(roots);
    let wrong = |error| Failure::Setup(format!("--syslog-cert {}: {error}", receiver.cert.display()));
    config.with_client_auth_cert(own, key).map_err(wrong)
}

fn certificates(flag: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates =
        read.map_err(|error| Failure::Setup(format!("{flag} {}: expected certificates in PEM: {error}", file.display())))?;
    match certificates.is_empty() {
        true => Err(Failure::Setup(format!("{flag} {}: no certificate in it", file.display()))),
        false => Ok(certificates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{ServerConfig, ServerConnection};
    use std::net::TcpListener;
    use std::path::PathBuf;
    use std::thread::JoinHandle;

    /// A folder of its own with an authority and certificates of both ends.
    struct Papers {
        folder: PathBuf,
    }

    impl Papers {
        fn new(name: &str) -> Self {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(format!("syslog-{name}"));
            std::fs::create_dir_all(&folder).expect("a folder");
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
            std::fs::write(folder.join("ca.pem"), ca.pem()).expect("a file");
            for end in ["server", "client"] {
                let key = KeyPair::generate().expect("a key");
                let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
                let certificate = params.signed_by(&key, &ca).expect("a certificate");
                std::fs::write(folder.join(format!("{end}.pem")), certificate.pem()).expect("a file");
                std::fs::write(folder.join(format!("{end}.key")), key.serialize_pem()).expect("a file");
            }
            Self { folder }
        }

        fn file(&self, name: &str) -> PathBuf {
            self.folder.join(name)
        }

        /// A receiver that takes one connection and hands over what came.
        fn receiver(&self) -> (u16, JoinHandle<io::Result<Vec<u8>>>) {
            let mut roots = RootCertStore::empty();
            roots.add(certificates("", &self.file("ca.pem")).expect("a file").remove(0)).expect("a root");
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().expect("a verifier");
            let key = PrivateKeyDer::from_pem_file(self.file("server.key")).expect("a key");
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_client_cert_verifier(verifier)
                .with_single_cert(certificates("", &self.file("server.pem")).expect("a file"), key)
                .expect("a configuration");
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = listener.local_addr().expect("an address").port();
            let thread = std::thread::spawn(move || {
                let (socket, _) = listener.accept()?;
                socket.set_read_timeout(Some(PATIENCE))?;
                let connection = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
                let mut stream = StreamOwned::new(connection, socket);
                let mut taken = Vec::new();
                stream.read_to_end(&mut taken)?;
                Ok(taken)
            });
            (port, thread)
        }
    }

    fn send(papers: &Papers, client: &Papers, bytes: &[u8]) -> (Result<(), Failure>, io::Result<Vec<u8>>) {
        let (port, thread) = papers.receiver();
        let (ca, cert, key) = (papers.file("ca.pem"), client.file("client.pem"), client.file("client.key"));
        let place = format!("localhost:{port}");
        let sent = Sender::connect(&Receiver { place: &place, ca: &ca, cert: &cert, key: &key }).and_then(|mut sender| {
            sender.write_all(bytes).map_err(|error| Failure::Setup(error.to_string()))?;
            sender.finish()
        });
        (sent, thread.join().expect("no panic"))
    }

    #[test]
    fn what_is_sent_arrives_when_both_sides_are_known() {
        let papers = Papers::new("known");
        let message = crate::audit::export::atna::framed("<85>1 - - - - - - x").repeat(5_000);
        let (sent, taken) = send(&papers, &papers, &message);
        assert!(sent.is_ok());
        assert_eq!(taken.expect("it arrives"), message);
    }

    #[test]
    fn a_stranger_is_refused_and_told() {
        let (papers, stranger) = (Papers::new("own"), Papers::new("stranger"));
        let (sent, taken) = send(&papers, &stranger, b"1 x");
        assert!(sent.is_err(), "our certificate is another authority's");
        assert!(taken.is_err());
    }

    #[test]
    fn places_have_a_host_and_perhaps_a_port() {
        for (place, host, port) in [
            ("log.example", "log.example", 6514),
            ("log.example:7", "log.example", 7),
            ("[::1]:7", "::1", 7),
            ("::1", "::1", 6514),
        ] {
            assert_eq!(split(place).ok(), Some((host, port)), "{place}");
        }
        assert!(split("log.example:x").is_err());
        assert!(split(":7").is_err());
    }
}
