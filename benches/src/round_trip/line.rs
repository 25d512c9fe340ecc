//! The way to the server.

use super::{Server, proxy};
use std::{io, net::UdpSocket, path::PathBuf, process, sync::Arc, time::Duration};

/// The way to the server, on which each byte takes half of a round trip.
#[derive(Debug)]
pub enum Line {
    /// A proxy in this program, which delays each byte. TCP itself sees no delay: its windows do not grow with the round trip.
    Proxy,
    /// Two network namespaces, with a line between them that `.ci/line.py` carries: the server is in the one of this process.
    Namespaces(u32),
}

/// Where the server is, at the other end.
const FAR: &str = "10.77.0.2:0";
/// Where `.ci/line.py` takes the delay of one direction.
const CONTROL: &str = "127.0.0.1:7707";

// === impl Line ===

impl Line {
    /// The namespaces that the process `number` carries packets between.
    ///
    /// # Errors
    ///
    /// When it is no number.
    pub fn of_process(number: &str) -> Result<Self, String> {
        match number.parse() {
            Ok(number) if number != process::id() => Ok(Self::Namespaces(number)),
            _ => Err(format!("{number} is not the number of another process")),
        }
    }

    /// A server at the other end, with a round trip of that length from now on.
    pub(super) fn start(&self, round_trip: Duration) -> Arc<Server> {
        match self {
            Self::Proxy => {
                let server = Server::start("127.0.0.1:0", || Ok(()));
                let behind = server.address();
                server.at(proxy::start(behind, round_trip / 2))
            }
            Self::Namespaces(process) => {
                set_delay(round_trip / 2).expect("the line responds");
                let namespace = PathBuf::from(format!("/proc/{process}/ns/net"));
                Server::start(FAR, move || enter(&namespace))
            }
        }
        .into()
    }
}

fn set_delay(half: Duration) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.send_to(half.as_secs_f64().to_string().as_bytes(), CONTROL)?;
    socket.recv(&mut [0; 64])?;
    // What is on its way at the old speed arrives first.
    std::thread::sleep(Duration::from_secs(1));
    Ok(())
}

/// Moves this thread into a network namespace.
#[cfg(target_os = "linux")]
fn enter(namespace: &std::path::Path) -> io::Result<()> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    use std::{fs::File, os::fd::AsFd};
    let namespace = File::open(namespace)?;
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

#[cfg(not(target_os = "linux"))]
fn enter(_: &std::path::Path) -> io::Result<()> {
    Err(io::Error::other("network namespaces are of Linux"))
}
