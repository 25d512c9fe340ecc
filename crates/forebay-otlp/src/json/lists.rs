use crate::wire::{Buf, Field};

/// The repeated fields of one open object.
///
/// The elements of a list usually arrive one after the other, and are appended. An element that arrives after another field
/// is moved into its list.
#[derive(Clone, Copy, Default)]
pub(super) struct Lists {
    /// The list whose elements are being appended.
    open: Option<u32>,
    /// The closed lists, by the numbers of their fields, and the indices of their closing brackets.
    closed: [Option<(u32, usize)>; Self::MAX],
}

/// An element that is being written.
#[derive(Clone, Copy)]
#[must_use]
pub(super) struct Element {
    /// The index of its list among the closed lists, and the index at which the element starts; `None` in the open list.
    late: Option<(usize, usize)>,
}

// === impl Lists ===

impl Lists {
    /// The greatest number of repeated messages in a message of OTLP: the attributes, events and links of a span.
    const MAX: usize = 3;

    /// Closes the open list, if any, before another field.
    #[inline(always)]
    pub(super) fn close(&mut self, buf: &mut Buf) {
        if let Some(number) = self.open.take() {
            self.remember(number, buf.len());
            buf.put(b"]");
        }
    }

    fn remember(&mut self, number: u32, end: usize) {
        if let Some(free) = self.closed.iter_mut().find(|slot| slot.is_none()) {
            *free = Some((number, end));
        }
    }

    /// Writes the bytes before an element of the list in `field`.
    #[inline(always)]
    pub(super) fn begin(&mut self, buf: &mut Buf, field: Field) -> Element {
        if self.open == Some(field.number) {
            buf.put(b",");
            return Element { late: None };
        }
        self.close(buf);
        let late = self.closed.iter().position(|slot| slot.is_some_and(|(number, _)| number == field.number));
        let start = buf.len();
        if late.is_some() {
            buf.put(b",");
        } else {
            buf.put(field.key.as_bytes());
            buf.put(b"[");
            self.open = Some(field.number);
        }
        Element { late: late.map(|slot| (slot, start)) }
    }

    /// Ends an element.
    #[inline(always)]
    pub(super) fn end(&mut self, buf: &mut Buf, element: Element) {
        if let Some((slot, start)) = element.late {
            self.move_in(buf, slot, start);
        }
    }

    /// Moves the element at the end of the body to the end of its list.
    #[cold]
    fn move_in(&mut self, buf: &mut Buf, slot: usize, start: usize) {
        let Some((_, end)) = self.closed[slot] else { return };
        let len = buf.len() - start;
        buf.tail(end).rotate_right(len);
        for (_, other) in self.closed.iter_mut().flatten() {
            if *other >= end {
                *other += len;
            }
        }
    }
}
