//! What is on the wire, and what is not.

use crate::common::{Answer, Fake, HOST, advance, connect, telemetry};
use forebay_core::{BoxError, DropReason};
use forebay_databricks::{
    Connect, ConnectionParameters, Credentials, Identity, ResultInfo, Settings, Severity, StatementContext,
    VolumeOperation,
};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use std::{collections::HashSet, time::Duration};

const MS: Duration = Duration::from_millis(1);

fn run(statement: &StatementContext) {
    statement.started(Some("QUERY"), Some("EXECUTE_STATEMENT"), false);
    statement.status_call(MS * 7);
    statement.status_call(MS * 3);
    statement.retried();
    let info = ResultInfo {
        execution_result: Some("EXTERNAL_LINKS".into()),
        is_compressed: Some(true),
        total_chunks: Some(4),
    };
    statement.result_ready(MS * 100, info);
    statement.chunk(0, MS * 30);
    statement.chunk(1, MS * 50);
    statement.chunk(2, MS * 20);
    statement.consumed(MS * 400);
    statement.completed(MS * 500);
}

#[tokio::test(start_paused = true)]
async fn a_statement_is_one_log_with_all_its_fields() {
    let fake = Fake::new();
    let (telemetry, _) = telemetry(&fake, Settings::node());
    let parameters = ConnectionParameters {
        http_path: Some("/sql/1.0/warehouses/x".into()),
        socket_timeout: Some(Duration::from_millis(900_000)),
        ..ConnectionParameters::default()
    };
    let connect = connect().workspace_id(77).parameters(parameters).auth_type("pat");
    let connection = telemetry.connect(connect).await;
    run(&connection.statement("statement-1"));
    connection.close().await;

    let request = &fake.seen()[0];
    assert_eq!((&*request.path, &*request.host), ("/telemetry-ext", "adb-1.azuredatabricks.net:443"));
    assert_eq!(request.headers["authorization"], "Bearer s3cret");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["user-agent"], "NodejsDatabricksSqlConnector/1.12.0 (acme)");
    let body = request.json();
    assert!(body["uploadTime"].as_u64().unwrap() > 1_600_000_000_000);
    assert_eq!(body["items"], json!([]));
    let mut log = request.logs()[0].clone();
    assert!(log["context"]["client_context"]["timestamp_millis"].take().as_u64().unwrap() > 1_600_000_000_000);
    assert_eq!(log["frontend_log_event_id"].take().as_str().unwrap().len(), 36);
    let system = log["entry"]["sql_driver_log"]["system_configuration"].take();
    assert_eq!(
        (&system["driver_name"], &system["driver_version"]),
        (&json!("NodejsDatabricksSqlConnector"), &json!("1.12.0"))
    );
    let expected = json!({
        "workspace_id": 77,
        "frontend_log_event_id": null,
        "context": {"client_context": {"timestamp_millis": null, "user_agent": "NodejsDatabricksSqlConnector/1.12.0 (acme)"}},
        "entry": {"sql_driver_log": {
            "session_id": "session-1",
            "sql_statement_id": "statement-1",
            "system_configuration": null,
            "driver_connection_params": {"http_path": "/sql/1.0/warehouses/x", "socket_timeout": 900},
            "auth_type": "pat",
            "sql_operation": {
                "statement_type": "QUERY",
                "is_compressed": true,
                "execution_result": "EXTERNAL_LINKS",
                "chunk_id": 2,
                "retry_count": 1,
                "chunk_details": {
                    "initial_chunk_latency_millis": 30,
                    "slowest_chunk_latency_millis": 50,
                    "total_chunks_present": 4,
                    "total_chunks_iterated": 3,
                    "sum_chunks_download_time_millis": 100,
                },
                "result_latency": {
                    "result_set_ready_latency_millis": 100,
                    "result_set_consumption_latency_millis": 400,
                },
                "operation_detail": {
                    "n_operation_status_calls": 2,
                    "operation_status_latency_millis": 10,
                    "operation_type": "EXECUTE_STATEMENT",
                    "is_internal_call": false,
                },
            },
            "operation_latency_ms": 500,
        }},
    });
    assert_eq!(log, expected);
}

