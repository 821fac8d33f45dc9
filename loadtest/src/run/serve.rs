//! A relay of our own for the length of a run: on free ports, with the known development key, ended with the run.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Key and secret every development node knows.
pub const DEV_KEY: (&str, &str) = ("devkey", "secret");

/// How long a relay may take to start.
const START: Duration = Duration::from_secs(20);

/// How long it may take to end after it was asked to.
const END: Duration = Duration::from_secs(10);

/// The most kept of what it says on its standard error, bytes; shown when it does not start.
const LAST_WORDS: usize = 2_000;

/// A relay started here; it ends when this is dropped.
#[derive(Debug)]
pub struct Served {
    child: Child,
    config: PathBuf,
    /// Its signalling.
    pub url: String,
    /// Its media port.
    pub media: SocketAddr,
}

impl Served {
    /// Starts the relay at `path` with `workers` workers, 0 for one per core, and waits until it is ready.
    ///
    /// # Errors
    /// One line when it cannot be started or does not become ready.
    pub fn start(path: &Path, workers: u16) -> Result<Self, String> {
        let shown = path.display();
        let port_error = |error: std::io::Error| format!("no free port: {error}");
        let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).map_err(port_error)?;
        let media = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).map_err(port_error)?;
        let config = std::env::temp_dir().join(format!("loadtest-{}-{}.toml", std::process::id(), http.port()));
        fs::write(&config, config_text(http.port(), media.port(), workers))
            .map_err(|error| format!("{}: {error}", config.display()))?;
        let mut command = Command::new(path);
        command.args(["serve", "--dev", "--config"]).arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| {
            let _leftover = fs::remove_file(&config);
            format!("--serve {shown}: cannot be started: {error}")
        })?;
        let mut served = Self { child, config, url: format!("ws://{http}"), media };
        served.await_ready().map_err(|why| format!("--serve {shown}: {why}"))?;
        Ok(served)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn await_ready(&mut self) -> Result<(), String> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let (ready, seen) = crossbeam_channel::bounded(1);
        let (last, words) = crossbeam_channel::bounded(1);
        if let Some(stdout) = stdout {
            std::thread::spawn(move || drain(stdout, &ready));
        }
        if let Some(mut stderr) = stderr {
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                let mut buffer = [0; 1_024];
                while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                    kept.extend_from_slice(buffer.get(..length).unwrap_or_default());
                    let spare = kept.len().saturating_sub(LAST_WORDS);
                    kept.drain(..spare);
                }
                let _nobody_asks = last.try_send(String::from_utf8_lossy(&kept).into_owned());
            });
        }
        match seen.recv_timeout(START) {
            Ok(()) => Ok(()),
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => Err("did not say it was ready".to_owned()),
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                let words = words.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
                let line = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it ended at once");
                Err(format!("does not run as a relay: {}", line.trim()))
            }
        }
    }
}

/// Reads what the relay says to the end, so that it never waits for us.
fn drain(stdout: ChildStdout, ready: &crossbeam_channel::Sender<()>) {
    let mut said = false;
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if !said && line.starts_with("colloque ready:") {
            said = true;
            let _nobody_waits = ready.try_send(());
        }
    }
}

/// Thousands of clients come from one address here, so the limits per address are off.
fn config_text(http: u16, media: u16, workers: u16) -> String {
    format!(
        "[http]\nbind = [\"127.0.0.1\"]\nport = {http}\npage_dir = \"\"\nmax_connections_per_address = 0\nmax_connections = 0\n\
         [media]\nbind = [\"127.0.0.1\"]\nudp_port = {media}\nworkers = {workers}\n[log]\nlevel = \"warn\"\nformat = \"text\"\n"
    )
}

impl Drop for Served {
    fn drop(&mut self) {
        let _leftover = fs::remove_file(&self.config);
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0));
        // Never 0, which would mean our whole group.
        if pid.as_raw() > 0 && kill(pid, Signal::SIGTERM).is_ok() {
            let step = Duration::from_millis(50);
            for _ in 0..END.as_millis() / step.as_millis() {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::park_timeout(step);
            }
        }
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_relay_is_said_in_one_line() {
        for path in ["/nonexistent/colloque", "/bin/false"] {
            let error = Served::start(Path::new(path), 0).map(|served| served.url.clone()).unwrap_err();
            assert!(error.contains(path) && !error.contains('\n'), "{error}");
        }
    }
}
