//! OTLP over gRPC with tonic's channel.
//!
//! `cargo run -p forebay-example-tonic --bin export_tonic [URL]`; without a URL a receiver is started on this machine. For
//! `https` switch on one of tonic's features for TLS.

use bytes::Bytes;
use forebay::{
    core::BoxError,
    export::Exporter,
    otlp::{LogsEncoder, Protocol, Resource},
};
use forebay_example_support::story::Destination;
use http_body_util::Full;
use tonic::{body::Body, transport::Endpoint};
use tower::ServiceBuilder;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program that prints its result")]
async fn main() -> Result<(), BoxError> {
    let destination = Destination::from_arguments().await?;
    // It connects when the first request comes, and again after each failure.
    let channel = Endpoint::from_shared(destination.url.clone())?.connect_lazy();
    let client = ServiceBuilder::new()
        .map_request(|request: http::Request<Full<Bytes>>| request.map(Body::new))
        .service(channel);

    let exporter = Exporter::builder()
        .endpoint(&destination.url)
        .encoder(
            LogsEncoder::builder()
                .protocol(Protocol::Grpc)
                .resource(Resource::new().attribute("service.name", "shop"))
                .build()?,
        )
        .client(client)
        .build()?;

    println!("{}", destination.export_ten(exporter).await?);
    Ok(())
}
