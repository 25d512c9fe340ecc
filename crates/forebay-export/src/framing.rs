use bytes::{BufMut, BytesMut};

/// How a request carries the body that an encoder writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// The body is that of a `POST` to the endpoint.
    #[default]
    Plain,
    /// The body is the one message of a unary gRPC call, which needs a client for HTTP/2.
    ///
    /// Compression is that of the message (`grpc-encoding`), and `grpc-status` says whether the call succeeded.
    Grpc {
        /// `/package.Service/Method`, which follows the path of the endpoint.
        method: &'static str,
    },
}

/// The bytes before a gRPC message: one says whether it is compressed, and four are its length.
///
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
pub(crate) const GRPC_PREFIX: usize = 5;

// === impl Framing ===

impl Framing {
    /// Makes room for the prefix of the message, and returns its length.
    pub(crate) fn begin(self, body: &mut BytesMut) -> usize {
        match self {
            Self::Plain => 0,
            Self::Grpc { .. } => {
                body.put_bytes(0, GRPC_PREFIX);
                GRPC_PREFIX
            }
        }
    }

    /// Fills the prefix in; `body` is complete.
    pub(crate) fn end(self, body: &mut BytesMut, is_compressed: bool) {
        if let Self::Grpc { .. } = self
            && let Some((prefix, message)) = body.split_first_chunk_mut::<GRPC_PREFIX>()
        {
            // The cap on bodies is far below 4 GiB.
            let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
            *prefix = [is_compressed.into(), length[0], length[1], length[2], length[3]];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_flag_and_length_before_it() {
        let grpc = Framing::Grpc { method: "/a.B/C" };
        let mut body = BytesMut::new();
        assert_eq!(grpc.begin(&mut body), 5);
        body.put_bytes(b'x', 0x0102);
        grpc.end(&mut body, true);
        assert_eq!((&body[..6], body.len()), (&[1, 0, 0, 1, 2, b'x'][..], 5 + 0x0102));

        let mut plain = BytesMut::new();
        assert_eq!(Framing::Plain.begin(&mut plain), 0);
        plain.put_u8(7);
        Framing::Plain.end(&mut plain, true);
        assert_eq!(plain[..], [7]);
    }
}
