//! Going away, coming back, and remembering.

use crate::support::{call, client, request, scripted, send, until};
use forebay_testkit::receiver::{Fault, Keep, Receiver};
use http::StatusCode;
use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
};
use tokio::net::{TcpSocket, TcpStream};

async fn refused(receiver: &Receiver) -> bool {
    TcpStream::connect(receiver.address()).await.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[tokio::test]
async fn it_goes_away_and_comes_back_on_the_same_port() {
    let receiver = scripted([]).await;
    let http = client();
    for round in 1..=10 {
        assert_eq!(call(&http, request(&receiver, ["x"])).await.unwrap().status(), StatusCode::OK);
        receiver.pause().await.unwrap();
        assert!(refused(&receiver).await);
        assert!(http.request(request(&receiver, ["x"])).await.is_err());
        receiver.resume().await.unwrap();
        assert_eq!(send(&receiver, ["x"]).await, StatusCode::OK);
        assert_eq!(receiver.count("x").accepted, 2 * round, "it remembers");
    }
    assert_eq!(receiver.count("x").ambiguous, 0);
}

#[tokio::test]
async fn the_port_is_kept_while_it_is_away() {
    let receiver = scripted([]).await;
    receiver.pause().await.unwrap();
    assert_eq!(receiver.pause().await.unwrap_err().kind(), ErrorKind::NotConnected, "it is away already");
    let other = TcpSocket::new_v4().unwrap();
    assert_eq!(other.bind(receiver.address()).unwrap_err().kind(), ErrorKind::AddrInUse);
    receiver.resume().await.unwrap();
    receiver.resume().await.unwrap();
    assert_eq!(send(&receiver, ["x"]).await, StatusCode::OK);
}

#[tokio::test]
async fn shutdown_ends_it_and_keeps_the_records() {
    let receiver = scripted([Fault::None, Fault::Slow { by: std::time::Duration::from_secs(3600) }]).await;
    send(&receiver, ["kept"]).await;
    let waiting = tokio::spawn(client().request(request(&receiver, ["cut"])));
    until(&receiver, |totals| totals.accepted == 2).await;
    receiver.shutdown().await;
    receiver.shutdown().await;
    assert!(refused(&receiver).await);
    assert!(waiting.await.unwrap().is_err());
    assert_eq!(receiver.logs().len(), 2);
    assert_eq!(receiver.count("cut").ambiguous, 1);
    assert_eq!(receiver.resume().await.unwrap_err().kind(), ErrorKind::NotConnected);
}

#[tokio::test]
async fn dropping_it_closes_the_port_and_the_connections() {
    let receiver = scripted([Fault::BlackHole { processed: true }]).await;
    let waiting = tokio::spawn(client().request(request(&receiver, ["x"])));
    until(&receiver, |totals| totals.accepted == 1).await;
    let address = receiver.address();
    drop(receiver);
    assert!(waiting.await.unwrap().is_err());
    // The connection was cut after the port was closed, so this does not race.
    let again = Receiver::builder().address(address).start().await.unwrap();
    assert_eq!((again.address(), send(&again, ["x"]).await), (address, StatusCode::OK));
}

#[tokio::test]
async fn an_address_can_be_given() {
    let receiver = scripted([]).await;
    assert_eq!(receiver.address().ip(), Ipv4Addr::LOCALHOST);
    assert_eq!(receiver.endpoint(), format!("http://127.0.0.1:{}", receiver.address().port()));
    let taken = Receiver::builder().address(receiver.address()).start().await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    let other = Receiver::builder().address(SocketAddr::from(([127, 0, 0, 2], 0))).start().await.unwrap();
    assert!(other.endpoint().starts_with("http://127.0.0.2:"));
    let error = Receiver::builder().route("no-slash", |_| http::Response::default()).start().await.unwrap_err();
    assert_eq!(error.to_string(), "`route` is no-slash; allowed: a path that begins with /");
}

#[tokio::test]
async fn it_remembers_as_much_as_it_is_told_to() {
    let bodies: Vec<_> = (0..10_000).map(|n| n.to_string()).collect();
    for keep in [Keep::Everything, Keep::Heads, Keep::Counts] {
        let receiver = Receiver::builder().keep(keep).start().await.unwrap();
        for chunk in bodies.chunks(2500) {
            send(&receiver, chunk.iter().map(String::as_str)).await;
        }
        assert!(receiver.audit(&bodies).is_sound(), "{keep:?}");
        assert_eq!((receiver.totals().accepted, receiver.totals().requests), (10_000, 4));
        assert_eq!(receiver.requests().len(), if keep == Keep::Counts { 0 } else { 4 });
        assert_eq!(receiver.logs().len(), if keep == Keep::Everything { 10_000 } else { 0 });
        let kept = receiver.requests().iter().any(|request| !request.body.is_empty() || request.decoded.is_some());
        assert_eq!(kept, keep == Keep::Everything);
    }
}
