use crate::error;
use async_nats::{
    Client, HeaderMap, Request, Subject,
    jetstream::{self, AckKind},
};
use bytes::Bytes;
use forebay_spool::SpoolError;
use std::time::Duration;

/// A client, and how long its server may take to respond.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) timeout: Duration,
}

// === impl Connection ===

impl Connection {
    pub(crate) fn new(client: Client, timeout: Duration) -> Self {
        let jetstream = jetstream::ContextBuilder::new().timeout(timeout).ack_timeout(timeout).build(client.clone());
        Self { client, jetstream, timeout }
    }

    /// Tells the server something of a message that it has delivered, without waiting for a response.
    pub(crate) async fn tell(&self, reply: &Subject, kind: AckKind) -> Result<(), SpoolError> {
        let told = self.client.publish(reply.clone(), kind.into());
        tokio::time::timeout(self.timeout, told).await.map_err(error::unclear)?.map_err(error::unclear)
    }

    /// Acknowledges a message that the server has delivered, and waits until it has noted that.
    pub(crate) async fn acknowledge(&self, reply: &Subject) -> Result<(), SpoolError> {
        let request = Request::new().payload(AckKind::Ack.into()).timeout(Some(self.timeout));
        self.client.send_request(reply.clone(), request).await.map_err(error::unclear)?;
        Ok(())
    }

    /// Sends a message to a stream, and waits for its acknowledgement.
    pub(crate) async fn publish(&self, subject: String, headers: HeaderMap, payload: Bytes) -> Result<(), SpoolError> {
        let request = Request::new().headers(headers).payload(payload).timeout(Some(self.timeout));
        let response = self.client.send_request(subject, request).await.map_err(error::unclear)?;
        error::acknowledged(&response.payload)
    }
}
