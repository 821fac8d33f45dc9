//! Lines over time as inline SVG: no script, no font, no colour of its own beyond the page's variables.

use std::fmt::Write as _;

/// Most points of a line; more would be narrower than a pixel.
const POINTS: usize = 400;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 22.0;
const BOTTOM: f64 = 22.0;
const TOP: f64 = 8.0;

/// One line of a plot: its name and a value for each second, where there is one.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Shown in the legend.
    pub(super) name: &'static str,
    /// By second.
    pub(super) values: Vec<Option<f64>>,
}

/// Draws lines over the seconds of a run; `measured_from` is where the shaded warm-up ends.
#[must_use]
pub(super) fn plot(title: &str, unit: &str, lines: &[Line], measured_from: usize) -> String {
    let seconds = lines.iter().map(|line| line.values.len()).max().unwrap_or(0).max(2);
    let most = lines.iter().flat_map(|line| line.values.iter().flatten()).copied().fold(0.0, f64::max);
    let top = ceiling(most);
    let x = |second: f64| LEFT + second / (seconds - 1) as f64 * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| TOP + (1.0 - value / top) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<figure><figcaption>{title} <span class=\"unit\">{unit}</span></figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"{title}, {unit}\">\n"
    );
    let warm = x(measured_from.min(seconds - 1) as f64) - LEFT;
    let _infallible = writeln!(
        svg,
        "<rect class=\"warm\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{warm:.1}\" height=\"{:.1}\"/>",
        HEIGHT - TOP - BOTTOM
    );
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let at = y(value);
        let _infallible = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"y\" x=\"{:.0}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            tick(value)
        );
    }
    for quarter in 0..=4 {
        let second = (seconds - 1) as f64 * f64::from(quarter) / 4.0;
        let at = x(second);
        let _infallible = writeln!(svg, "<text class=\"x\" x=\"{at:.0}\" y=\"{:.0}\">{second:.0} s</text>", HEIGHT - 5.0);
    }
    for (number, line) in lines.iter().enumerate() {
        for part in paths(&thin(&line.values), &x, &y) {
            let _infallible = writeln!(svg, "<polyline class=\"s{number}\" points=\"{part}\"/>");
        }
    }
    svg.push_str("</svg>\n<p class=\"legend\">");
    for (number, line) in lines.iter().enumerate() {
        let _infallible = write!(svg, "<span><i class=\"b{number}\"></i>{}</span> ", line.name);
    }
    svg.push_str("</p></figure>\n");
    svg
}

/// The worst of each group of neighbours, so that thinning hides no peak.
fn thin(values: &[Option<f64>]) -> Vec<(f64, Option<f64>)> {
    let group = values.len().div_ceil(POINTS).max(1);
    let worst = |part: &[Option<f64>]| {
        part.iter().flatten().copied().fold(None, |most: Option<f64>, value| Some(most.map_or(value, |most| most.max(value))))
    };
    values.chunks(group).enumerate().map(|(number, part)| ((number * group) as f64, worst(part))).collect()
}

/// Unbroken runs of points.
fn paths(points: &[(f64, Option<f64>)], x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) -> Vec<String> {
    points
        .split(|(_, value)| value.is_none())
        .filter(|run| !run.is_empty())
        .map(|run| {
            let points = run.iter().filter_map(|(second, value)| value.map(|value| format!("{:.1},{:.1}", x(*second), y(value))));
            points.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

/// The next of 1, 2, 4, 5 or 10 times a power of ten.
fn ceiling(most: f64) -> f64 {
    if most <= 0.0 || !most.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(most.log10().floor());
    [1.0, 2.0, 4.0, 5.0, 10.0].iter().map(|step| step * power).find(|top| *top >= most).unwrap_or(10.0 * power)
}

fn tick(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.4} M", value / 1e6).replace(".0000", ""),
        value if value >= 1e4 => format!("{:.1} k", value / 1e3).replace(".0 k", " k"),
        value if value >= 100.0 => format!("{value:.0}"),
        value => {
            let text = format!("{value:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_break_a_line_and_peaks_survive_thinning() {
        let mut values = vec![Some(1.0); 4_000];
        values[1_234] = Some(50.0);
        values[2_000..2_100].fill(None);

        let svg = plot("Delay", "ms", &[Line { name: "p99", values }], 5);

        assert_eq!(svg.matches("<polyline").count(), 2);
        let top = format!(",{:.1}", TOP);
        assert!(svg.contains(&top), "the peak is at the top of the plot");
        assert!(svg.matches(',').count() < POINTS + 50);
    }

    #[test]
    fn axes_end_on_round_numbers() {
        assert_eq!([0.0, 0.7, 1.0, 3.1, 4.5, 70.0, 12_345.0].map(ceiling), [1.0, 1.0, 1.0, 4.0, 5.0, 100.0, 20_000.0]);
        assert_eq!([0.25, 5.0, 150.0, 20_000.0, 2_500_000.0].map(tick), ["0.25", "5", "150", "20 k", "2.5000 M"]);
    }

    #[test]
    fn nothing_to_draw_is_an_empty_plot() {
        let svg = plot("Delay", "ms", &[Line { name: "p99", values: Vec::new() }], 5);

        assert!(svg.contains("<svg") && !svg.contains("NaN"), "{svg}");
    }
}
