//! Waiting: for sockets, for the bell of others, or for a moment.
//!
//! A worker that is awake is not rung: writing to wake it costs more than all else about a command, and it looks into its mailbox
//! after each tick anyway.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::{NanosleepRelativeResult, nanosleep};
use rustix::time::Timespec;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

/// Sockets told apart after a wake-up: IPv4 and IPv6 of several interfaces. With more of them all are asked.
const FEW: usize = 15;

/// Answers of a wake-up in which every socket is to be asked.
const ALL: u16 = u16::MAX;

/// Wakes a worker from other threads.
#[derive(Debug)]
pub(super) struct Bell {
    asleep: AtomicBool,
    end: PipeWriter,
}

impl Bell {
    /// Wakes the worker if it sleeps. What it is to find must be in place before.
    pub(super) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            // One byte for each sleep at most, so the pipe is never full. When it is gone, so is the worker.
            let _ = (&self.end).write(&[0]);
        }
    }
}

/// The worker's end of its bell.
#[derive(Debug)]
pub(super) struct Ear {
    bell: Arc<Bell>,
    end: PipeReader,
}

impl Ear {
    pub(super) fn new() -> io::Result<Self> {
        let (end, writer) = pipe()?;
        Ok(Self { bell: Arc::new(Bell { asleep: AtomicBool::new(false), end: writer }), end })
    }

    pub(super) fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
    }

    /// Sleeps until a socket can be read (or, where `room` is wanted, written), the bell rings or the time is over; `None` sleeps
    /// until something comes. `idle` is asked once more whether there is nothing to do, after which nobody can miss that the worker
    /// sleeps. Answers a bit for each socket to read.
    ///
    /// # Errors
    /// What the kernel says, other than that a signal came.
    pub(super) fn sleep<'a>(
        &'a self,
        mut sockets: impl Iterator<Item = BorrowedFd<'a>>,
        room: bool,
        most: Option<Duration>,
        idle: impl FnOnce() -> bool,
    ) -> io::Result<u16> {
        self.bell.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !idle() {
            self.bell.asleep.store(false, Ordering::SeqCst);
            return Ok(0);
        }
        let wanted = if room { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let timeout = most.map(timespec);
        let bell = PollFd::new(&self.end, PollFlags::IN);
        let mut ends: [PollFd<'_>; FEW + 1] = std::array::from_fn(|at| match at {
            0 => bell.clone(),
            _ => sockets
                .next()
                .map_or_else(|| PollFd::new(&self.end, PollFlags::empty()), |fd| PollFd::from_borrowed_fd(fd, wanted)),
        });
        let mut many: Vec<PollFd<'_>> = Vec::new();
        let polled = match sockets.next() {
            None => poll(&mut ends, timeout.as_ref()),
            Some(next) => {
                // More interfaces than anybody has shown us: this allocates, and works.
                many.extend(ends.iter().cloned());
                many.push(PollFd::from_borrowed_fd(next, wanted));
                many.extend(sockets.map(|fd| PollFd::from_borrowed_fd(fd, wanted)));
                poll(&mut many, timeout.as_ref())
            }
        };
        self.bell.asleep.store(false, Ordering::SeqCst);
        match polled {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(ALL),
            Err(error) => return Err(error.into()),
        }
        let rung = |end: &PollFd<'_>| !end.revents().is_empty();
        let woken = if many.is_empty() {
            let bits = ends.iter().skip(1).enumerate();
            (bits.fold(0, |bits, (at, end)| bits | u16::from(rung(end)) << at), ends.first().is_some_and(rung))
        } else {
            (ALL, many.first().is_some_and(rung))
        };
        if woken.1 {
            // It is readable, so this does not wait.
            let _ = (&self.end).read(&mut [0; 64]);
        }
        Ok(woken.0)
    }
}

/// Lets a moment pass, during which nothing wakes the thread: the cheapest way to wait for a known time.
pub(super) fn pause(moment: Duration) {
    let mut left = timespec(moment);
    while let NanosleepRelativeResult::Interrupted(rest) = nanosleep(&left) {
        left = rest;
    }
}

/// Asks the kernel to wake this thread when it said, not up to 50 microseconds later: the pauses are not much longer themselves.
pub(super) fn wake_in_time() {
    #[cfg(target_os = "linux")]
    {
        /// Nanoseconds; 0 would ask for the default again.
        const SLACK: std::num::NonZeroU64 = std::num::NonZeroU64::MIN;
        // Pauses get a little longer where this is not granted.
        let _ = rustix::thread::set_current_timer_slack(Some(SLACK));
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(duration.subsec_nanos()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    const LONG: Option<Duration> = Some(Duration::from_secs(60));

    #[test]
    fn a_bell_rung_before_or_during_sleep_ends_it() {
        let ear = Ear::new().expect("a pipe");
        let bell = ear.bell();
        // Rung while awake: nothing is written, `idle` finds what it announced.
        bell.ring();
        assert_eq!(ear.sleep(std::iter::empty(), false, LONG, || false).expect("slept"), 0);
        // Rung between the last look and the sleep.
        assert_eq!(
            ear.sleep(std::iter::empty(), false, LONG, || {
                bell.ring();
                true
            })
            .expect("slept"),
            0
        );
        let ringer = std::thread::spawn(move || {
            while !bell.asleep.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            bell.ring();
        });
        ear.sleep(std::iter::empty(), false, LONG, || true).expect("slept");
        ringer.join().expect("rang");
    }

    #[test]
    fn a_readable_socket_is_told_by_its_place() {
        let ear = Ear::new().expect("a pipe");
        for count in [2, FEW + 3] {
            let sockets: Vec<UdpSocket> = (0..count).map(|_| UdpSocket::bind("127.0.0.1:0").expect("free")).collect();
            let second = sockets[1].local_addr().expect("bound");
            sockets[0].send_to(b"x", second).expect("sent");
            let bits = ear.sleep(sockets.iter().map(AsFd::as_fd), false, LONG, || true).expect("slept");
            assert_eq!(bits, if count == 2 { 0b10 } else { ALL });
        }
    }

    #[test]
    fn room_to_write_is_waited_for_only_when_wanted() {
        let ear = Ear::new().expect("a pipe");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("free");
        let none = Some(Duration::ZERO);
        assert_eq!(ear.sleep(std::iter::once(socket.as_fd()), false, none, || true).expect("slept"), 0);
        assert_eq!(ear.sleep(std::iter::once(socket.as_fd()), true, none, || true).expect("slept"), 1);
    }
}
