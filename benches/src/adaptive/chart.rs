//! What happened to one server, as PNG: limit, throughput and latency over time.

use crate::plot::Canvas;
use embedded_graphics::{
    geometry::Point,
    mono_font::{MonoTextStyle, iso_8859_1::FONT_7X13},
    pixelcolor::{Rgb888, RgbColor},
    prelude::{Drawable, Primitive},
    primitives::{Line, PrimitiveStyle},
    text::Text,
};
use forebay_testkit::load::{Bin, Judgement, Run, Scenario};
use std::{convert::Infallible, io, path::Path};

const WIDTH: i32 = 1000;
const LEFT: i32 = 70;
const RIGHT: i32 = 20;
const TOP: i32 = 50;
const PANEL: i32 = 190;
const GAP: i32 = 34;

const OURS: Rgb888 = Rgb888::new(0x1f, 0x77, 0xb4);
const BEST: Rgb888 = Rgb888::new(0x70, 0x70, 0x70);
const FIVE: Rgb888 = Rgb888::new(0xd9, 0x8c, 0x3f);
const FRAME: Rgb888 = Rgb888::new(0xd0, 0xd0, 0xd0);

/// A title, and what is drawn of a bin; a bin may have no value.
type Panel<'a> = (&'a str, &'a dyn Fn(&Bin) -> Option<f64>);

/// Draws what `judgement` found of `scenario` into `folder`; the name of the file is that of the scenario.
///
/// # Errors
///
/// When the file cannot be written.
pub fn draw(scenario: &Scenario, judgement: &Judgement, folder: &Path) -> io::Result<()> {
    let mut canvas = Canvas::new(WIDTH as u32, (TOP + 3 * (PANEL + GAP)) as u32);
    let Judgement { name, best, best_run, ours, five, .. } = judgement;
    write(&mut canvas, name, Point::new(LEFT, 18), Rgb888::BLACK);
    let ratio = format!("ours, {:.3} of the best", judgement.ratio());
    write(&mut canvas, &ratio, Point::new(LEFT, 36), OURS);
    write(&mut canvas, &format!("best fixed limit, {best}"), Point::new(LEFT + 240, 36), BEST);
    write(&mut canvas, "fixed limit of 5", Point::new(LEFT + 480, 36), FIVE);
    write(&mut canvas, "what counts begins at the line", Point::new(LEFT + 640, 36), Rgb888::BLACK);
    let width = ours.width.as_secs_f64();
    let panels: [Panel<'_>; 3] = [
        ("limit", &|bin| (bin.ended > 0).then_some(bin.limit)),
        ("served per second", &|bin| Some(bin.served as f64 / width)),
        ("mean ms of what was served", &|bin| (bin.served > 0).then(|| 1e3 * bin.seconds / bin.served as f64)),
    ];
    for (number, (title, value)) in panels.into_iter().enumerate() {
        let top = TOP + number as i32 * (PANEL + GAP);
        let runs = [(five, FIVE), (best_run, BEST), (ours, OURS)];
        panel(&mut canvas, top, title, scenario, &runs, value);
    }
    let file: String = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    canvas.write(&folder.join(file).with_extension("png"))
}

fn panel(
    canvas: &mut Canvas,
    top: i32,
    title: &str,
    scenario: &Scenario,
    runs: &[(&Run, Rgb888)],
    value: &dyn Fn(&Bin) -> Option<f64>,
) {
    let bottom = top + PANEL;
    let right = WIDTH - RIGHT;
    let values: Vec<Vec<Option<f64>>> = runs.iter().map(|(run, _)| run.bins.iter().map(value).collect()).collect();
    let greatest = values.iter().flatten().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    for (at, share) in [(top, 1.0), ((top + bottom) / 2, 0.5), (bottom, 0.0)] {
        line(canvas, Point::new(LEFT, at), Point::new(right, at), FRAME, 1);
        write(canvas, &short(greatest * share), Point::new(6, at + 4), Rgb888::BLACK);
    }
    write(canvas, title, Point::new(LEFT + 4, top + 13), Rgb888::BLACK);
    let counts = scenario.counts_from.as_secs_f64() / scenario.length.as_secs_f64();
    let counts = LEFT + (counts * f64::from(right - LEFT)) as i32;
    line(canvas, Point::new(counts, top), Point::new(counts, bottom), Rgb888::BLACK, 1);
    write(canvas, "0 s", Point::new(LEFT, bottom + 15), Rgb888::BLACK);
    let end = format!("{:.1} s", scenario.length.as_secs_f64());
    write(canvas, &end, Point::new(right - 7 * end.len() as i32, bottom + 15), Rgb888::BLACK);
    for (values, (_, color)) in values.iter().zip(runs) {
        let step = f64::from(right - LEFT) / values.len() as f64;
        let place = |number: usize, value: f64| {
            let x = LEFT + ((number as f64 + 0.5) * step) as i32;
            Point::new(x, bottom - (value / greatest * f64::from(PANEL)) as i32)
        };
        let mut before = None;
        for (number, value) in values.iter().enumerate() {
            // A bin in which nothing ended has no value; the line goes on to the next that has one.
            let Some(value) = value else { continue };
            let here = place(number, *value);
            if let Some(before) = before.replace(here) {
                line(canvas, before, here, *color, 2);
            }
        }
    }
}

fn line(canvas: &mut Canvas, from: Point, to: Point, color: Rgb888, width: u32) {
    let drawn: Result<(), Infallible> =
        Line::new(from, to).into_styled(PrimitiveStyle::with_stroke(color, width)).draw(canvas);
    let Ok(()) = drawn;
}

fn write(canvas: &mut Canvas, words: &str, at: Point, color: Rgb888) {
    let Ok(_end) = Text::new(words, at, MonoTextStyle::new(&FONT_7X13, color)).draw(canvas);
}

/// A number in at most seven letters.
fn short(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}
