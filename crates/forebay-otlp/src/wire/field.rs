/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its number in the `.proto` file; at most 31, so that a set of fields is a `u32`.
    pub(crate) number: u32,
    /// Its key in JSON with the characters around it: `,"timeUnixNano":`.
    pub(crate) key: &'static str,
    /// How many bytes the length of its message probably takes as a varint.
    pub(crate) width: usize,
}

/// Declares the fields of one message: `NAME = number, "jsonName";`.
macro_rules! fields {
    ($($name:ident = $number:literal, $key:literal;)*) => {
        $(const $name: $crate::wire::Field = $crate::wire::Field::new($number, concat!(",\"", $key, "\":"));)*
    };
}
pub(crate) use fields;

// === impl Field ===

impl Field {
    /// The field with this number, and this name in JSON between `,"` and `":`.
    pub(crate) const fn new(number: u32, key: &'static str) -> Self {
        assert!(number > 0 && number < 32, "a field of OTLP has a small number");
        Self { number, key, width: 1 }
    }

    /// The same field, for messages whose length takes `width` bytes rather than one.
    ///
    /// A wrong guess costs a move of the message, never a wrong length.
    pub(crate) const fn wide(mut self, width: usize) -> Self {
        self.width = width;
        self
    }

    /// The field's bit in a set of fields.
    #[inline]
    pub(crate) const fn bit(self) -> u32 {
        1 << self.number
    }
}
