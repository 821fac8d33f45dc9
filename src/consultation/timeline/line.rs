//! How a seat's line was, second by second, and the episodes that are worth a line in the story.

use std::time::Duration;

/// Loss from which an episode begins: below it, error correction and retransmission hide nearly all (percent).
const LOSS_BEGINS: u64 = 5;

/// Loss from which a second counts as clean again (percent).
const LOSS_ENDS: u64 = 2;

/// Fewest packets in a second from which a percentage says anything; sound alone has 50.
const FEWEST: u32 = 10;

/// Round trip from which people talk into each other: twice the 400 ms one way of ITU-T G.114 would be unusable, the 150 ms of
/// its "good" is too strict (milliseconds).
const SLOW_MS: u32 = 500;

/// Clean seconds that end an episode; shorter pauses belong to it.
const CALM: Duration = Duration::from_secs(3);

/// Shortest episode that is told.
const SHORTEST: Duration = Duration::from_secs(2);

/// Figures of one seat over about one second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Media packets that came from the seat.
    pub received: u32,
    /// Media packets from the seat that are missing.
    pub lost: u32,
    /// Media packets sent to the seat.
    pub sent: u32,
    /// Packets sent to the seat that it said it missed.
    pub sent_lost: u32,
    /// Round trip.
    pub rtt_ms: Option<u32>,
    /// What the line to the seat carries, as estimated.
    pub estimate_kbps: Option<u32>,
    /// What it would receive if the line carried all.
    pub wanted_kbps: u32,
    /// Whether the seat sends something that is not muted.
    pub expects_media: bool,
    /// Whether its signalling answers.
    pub signalling_alive: bool,
}

/// What kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// Packets from the seat are lost.
    LossUp,
    /// Packets to the seat are lost.
    LossDown,
    /// Nothing comes although it should.
    Silence,
    /// The line to the seat carries less than half of what it should.
    Narrow,
    /// The round trip is long.
    Slow,
}

impl Trouble {
    pub(super) const ALL: [Self; 5] = [Self::LossUp, Self::LossDown, Self::Silence, Self::Narrow, Self::Slow];
}

/// An episode of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Episode {
    pub(super) trouble: Trouble,
    /// When it began.
    pub(super) from: Duration,
    /// Its last bad second.
    pub(super) to: Duration,
    /// Bad packets, or the worst figure.
    pub(super) bad: u64,
    /// All packets, or 0.
    pub(super) all: u64,
    /// Whether signalling answered all the time.
    pub(super) signalling: bool,
    /// Whether anything had ever come from the seat before.
    pub(super) heard_before: bool,
}

impl Episode {
    pub(super) fn length(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }

    pub(super) fn percent(&self) -> u64 {
        (self.bad * 100).checked_div(self.all).unwrap_or(0)
    }

    pub(super) fn is_told(&self) -> bool {
        self.length() >= SHORTEST
    }
}

/// The line of one seat: at most one open episode of each kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    open: [Option<Episode>; Trouble::ALL.len()],
    heard: bool,
    last: Option<Duration>,
}

impl Line {
    /// Takes the figures of the period that ends now; hands over the episodes that are over.
    pub(super) fn take(&mut self, figures: &Figures, at: Duration) -> Vec<Episode> {
        let since = self.last.replace(at).unwrap_or(at);
        let mut over = Vec::new();
        for (trouble, open) in Trouble::ALL.into_iter().zip(&mut self.open) {
            let began = open.is_some();
            match seen(trouble, figures, began) {
                Some((bad, all)) => {
                    let episode = open.get_or_insert(Episode {
                        trouble,
                        from: since,
                        to: at,
                        bad: if matches!(trouble, Trouble::Narrow) { u64::MAX } else { 0 },
                        all: 0,
                        signalling: true,
                        heard_before: self.heard,
                    });
                    episode.to = at;
                    episode.signalling &= figures.signalling_alive;
                    match trouble {
                        Trouble::Narrow => episode.bad = episode.bad.min(bad),
                        Trouble::Slow => episode.bad = episode.bad.max(bad),
                        Trouble::LossUp | Trouble::LossDown | Trouble::Silence => episode.bad += bad,
                    }
                    episode.all += all;
                }
                // What ends silence is a packet; other trouble may pause.
                None => {
                    let calm = |episode: &Episode| trouble == Trouble::Silence || at.saturating_sub(episode.to) >= CALM;
                    over.extend(open.take_if(|episode| calm(episode)));
                }
            }
        }
        self.heard |= figures.received > 0;
        over
    }

    /// Episodes that go on.
    pub(super) fn open(&self) -> impl Iterator<Item = &Episode> {
        self.open.iter().flatten()
    }

    /// Ends all episodes, because the seat left.
    pub(super) fn close(&mut self) -> impl Iterator<Item = Episode> {
        self.last = None;
        std::mem::take(&mut self.open).into_iter().flatten()
    }

    /// Whether there was trouble of a kind within the last seconds.
    pub(super) fn troubled(&self, kinds: &[Trouble]) -> bool {
        self.open().any(|episode| kinds.contains(&episode.trouble))
    }
}

/// Whether a period is bad: bad packets (or the figure) and all packets.
fn seen(trouble: Trouble, figures: &Figures, began: bool) -> Option<(u64, u64)> {
    let loss = |good: u32, bad: u32| {
        let (all, limit) = (u64::from(good) + u64::from(bad), if began { LOSS_ENDS } else { LOSS_BEGINS });
        let enough = all >= u64::from(FEWEST) && u64::from(bad) * 100 >= limit * all;
        enough.then_some((u64::from(bad), all))
    };
    match trouble {
        Trouble::LossUp => loss(figures.received, figures.lost),
        Trouble::LossDown => loss(figures.sent.saturating_sub(figures.sent_lost), figures.sent_lost.min(figures.sent)),
        Trouble::Silence => (figures.expects_media && figures.received == 0).then_some((0, 0)),
        Trouble::Narrow => {
            let estimate = figures.estimate_kbps.filter(|kbps| u64::from(*kbps) * 2 < u64::from(figures.wanted_kbps));
            estimate.map(|kbps| (u64::from(kbps), 0))
        }
        Trouble::Slow => figures.rtt_ms.filter(|ms| *ms >= SLOW_MS).map(|ms| (u64::from(ms), 0)),
    }
}
