//! OTLP over HTTP with hyper-util's client, and rustls where the URL says `https`.
//!
//! `cargo run -p forebay-example-hyper --bin export_hyper [URL]`; without a URL a receiver is started on this machine.

use forebay::{
    core::BoxError,
    export::{Compression, Exporter},
    otlp::{LogsEncoder, Resource},
};
use forebay_example_support::story::Destination;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program that prints its result")]
async fn main() -> Result<(), BoxError> {
    let destination = Destination::from_arguments().await?;
    let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).build(connector);

    let exporter = Exporter::builder()
        .endpoint(&destination.logs()?)
        .encoder(LogsEncoder::builder().resource(Resource::new().attribute("service.name", "shop")).build()?)
        .client(client)
        .compression(Compression::gzip())
        .build()?;

    println!("{}", destination.export_ten(exporter).await?);
    Ok(())
}
