//! One page that says what a run found: readable without a network, by day and by night.

use super::plot::{Line, plot};
use super::{Media, Outcome, Percentiles, Results, Row};
use std::fmt::Write as _;

const STYLE: &str = "
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1d2126;--soft:#5d6670;--rule:#dfe3e6;--warm:#8883;
--pass:#14713d;--fail:#b3261e;--none:#8a5a00;--c0:#1f6feb;--c1:#c2410c;--c2:#7c3aed;--c3:#0f766e}
@media (prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2024;--ink:#e6e8ea;--soft:#9aa4ad;--rule:#343a40;--warm:#8882;
--pass:#4ac27e;--fail:#ff7b72;--none:#e3b341;--c0:#6cb0ff;--c1:#ff9d5c;--c2:#b794ff;--c3:#4fd1c5}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1060px;margin:0 auto;padding:24px 20px 48px}h1{font-size:22px;margin:0}h2{font-size:17px;margin:32px 0 10px}
.soft,.unit{color:var(--soft)}.verdict{margin:16px 0;padding:12px 16px;border-left:6px solid;background:var(--card);border-radius:4px;font-weight:600}
.pass{border-color:var(--pass)}.fail{border-color:var(--fail)}.not-measured{border-color:var(--none)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px}
.tile{background:var(--card);border:1px solid var(--rule);border-radius:6px;padding:10px 12px}
.tile b{display:block;font-size:20px;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:13px}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(460px,100%),1fr));gap:14px}
figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:6px;padding:10px 12px}
figcaption{font-weight:600}figcaption .unit{font-weight:400}svg{width:100%;height:auto;display:block}
svg text{fill:var(--soft);font-size:11px}svg .y{text-anchor:end}svg .x{text-anchor:middle}.grid{stroke:var(--rule)}.warm{fill:var(--warm)}
polyline{fill:none;stroke-width:1.6}.s0{stroke:var(--c0)}.s1{stroke:var(--c1)}.s2{stroke:var(--c2)}.s3{stroke:var(--c3)}
.legend{margin:4px 0 0;font-size:13px;color:var(--soft)}.legend span{margin-right:14px}.legend i{display:inline-block;width:12px;height:3px;margin:0 5px 3px 0}
.b0{background:var(--c0)}.b1{background:var(--c1)}.b2{background:var(--c2)}.b3{background:var(--c3)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;background:var(--card)}th,td{padding:6px 10px;border:1px solid var(--rule);text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}code{font:13px/1.5 ui-monospace,monospace;overflow-wrap:anywhere}
";

/// Writes the page.
#[must_use]
pub fn page(results: &Results) -> String {
    let asked = &results.asked;
    let class = match results.verdict.outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::NotMeasured => "not-measured",
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, \
         initial-scale=1\">\n<title>Load test: {name}</title>\n<style>{STYLE}</style></head>\n<body><main>\n<h1>Load test: {name}</h1>\n\
         <div class=\"soft\">{about}</div>\n<div class=\"verdict {class}\">{line}</div>\n",
        name = escape(&asked.scenario),
        about = escape(&asked.about),
        line = escape(&results.verdict.line)
    );
    page.push_str(&tiles(results));
    page.push_str("<h2>Second by second</h2>\n<p class=\"soft\">The shaded part does not count.</p>\n<div class=\"plots\">\n");
    page.push_str(&plots(results));
    page.push_str("</div>\n<h2>Limits</h2>\n");
    page.push_str(&limits(results));
    page.push_str("<h2>Figures</h2>\n");
    page.push_str(&figures(results));
    page.push_str("<h2>Run</h2>\n");
    page.push_str(&facts(results));
    page.push_str("</main></body></html>\n");
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn tiles(results: &Results) -> String {
    let media = &results.media;
    let mut tiles = vec![
        (format!("{} / {}", results.calls.rooms, results.calls.most_up), "rooms / seats at most"),
        (ms(media.delay_us.p50), "added delay, p50"),
        (ms(media.delay_us.p99), "added delay, p99"),
        (format!("{:.3} %", media.loss_percent), "packets lost"),
        (number(media.delivered_per_s.round() as u64), "packets delivered a second"),
    ];
    if let Some(relay) = &results.relay {
        let cpu = relay.cpu_us_per_delivered.map_or_else(|| "?".to_owned(), |cpu| format!("{cpu:.2} µs"));
        tiles.push((cpu, "relay CPU per delivered packet"));
        tiles.push((format!("{:.2}", relay.cores), "cores the relay used"));
        tiles.push((format!("{:.0} MiB", relay.memory_mib_most), "relay memory at most"));
    }
    tiles.push((number(results.video.freezes), "freezes"));
    let tiles: String =
        tiles.iter().map(|(value, name)| format!("<div class=\"tile\"><b>{value}</b><span>{name}</span></div>\n")).collect();
    format!("<div class=\"tiles\">\n{tiles}</div>\n")
}

