//! Line charts of the report as SVG: training curves, best score against cost, base and tuned side by side. Draws what it
//! is given; smooths and extrapolates nothing.

use trex_domain::{Report, ReportScore, VariantReport, escape_html as escape};

use super::text::{put, short_diff, variants, work_secs};

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 250.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
/// More points than this per line are thinned out evenly.
const MOST_POINTS: usize = 400;
/// More lines than this cannot be told apart; the best are drawn.
const MOST_LINES: usize = 8;
/// Okabe and Ito's palette without black and yellow, which vanish on one of the two backgrounds.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const DASHES: [&str; 4] = ["none", "7 4", "2 3", "9 3 2 3"];

/// Loss against step for the variants that reached the highest rung; empty where nothing was trained.
pub(super) fn curves_svg(report: &Report) -> String {
    let top = variants(report).filter(|variant| !variant.curve.is_empty()).filter_map(|variant| variant.rung).max();
    let mut shown: Vec<&VariantReport> =
        variants(report).filter(|variant| variant.rung == top && !variant.curve.is_empty()).collect();
    let value = |variant: &VariantReport| variant.select.as_ref().map_or(-1.0, |score| score.score);
    if shown.len() > MOST_LINES {
        shown.sort_by(|a, b| value(b).total_cmp(&value(a)));
        shown.truncate(MOST_LINES);
    }
    let line = |(index, variant): (usize, &&VariantReport)| Line {
        name: format!("{} · {}", variant.id, short_diff(&variant.diff)),
        points: thinned(variant.curve.iter().map(|point| (point.step as f64, point.loss)).collect()),
        colour: COLOURS[index % COLOURS.len()],
        dash: DASHES[index / COLOURS.len() % DASHES.len()],
        bold: report.best.as_ref().is_some_and(|best| best.variant == variant.id),
    };
    let lines: Vec<_> = shown.iter().enumerate().map(line).collect();
    if lines.iter().all(|line| line.points.is_empty()) {
        return String::new();
    }
    let label = format!("Training curves of {} variants: loss against optimiser step", lines.len());
    let chart = Chart::new(&lines, &[], false);
    chart.draw(&label, "optimiser step", "loss (nats per supervised token)", &lines, &[])
}

/// The best score so far and every select score against the processor time spent; empty where nothing reached the select split.
pub(super) fn timeline_svg(report: &Report) -> String {
    let Some(base) = report.nodes.first().and_then(|root| root.value) else {
        return String::new();
    };
    let mut spent = 0.0;
    let mut best = base;
    let mut steps = vec![(0.0, base)];
    let mut dots = Vec::new();
    for node in report.nodes.iter().skip(1) {
        for variant in &node.variants {
            spent += work_secs(&variant.cost);
        }
        // A batch goes up its rungs side by side, so its scores belong to the cost of the whole batch.
        for variant in node.variants.iter().filter(|variant| variant.rung.is_some()) {
            if let Some(score) = &variant.select {
                dots.push(Dot { x: spent, score: score.clone(), name: variant.id.to_string() });
            }
        }
        // The incumbent changes when an experiment's winner is compared, and only where the difference is significant.
        if let (Some(value), Some(true)) = (node.value, node.comparison.map(|comparison| comparison.significant)) {
            steps.push((spent, best));
            best = value;
        }
        steps.push((spent, best));
    }
    if dots.is_empty() {
        return String::new();
    }
    let (unit, name) = time_unit(spent);
    for step in &mut steps {
        step.0 /= unit;
    }
    for dot in &mut dots {
        dot.x /= unit;
    }
    let line = Line { name: "best so far".to_owned(), points: steps, colour: COLOURS[0], dash: "none", bold: true };
    let lines = [line];
    let chart = Chart::new(&lines, &dots, true);
    let label = format!("Best select score against processor time: from {base:.3} to {best:.3}");
    chart.draw(&label, &format!("processor time of variants ({name})"), "score on the select split", &lines, &dots)
}

