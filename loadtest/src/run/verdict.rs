//! Judges a run: the limits of the scenario, and whether the load test itself was fast enough to say anything.

use super::tally::Sums;
use crate::report::{Check, Outcome, Verdict};
use crate::scenario::Limits;
use std::time::Duration;

/// A load test whose own packets leave later than this, 99 of 100, measures itself, µs.
pub const LATEST: u64 = 5_000;

/// Judges the sums of a run by the limits of its scenario.
#[must_use]
pub fn judge(limits: &Limits, sums: &Sums) -> Verdict {
    let checks = checks(limits, sums);
    let broken: Vec<String> = checks.iter().filter(|check| !check.kept).map(said).collect();
    let late = sums.generator.late_us.p99;
    let (outcome, line) = if sums.calls.joined == 0 {
        (Outcome::Fail, format!("FAIL: nobody got into a call{}", reason(sums)))
    } else if late > LATEST {
        let line = format!(
            "NOT MEASURED: the load test itself was late ({:.1} ms at p99, at most {} ms counts); use fewer rooms, more \
             --threads or another machine",
            late as f64 / 1e3,
            LATEST / 1_000
        );
        (Outcome::NotMeasured, line)
    } else if sums.media.expected == 0 {
        (Outcome::NotMeasured, "NOT MEASURED: no packet was due in the measured time".to_owned())
    } else if broken.is_empty() {
        (Outcome::Pass, format!("PASS: {}", figures(sums)))
    } else {
        (Outcome::Fail, format!("FAIL: {}{}", broken.join("; "), reason(sums)))
    };
    Verdict { outcome, line, checks }
}

/// The run was ended early and by hand; what was seen until then counts.
#[must_use]
pub fn shortened(mut verdict: Verdict, measured: Duration) -> Verdict {
    verdict.line = format!("{} (ended by hand after {:.0} s of measuring)", verdict.line, measured.as_secs_f64());
    verdict
}

fn figures(sums: &Sums) -> String {
    let delay = sums.media.delay_us;
    let cpu = sums.relay.as_ref().and_then(|relay| relay.cpu_us_per_delivered);
    let cpu = cpu.map_or_else(String::new, |cpu| format!(", {cpu:.2} us of CPU each"));
    format!(
        "{} rooms, {} seats, {:.0} packets/s delivered{cpu}, added delay p50 {:.2} ms p99 {:.2} ms, loss {:.3} %, {} freezes",
        sums.calls.rooms,
        sums.calls.most_up,
        sums.media.delivered_per_s,
        delay.p50 as f64 / 1e3,
        delay.p99 as f64 / 1e3,
        sums.media.loss_percent,
        sums.video.freezes
    )
}

fn reason(sums: &Sums) -> String {
    sums.calls.reasons.first().map_or_else(String::new, |(text, count)| format!(" ({text}: {count})"))
}

