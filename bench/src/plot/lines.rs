//! A chart of lines over a logarithmic axis of latencies.

use super::axis::Axis;
use crate::story::paint::{self, Colour, FAINT, GREY, Hold, INK, Sheet};
use crate::story::picture::VENUE_COLOURS;

const WIDTH: u32 = 1_000;
const HEIGHT: u32 = 620;
const LEFT: i32 = 96;
const RIGHT: i32 = 964;
const TOP: i32 = 100;
const BOTTOM: i32 = 548;

/// What is drawn.
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) x: Axis,
    pub(crate) y_label: &'static str,
    pub(crate) series: Vec<Series>,
}

/// One line.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    /// With a dot at every point.
    pub(crate) marked: bool,
}

impl Chart {
    /// As SVG.
    pub(crate) fn svg(&self) -> anyhow::Result<String> {
        paint::sheet((WIDTH, HEIGHT), |sheet| self.draw(sheet))
    }

    fn draw(&self, sheet: &Sheet<'_>) {
        let latencies = self.series.iter().flat_map(|series| &series.points);
        let y = Axis::log(self.y_label, latencies.map(|(_, latency)| *latency));
        sheet.bold(&self.title, (LEFT, 24), Hold::Left, 22);
        sheet.text(&self.subtitle, (LEFT, 50), Hold::Left, 14, GREY);
        for tick in y.ticks() {
            let at = y.at(tick.at, BOTTOM, TOP);
            let colour = if tick.strong { GREY } else { FAINT };
            sheet.line(vec![(LEFT, at), (RIGHT, at)], colour, 1);
            sheet.text(&tick.text, (LEFT - 8, at), Hold::Right, 14, INK);
        }
        for tick in self.x.ticks() {
            let at = self.x.at(tick.at, LEFT, RIGHT);
            sheet.line(vec![(at, TOP), (at, BOTTOM)], FAINT, 1);
            sheet.text(&tick.text, (at, BOTTOM + 16), Hold::Middle, 14, INK);
        }
        let middle = i32::midpoint(LEFT, RIGHT);
        sheet.text(self.x.label, (middle, BOTTOM + 44), Hold::Middle, 15, INK);
        sheet.upright(self.y_label, (20, i32::midpoint(TOP, BOTTOM)), 15);
        let mut legend = LEFT;
        for (n, series) in self.series.iter().enumerate() {
            let colour = VENUE_COLOURS[n % VENUE_COLOURS.len()];
            self.line(sheet, &y, series, colour);
            sheet.line(vec![(legend, 78), (legend + 24, 78)], colour, 3);
            sheet.text(&series.name, (legend + 30, 78), Hold::Left, 15, INK);
            // Room for the name at this size of type.
            legend += 30 + 9 * series.name.chars().count() as i32 + 20;
        }
        sheet.frame((LEFT, TOP), (RIGHT, BOTTOM), GREY);
    }

    fn line(&self, sheet: &Sheet<'_>, y: &Axis, series: &Series, colour: Colour) {
        let points: Vec<_> = series
            .points
            .iter()
            .map(|(x, latency)| (self.x.at(*x, LEFT, RIGHT), y.at(*latency, BOTTOM, TOP)))
            .collect();
        for point in points.iter().filter(|_| series.marked) {
            sheet.dot(*point, colour, 1.0, 4);
        }
        sheet.line(points, colour, 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::tests::is_well_formed;

    #[test]
    fn a_chart_names_its_axes_and_lines_and_is_well_formed() {
        let series = |name: &str, points: &[(f64, f64)]| Series {
            name: name.to_owned(),
            points: points.to_vec(),
            marked: true,
        };
        let chart = Chart {
            title: "Title <&>".to_owned(),
            subtitle: "of 2".to_owned(),
            x: Axis::linear_from_0("requests per second", [1e5, 2e5].into_iter()),
            y_label: "latency, us",
            series: vec![
                series("p50", &[(1e5, 20.0), (2e5, 30.0)]),
                series("p99.9", &[(1e5, 800.0)]),
                series("nothing", &[]),
            ],
        };
        let svg = chart.svg().expect("drawn");
        assert!(is_well_formed(&svg), "{svg}");
        for told in [
            "requests per second",
            "latency, us",
            "p99.9",
            "150,000",
            "1,000",
            "of 2",
        ] {
            assert!(svg.contains(told), "{told}");
        }
    }
}
