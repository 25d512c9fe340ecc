use super::PartialSuccess;

/// The rest of a message.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

/// The payload of a field.
enum Payload<'a> {
    Varint(u64),
    Len(&'a [u8]),
    /// A payload of a kind that none of the fields read here has.
    Other,
}

/// Reads an `Export*ServiceResponse`; `None` if it is malformed.
///
/// As every protobuf reader must, it skips unknown fields, and uses the last of several values of a field.
pub(super) fn read(body: &[u8]) -> Option<PartialSuccess> {
    let mut found = PartialSuccess::default();
    let mut response = Reader(body);
    while let Some((number, payload)) = response.field()? {
        if number == 1 {
            let Payload::Len(partial_success) = payload else { return None };
            read_partial_success(partial_success, &mut found)?;
        }
    }
    Some(found)
}

/// `google.rpc.Status.message`
pub(super) fn message(status: &[u8]) -> Option<&[u8]> {
    let (mut reader, mut message) = (Reader(status), None);
    while let Some((number, payload)) = reader.field()? {
        if let (2, Payload::Len(text)) = (number, payload) {
            message = Some(text);
        }
    }
    message
}

fn read_partial_success(message: &[u8], found: &mut PartialSuccess) -> Option<()> {
    let mut reader = Reader(message);
    while let Some((number, payload)) = reader.field()? {
        match (number, payload) {
            (1, Payload::Varint(rejected)) => found.rejected = rejected.cast_signed(),
            (2, Payload::Len(text)) => found.message = String::from_utf8_lossy(text).into_owned(),
            (1 | 2, _) => return None,
            _ => {}
        }
    }
    Some(())
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// The next field: `Some(None)` at the end, `None` if the bytes are no field.
    #[expect(clippy::option_option, reason = "the outer one is for `?`, the inner one for `while let`")]
    fn field(&mut self) -> Option<Option<(u64, Payload<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        let payload = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => self.take(8).map(|_skipped| Payload::Other)?,
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Payload::Len(self.take(len)?)
            }
            5 => self.take(4).map(|_skipped| Payload::Other)?,
            // Groups, which proto3 does not have, and wire types that do not exist.
            _ => return None,
        };
        let number = tag >> 3;
        (number != 0).then_some(Some((number, payload)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            // The tenth byte has room for one bit only.
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}
