//! Plots as SVG, by hand: medians as dots, minimum to maximum as whiskers.

use std::fmt::Write;

use crate::relaybench::statistics::Range;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;

/// Distance of neighbouring series at one place, so that their whiskers do not cover each other.
const SPREAD: f64 = 7.0;

/// Lines across a linear plot, at most.
const LINES: f64 = 5.0;

/// How values go up the plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From 0.
    Linear,
    /// By powers of ten; values of 0 are not shown.
    Logarithmic,
}

/// One system's values, one for each place along the plot.
pub(crate) struct Series {
    pub(crate) name: String,
    /// A class of the style sheet.
    pub(crate) class: String,
    pub(crate) values: Vec<Option<Range>>,
}

pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) unit: String,
    pub(crate) places: Vec<String>,
    pub(crate) series: Vec<Series>,
    pub(crate) scale: Scale,
    /// A value to draw a line at, with its name.
    pub(crate) mark: Option<(f64, String)>,
}

/// The values that the plot reaches from and to.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    fn of(plot: &Plot) -> Axis {
        let shown = plot.series.iter().flat_map(|series| series.values.iter().flatten());
        let marks = plot.mark.iter().map(|(value, _)| *value);
        let high = shown.clone().map(|range| range.max).chain(marks).fold(0.0, f64::max);
        match plot.scale {
            Scale::Linear => Axis {
                scale: plot.scale,
                low: 0.0,
                high: if high > 0.0 { high * 1.08 } else { 1.0 },
            },
            Scale::Logarithmic => {
                let positive = shown.map(|range| range.min).filter(|value| *value > 0.0);
                let low = positive.fold(f64::INFINITY, f64::min);
                let low = if low.is_finite() { low.log10().floor() } else { 0.0 };
                let high = if high > 0.0 { high.log10().ceil().max(low + 1.0) } else { low + 1.0 };
                Axis { scale: plot.scale, low: 10f64.powf(low), high: 10f64.powf(high) }
            }
        }
    }

    fn y(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => value / self.high,
            Scale::Logarithmic => {
                (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
            }
        };
        HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = nice(self.high / LINES);
                let count = (self.high / step) as usize;
                (0..=count).map(|at| at as f64 * step).collect()
            }
            Scale::Logarithmic => {
                let decades = (self.high / self.low).log10().round() as i32;
                (0..=decades).map(|at| self.low * 10f64.powi(at)).collect()
            }
        }
    }
}

/// The next larger of 1, 2, 5 times a power of ten.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|nice| *nice >= step)
        .unwrap_or(step)
}

impl Plot {
    /// The plot as an `svg` element.
    pub(crate) fn svg(&self) -> String {
        let axis = Axis::of(self);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\"><text class=\"title\" x=\"{LEFT}\" y=\"18\">{0}</text>",
            escape(&self.title)
        );
        self.frame(&axis, &mut svg);
        for (at, series) in self.series.iter().enumerate() {
            self.draw(&axis, at, series, &mut svg);
        }
        svg + "</svg>"
    }

    fn x(&self, place: usize) -> f64 {
        let wide = WIDTH - LEFT - RIGHT;
        LEFT + wide * (place as f64 + 0.5) / self.places.len().max(1) as f64
    }

    fn frame(&self, axis: &Axis, svg: &mut String) {
        let right = WIDTH - RIGHT;
        for tick in axis.ticks() {
            let y = axis.y(tick);
            // Writing to a String does not fail.
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                number(tick)
            );
        }
        for (at, place) in self.places.iter().enumerate() {
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                self.x(at),
                HEIGHT - BOTTOM + 18.0,
                escape(place)
            );
        }
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{right}\" y=\"18\" text-anchor=\"end\">{}</text>",
            escape(&self.unit)
        );
        if let Some((value, name)) = &self.mark {
            let y = axis.y(*value);
            let _ = write!(
                svg,
                "<line class=\"mark\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                right + 6.0,
                y + 4.0,
                escape(name)
            );
        }
    }

    fn draw(&self, axis: &Axis, at: usize, series: &Series, svg: &mut String) {
        let middle = (self.series.len() as f64 - 1.0) / 2.0;
        let shift = (at as f64 - middle) * SPREAD;
        let shown = |range: &Range| self.scale == Scale::Linear || range.min > 0.0;
        let points: Vec<(f64, Range, &str)> = (0..)
            .zip(series.values.iter().zip(&self.places))
            .filter_map(|(place, (value, name))| {
                Some((self.x(place) + shift, value.filter(|range| shown(range))?, name.as_str()))
            })
            .collect();
        let class = escape(&series.class);
        let _ = write!(svg, "<g class=\"{class}\">");
        let line: Vec<String> = points
            .iter()
            .map(|(x, range, _)| format!("{x:.1},{:.1}", axis.y(range.median)))
            .collect();
        let _ = write!(svg, "<polyline points=\"{}\"/>", line.join(" "));
        for (x, range, place) in &points {
            let _ = write!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/><circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4\"><title>{} at {}: {} ({} to {})</title></circle>",
                axis.y(range.min),
                axis.y(range.max),
                axis.y(range.median),
                escape(&series.name),
                escape(place),
                number(range.median),
                number(range.min),
                number(range.max),
            );
        }
        let y = TOP + 12.0 + at as f64 * 20.0;
        let x = WIDTH - RIGHT + 14.0;
        let _ = write!(
            svg,
            "<circle cx=\"{x}\" cy=\"{:.1}\" r=\"4\"/><text class=\"key\" x=\"{:.1}\" y=\"{y:.1}\">{}</text></g>",
            y - 4.0,
            x + 9.0,
            escape(&series.name)
        );
    }
}

/// A number as short as its size allows.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    match () {
        () if size >= 1e6 => format!("{:.2}M", value / 1e6),
        () if size >= 1e4 => format!("{:.0}k", value / 1e3),
        () if size >= 100.0 || value == 0.0 => format!("{value:.0}"),
        () if size >= 10.0 => format!("{value:.1}"),
        () if size >= 0.01 => format!("{value:.2}"),
        () => format!("{value:.1e}"),
    }
}

/// Text as it may stand in HTML and SVG, in attributes too.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(scale: Scale, values: Vec<Option<Range>>) -> String {
        let series = vec![Series { name: "a<b".into(), class: "s0".into(), values }];
        Plot {
            title: "t".into(),
            unit: "us".into(),
            places: vec!["1".into(), "2".into()],
            series,
            scale,
            mark: Some((1.0, "aim".into())),
        }
        .svg()
    }

    #[test]
    fn values_that_are_missing_leave_a_gap_and_text_is_escaped() {
        let svg = plot(Scale::Linear, vec![None, Range::of([1.0, 2.0, 3.0])]);
        assert_eq!(svg.matches("<title>").count(), 1);
        assert!(svg.contains("a&lt;b at 2: 2.00 (1.00 to 3.00)"), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"));
    }

    #[test]
    fn extremes_make_no_nonsense() {
        for values in [vec![None, None], vec![Range::of([0.0]), Range::of([1e9])]] {
            for scale in [Scale::Linear, Scale::Logarithmic] {
                let svg = plot(scale, values.clone());
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.5, 9.61, 41.25, 812.0, 16_000.0, 1.5e6].map(number);
        assert_eq!(shown, ["0", "0.50", "9.61", "41.2", "812", "16k", "1.50M"]);
    }
}
