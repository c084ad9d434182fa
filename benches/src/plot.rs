//! Plots as SVG text: horizontal bars with spread, and lines over linear or logarithmic axes.
//!
//! The results have few marks and a fixed look, so the text is written directly: no plotting crate,
//! no fonts to find, and the same numbers give the same bytes. Colours are told apart by people who
//! do not see red or green (the palette of Okabe and Ito).

use std::fmt::Write as _;

/// Horizontal bars in named groups; each group has a scale of its own that begins at zero.
#[derive(Clone, Debug, Default)]
pub struct Bars {
    /// Heading of the whole plot.
    pub title: String,
    /// What a bar's length means, such as `CPU µs per request, median; less is better`.
    pub measure: String,
    /// The groups, from top to bottom.
    pub groups: Vec<Group>,
}

/// Bars that are compared with each other.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Heading of the group.
    pub name: String,
    /// The bars, from top to bottom.
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Who it is about.
    pub label: String,
    /// Its length.
    pub value: f64,
    /// Least and greatest value that were measured: a whisker over the bar.
    pub spread: Option<(f64, f64)>,
    /// Drawn in the colour that stands out.
    pub highlight: bool,
}

/// Lines over two axes.
#[derive(Clone, Debug)]
pub struct Lines {
    /// Heading of the plot.
    pub title: String,
    /// The axis from left to right.
    pub x: Axis,
    /// The axis from bottom to top.
    pub y: Axis,
    /// What is drawn, in the order of the legend.
    pub series: Vec<Series>,
}

/// One axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Its name with its unit.
    pub title: String,
    /// How values are spread along it.
    pub scale: Scale,
}

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly from zero (or from the least value, where one is below zero).
    Linear,
    /// By their logarithm; values that are not above zero are left out.
    Logarithmic,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Points `(x, y)`, from left to right.
    pub points: Vec<(f64, f64)>,
    /// Drawn dashed and without marks: a model, not a measurement.
    pub model: bool,
}

impl Bars {
    /// The plot as an SVG document.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let mut height = HEADER_HEIGHT;
        for group in &self.groups {
            height += GROUP_HEADING + BAR_PITCH * length(group.bars.len()) + GROUP_GAP;
        }
        let mut svg = Svg::new(WIDTH, height);
        svg.text(16.0, 26.0, "start", 16.0, true, &self.title);
        svg.text(16.0, 46.0, "start", 12.0, false, &self.measure);
        let mut top = HEADER_HEIGHT;
        for group in &self.groups {
            top = group.draw(&mut svg, top);
        }
        svg.finish()
    }
}

impl Group {
    /// Draws the group below `top` and gives where the next one begins.
    fn draw(&self, svg: &mut Svg, top: f64) -> f64 {
        svg.text(16.0, top + 15.0, "start", 13.0, true, &self.name);
        let reach = self.bars.iter().map(Bar::reach).fold(0.0, f64::max);
        let scale = if reach > 0.0 { BARS_WIDTH / reach } else { 0.0 };
        let mut y = top + GROUP_HEADING;
        for bar in &self.bars {
            let colour = if bar.highlight { HIGHLIGHT } else { PLAIN };
            let middle = y + BAR_HEIGHT / 2.0;
            let end = BARS_LEFT + bar.value * scale;
            svg.text(
                BARS_LEFT - 8.0,
                middle + 4.0,
                "end",
                12.0,
                bar.highlight,
                &bar.label,
            );
            svg.rect(BARS_LEFT, y, bar.value * scale, BAR_HEIGHT, colour);
            if let Some((low, high)) = bar.spread {
                let (low, high) = (BARS_LEFT + low * scale, BARS_LEFT + high * scale);
                svg.line((low, middle), (high, middle), INK, 1.0);
                svg.line((low, middle - 4.0), (low, middle + 4.0), INK, 1.0);
                svg.line((high, middle - 4.0), (high, middle + 4.0), INK, 1.0);
            }
            let right = bar
                .spread
                .map_or(end, |(_, high)| end.max(BARS_LEFT + high * scale));
            svg.text(
                right + 6.0,
                middle + 4.0,
                "start",
                12.0,
                bar.highlight,
                &short(bar.value),
            );
            y += BAR_PITCH;
        }
        y + GROUP_GAP
    }
}