/// Scores with their intervals on one axis from 0 to 1, or to the next whole number where they are above 1.
pub(super) fn intervals_svg(rows: &[(&str, &ReportScore)]) -> String {
    let height = 34.0 * rows.len() as f64 + 34.0;
    let largest = rows.iter().map(|(_, score)| score.score.max(score.ci95[1])).fold(1.0, f64::max).ceil();
    let x = |value: f64| 130.0 + 640.0 * (value / largest).clamp(0.0, 1.0);
    let summary: Vec<_> = rows.iter().map(|(name, score)| format!("{name} {:.3}", score.score)).collect();
    let mut svg = format!(
        "<svg class=\"chart\" role=\"img\" aria-label=\"Scores with 95 % intervals: {}\" viewBox=\"0 0 790 {height}\">",
        escape(&summary.join(", "))
    );
    for tenth in 0..=5_u32 {
        let value = largest * f64::from(tenth) / 5.0;
        let (at, bottom) = (x(value), height - 26.0);
        put!(svg, "<path class=\"grid\" d=\"M{at:.1} 4V{bottom}\"/>");
        put!(svg, "<text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{value:.1}</text>", height - 8.0);
    }
    for (index, (name, score)) in rows.iter().enumerate() {
        let y = 24.0 + 34.0 * index as f64;
        let colour = COLOURS[usize::from(index == 0)];
        let [low, high] = score.ci95;
        put!(svg, "<text class=\"strong\" x=\"120\" y=\"{:.0}\" text-anchor=\"end\">{}</text>", y + 4.0, escape(name));
        put!(
            svg,
            "<path d=\"M{:.1} {y}H{:.1}\" stroke=\"{colour}\" stroke-width=\"7\" stroke-linecap=\"round\" \
             opacity=\"0.38\"/><circle cx=\"{:.1}\" cy=\"{y}\" r=\"6\" fill=\"{colour}\"><title>{:.3} [{low:.3}, \
             {high:.3}]</title></circle>",
            x(low),
            x(high),
            x(score.score),
            score.score
        );
    }
    svg.push_str("</svg>");
    svg
}

struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    colour: &'static str,
    dash: &'static str,
    bold: bool,
}

struct Dot {
    x: f64,
    score: ReportScore,
    name: String,
}

/// Ranges of the two axes.
struct Chart {
    x: [f64; 2],
    y: [f64; 2],
    x_ticks: Vec<f64>,
    y_ticks: Vec<f64>,
    y_decimals: usize,
}

