//! What was delivered, as PNG: a panel for each round trip, a bar for each contender, on a logarithmic scale.

use super::{Cell, ROUND_TRIPS, contenders::fixed};
use crate::plot::Canvas;
use embedded_graphics::{
    geometry::{Point, Size},
    mono_font::{MonoTextStyle, iso_8859_1::FONT_7X13},
    pixelcolor::{Rgb888, RgbColor},
    prelude::{Drawable, Primitive},
    primitives::{PrimitiveStyle, Rectangle},
    text::Text,
};
use std::{io, path::Path};

const LEFT: i32 = 190;
const TOP: i32 = 70;
const LINE: i32 = 22;
const GAP: i32 = 50;
/// The pixels of a factor of ten; the axis begins at a thousand.
const DECADE: f64 = 200.0;
const AXIS: f64 = 1000.0;
const WIDTH: i32 = LEFT + 4 * DECADE as i32 + 60;

const OURS: Rgb888 = Rgb888::new(0x1f, 0x77, 0xb4);
const FIXED: Rgb888 = Rgb888::new(0x8f, 0xbb, 0xda);
const THEIRS: Rgb888 = Rgb888::new(0xd9, 0x8c, 0x3f);
const RAMP: Rgb888 = Rgb888::new(0x40, 0x40, 0x40);
const GRID: Rgb888 = Rgb888::new(0xd0, 0xd0, 0xd0);

/// Draws `cells` into `folder` as `round-trip.png`.
///
/// # Errors
///
/// When the file cannot be written.
pub fn draw(cells: &[Cell], folder: &Path) -> io::Result<()> {
    let height = TOP + cells.len() as i32 * LINE + ROUND_TRIPS.len() as i32 * GAP;
    let mut canvas = Canvas::new(WIDTH as u32, height as u32);
    write(&mut canvas, "Records per second over a long round trip, 512 a batch, logarithmic", LEFT, 20);
    let colors = [(OURS, "forebay's default"), (FIXED, "fixed"), (THEIRS, "others"), (RAMP, "first 6 s")];
    for (number, (color, name)) in colors.into_iter().enumerate() {
        let x = LEFT + 160 * number as i32;
        rectangle(&mut canvas, (x, 30), (12, 12), color);
        write(&mut canvas, name, x + 18, 41);
    }
    let mut top = TOP;
    for round_trip in ROUND_TRIPS {
        let panel: Vec<_> = cells.iter().filter(|cell| cell.round_trip == round_trip).collect();
        write(&mut canvas, &format!("{round_trip:?}"), 8, top + 2);
        let bottom = top + 8 + panel.len() as i32 * LINE;
        for (power, name) in ["1,000", "10,000", "100,000", "1 million"].into_iter().enumerate() {
            let x = LEFT + (DECADE * power as f64) as i32;
            rectangle(&mut canvas, (x, top), (1, bottom - top), GRID);
            write(&mut canvas, name, x - 16, bottom + 14);
        }
        for (line, cell) in panel.into_iter().enumerate() {
            bar(&mut canvas, cell, top + 8 + line as i32 * LINE);
        }
        top = bottom + GAP;
    }
    canvas.write(&folder.join("round-trip.png"))
}

fn bar(canvas: &mut Canvas, cell: &Cell, top: i32) {
    let color = match cell.contender {
        name if fixed(name).is_some() => FIXED,
        name if name.starts_with("forebay") => OURS,
        _ => THEIRS,
    };
    let (steady, ramp) = (length(cell.steady), length(cell.ramp));
    rectangle(canvas, (LEFT, top), (steady, LINE - 7), color);
    rectangle(canvas, (LEFT + ramp - 1, top - 1), (3, LINE - 5), RAMP);
    write(canvas, cell.contender, 8, top + 12);
    write(canvas, &format!("{:.0}", cell.steady), LEFT + steady.max(ramp) + 8, top + 12);
}

fn length(records: f64) -> i32 {
    (DECADE * (records / AXIS).max(1.0).log10()) as i32
}

fn rectangle(canvas: &mut Canvas, (x, y): (i32, i32), (width, height): (i32, i32), color: Rgb888) {
    let bar = Rectangle::new(Point::new(x, y), Size::new(width.max(0) as u32, height.max(0) as u32));
    let Ok(()) = bar.into_styled(PrimitiveStyle::with_fill(color)).draw(canvas);
}

fn write(canvas: &mut Canvas, words: &str, x: i32, y: i32) {
    let ink = MonoTextStyle::new(&FONT_7X13, Rgb888::BLACK);
    let Ok(_end) = Text::new(words, Point::new(x, y), ink).draw(canvas);
}
