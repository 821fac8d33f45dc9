//! The listener: connections with limits on how many, how slow and how long their heads may be.

use crate::signal::livekit::{Addresses, ClientAddress};
use crate::telemetry::metrics::{Doors, Held};
use axum::Router;
use axum::body::Body;
use http::{HeaderName, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::pin;

/// Pause after the system refused a connection, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Limits of the listener.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Connections of one address; signalling sockets count with their door once they are upgraded.
    pub connections_per_address: usize,
    /// Connections in all.
    pub connections: usize,
    /// How long a request's head may take to arrive.
    pub header_timeout: Duration,
    /// Largest head in bytes: a first offer travels in the request line.
    pub head: usize,
    /// Proxies whose `X-Forwarded-For` names the client and who are not limited themselves.
    pub trusted_proxies: Vec<IpAddr>,
    /// What the listener counts.
    pub counts: Arc<Doors>,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_per_address: 512,
            connections: 32_768,
            header_timeout: Duration::from_secs(10),
            head: 512 * 1024,
            trusted_proxies: Vec::new(),
            counts: Arc::default(),
        }
    }
}

/// Serves until `shutdown` resolves; then takes no more connections and lets the present ones finish by themselves.
pub async fn serve(listener: TcpListener, router: Router, limits: HttpLimits, shutdown: impl Future<Output = ()>) {
    let addresses = Addresses::default();
    pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => return,
        };
        let Ok((stream, remote)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let address = remote.ip().to_canonical();
        let proxy = limits.trusted_proxies.contains(&address);
        let each = if proxy { usize::MAX } else { limits.connections_per_address };
        // Dropping the stream closes it: cheaper than any answer.
        let Some(place) = addresses.enter(ClientAddress(address), each, limits.connections) else {
            limits.counts.http_over_limit.up();
            continue;
        };
        let held = Held::new(&limits.counts, |doors| &doors.http_connections);
        let connection = connection(stream, address, proxy, router.clone(), &limits);
        tokio::spawn(async move {
            connection.await;
            drop((place, held));
        });
    }
}

fn connection(
    stream: TcpStream,
    address: IpAddr,
    proxy: bool,
    router: Router,
    limits: &HttpLimits,
) -> impl Future<Output = ()> + Send + use<> {
    // Signalling messages are small and urgent.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(limits.head);
    let (router, counts) = (TowerToHyperService::new(router), limits.counts.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let client = if proxy { forwarded(&request).unwrap_or(address) } else { address };
        request.extensions_mut().insert(ClientAddress(client));
        request.extensions_mut().insert(client);
        let (answer, counts) = (router.call(request.map(Body::new)), counts.clone());
        async move {
            let answer = answer.await?;
            match answer.status().as_u16() {
                ..400 => counts.http_answered.up(),
                400..500 => counts.http_refused.up(),
                500.. => counts.http_failed.up(),
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let serving = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    async move {
        // What a client does wrong on the wire is its own affair.
        let _ = serving.await;
    }
}

/// The last entry is the one the trusted proxy wrote itself.
fn forwarded(request: &Request<Incoming>) -> Option<IpAddr> {
    let last = request.headers().get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next()?.trim().parse().ok()
}