impl Chart {
    /// Axes that hold all lines and dots; scores are kept inside [0, 1].
    fn new(lines: &[Line], dots: &[Dot], of_scores: bool) -> Self {
        let points = || lines.iter().flat_map(|line| &line.points);
        let bars = || dots.iter().flat_map(|dot| dot.score.ci95);
        let xs = || points().map(|point| point.0).chain(dots.iter().map(|dot| dot.x));
        let ys = || points().map(|point| point.1).chain(bars());
        let largest_x = xs().fold(0.0, f64::max);
        let (low, high) = (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max));
        let (low, high) = if of_scores { (low.max(0.0), high.min(1.0)) } else { (low.min(0.0).max(low - 1.0), high) };
        let x_ticks = ticks(0.0, largest_x.max(1e-6), 7);
        let y_ticks = ticks(low, high.max(low + 1e-3), 5);
        let span = |ticks: &[f64]| [ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0)];
        let step = y_ticks.windows(2).map(|pair| pair[1] - pair[0]).fold(1.0, f64::min);
        let y_decimals = if step >= 1.0 { 0 } else { usize::from(step < 0.0999) + usize::from(step < 0.00999) + 1 };
        Self { x: [0.0, largest_x.max(1e-6)], y: span(&y_ticks), x_ticks, y_ticks, y_decimals }
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let share = |value: f64, [from, to]: [f64; 2]| (value - from) / (to - from);
        (LEFT + share(x, self.x) * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - share(y, self.y) * (HEIGHT - TOP - BOTTOM))
    }

    fn draw(&self, label: &str, x_name: &str, y_name: &str, lines: &[Line], dots: &[Dot]) -> String {
        let mut svg = format!(
            "<svg class=\"chart\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">",
            escape(label)
        );
        self.draw_axes(&mut svg, x_name, y_name);
        for line in lines {
            self.draw_line(&mut svg, line);
        }
        for dot in dots {
            self.draw_dot(&mut svg, dot);
        }
        for (index, line) in lines.iter().enumerate() {
            draw_key(&mut svg, index, line);
        }
        if !dots.is_empty() {
            let (x, y) = (WIDTH - RIGHT + 20.0, TOP + 12.0 + 24.0 * lines.len() as f64);
            put!(
                svg,
                "<circle class=\"dot\" cx=\"{:.0}\" cy=\"{:.0}\" r=\"4\"/><text x=\"{:.0}\" y=\"{y:.0}\">variant with 95 % \
                 interval</text>",
                x + 11.0,
                y - 4.0,
                x + 30.0
            );
        }
        svg.push_str("</svg>");
        svg
    }

    fn draw_axes(&self, svg: &mut String, x_name: &str, y_name: &str) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in &self.y_ticks {
            let (_, y) = self.at(0.0, *tick);
            put!(svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>");
            let decimals = self.y_decimals;
            put!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{tick:.decimals$}</text>", LEFT - 8.0, y + 4.0);
        }
        for tick in self.x_ticks.iter().filter(|tick| **tick <= self.x[1] * 1.0001) {
            let (x, _) = self.at(*tick, 0.0);
            put!(svg, "<path class=\"axis\" d=\"M{x:.1} {bottom}v5\"/>");
            put!(svg, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>", bottom + 19.0, plain(*tick));
        }
        put!(svg, "<path class=\"axis\" d=\"M{LEFT} {bottom}H{right}\"/>");
        let (middle_x, middle_y) = (f64::midpoint(LEFT, right), f64::midpoint(TOP, bottom));
        put!(
            svg,
            "<text class=\"strong\" x=\"{middle_x}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 8.0,
            escape(x_name)
        );
        put!(
            svg,
            "<text class=\"strong\" transform=\"translate(14 {middle_y}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escape(y_name)
        );
    }

    fn draw_line(&self, svg: &mut String, line: &Line) {
        let path: Vec<_> = line
            .points
            .iter()
            .map(|point| {
                let (x, y) = self.at(point.0, point.1);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        put!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-dasharray=\"{}\" \
             stroke-linejoin=\"round\"><title>{}</title></polyline>",
            path.join(" "),
            line.colour,
            if line.bold { 2.8 } else { 1.8 },
            line.dash,
            escape(&line.name)
        );
    }

    fn draw_dot(&self, svg: &mut String, dot: &Dot) {
        let (x, y) = self.at(dot.x, dot.score.score);
        let (_, low) = self.at(dot.x, dot.score.ci95[0].clamp(self.y[0], self.y[1]));
        let (_, high) = self.at(dot.x, dot.score.ci95[1].clamp(self.y[0], self.y[1]));
        put!(
            svg,
            "<path class=\"whisker\" d=\"M{x:.1} {low:.1}V{high:.1}\"/><circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" \
             r=\"4\"><title>{}: {:.3} [{:.3}, {:.3}]</title></circle><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}\
             </text>",
            escape(&dot.name),
            dot.score.score,
            dot.score.ci95[0],
            dot.score.ci95[1],
            x - 8.0,
            y - 7.0,
            escape(&dot.name)
        );
    }
}

fn draw_key(svg: &mut String, index: usize, line: &Line) {
    const CHARS: usize = 28;
    let (x, y) = (WIDTH - RIGHT + 20.0, TOP + 12.0 + 24.0 * index as f64);
    let mut name: String = line.name.chars().take(CHARS).collect();
    if name.len() < line.name.len() {
        name.push('…');
    }
    put!(
        svg,
        "<path d=\"M{x} {:.1}h22\" stroke=\"{}\" stroke-width=\"{}\" stroke-dasharray=\"{}\"/><text x=\"{}\" y=\"{y}\">{}\
         <title>{}</title></text>",
        y - 4.0,
        line.colour,
        if line.bold { 2.8 } else { 1.8 },
        line.dash,
        x + 30.0,
        escape(&name),
        escape(&line.name)
    );
}

/// Every `k`-th point and the last one; points that are no numbers are left out.
fn thinned(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.retain(|point| point.0.is_finite() && point.1.is_finite());
    let every = points.len().div_ceil(MOST_POINTS).max(1);
    let last = points.len().saturating_sub(1);
    points.into_iter().enumerate().filter(|(index, _)| index % every == 0 || *index == last).map(|(_, p)| p).collect()
}

/// Round numbers (1, 2 or 5 times a power of ten apart) that cover `low..=high`, about `wanted` of them.
fn ticks(low: f64, high: f64, wanted: u32) -> Vec<f64> {
    let raw = (high - low) / f64::from(wanted.max(1));
    if !(raw.is_finite() && raw > 0.0) {
        return vec![0.0, 1.0];
    }
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= raw * 0.999);
    let step = step.unwrap_or(raw);
    let first = (low / step + 1e-9).floor();
    let mut ticks = Vec::new();
    for index in 0..=wanted * 3 {
        let tick = (first + f64::from(index)) * step;
        ticks.push(tick);
        if tick >= high - step * 1e-6 {
            break;
        }
    }
    ticks
}