fn plots(results: &Results) -> String {
    let rows = &results.seconds;
    // Who leaves at the end is not drawn: a second without packets has a cost per packet that means nothing.
    let last = rows.iter().rev().find(|row| row.measured).or_else(|| rows.last()).map_or(0, |row| row.second as usize + 1);
    let from = results.asked.before_s.ceil() as usize;
    let line = |name, value: &dyn Fn(&Row) -> Option<f64>| {
        let mut values = vec![None; last];
        for row in rows {
            if let Some(place) = values.get_mut(row.second as usize) {
                *place = value(row);
            }
        }
        Line { name, values }
    };
    let delay = |value: fn(&Row) -> u64| move |row: &Row| (row.delivered > 0).then(|| value(row) as f64 / 1e3);
    let loss = |row: &Row| (row.expected > 0).then(|| super::percent(row.lost, row.expected));
    let cpu = |row: &Row| (row.delivered > 0).then(|| row.relay_cores.map(|cores| cores * 1e6 / row.delivered as f64)).flatten();
    let mut plots = [
        plot(
            "Added delay",
            "ms",
            &[
                line("p50", &delay(|row| row.delay_p50_us)),
                line("p99", &delay(|row| row.delay_p99_us)),
                line("p99.9", &delay(|row| row.delay_p999_us)),
            ],
            from,
        ),
        plot("Packets delivered", "a second", &[line("delivered", &|row| Some(row.delivered as f64))], from),
        plot("Loss", "% of packets due", &[line("lost", &loss)], from),
        plot("Freezes", "a second", &[line("freezes", &|row| Some(f64::from(row.freezes)))], from),
        plot(
            "Joins",
            "a second",
            &[
                line("asked", &|row| Some(f64::from(row.joins))),
                line("refused", &|row| Some(f64::from(row.refused))),
                line("failed", &|row| Some(f64::from(row.failed))),
            ],
            from,
        ),
        plot("Seats with media transport", "", &[line("up", &|row| Some(f64::from(row.up)))], from),
    ]
    .concat();
    if results.relay.is_some() {
        plots.push_str(&plot("Relay CPU per delivered packet", "µs", &[line("CPU", &cpu)], from));
        plots.push_str(&plot("Relay memory", "MiB resident", &[line("memory", &|row| row.relay_mib)], from));
    }
    let cores = [line("relay", &|row| row.relay_cores), line("load test", &|row| Some(row.generator_cores))];
    plots.push_str(&plot("CPU", "cores", &cores, from));
    let late = |row: &Row| Some(row.late_p99_us as f64 / 1e3);
    plots.push_str(&plot("Lateness of the load test", "ms, p99; above 5 nothing counts", &[line("late", &late)], from));
    plots
}

fn limits(results: &Results) -> String {
    let mut rows = String::new();
    for check in &results.verdict.checks {
        let seen = check.seen.map_or_else(|| "not seen".to_owned(), |seen| format!("{seen:.3}"));
        let kept = if check.kept { "kept" } else { "broken" };
        let _infallible = writeln!(
            rows,
            "<tr><td>{}</td><td class=\"n\">{seen}</td><td class=\"n\">{:.3}</td><td>{}</td><td>{kept}</td></tr>",
            escape(&check.name),
            check.most,
            escape(&check.unit)
        );
    }
    if rows.is_empty() {
        return "<p>The scenario sets none.</p>\n".to_owned();
    }
    table("<th>limit</th><th class=\"n\">seen</th><th class=\"n\">at most</th><th>unit</th><th></th>", &rows)
}

