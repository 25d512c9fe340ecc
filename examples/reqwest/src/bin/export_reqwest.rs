//! OTLP over HTTP with reqwest.
//!
//! `cargo run -p forebay-example-reqwest --bin export_reqwest [URL]`; without a URL a receiver is started on this machine. For
//! `https` switch on reqwest's feature `rustls`.

use bytes::Bytes;
use forebay::{
    core::BoxError,
    export::Exporter,
    otlp::{LogsEncoder, Protocol, Resource},
};
use forebay_example_support::story::Destination;
use http_body_util::Full;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program that prints its result")]
async fn main() -> Result<(), BoxError> {
    let destination = Destination::from_arguments().await?;
    // By itself reqwest would follow a redirect, to wherever it points.
    let reqwest = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    // Its requests and responses are types of its own, and the conversions are there.
    let client = tower::service_fn(move |request: http::Request<Full<Bytes>>| {
        let reqwest = reqwest.clone();
        async move {
            let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap))?;
            reqwest.execute(request).await.map(http::Response::<reqwest::Body>::from)
        }
    });

    let exporter = Exporter::builder()
        .endpoint(&destination.logs()?)
        .encoder(
            LogsEncoder::builder()
                .protocol(Protocol::HttpJson)
                .resource(Resource::new().attribute("service.name", "shop"))
                .build()?,
        )
        .client(client)
        .build()?;

    println!("{}", destination.export_ten(exporter).await?);
    Ok(())
}
