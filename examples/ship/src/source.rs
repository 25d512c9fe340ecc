use super::{Line, is_urgent};
use std::{
    io::{self, BufRead},
    mem,
    time::{SystemTime, UNIX_EPOCH},
};

/// The longest line that is kept. A longer one is passed over, counted as too large, and never in memory as a whole.
pub const MAX_LINE: usize = 32 << 20;

/// The mark that some editors put before the first line of a file in UTF-8. It belongs to the file, not to the line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The lines of a log. A last line without line break is a line; an empty line is one too.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    read: u64,
    /// No line was returned so far.
    at_start: bool,
    /// The last line that was returned has its line break.
    whole: bool,
}

// === impl Lines ===

impl<R: BufRead> Lines<R> {
    /// The lines that `reader` has.
    pub fn new(reader: R) -> Self {
        Self { reader, read: 0, at_start: true, whole: true }
    }

    /// The lines that `reader` has, which stands behind the first `position` bytes.
    #[cfg(feature = "spool")]
    pub(crate) fn behind(reader: R, position: u64) -> Self {
        Self { reader, read: position, at_start: position == 0, whole: true }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.read
    }

    /// Whether the last line that was returned has its line break. A line without one may still be being written.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The next line; blocks until there is one.
    ///
    /// # Errors
    ///
    /// What the reader says.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        let (mut body, mut length, mut any) = (Vec::new(), 0_usize, false);
        let at_start = mem::replace(&mut self.at_start, false);
        loop {
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            if buffer.is_empty() {
                // A file with nothing but the mark is an empty one.
                any &= !(at_start && body == BYTE_ORDER_MARK);
                self.whole = !any;
                return Ok(any.then(|| line(body, length, at_start)));
            }
            any = true;
            let end = memchr::memchr(b'\n', buffer);
            let part = &buffer[..end.unwrap_or(buffer.len())];
            length = length.saturating_add(part.len());
            if length <= MAX_LINE {
                body.extend_from_slice(part);
            } else {
                // The memory goes at once: a file without line breaks must not fill it.
                body = Vec::new();
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            self.read += used as u64;
            if end.is_some() {
                self.whole = true;
                return Ok(Some(line(body, length, at_start)));
            }
        }
    }
}

fn line(mut body: Vec<u8>, mut length: usize, at_start: bool) -> Line {
    if at_start && body.starts_with(BYTE_ORDER_MARK) {
        body.drain(..BYTE_ORDER_MARK.len());
        length -= BYTE_ORDER_MARK.len();
    }
    if body.last() == Some(&b'\r') {
        body.pop();
        length -= 1;
    }
    let urgent = is_urgent(&body);
    Line { body, length, read_at: now(), urgent }
}

#[expect(clippy::disallowed_methods, reason = "the edge: a log record says when it was seen")]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<Vec<u8>> {
        // A buffer smaller than a line, so that lines are put together from pieces.
        let mut lines = Lines::new(io::BufReader::with_capacity(3, text));
        let all = std::iter::from_fn(|| lines.next_line().unwrap()).map(|line| line.body).collect();
        assert_eq!(lines.bytes(), text.len() as u64);
        all
    }

    #[test]
    fn every_line_is_one_whatever_is_in_it() {
        assert_eq!(lines(b""), Vec::<Vec<u8>>::new());
        assert_eq!(lines(b"one\ntwo\n"), [b"one", b"two"]);
        assert_eq!(lines(b"no break at the end"), [b"no break at the end"]);
        assert_eq!(lines(b"\n\nx\n"), [&b""[..], b"", b"x"]);
        assert_eq!(lines(b"dos\r\n\r\n"), [&b"dos"[..], b""]);
        assert_eq!(lines(b"\xff\xfe\nab\0c"), [&b"\xff\xfe"[..], b"ab\0c"]);
    }

    #[test]
    fn a_line_is_whole_with_its_line_break() {
        let mut lines = Lines::new(&b"one\n\nthr"[..]);
        let mut next = || lines.next_line().unwrap().map(|line| (line.body, lines.is_whole()));
        assert_eq!(next(), Some((b"one".to_vec(), true)));
        assert_eq!(next(), Some((b"".to_vec(), true)));
        assert_eq!(next(), Some((b"thr".to_vec(), false)));
        assert_eq!((next(), lines.is_whole()), (None, true), "no line is none that is being written");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(
            lines(b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n"),
            [&b"one"[..], b"\xef\xbb\xbftwo"],
            "only at the start"
        );
        assert_eq!(lines(b"\xef\xbb\xbf"), Vec::<Vec<u8>>::new());
        assert_eq!(lines(b"\xef\xbb\xbf\n\xef\xbb\xbf"), [&b""[..], b"\xef\xbb\xbf"]);
        assert_eq!(lines(b"\xef\xbb"), [b"\xef\xbb"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_not_kept_and_the_next_one_is_read() {
        let text = [vec![b'x'; MAX_LINE + 5], b"\nnext\n".to_vec()].concat();
        let mut lines = Lines::new(&text[..]);
        let long = lines.next_line().unwrap().unwrap();
        assert_eq!((long.body.len(), long.length), (0, MAX_LINE + 5));
        assert!(long.weight() > MAX_LINE);
        assert_eq!(lines.next_line().unwrap().unwrap().body, b"next");
    }
}