fn table(head: &str, rows: &str) -> String {
    format!("<div class=\"scroll\"><table><tr>{head}</tr>\n{rows}</table></div>\n")
}

fn figures(results: &Results) -> String {
    let columns = [&results.media, &results.audio, &results.video];
    let mut rows = String::new();
    let mut row = |name: &str, value: &dyn Fn(&Media) -> String| {
        let cells: String = columns.iter().map(|media| format!("<td class=\"n\">{}</td>", value(media))).collect();
        let _infallible = writeln!(rows, "<tr><td>{name}</td>{cells}</tr>");
    };
    row("packets sent", &|media| number(media.sent));
    row("packets due", &|media| number(media.expected));
    row("packets delivered", &|media| number(media.delivered));
    row("packets lost", &|media| format!("{} ({:.3} %)", number(media.lost), media.loss_percent));
    row("repaired / duplicate / reordered", &|media| format!("{} / {} / {}", media.repaired, media.duplicate, media.reordered));
    row("delivered, Mbit/s", &|media| format!("{:.1}", media.mbit_per_s));
    row("added delay p50 / p90", &|media| format!("{} / {}", ms(media.delay_us.p50), ms(media.delay_us.p90)));
    row("added delay p99 / p99.9", &|media| format!("{} / {}", ms(media.delay_us.p99), ms(media.delay_us.p999)));
    row("added delay, longest", &|media| ms(media.delay_us.max));
    row("pictures", &|media| number(media.frames));
    row("freezes / seconds frozen", &|media| format!("{} / {:.1}", media.freezes, media.frozen_s));
    row("key frame after request p50 / p99, ms", &|media| format!("{} / {}", media.key_frame_ms.p50, media.key_frame_ms.p99));
    let media = table("<th></th><th class=\"n\">all</th><th class=\"n\">voices</th><th class=\"n\">cameras</th>", &rows);
    format!("{media}<h2>Calls</h2>\n{}", calls(results))
}

fn calls(results: &Results) -> String {
    let calls = &results.calls;
    let spread = |percentiles: &Percentiles| format!("{} / {} / {}", percentiles.p50, percentiles.p99, percentiles.max);
    let mut rows = vec![
        ("joins asked / transport up".to_owned(), format!("{} / {}", calls.asked, calls.joined)),
        (
            "refused (of these busy) / failed / silent".to_owned(),
            format!("{} ({}) / {} / {}", calls.refused, calls.busy, calls.failed, calls.silent),
        ),
        ("cut off / back (of these by a new join)".to_owned(), format!("{} / {} ({})", calls.cut, calls.resumed, calls.rejoined)),
        ("left / still there at the end".to_owned(), format!("{} / {}", calls.left, calls.leftover)),
        ("join response, ms, p50 / p99 / longest".to_owned(), spread(&calls.signalled_ms)),
        ("media transport, ms".to_owned(), spread(&calls.joined_ms)),
        ("first media of others, ms".to_owned(), spread(&calls.first_media_ms)),
        ("back after a cut, ms".to_owned(), spread(&calls.resumed_ms)),
    ];
    rows.extend(calls.reasons.iter().map(|(text, count)| (escape(text), number(*count))));
    let rows: String =
        rows.iter().map(|(name, value)| format!("<tr><td>{name}</td><td class=\"n\">{value}</td></tr>\n")).collect();
    table("<th>what</th><th class=\"n\">seen</th>", &rows)
}

