//! The requests in each bin around the return of the server, as PNG: a panel for each kind of client.

use super::{BIN, Outage, Storm, server};
use crate::plot::Canvas;
use embedded_graphics::{
    geometry::{Point, Size},
    mono_font::{MonoTextStyle, iso_8859_1::FONT_7X13},
    pixelcolor::{Rgb888, RgbColor},
    prelude::{Drawable, Primitive},
    primitives::{PrimitiveStyle, Rectangle},
    text::Text,
};
use std::{io, path::Path, time::Duration};

const LEFT: i32 = 60;
const TOP: i32 = 40;
const PANEL: i32 = 110;
const GAP: i32 = 34;
/// What is shown before the return of the server, and after it: a bin is a pixel.
const BEFORE: Duration = Duration::from_secs(20);
const AFTER: Duration = Duration::from_secs(80);
/// The top of a panel, in multiples of the normal load.
const MOST: f64 = 6.0;

const OURS: Rgb888 = Rgb888::new(0x1f, 0x77, 0xb4);
const THEIRS: Rgb888 = Rgb888::new(0xd9, 0x8c, 0x3f);
const BEYOND: Rgb888 = Rgb888::new(0xc0, 0x20, 0x20);
const GRID: Rgb888 = Rgb888::new(0xd0, 0xd0, 0xd0);

/// Draws `storms` into `folder`, a file for each kind of outage.
///
/// # Errors
///
/// When a file cannot be written.
pub fn draw(storms: &[Storm], folder: &Path) -> io::Result<()> {
    for outage in [Outage::Refuses, Outage::Hangs] {
        let of_outage: Vec<_> = storms.iter().filter(|storm| storm.outage == outage).collect();
        let (before, shown) = (server::bin(BEFORE), server::bin(BEFORE + AFTER));
        let height = TOP + of_outage.len() as i32 * (PANEL + GAP) + 10;
        let mut canvas = Canvas::new((LEFT + shown as i32 + 20) as u32, height as u32);
        let bin = BIN.as_millis();
        let title = format!(
            "Requests per {bin} ms to a server that {outage} and returns at 0 s, as multiples of the normal load"
        );
        write(&mut canvas, &title, LEFT, 20);
        for (number, storm) in of_outage.into_iter().enumerate() {
            panel(&mut canvas, storm, TOP + number as i32 * (PANEL + GAP), before, shown);
        }
        canvas.write(&folder.join(format!("storm-{outage}.png")))?;
    }
    Ok(())
}

fn panel(canvas: &mut Canvas, storm: &Storm, top: i32, before: usize, shown: usize) {
    let (bottom, normal) = (top + PANEL, storm.normal());
    for multiple in [0.0, 1.0, 3.0] {
        let y = bottom - height(multiple);
        rectangle(canvas, (LEFT, y), (shown as i32, 1), GRID);
        write(canvas, &format!("{multiple}"), LEFT - 16, y + 4);
    }
    let color = if storm.contender == "forebay" { OURS } else { THEIRS };
    for (x, bin) in storm.bins[storm.back - before..].iter().take(shown).enumerate() {
        let multiple = f64::from(*bin) / normal;
        let (y, color) = if multiple > MOST { (height(MOST), BEYOND) } else { (height(multiple), color) };
        rectangle(canvas, (LEFT + x as i32, bottom - y), (1, y), color);
    }
    for seconds in (0..shown / 10).step_by(20) {
        let x = LEFT + 10 * seconds as i32;
        write(canvas, &format!("{} s", seconds as i32 - BEFORE.as_secs() as i32), x, bottom + 13);
    }
    let highest = f64::from(storm.recovery().iter().copied().max().unwrap_or_default()) / normal;
    let text = format!(
        "{}: load {:.2} in the outage, {:.2} in the recovery, highest bin {highest:.1}",
        storm.contender,
        storm.outage_load(),
        storm.recovery_load()
    );
    write(canvas, &text, LEFT + 8, top + 2);
}

fn height(multiple: f64) -> i32 {
    (multiple / MOST * f64::from(PANEL - 14)) as i32
}

fn rectangle(canvas: &mut Canvas, (x, y): (i32, i32), (width, height): (i32, i32), color: Rgb888) {
    let bar = Rectangle::new(Point::new(x, y), Size::new(width.max(0) as u32, height.max(0) as u32));
    let Ok(()) = bar.into_styled(PrimitiveStyle::with_fill(color)).draw(canvas);
}

fn write(canvas: &mut Canvas, words: &str, x: i32, y: i32) {
    let ink = MonoTextStyle::new(&FONT_7X13, Rgb888::BLACK);
    let Ok(_end) = Text::new(words, Point::new(x, y), ink).draw(canvas);
}
