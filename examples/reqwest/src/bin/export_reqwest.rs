//! OTLP over HTTP with reqwest.
//!
//! `cargo run -p forebay-example-reqwest --bin export_reqwest [URL]`; without a URL a receiver is started on this machine. For
//! `https` switch on reqwest's feature `rustls`.

use forebay::{
    core::BoxError,
    export::{Exporter, Reqwest},
    otlp::{LogsEncoder, Protocol, Resource},
};
use forebay_example_support::story::Destination;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program that prints its result")]
async fn main() -> Result<(), BoxError> {
    let destination = Destination::from_arguments().await?;
    // By itself reqwest would follow a redirect, to wherever it points.
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;

    let exporter = Exporter::builder()
        .endpoint(&destination.logs()?)
        .encoder(
            LogsEncoder::builder()
                .protocol(Protocol::HttpJson)
                .resource(Resource::new().attribute("service.name", "shop"))
                .build()?,
        )
        .client(Reqwest::new(client))
        .build()?;

    println!("{}", destination.export_ten(exporter).await?);
    Ok(())
}