fn said(check: &Check) -> String {
    let Check { name, unit, most, .. } = check;
    match check.seen {
        Some(seen) => format!("{name} was {} {unit}, at most {} allowed", short(seen), short(*most)),
        None => format!("{name} could not be seen"),
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn checks(limits: &Limits, sums: &Sums) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut check = |name: &str, most: Option<f64>, seen: Option<f64>, unit: &str| {
        if let Some(most) = most {
            let kept = seen.is_some_and(|seen| seen <= most);
            checks.push(Check { name: name.to_owned(), seen, most, unit: unit.to_owned(), kept });
        }
    };
    let calls = &sums.calls;
    let millis = |limit: Option<Duration>| limit.map(|limit| limit.as_secs_f64() * 1e3);
    check("delay_p99", millis(limits.delay_p99), Some(sums.media.delay_us.p99 as f64 / 1e3), "ms");
    check("loss_percent", limits.loss_percent, Some(sums.media.loss_percent), "%");
    let freezes = (sums.seat_minutes > 0.0).then(|| sums.video.freezes as f64 / sums.seat_minutes);
    check("freezes_per_seat_minute", limits.freezes_per_seat_minute, freezes, "a minute");
    check("failures", limits.failures.map(|most| most as f64), Some((calls.failed + calls.silent) as f64), "calls");
    check("refusals", limits.refusals.map(|most| most as f64), Some(calls.refused as f64), "joins");
    check("join_p99", millis(limits.join_p99), Some(calls.joined_ms.p99 as f64), "ms");
    let resumed = match calls.cut {
        0 => Some(0.0),
        // Who never came back took longer than any limit.
        cut if calls.resumed < cut => Some(f64::MAX),
        _ => Some(calls.resumed_ms.p99 as f64),
    };
    if resumed == Some(f64::MAX) {
        check("resumed of those cut off", limits.resume_p99.map(|_| 0.0), Some((calls.cut - calls.resumed) as f64), "not back");
    } else {
        check("resume_p99", millis(limits.resume_p99), resumed, "ms");
    }
    // Growth is of a process whose pid is known; without one there is nothing to hold against the relay.
    if let Some(relay) = &sums.relay {
        let growth = |limit: Option<f64>, seen: Option<f64>| limit.filter(|_| seen.is_some());
        let (memory, handles) = (relay.memory_growth_percent, relay.handle_growth_percent);
        check("memory_growth_percent", growth(limits.memory_growth_percent, memory), memory, "%");
        check("handle_growth_percent", growth(limits.handle_growth_percent, handles), handles, "%");
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Calls, Generator, Media, Percentiles, Process};

    fn good() -> Sums {
        Sums {
            calls: Calls { rooms: 10, asked: 30, joined: 30, most_up: 30, ..Calls::default() },
            media: Media {
                delay_us: Percentiles { count: 1_000, p50: 300, p99: 1_200, ..Percentiles::default() },
                expected: 10_000,
                delivered: 10_000,
                ..Media::default()
            },
            seat_minutes: 30.0,
            ..Sums::default()
        }
    }

    fn limits() -> Limits {
        Limits {
            delay_p99: Some(Duration::from_millis(5)),
            loss_percent: Some(0.1),
            freezes_per_seat_minute: Some(0.1),
            failures: Some(0),
            refusals: Some(0),
            ..Limits::default()
        }
    }

    #[test]
    fn a_good_run_passes_with_its_figures() {
        let verdict = judge(&limits(), &good());

        assert_eq!(verdict.outcome, Outcome::Pass);
        assert!(verdict.line.starts_with("PASS: 10 rooms, 30 seats"), "{}", verdict.line);
        assert_eq!(verdict.checks.len(), 5);
    }

    #[test]
    fn each_limit_can_fail_and_says_why() {
        type Spoil = fn(&mut Sums);
        let cases: [(&str, Spoil); 6] = [
            ("delay_p99 was 7 ms, at most 5", |sums| sums.media.delay_us.p99 = 7_000),
            ("loss_percent was 0.5 %", |sums| sums.media.loss_percent = 0.5),
            ("freezes_per_seat_minute was 0.3", |sums| sums.video.freezes = 9),
            ("failures was 2 calls", |sums| sums.calls.failed = 2),
            ("failures was 1 calls", |sums| sums.calls.silent = 1),
            ("refusals was 1 joins", |sums| sums.calls.refused = 1),
        ];
        for (said, spoil) in cases {
            let mut sums = good();
            spoil(&mut sums);

            let verdict = judge(&limits(), &sums);

            assert_eq!(verdict.outcome, Outcome::Fail, "{said}");
            assert!(verdict.line.contains(said), "{said} in: {}", verdict.line);
            assert!(!verdict.line.contains('\n'));
        }
    }

    #[test]
    fn a_late_load_test_measured_nothing() {
        let late_us = Percentiles { count: 10, p99: 5_001, ..Percentiles::default() };
        let sums = Sums { generator: Generator { late_us, ..Generator::default() }, ..good() };

        let verdict = judge(&limits(), &sums);

        assert_eq!(verdict.outcome, Outcome::NotMeasured);
        assert!(verdict.line.contains("5.0 ms") && verdict.line.contains("--threads"), "{}", verdict.line);
    }

    #[test]
    fn an_empty_run_does_not_pass() {
        let nobody = Sums { calls: Calls { asked: 3, ..Calls::default() }, ..good() };
        let quiet = Sums { media: Media::default(), ..good() };

        assert_eq!(judge(&Limits::default(), &nobody).outcome, Outcome::Fail);
        assert_eq!(judge(&Limits::default(), &quiet).outcome, Outcome::NotMeasured);
    }

    #[test]
    fn who_did_not_come_back_breaks_the_limit_of_coming_back() {
        let limits = Limits { resume_p99: Some(Duration::from_secs(5)), ..Limits::default() };
        let back = |cut, resumed, p99| {
            let resumed_ms = Percentiles { count: resumed, p99, ..Percentiles::default() };
            let mut sums = good();
            sums.calls = Calls { cut, resumed, resumed_ms, ..sums.calls };
            judge(&limits, &sums)
        };

        assert_eq!(back(3, 3, 900).outcome, Outcome::Pass);
        assert_eq!(back(3, 3, 6_000).outcome, Outcome::Fail);
        assert_eq!(back(3, 2, 900).outcome, Outcome::Fail);
        assert!(back(3, 2, 900).line.contains("1 not back"), "{}", back(3, 2, 900).line);
    }

    #[test]
    fn memory_that_grows_fails_a_soak() {
        let limits = Limits { memory_growth_percent: Some(10.0), ..Limits::default() };
        let grown = |percent| {
            let relay = Some(Process { memory_growth_percent: percent, ..Process::default() });
            judge(&limits, &Sums { relay, ..good() }).outcome
        };

        assert_eq!(grown(Some(11.0)), Outcome::Fail);
        assert_eq!(grown(Some(-3.0)), Outcome::Pass);
        assert_eq!(grown(None), Outcome::Pass, "too short to tell");
    }
}
