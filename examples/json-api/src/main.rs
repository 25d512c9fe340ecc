//! A client of a JSON API for several tenants; see the README beside it.

mod api;
mod client;

use crate::{
    api::Api,
    client::{Call, Client, Tenant},
};
use forebay::{
    breaker::{CircuitOpen, State},
    core::{BoxError, Totals, cause_ref},
};
use forebay_example_support::server::say;
use std::sync::Arc;
use tokio::{sync::Mutex, task::JoinSet};

/// Calls of the nightly job, and calls for which a person waits.
const NIGHTLY: usize = 200;
const URGENT: usize = 10;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let api = Api::start().await?;
    let client = Client::new()?;
    faults_that_pass(&api, &client).await?;
    a_tenant_that_is_down(&api, &client).await?;
    urgent_calls_overtake(&api, &client).await?;

    let clients = client.clients();
    say(format_args!("registry: {} clients for 3 tenants", clients.created))?;
    let totals = client.close().await;
    say(format_args!("queue:    {totals}"))?;
    assert_eq!((clients.created, clients.failed), (3, 0), "one client for each tenant");
    let Totals { offered, delivered, pending, .. } = totals;
    assert!(totals.balance(), "{totals}");
    // The calls of `a_tenant_that_is_down` that failed.
    assert_eq!((offered - delivered, pending), (6, 0));
    Ok(())
}

/// A 503 with `Retry-After`, and a response that never comes, cost a retry each; the caller sees neither.
async fn faults_that_pass(api: &Api, client: &Client) -> Result<(), BoxError> {
    let before = api.seen("initech");
    let tenant = Tenant::new("initech", api.address());
    let order = client.call(Call::new(&tenant, "orders/1")).await?;
    let requests = api.seen("initech") - before;
    say(format_args!("initech:  {order} by request {requests}: one was refused, and one timed out"))?;
    assert_eq!((order["tenant"].as_str(), requests), (Some("initech"), 3));
    Ok(())
}

/// Its circuit opens; other tenants are not affected; when it is back, the first call that may go closes the circuit.
async fn a_tenant_that_is_down(api: &Api, client: &Client) -> Result<(), BoxError> {
    let tenant = Tenant::new("globex", api.address());
    api.set_down("globex", true);
    let mut failed = 0;
    while client.state("globex") == State::Closed {
        failed += usize::from(client.call(Call::new(&tenant, "orders/1")).await.is_err());
        assert!(failed <= 5, "the circuit should be open");
    }
    let seen = api.seen("globex");
    let error = client.call(Call::new(&tenant, "orders/1")).await.err().ok_or("the circuit should be open")?;
    let open = cause_ref::<CircuitOpen>(&*error).ok_or("another error than expected")?;
    let refused = api.seen("globex") == seen;
    say(format_args!("globex:   {failed} calls failed, then {open}, and the server sees no more of them"))?;

    let acme = client.call(Call::new(&Tenant::new("acme", api.address()), "orders/1")).await?;
    say(format_args!("acme:     {acme}, for another tenant is not to blame"))?;

    api.set_down("globex", false);
    tokio::time::sleep(open.retry_in()).await;
    let order = client.call(Call::new(&tenant, "orders/1")).await?;
    say(format_args!("globex:   {order}, for it is back, and its circuit is closed again"))?;
    assert!(refused && failed == 5 && client.state("globex") == State::Closed && order["tenant"] == "globex");
    Ok(())
}

/// The nightly job has filled the queue; a call for which a person waits goes before the calls that wait.
async fn urgent_calls_overtake(api: &Api, client: &Client) -> Result<(), BoxError> {
    let tenant = Tenant::new("acme", api.address());
    let before = client.pending();
    api.hold(true);
    // Which calls ended, in this order.
    let ended = Arc::new(Mutex::new(Vec::new()));
    let mut calls = JoinSet::new();
    let mut call = |number: usize, urgent: bool| {
        let (client, ended) = (client.clone(), Arc::clone(&ended));
        let call = Call::new(&tenant, &format!("orders/{number}")).urgent(urgent);
        calls.spawn(async move {
            let order = client.call(call).await;
            ended.lock().await.push(urgent);
            order
        });
    };
    (0..NIGHTLY).for_each(|number| call(number, false));
    client.reaches(before + NIGHTLY).await?;
    (0..URGENT).for_each(|number| call(number, true));
    client.reaches(before + NIGHTLY + URGENT).await?;
    api.hold(false);
    while let Some(order) = calls.join_next().await {
        order??;
    }
    let ended = ended.lock().await;
    let first = ended.iter().rposition(|urgent| *urgent).map_or(0, |last| last + 1 - URGENT);
    say(format_args!(
        "lanes:    {URGENT} urgent calls behind {NIGHTLY} others: all but {first} of the others end after them"
    ))?;
    assert_eq!(ended.len(), NIGHTLY + URGENT);
    assert!(first <= 20, "all but what the workers had in hand, and one in eight");
    Ok(())
}
