//! A bar chart per table, as PNG.

use crate::table::{Kind, Report};
use embedded_graphics::{
    geometry::{OriginDimensions, Point, Size},
    mono_font::{MonoTextStyle, iso_8859_1::FONT_7X13},
    pixelcolor::{Rgb888, RgbColor},
    prelude::{Dimensions, DrawTarget, Drawable, Pixel, Primitive},
    primitives::{PrimitiveStyle, Rectangle},
    text::Text,
};
use std::{convert::Infallible, fs::File, io, path::Path};

const WIDTH: u32 = 1200;
const LEFT: i32 = 560;
const BAR: u32 = 480;
const LINE: u32 = 24;
const TOP: u32 = 40;

/// An image in memory.
pub(crate) struct Canvas {
    size: Size,
    pixels: Vec<u8>,
}

/// Draws `report` into `folder`; the name of the file is that of the table.
///
/// # Errors
///
/// When the file cannot be written.
pub fn draw(report: &Report, folder: &Path) -> io::Result<()> {
    let mut canvas = Canvas::new(WIDTH, TOP + LINE * report.rows.len() as u32 + 12);
    let ink = MonoTextStyle::new(&FONT_7X13, Rgb888::BLACK);
    let text = |canvas: &mut Canvas, words: &str, at| Text::new(words, at, ink).draw(canvas).map(drop);
    let title = format!("{}: {} (median ns per operation, shorter is better)", report.area, report.title);
    let Ok(()) = text(&mut canvas, &title, Point::new(8, 20));
    let longest = report.rows.iter().map(|row| row.median_ns).fold(f64::MIN_POSITIVE, f64::max);
    for (line, row) in report.rows.iter().enumerate() {
        let top = (TOP + LINE * line as u32) as i32;
        let length = ((row.median_ns / longest) * f64::from(BAR)).ceil().max(1.0) as u32;
        let color = match row.kind {
            Kind::Floor | Kind::Ref => Rgb888::new(0xb0, 0xb0, 0xb0),
            Kind::Rival => Rgb888::new(0xd9, 0x8c, 0x3f),
            Kind::Forebay => Rgb888::new(0x1f, 0x77, 0xb4),
        };
        let bar = Rectangle::new(Point::new(LEFT, top), Size::new(length, LINE - 8));
        let Ok(()) = bar.into_styled(PrimitiveStyle::with_fill(color)).draw(&mut canvas);
        let Ok(()) = text(&mut canvas, &format!("{}: {}", row.kind.as_str(), row.name), Point::new(8, top + 12));
        let figure = format!("{:.1}", row.median_ns);
        let Ok(()) = text(&mut canvas, &figure, Point::new(LEFT + length as i32 + 8, top + 12));
    }
    let name: String = format!("{} {}", report.area, report.title)
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .collect();
    canvas.write(&folder.join(name).with_extension("png"))
}

// === impl Canvas ===

impl Canvas {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Self { size: Size::new(width, height), pixels: vec![0xff; (width * height * 3) as usize] }
    }

    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut encoder = png::Encoder::new(File::create(path)?, self.size.width, self.size.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header()?.write_image_data(&self.pixels)?;
        Ok(())
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        let inside = self.bounding_box();
        for Pixel(at, color) in pixels {
            if inside.contains(at) {
                let place = 3 * (at.y as usize * self.size.width as usize + at.x as usize);
                self.pixels[place..place + 3].copy_from_slice(&[color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}
