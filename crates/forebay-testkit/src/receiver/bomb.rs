use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Crc, FlushCompress};

/// A gzip member that decodes to zeros, made while it is sent: about 1 KiB of memory for any length.
#[derive(Debug)]
pub(super) struct Bomb {
    block: Bytes,
    blocks: u64,
    end: Option<Bytes>,
    begun: bool,
}

/// What one block decodes to.
const BLOCK: u64 = 1 << 20;
/// RFC 1952: magic, deflate, no flags, no time, no extra flags, unknown system.
const HEAD: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255];

// === impl Bomb ===

impl Bomb {
    pub(super) fn new(bytes: u64) -> Self {
        let (blocks, rest) = (bytes / BLOCK, bytes % BLOCK);
        // A flushed block ends on a byte, and refers to nothing outside itself: it can be sent again and again.
        let (block, block_crc) = deflated(BLOCK, FlushCompress::Sync);
        let (tail, tail_crc) = deflated(rest, FlushCompress::Finish);
        let mut crc = repeated(&block_crc, blocks);
        crc.combine(&tail_crc);
        let mut end = BytesMut::from(&*tail);
        end.put_u32_le(crc.sum());
        // The length modulo 2^32, says the RFC.
        end.extend_from_slice(&bytes.to_le_bytes()[..4]);
        Self { block, blocks, end: Some(end.freeze()), begun: false }
    }

    pub(super) fn next(&mut self) -> Option<Bytes> {
        if !self.begun {
            self.begun = true;
            return Some(Bytes::from_static(&HEAD));
        }
        match self.blocks.checked_sub(1) {
            Some(left) => {
                self.blocks = left;
                Some(self.block.clone())
            }
            None => self.end.take(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.end.is_none()
    }
}

/// The checksum of `count` times the same bytes, by doubling.
fn repeated(once: &Crc, mut count: u64) -> Crc {
    let (mut all, mut power) = (Crc::new(), Crc::new());
    power.combine(once);
    while count > 0 {
        if count % 2 == 1 {
            all.combine(&power);
        }
        let mut half = Crc::new();
        half.combine(&power);
        power.combine(&half);
        count /= 2;
    }
    all
}

fn deflated(zeros: u64, end: FlushCompress) -> (Bytes, Crc) {
    let zeros = vec![0; usize::try_from(zeros.min(BLOCK)).unwrap_or_default()];
    let mut crc = Crc::new();
    crc.update(&zeros);
    let mut out = Vec::with_capacity(zeros.len() / 100 + 1024);
    let done = Compress::new(Compression::best(), false).compress_vec(&zeros, &mut out, end);
    debug_assert!(done.is_ok(), "zeros can be compressed");
    (out.into(), crc)
}