/// Credentials whose headers have the names of those that every request has.
struct Overriding;

impl Credentials for Overriding {
    fn identity(&self) -> Identity {
        Identity::named("overriding")
    }

    fn authorize(&self) -> BoxFuture<'_, Result<HeaderMap, BoxError>> {
        let value = HeaderValue::from_static("of the credentials");
        let names = [header::AUTHORIZATION, header::USER_AGENT, header::CONTENT_TYPE];
        Box::pin(std::future::ready(Ok(names.into_iter().map(|name| (name, value.clone())).collect())))
    }
}

#[tokio::test(start_paused = true)]
async fn the_headers_of_the_credentials_are_put_on_last() {
    let fake = Fake::new();
    let (telemetry, _) = telemetry(&fake, Settings::node());
    let connection = telemetry.connect(Connect::new(HOST).credentials(Overriding)).await;
    connection.operation("CREATE_SESSION", MS);
    connection.close().await;
    let headers = &fake.seen()[0].headers;
    for name in [header::AUTHORIZATION, header::USER_AGENT, header::CONTENT_TYPE] {
        let values: Vec<_> = headers.get_all(&name).iter().collect();
        assert_eq!(values, ["of the credentials"], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_credentials_a_log_names_nobody() {
    let fake = Fake::new();
    let (telemetry, _) = telemetry(&fake, Settings::node());
    let connection = telemetry.connect(Connect::new(HOST).session_id("session-1").workspace_id(7)).await;
    run(&connection.statement("statement-1"));
    connection.volume(
        VolumeOperation { volume_operation_type: Some("PUT".into()), volume_path: Some("/Volumes/secret".into()) },
        MS,
    );
    connection.error_with_trace("SocketError", "at f (/home/ann/x.js)", Severity::Retryable);
    connection.close().await;
    for request in fake.seen() {
        assert_eq!(request.path, "/telemetry-unauth");
        assert!(!request.headers.contains_key("authorization"));
        let text = String::from_utf8(request.body.to_vec()).unwrap();
        for secret in
            ["session-1", "statement-1", "workspace_id", "acme", "system_configuration", "/Volumes", "ann", "x.js"]
        {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert_eq!(request.headers["user-agent"], "NodejsDatabricksSqlConnector/1.12.0");
    }
    let logs: Vec<_> = fake.logs().into_iter().map(|log| log["entry"]["sql_driver_log"].clone()).collect();
    assert_eq!(logs.len(), 3, "the statement, the volume and the error");
    let volume = logs.iter().find(|log| !log["vol_operation"].is_null()).unwrap();
    assert_eq!(volume["vol_operation"], json!({"volume_operation_type": "PUT"}));
    let error = logs.iter().find(|log| !log["error_info"].is_null()).unwrap();
    let error = &error["error_info"];
    assert_eq!(*error, json!({"error_name": "SocketError", "stack_trace": ""}));
}

#[tokio::test(start_paused = true)]
async fn without_authentication_logs_go_to_the_open_endpoint_whatever_credentials_there_are() {
    let fake = Fake::new();
    let (telemetry, _) = telemetry(&fake, Settings { authenticated: false, ..Settings::node() });
    let connection = telemetry.connect(connect().workspace_id(77)).await;
    connection.operation("CREATE_SESSION", MS);
    connection.close().await;
    let request = &fake.seen()[0];
    assert_eq!(request.path, "/telemetry-unauth");
    assert!(!request.headers.contains_key("authorization"));
    let log = &request.logs()[0];
    assert!(log["workspace_id"].is_null() && log["entry"]["sql_driver_log"]["session_id"].is_null());
}

#[tokio::test(start_paused = true)]
async fn r10_every_attempt_has_the_same_bytes_and_event_ids() {
    for settings in [Settings::node(), Settings { enabled: true, ..Settings::csharp() }] {
        let fake = Fake::new();
        fake.script([Answer::Status(503), Answer::Error("reset"), Answer::Status(429)]);
        let (telemetry, _) = telemetry(&fake, settings);
        let connection = telemetry.connect(connect()).await;
        ["a", "b"].iter().for_each(|id| run(&connection.statement(id)));
        connection.flush().await;
        let seen = fake.seen();
        assert_eq!(seen.len(), 4);
        assert!(seen.iter().all(|request| request.body == seen[0].body));
        let ids: HashSet<_> = fake.logs().iter().map(|log| log["frontend_log_event_id"].to_string()).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(connection.report().unwrap().logs.delivered, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn r11_what_the_service_did_not_take_is_counted_with_its_words_and_nothing_comes_twice() {
    let fake = Fake::new();
    let answer = r#"{"errors":["two logs\nare too old"],"numSuccess":0,"numProtoSuccess":3}"#;
    fake.script([Answer::Body(200, answer.to_owned())]);
    let (telemetry, heard) = telemetry(&fake, Settings::node());
    let connection = telemetry.connect(connect()).await;
    (0..5).for_each(|id| run(&connection.statement(&id.to_string())));
    connection.flush().await;
    advance(Duration::from_secs(600)).await;
    assert_eq!(fake.seen().len(), 1, "the service may have taken any of them");
    let logs = connection.report().unwrap().logs;
    assert_eq!((logs.delivered, logs.dropped.get(DropReason::Rejected)), (3, 2));
    assert_eq!(heard.matching("did not take 2 logs: two logs are too old"), 1, "{:?}", heard.all());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_says_nothing_is_success() {
    for answer in ["", "<html>", "{}", "null", "[]", r#"{"numProtoSuccess":9}"#, r#"{"numProtoSuccess":"x"}"#] {
        let fake = Fake::new();
        fake.script([Answer::Body(200, answer.to_owned())]);
        let (telemetry, _) = telemetry(&fake, Settings::node());
        let connection = telemetry.connect(connect()).await;
        run(&connection.statement("a"));
        connection.flush().await;
        assert_eq!(connection.report().unwrap().logs.delivered, 1, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn x04_no_secret_leaves_but_in_the_header() {
    let fake = Fake::new();
    fake.otherwise(Answer::Status(401));
    let (telemetry, heard) = telemetry(&fake, Settings::node());
    let connection = telemetry.connect(connect()).await;
    let statement = connection.statement("a");
    let trace = "Error: 401\n  at call (/home/ann/driver.js) Authorization: Bearer s3cret url=https://u:s3cret@h/";
    statement.error_with_trace("AuthError", trace, Severity::Terminal);
    connection.flush().await;
    let error = fake.logs()[0]["entry"]["sql_driver_log"]["error_info"]["stack_trace"].clone();
    assert_eq!(
        error,
        Value::from(
            "Error: 401\n  at call ([HOME]/driver.js) Authorization: Bearer [REDACTED] url=https://[REDACTED]@h/"
        )
    );
    let printed = format!("{telemetry:?} {connection:?} {statement:?} {:?} {:?}", connect(), heard.all());
    assert!(!printed.contains("s3cret"), "{printed}");
    connection.close().await;
}

#[tokio::test(start_paused = true)]
async fn x05_a_long_answer_is_read_to_its_cap_and_nothing_comes_twice() {
    let fake = Fake::new();
    fake.script([Answer::Body(200, "x".repeat(5 << 20))]);
    let (telemetry, _) = telemetry(&fake, Settings::node());
    let connection = telemetry.connect(connect()).await;
    run(&connection.statement("a"));
    connection.flush().await;
    let report = connection.report().unwrap();
    // More than the 4 MiB that are read of a response: it is a success that says nothing, and is counted as unreadable.
    assert_eq!((report.logs.delivered, report.counters.unreadable_responses), (1, 1), "{}", report.logs);
    let logs = report.logs;
    assert_eq!((fake.seen().len(), logs.pending, logs.offered), (1, 0, 1), "{logs}");
    // It does not count against the service for ever: the next one goes as ever.
    run(&connection.statement("b"));
    connection.flush().await;
    assert_eq!(fake.seen().len(), 2);
}
