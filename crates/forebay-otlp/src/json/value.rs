use super::{
    close,
    number::{put_double, put_long},
    text::{put_base64, put_text},
};
use crate::{
    MAX_DEPTH,
    value::{ArrayWriter, AsValue, AttributesWriter, ValueWriter},
    wire::Buf,
};

/// Writes one `AnyValue` after its key or comma.
pub(crate) struct JsonValue<'b> {
    buf: &'b mut Buf,
    /// The number of lists around it.
    depth: usize,
}

/// Writes the elements of an open array of values.
pub(crate) struct JsonArray<'b> {
    buf: &'b mut Buf,
    depth: usize,
}

/// Writes the elements of an open array of pairs.
pub(crate) struct JsonKvList<'b> {
    buf: &'b mut Buf,
    depth: usize,
}

// === impl JsonValue ===

impl<'b> JsonValue<'b> {
    #[inline]
    pub(super) fn new(buf: &'b mut Buf) -> Self {
        Self { buf, depth: 0 }
    }

    /// Writes a `KeyValue`.
    #[inline]
    pub(super) fn pair(buf: &'b mut Buf, key: &str, value: impl AsValue, depth: usize) {
        buf.put(b"{\"key\":\"");
        put_text(buf, key);
        buf.put(b"\",\"value\":");
        value.value(JsonValue { buf: &mut *buf, depth });
        buf.put(b"}");
    }

    /// Opens the list that is the value, and returns the index of its first element; `None` if it is nested too deep.
    fn open_list(self, open: &[u8]) -> Option<(&'b mut Buf, usize, usize)> {
        let Self { buf, depth } = self;
        if depth >= MAX_DEPTH {
            buf.set_too_deep();
            return None;
        }
        buf.put(open);
        let start = buf.len();
        Some((buf, depth + 1, start))
    }
}

fn close_list(buf: &mut Buf, start: usize) {
    close(buf, start, *b"[]");
    buf.put(b"}}");
}

impl<'b> ValueWriter for JsonValue<'b> {
    type Done = ();
    type Array = JsonArray<'b>;
    type KvList = JsonKvList<'b>;

    fn empty(self) {
        self.buf.put(b"{}");
    }

    #[inline]
    fn string(self, value: &str) {
        self.buf.put(b"{\"stringValue\":\"");
        put_text(self.buf, value);
        self.buf.put(b"\"}");
    }

    #[inline]
    fn bool(self, value: bool) {
        self.buf.put(if value { b"{\"boolValue\":true}" } else { b"{\"boolValue\":false}" });
    }

    #[inline]
    fn int(self, value: i64) {
        self.buf.put(b"{\"intValue\":");
        put_long(self.buf, value);
        self.buf.put(b"}");
    }

    #[inline]
    fn double(self, value: f64) {
        self.buf.put(b"{\"doubleValue\":");
        put_double(self.buf, value);
        self.buf.put(b"}");
    }

    fn bytes(self, value: &[u8]) {
        self.buf.put(b"{\"bytesValue\":\"");
        put_base64(self.buf, value);
        self.buf.put(b"\"}");
    }

    fn array(self, write: impl FnOnce(&mut JsonArray<'b>)) {
        if let Some((buf, depth, start)) = self.open_list(b"{\"arrayValue\":{\"values\":") {
            let mut array = JsonArray { buf, depth };
            write(&mut array);
            close_list(array.buf, start);
        }
    }

    fn kv_list(self, write: impl FnOnce(&mut JsonKvList<'b>)) {
        if let Some((buf, depth, start)) = self.open_list(b"{\"kvlistValue\":{\"values\":") {
            let mut list = JsonKvList { buf, depth };
            write(&mut list);
            close_list(list.buf, start);
        }
    }
}

// === impl JsonArray ===

impl ArrayWriter for JsonArray<'_> {
    fn value(&mut self, value: impl AsValue) {
        self.buf.put(b",");
        value.value(JsonValue { buf: self.buf, depth: self.depth });
    }
}

// === impl JsonKvList ===

impl AttributesWriter for JsonKvList<'_> {
    fn attribute(&mut self, key: &str, value: impl AsValue) {
        self.buf.put(b",");
        JsonValue::pair(self.buf, key, value, self.depth);
    }
}