impl Bar {
    fn reach(&self) -> f64 {
        self.spread
            .map_or(self.value, |(_, high)| high.max(self.value))
    }
}

impl Lines {
    /// The plot as an SVG document.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let legend = LEGEND_PITCH * length(self.series.len());
        let mut svg = Svg::new(WIDTH, LINES_BOTTOM + 52.0 + legend);
        svg.text(16.0, 26.0, "start", 16.0, true, &self.title);
        let x = Range::of(
            &self.x,
            self.coordinates(|point| point.0),
            (LINES_LEFT, LINES_RIGHT),
        );
        let y = Range::of(
            &self.y,
            self.coordinates(|point| point.1),
            (LINES_BOTTOM, LINES_TOP),
        );
        for tick in x.ticks() {
            let at = x.place(tick);
            svg.line((at, LINES_TOP), (at, LINES_BOTTOM), GRID, 1.0);
            svg.text(at, LINES_BOTTOM + 16.0, "middle", 11.0, false, &short(tick));
        }
        for tick in y.ticks() {
            let at = y.place(tick);
            svg.line((LINES_LEFT, at), (LINES_RIGHT, at), GRID, 1.0);
            svg.text(LINES_LEFT - 6.0, at + 4.0, "end", 11.0, false, &short(tick));
        }
        svg.line(
            (LINES_LEFT, LINES_BOTTOM),
            (LINES_RIGHT, LINES_BOTTOM),
            INK,
            1.0,
        );
        svg.line(
            (LINES_LEFT, LINES_TOP),
            (LINES_LEFT, LINES_BOTTOM),
            INK,
            1.0,
        );
        let middle = f64::midpoint(LINES_LEFT, LINES_RIGHT);
        svg.text(
            middle,
            LINES_BOTTOM + 36.0,
            "middle",
            12.0,
            false,
            &self.x.title,
        );
        svg.text(16.0, 48.0, "start", 12.0, false, &self.y.title);
        for (index, series) in self.series.iter().enumerate() {
            let colour = PALETTE[index % PALETTE.len()];
            let places: Vec<(f64, f64)> = series
                .points
                .iter()
                .filter(|point| x.shows(point.0) && y.shows(point.1))
                .map(|point| (x.place(point.0), y.place(point.1)))
                .collect();
            svg.path(&places, colour, series.model);
            if !series.model {
                for place in &places {
                    svg.dot(*place, colour);
                }
            }
            let at = LINES_BOTTOM + 52.0 + LEGEND_PITCH * length(index);
            svg.path(
                &[(LINES_LEFT, at), (LINES_LEFT + 28.0, at)],
                colour,
                series.model,
            );
            svg.text(
                LINES_LEFT + 36.0,
                at + 4.0,
                "start",
                12.0,
                false,
                &series.name,
            );
        }
        svg.finish()
    }

    fn coordinates(&self, of: impl Fn(&(f64, f64)) -> f64) -> Vec<f64> {
        let points = self.series.iter().flat_map(|series| &series.points);
        points.map(of).filter(|value| value.is_finite()).collect()
    }
}

/// The values that an axis shows, and where on the plot its ends are.
struct Range {
    scale: Scale,
    low: f64,
    high: f64,
    begin: f64,
    end: f64,
}