/// A tick without needless zeros.
fn plain(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn time_unit(secs: f64) -> (f64, &'static str) {
    match secs {
        secs if secs < 180.0 => (1.0, "processor seconds"),
        secs if secs < 10_800.0 => (60.0, "processor minutes"),
        _ => (3600.0, "processor hours"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sample::sample_report;
    use super::*;

    #[track_caller]
    fn check_ticks(low: f64, high: f64, expected: &[f64]) {
        let found = ticks(low, high, 5);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}");
    }

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        check_ticks(0.0, 1.0, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        check_ticks(0.43, 0.84, &[0.4, 0.5, 0.6, 0.7, 0.8, 0.9]);
        check_ticks(1.0, 1.0, &[0.0, 1.0]);
    }

    proptest! {
        #[test]
        fn ticks_hold_every_range(low in -1e3_f64..1e3, width in 1e-3_f64..1e6) {
            let ticks = ticks(low, low + width, 6);
            let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
            prop_assert!(first <= low + width * 1e-3 && last >= low + width * 0.999);
            prop_assert!(ticks.len() >= 2 && ticks.len() <= 19);
        }
    }

    #[test]
    fn only_variants_of_the_top_rung_have_a_curve() {
        let svg = curves_svg(&sample_report());
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("s1.e1.a") && svg.contains("s2.e1.a") && !svg.contains("s1.e1.b"));
        assert!(svg.contains("optimiser step") && svg.contains("nats"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn the_timeline_steps_up_where_a_gain_was_significant() {
        let svg = timeline_svg(&sample_report());
        assert!(svg.contains("from 0.520 to 0.790"), "{svg}");
        assert_eq!(svg.matches("class=\"whisker\"").count(), 2, "a duplicate is not measured twice");
    }

    #[test]
    fn without_data_there_is_no_chart() {
        let mut report = sample_report();
        report.nodes.truncate(1);
        assert_eq!(curves_svg(&report), "");
        assert_eq!(timeline_svg(&report), "");
    }

    #[test]
    fn long_curves_are_thinned_and_keep_their_end() {
        let points: Vec<_> = (0..10_000).map(|x| (f64::from(x), 1.0)).chain([(10_000.0, f64::NAN)]).collect();
        let thin = thinned(points);
        assert!(thin.len() <= MOST_POINTS + 1);
        assert_eq!(thin.last(), Some(&(9999.0, 1.0)));
    }
}
