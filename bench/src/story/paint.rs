//! Shapes on a sheet of SVG, in pixels. The same calls give the same bytes.

use plotters::coord::Shift;
use plotters::prelude::{
    Circle, DrawingArea, IntoDrawingArea, IntoFont, PathElement, Polygon, RGBColor, Rectangle, SVGBackend,
    Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontStyle, FontTransform, ShapeStyle};

pub(crate) type Colour = RGBColor;

pub(crate) const INK: Colour = RGBColor(0x22, 0x22, 0x22);
pub(crate) const FAINT: Colour = RGBColor(0xe4, 0xe4, 0xe4);
pub(crate) const GREY: Colour = RGBColor(0x77, 0x77, 0x77);
const PAPER: Colour = RGBColor(0xff, 0xff, 0xff);

/// Where a text's position lies in it.
#[derive(Clone, Copy)]
pub(crate) enum Hold {
    Left,
    Middle,
    Right,
}

/// The sheet. Drawing on text in memory cannot fail, and a failure would show in the result.
pub(crate) struct Sheet<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

/// Draws on a sheet of this size and gives it as text.
pub(crate) fn sheet(size: (u32, u32), draw: impl FnOnce(&Sheet<'_>)) -> anyhow::Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&PAPER)?;
        let sheet = Sheet { area };
        draw(&sheet);
        sheet.area.present()?;
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

impl Sheet<'_> {
    pub(crate) fn line(&self, points: Vec<(i32, i32)>, colour: Colour, width: u32) {
        let _ = self
            .area
            .draw(&PathElement::new(points, style(colour, 1.0, width)));
    }

    /// A line that what is beneath shines through.
    pub(crate) fn faint_line(&self, points: Vec<(i32, i32)>, colour: Colour, opacity: f64, width: u32) {
        let _ = self
            .area
            .draw(&PathElement::new(points, style(colour, opacity, width)));
    }

    pub(crate) fn area(&self, points: Vec<(i32, i32)>, colour: Colour, opacity: f64) {
        let _ = self
            .area
            .draw(&Polygon::new(points, colour.mix(opacity).filled()));
    }

    pub(crate) fn block(&self, from: (i32, i32), to: (i32, i32), colour: Colour) {
        let _ = self.area.draw(&Rectangle::new([from, to], colour.filled()));
    }

    pub(crate) fn frame(&self, from: (i32, i32), to: (i32, i32), colour: Colour) {
        let _ = self.area.draw(&Rectangle::new([from, to], style(colour, 1.0, 1)));
    }

    pub(crate) fn dot(&self, at: (i32, i32), colour: Colour, opacity: f64, size: i32) {
        let _ = self
            .area
            .draw(&Circle::new(at, size, colour.mix(opacity).filled()));
    }

    /// A cross of two strokes.
    pub(crate) fn cross(&self, at: (i32, i32), colour: Colour, size: i32) {
        for turn in [size, -size] {
            self.line(
                vec![(at.0 - size, at.1 - turn), (at.0 + size, at.1 + turn)],
                colour,
                1,
            );
        }
    }

    /// Text whose middle line passes through `at`.
    pub(crate) fn text(&self, text: &str, at: (i32, i32), hold: Hold, size: u32, colour: Colour) {
        self.write(
            text,
            at,
            hold,
            size,
            colour,
            FontStyle::Normal,
            FontTransform::None,
        );
    }

    pub(crate) fn bold(&self, text: &str, at: (i32, i32), hold: Hold, size: u32) {
        self.write(text, at, hold, size, INK, FontStyle::Bold, FontTransform::None);
    }

    /// Text from below to above.
    pub(crate) fn upright(&self, text: &str, at: (i32, i32), size: u32) {
        self.write(
            text,
            at,
            Hold::Middle,
            size,
            INK,
            FontStyle::Normal,
            FontTransform::Rotate270,
        );
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one place for what three short forms leave out"
    )]
    fn write(
        &self,
        text: &str,
        at: (i32, i32),
        hold: Hold,
        size: u32,
        colour: Colour,
        weight: FontStyle,
        turn: FontTransform,
    ) {
        let hold = match hold {
            Hold::Left => HPos::Left,
            Hold::Middle => HPos::Center,
            Hold::Right => HPos::Right,
        };
        let font = ("sans-serif", size).into_font().style(weight).transform(turn);
        let style = font.color(&colour).pos(Pos::new(hold, VPos::Center));
        let _ = self.area.draw(&Text::new(text.to_owned(), at, style));
    }
}

fn style(colour: Colour, opacity: f64, width: u32) -> ShapeStyle {
    colour.mix(opacity).stroke_width(width)
}