impl Range {
    fn of(axis: &Axis, values: Vec<f64>, (begin, end): (f64, f64)) -> Self {
        let shown = values
            .into_iter()
            .filter(|value| axis.scale == Scale::Linear || *value > 0.0);
        let (least, greatest) = shown
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| {
                (low.min(it), high.max(it))
            });
        let (low, high) = match axis.scale {
            _ if least > greatest => (0.1, 1.0),
            Scale::Linear => {
                let low = least.min(0.0);
                let step = step(greatest - low);
                let high = (greatest / step).ceil() * step;
                (low, if high > low { high } else { low + 1.0 })
            }
            Scale::Logarithmic => {
                let low = 10_f64.powf(least.log10().floor());
                let high = 10_f64.powf(greatest.log10().ceil());
                (low, if high > low { high } else { low * 10.0 })
            }
        };
        Self {
            scale: axis.scale,
            low,
            high,
            begin,
            end,
        }
    }

    fn shows(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == Scale::Linear || value > 0.0)
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => {
                (value.log10() - self.low.log10()) / (self.high.log10() - self.low.log10())
            }
        };
        self.begin + share * (self.end - self.begin)
    }

    fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        match self.scale {
            Scale::Linear => {
                let step = step(self.high - self.low);
                let mut count = (self.low / step).ceil();
                while count * step <= self.high + step * 1e-6 {
                    ticks.push(count * step);
                    count += 1.0;
                }
            }
            Scale::Logarithmic => {
                let mut tick = self.low;
                while tick <= self.high * 1.000_001 {
                    ticks.push(tick);
                    tick *= 10.0;
                }
            }
        }
        ticks
    }
}

/// The distance of ticks, 1, 2 or 5 times a power of ten, that gives four to ten of them.
fn step(width: f64) -> f64 {
    if width <= 0.0 || !width.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf((width / 5.0).log10().floor());
    let leading = width / 5.0 / power;
    let factor = match leading {
        it if it < 1.5 => 1.0,
        it if it < 3.5 => 2.0,
        it if it < 7.5 => 5.0,
        _ => 10.0,
    };
    factor * power
}

/// A number with three significant digits, in thousands (`k`) and millions (`M`) where large.
fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        it if it >= 1e6 => (value / 1e6, "M"),
        it if it >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = match scaled.abs() {
        it if it >= 100.0 || it == 0.0 => 0,
        it if it >= 10.0 => 1,
        it if it >= 0.1 => 2,
        _ => 4,
    };
    let mut text = format!("{scaled:.decimals$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + unit
}

