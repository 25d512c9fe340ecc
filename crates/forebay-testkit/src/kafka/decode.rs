use std::io::Read;

/// The most that a payload may decompress to.
const CAP: u64 = 64 * 1024 * 1024;

/// Undoes the compression as Kafka's own classes do.
pub(super) fn decompress(codec: i8, body: &[u8]) -> Option<Vec<u8>> {
    match codec {
        0 => Some(body.to_vec()),
        1 => read(flate2::read::GzDecoder::new(body)),
        2 => snappy(body),
        3 => lz4(body),
        4 => read(ruzstd::decoding::StreamingDecoder::new(body).ok()?),
        _ => None,
    }
}

fn read(from: impl Read) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    from.take(CAP).read_to_end(&mut plain).ok()?;
    Some(plain)
}

/// As xerial's `SnappyInputStream`: a header of 16 bytes, then blocks with their length before them.
fn snappy(body: &[u8]) -> Option<Vec<u8>> {
    let mut rest = body.strip_prefix(b"\x82SNAPPY\0")?.get(8..)?;
    let mut plain = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk()?;
        let (block, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        plain.extend(snap::raw::Decoder::new().decompress_vec(block).ok()?);
        rest = after;
    }
    Some(plain)
}

/// As Kafka's `Lz4BlockInputStream`, which takes frames of independent blocks only.
fn lz4(body: &[u8]) -> Option<Vec<u8>> {
    const INDEPENDENT: u8 = 0x20;
    let flags = *body.get(4)?;
    (flags & INDEPENDENT != 0).then_some(())?;
    read(lz4_flex::frame::FrameDecoder::new(body))
}
