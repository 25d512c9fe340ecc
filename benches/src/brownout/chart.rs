//! What was delivered, as PNG: a group of bars for each share, one panel for each size.

use super::{Cell, SHARES, Size};
use crate::plot::Canvas;
use embedded_graphics::{
    geometry::{Point, Size as Extent},
    mono_font::{MonoTextStyle, iso_8859_1::FONT_7X13},
    pixelcolor::{Rgb888, RgbColor},
    prelude::{Drawable, Primitive},
    primitives::{PrimitiveStyle, Rectangle},
    text::Text,
};
use std::{io, path::Path};

const WIDTH: i32 = 900;
const LEFT: i32 = 60;
const TOP: i32 = 60;
const PANEL: i32 = 220;
const GAP: i32 = 70;
const GROUP: i32 = 200;
const BAR: i32 = 52;

const COLORS: [Rgb888; 3] =
    [Rgb888::new(0x1f, 0x77, 0xb4), Rgb888::new(0xd9, 0x8c, 0x3f), Rgb888::new(0x8c, 0x8c, 0x8c)];

/// Draws `cells` into `folder` as `brownout.png`.
///
/// # Errors
///
/// When the file cannot be written.
pub fn draw(cells: &[Cell], folder: &Path) -> io::Result<()> {
    let mut canvas = Canvas::new(WIDTH as u32, (TOP + 2 * (PANEL + GAP)) as u32);
    let mut names: Vec<&str> = Vec::new();
    for cell in cells {
        if !names.contains(&cell.contender) {
            names.push(cell.contender);
        }
    }
    write(&mut canvas, "Records delivered to a server that fails a share of its requests at random", LEFT, 20);
    for (number, name) in names.iter().enumerate() {
        let x = LEFT + 260 * number as i32;
        rectangle(&mut canvas, (x, 30), (12, 12), COLORS[number % COLORS.len()]);
        write(&mut canvas, name, x + 18, 41);
    }
    for (panel, (size, title)) in
        [(Size::Small, "10 records at a time"), (Size::Large, "512 records at a time")].into_iter().enumerate()
    {
        let bottom = TOP + PANEL + panel as i32 * (PANEL + GAP);
        write(&mut canvas, title, LEFT, bottom - PANEL + 14);
        for percent in [0, 50, 100] {
            let y = height(f64::from(percent) / 100.0);
            rectangle(&mut canvas, (LEFT, bottom - y), (WIDTH - LEFT - 20, 1), Rgb888::new(0xd0, 0xd0, 0xd0));
            write(&mut canvas, &format!("{percent} %"), 12, bottom - y + 4);
        }
        for (group, failing) in SHARES.into_iter().enumerate() {
            let left = LEFT + 20 + group as i32 * GROUP;
            write(&mut canvas, &format!("{:.0} % fail", 100.0 * failing), left + 40, bottom + 18);
            let of_group = cells.iter().filter(|cell| cell.size == size && (cell.failing - failing).abs() < 1e-9);
            for cell in of_group {
                let place = names.iter().position(|name| *name == cell.contender).unwrap_or_default();
                let (x, y) = (left + place as i32 * (BAR + 4), height(cell.delivered));
                rectangle(&mut canvas, (x, bottom - y), (BAR, y), COLORS[place % COLORS.len()]);
                write(&mut canvas, &format!("{:.1}", 100.0 * cell.delivered), x + 8, bottom - y - 4);
            }
        }
    }
    canvas.write(&folder.join("brownout.png"))
}

/// How high a bar is; the rest of the panel has the figures.
fn height(share: f64) -> i32 {
    (share * f64::from(PANEL - 40)) as i32
}

fn rectangle(canvas: &mut Canvas, (x, y): (i32, i32), (width, height): (i32, i32), color: Rgb888) {
    let bar = Rectangle::new(Point::new(x, y), Extent::new(width.max(0) as u32, height.max(0) as u32));
    let Ok(()) = bar.into_styled(PrimitiveStyle::with_fill(color)).draw(canvas);
}

fn write(canvas: &mut Canvas, words: &str, x: i32, y: i32) {
    let ink = MonoTextStyle::new(&FONT_7X13, Rgb888::BLACK);
    let Ok(_end) = Text::new(words, Point::new(x, y), ink).draw(canvas);
}