fn facts(results: &Results) -> String {
    let (asked, machine, generator) = (&results.asked, &results.machine, &results.generator);
    let mut rows = vec![
        ("started", format!("{} UTC", results.started)),
        ("command", format!("<code>{}</code>", escape(&results.command))),
        ("seed", asked.seed.to_string()),
        ("measured", format!("{} s after {} s", asked.for_s, asked.before_s)),
        ("relay", escape(&asked.url)),
        (
            "machine of the load test",
            format!(
                "{}, {} cores, {} MiB, {}, load {} before the run",
                escape(&machine.processor),
                machine.cores,
                machine.memory_mib,
                escape(&machine.kernel),
                escape(&machine.load)
            ),
        ),
        (
            "load test itself",
            format!(
                "{}: {} threads, {:.2} cores, packets {} late at p99 ({} at worst), {} socket errors",
                escape(&results.tool),
                asked.threads,
                generator.cores,
                ms(generator.late_us.p99),
                ms(generator.late_us.max),
                generator.socket_errors
            ),
        ),
    ];
    if let Some(relay) = &results.relay {
        let per_seat = relay.memory_kib_per_seat.map_or_else(String::new, |kib| format!(", {kib:.0} KiB a seat"));
        rows.push((
            "relay itself",
            format!(
                "{:.2} s of CPU, {:.2} cores, memory {:.1} to {:.1} MiB{per_seat}, {} to {} handles",
                relay.cpu_s, relay.cores, relay.memory_mib_first, relay.memory_mib_last, relay.handles[0], relay.handles[1]
            ),
        ));
    }
    let rows: String = rows.iter().map(|(name, value)| format!("<tr><td>{name}</td><td>{value}</td></tr>\n")).collect();
    table("<th>what</th><th>how</th>", &rows)
}

fn ms(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1e3)
}

/// Thousands apart, as in 12,345.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let first = digits.len() % 3;
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::report::{Asked, Calls, Check, Generator, Machine, Process, SCHEMA, Verdict};

    pub(crate) fn sample() -> Results {
        let rows = (0..30).map(|second| Row {
            second,
            measured: second >= 5,
            up: 6,
            delivered: 1_000 + u64::from(second),
            expected: 1_100,
            delay_p50_us: 200,
            delay_p99_us: 900,
            relay_cores: Some(0.2),
            relay_mib: Some(40.0),
            ..Row::default()
        });
        Results {
            schema: SCHEMA,
            tool: "loadtest 0.1.0".to_owned(),
            command: "loadtest run consultation --secret ***".to_owned(),
            started: "2026-01-31 09:05:07".to_owned(),
            asked: Asked {
                scenario: "odd <name>".to_owned(),
                about: "A & B.".to_owned(),
                rooms: 2,
                seats_per_room: 3,
                for_s: 25.0,
                before_s: 5.0,
                seed: 7,
                threads: 1,
                bitrate: None,
                url: "ws://127.0.0.1:7880".to_owned(),
            },
            machine: Machine { processor: "Some CPU".to_owned(), cores: 2, ..Machine::default() },
            verdict: Verdict {
                outcome: Outcome::Pass,
                line: "PASS: fine".to_owned(),
                checks: vec![Check {
                    name: "delay_p99".to_owned(),
                    seen: Some(0.9),
                    most: 5.0,
                    unit: "ms".to_owned(),
                    kept: true,
                }],
            },
            calls: Calls { rooms: 2, most_up: 6, ..Calls::default() },
            media: Media { delivered: 1_234_567, ..Media::default() },
            audio: Media::default(),
            video: Media::default(),
            relay: Some(Process::default()),
            generator: Generator::default(),
            seconds: rows.collect(),
        }
    }

    #[test]
    fn the_page_is_self_contained() {
        let page = page(&sample());

        for outside in ["http:", "https:", "src=", "href=", "<link", "<script", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        for part in ["<svg", "prefers-color-scheme:dark", "PASS: fine", "1,234,567", "seed", "Some CPU", "delay_p99"] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn texts_cannot_break_the_page() {
        let page = page(&sample());

        assert!(page.contains("odd &lt;name&gt;") && page.contains("A &amp; B."));
        assert!(!page.contains("<name>"));
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!([0, 999, 1_000, 123_456, 1_234_567].map(number), ["0", "999", "1,000", "123,456", "1,234,567"]);
    }
}