fn length(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// An SVG document that grows mark by mark.
struct Svg {
    text: String,
}

impl Svg {
    fn new(width: f64, height: f64) -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        Self { text }
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, size: f64, bold: bool, words: &str) {
        let weight = if bold { " font-weight=\"bold\"" } else { "" };
        self.write(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\"{weight} \
             fill=\"{INK}\">{}</text>",
            escape(words)
        ));
    }

    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        self.write(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{colour}\"/>"
        ));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        self.write(format_args!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" \
             stroke-width=\"{width}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    fn path(&mut self, places: &[(f64, f64)], colour: &str, dashed: bool) {
        let points: Vec<String> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let dashes = if dashed {
            " stroke-dasharray=\"6 4\""
        } else {
            ""
        };
        self.write(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
            points.join(" ")
        ));
    }

    fn dot(&mut self, (x, y): (f64, f64), colour: &str) {
        self.write(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
        ));
    }

    fn write(&mut self, mark: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{mark}");
    }

    fn finish(self) -> String {
        self.text + "</svg>\n"
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

const WIDTH: f64 = 760.0;
const HEADER_HEIGHT: f64 = 62.0;
const GROUP_HEADING: f64 = 24.0;
const GROUP_GAP: f64 = 12.0;
const BAR_HEIGHT: f64 = 14.0;
const BAR_PITCH: f64 = 20.0;
const BARS_LEFT: f64 = 190.0;
/// Room is left for the number behind the longest bar.
const BARS_WIDTH: f64 = 490.0;
const LINES_LEFT: f64 = 70.0;
const LINES_RIGHT: f64 = 730.0;
const LINES_TOP: f64 = 64.0;
const LINES_BOTTOM: f64 = 400.0;
const LEGEND_PITCH: f64 = 20.0;
const INK: &str = "#222";
const GRID: &str = "#ddd";
const PLAIN: &str = "#9aa5b1";
const HIGHLIGHT: &str = "#d55e00";
const PALETTE: [&str; 7] = [
    "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#222222",
];

#[cfg(test)]
mod tests {
    use super::{Axis, Bar, Bars, Group, Lines, Range, Scale, Series, short, step};

    fn axis(scale: Scale) -> Axis {
        Axis {
            title: "requests & more".to_owned(),
            scale,
        }
    }

    #[test]
    fn the_longest_bar_takes_the_whole_width_and_the_others_their_share() {
        let bar = |label: &str, value, spread| Bar {
            label: label.to_owned(),
            value,
            spread,
            highlight: label == "Weir",
        };
        let svg = Bars {
            title: "a < b".to_owned(),
            measure: "µs".to_owned(),
            groups: vec![Group {
                name: "h1".to_owned(),
                bars: vec![
                    bar("Weir", 10.0, None),
                    bar("nginx", 15.0, Some((14.0, 20.0))),
                ],
            }],
        }
        .to_svg();
        assert!(svg.contains("a &lt; b"), "{svg}");
        // 20 is the greatest: 10 takes half of 490.
        assert!(
            svg.contains("width=\"245.0\" height=\"14.0\" fill=\"#d55e00\""),
            "{svg}"
        );
        assert!(svg.contains("width=\"367.5\""), "{svg}");
        assert!(svg.contains("x2=\"680.0\""), "{svg}");
    }

    #[test]
    fn bars_without_any_length_do_not_divide_by_zero() {
        let bar = Bar {
            label: "x".to_owned(),
            value: 0.0,
            spread: None,
            highlight: false,
        };
        let group = Group {
            name: String::new(),
            bars: vec![bar],
        };
        let svg = Bars {
            groups: vec![group],
            ..Bars::default()
        }
        .to_svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn logarithmic_axes_span_whole_powers_of_ten() {
        let range = Range::of(
            &axis(Scale::Logarithmic),
            vec![30.0, 9_000.0, 0.0],
            (0.0, 300.0),
        );
        assert_eq!(range.ticks().len(), 4, "10, 100, 1000, 10000");
        assert!((range.place(100.0) - 100.0).abs() < 1e-9);
        assert!(!range.shows(0.0));
    }

    #[test]
    fn linear_axes_begin_at_zero_and_end_at_a_tick() {
        let range = Range::of(&axis(Scale::Linear), vec![3.0, 19.0], (0.0, 100.0));
        assert_eq!(range.ticks(), [0.0, 5.0, 10.0, 15.0, 20.0]);
        assert!(range.place(0.0).abs() < 1e-9);
        assert!((range.place(20.0) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn lines_without_points_are_still_a_plot() {
        let lines = Lines {
            title: "none".to_owned(),
            x: axis(Scale::Logarithmic),
            y: axis(Scale::Linear),
            series: vec![Series {
                name: "s".to_owned(),
                points: Vec::new(),
                model: false,
            }],
        };
        let svg = lines.to_svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn models_are_dashed_and_have_no_marks() {
        let points = vec![(1.0, 1.0), (10.0, 2.0)];
        let lines = |model| Lines {
            title: String::new(),
            x: axis(Scale::Logarithmic),
            y: axis(Scale::Linear),
            series: vec![Series {
                name: String::new(),
                points: points.clone(),
                model,
            }],
        };
        assert_eq!(lines(false).to_svg().matches("<circle").count(), 2);
        let model = lines(true).to_svg();
        assert!(model.contains("stroke-dasharray") && !model.contains("<circle"));
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.012, "0.012"),
            (1.5, "1.5"),
            (18.67, "18.7"),
            (412.3, "412"),
            (9_999.0, "9999"),
            (53_370.0, "53.4k"),
            (2_500_000.0, "2.5M"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
        assert!((step(20.0) - 5.0).abs() < 1e-9);
        assert!((step(0.0) - 1.0).abs() < 1e-9);
    }
}
