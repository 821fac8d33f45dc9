//! What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere.

use crate::report::{Calls, Row};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Seconds between lines where there is no terminal.
const EVERY: u64 = 5;

/// The state of a run.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    /// Since the start.
    pub passed: Duration,
    /// Until everybody goes.
    pub ends_at: Duration,
    /// Measuring has begun.
    pub measuring: bool,
    /// The last complete second.
    pub row: Option<Row>,
    /// Joins so far.
    pub calls: &'a Calls,
    /// Cores the relay used in the last second.
    pub relay_cores: Option<f64>,
    /// Its memory, MiB.
    pub relay_mib: Option<f64>,
}

/// Shows a run.
#[derive(Debug)]
pub enum Progress {
    /// On a terminal.
    Bar(ProgressBar),
    /// In a log.
    Lines,
    /// Nowhere.
    Silent,
}

impl Progress {
    /// On standard error, as fits it.
    #[must_use]
    pub fn on_stderr(name: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines;
        }
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}").map(|style| style.progress_chars("=> "));
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(name.to_owned());
        Self::Bar(bar)
    }

    /// Shows the state; called once a second.
    pub fn show(&self, live: &Live<'_>) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(live.ends_at.as_secs());
                bar.set_position(live.passed.as_secs().min(live.ends_at.as_secs()));
                bar.set_message(line(live));
            }
            Self::Lines if live.passed.as_secs().is_multiple_of(EVERY) => say(&line(live)),
            Self::Lines | Self::Silent => {}
        }
    }

    /// Says a line beside the bar.
    pub fn note(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.println(text),
            Self::Lines => say(text),
            Self::Silent => {}
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn say(text: &str) {
    // A closed standard error must not end a run.
    let _closed = writeln!(std::io::stderr(), "{text}");
}

fn line(live: &Live<'_>) -> String {
    let row = live.row.unwrap_or_default();
    let calls = live.calls;
    let mut text = format!(
        "{:>3}/{} s{}  up {}  refused {}  failed {}  {} pkt/s  p50 {:.2} p99 {:.2} ms  lost {}",
        live.passed.min(live.ends_at).as_secs(),
        live.ends_at.as_secs(),
        if live.measuring { "" } else { " (warm-up)" },
        row.up,
        calls.refused,
        calls.failed,
        row.delivered,
        row.delay_p50_us as f64 / 1e3,
        row.delay_p99_us as f64 / 1e3,
        row.lost
    );
    if let (Some(cores), Some(mib)) = (live.relay_cores, live.relay_mib) {
        text.push_str(&format!("  relay {cores:.2} cores {mib:.0} MiB"));
    }
    if row.late_p99_us > super::verdict::LATEST {
        text.push_str(&format!("  LOAD TEST LATE {:.0} ms", row.late_p99_us as f64 / 1e3));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_live_figures() {
        let calls = Calls { refused: 3, ..Calls::default() };
        let row = Row { up: 30, delivered: 1_200, delay_p99_us: 1_500, late_p99_us: 9_000, ..Row::default() };
        let (passed, ends_at) = (Duration::from_secs(12), Duration::from_secs(75));
        let live = Live {
            passed,
            ends_at,
            measuring: false,
            row: Some(row),
            calls: &calls,
            relay_cores: Some(0.5),
            relay_mib: Some(64.2),
        };

        let text = line(&live);

        for part in ["12/75 s (warm-up)", "up 30", "refused 3", "1200 pkt/s", "p99 1.50", "0.50 cores 64 MiB", "LATE 9 ms"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
