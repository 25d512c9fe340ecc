//! What is generated is not stored. A process of its own, because it looks at the memory of the whole process.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_testkit::receiver::{Fault, Receiver};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The most memory that the process has had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn response_length(receiver: &Receiver) -> u64 {
    let mut stream = TcpStream::connect(receiver.address()).await.unwrap();
    stream.write_all(b"POST /any HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return length,
            read => length += read as u64,
        }
    }
}

#[tokio::test]
async fn a_gibibyte_costs_no_memory() {
    let gibibyte = 1 << 30;
    let script = [Fault::None, Fault::Oversized { bytes: gibibyte }, Fault::GzipBomb { bytes: gibibyte }];
    let receiver = Receiver::builder().script(script).start().await.unwrap();
    response_length(&receiver).await;
    let before = peak();
    assert!(response_length(&receiver).await > gibibyte);
    let bomb = response_length(&receiver).await;
    assert!((500_000..2_000_000).contains(&bomb), "a thousandth of what it decodes to, not {bomb}");
    let grown = peak() - before;
    assert!(grown < 8 * 1024, "{grown} KiB");
}
