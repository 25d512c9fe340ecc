//! The OAuth 2.0 client-credentials grant (RFC 6749, 4.4): one token for the exports and for the configuration.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use forebay::{
    cached::{Cached, Fetched},
    core::{BoxError, ConfigError, time::saturating_add},
    export::{Credential, Endpoint},
};
use forebay_example_support::tls::HttpsClient;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tower::{Service, ServiceExt};

/// What a client shows to get a token, and where it gets one.
#[derive(Clone)]
pub struct Login {
    /// The token endpoint: `https`, or plain `http` on this machine.
    pub token_url: Endpoint,
    /// The name of the client.
    pub client_id: String,
    /// Its secret; it is never printed.
    pub client_secret: String,
    /// For which service the token is, where the server wants to know.
    pub audience: Option<String>,
}

/// Why there is no token.
#[derive(Debug)]
pub struct LoginError(String);

/// A token, while it is valid.
#[derive(Clone)]
pub(super) struct Token {
    text: Arc<str>,
    until: Instant,
}

/// Fetches the token when it is needed, and again before it runs out; clones share it.
#[derive(Clone)]
pub(super) struct Tokens(Cached<Token>);

/// No response of a token endpoint is longer.
const MAX_RESPONSE: usize = 64 << 10;

/// How long a token is used whose response does not say it.
const DEFAULT_VALIDITY: Duration = Duration::from_secs(300);

// === impl Login ===

impl Login {
    async fn fetch(self, mut client: HttpsClient) -> Result<Fetched<Token>, BoxError> {
        // RFC 6749, 2.3.1: both are encoded before they are joined.
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let basic = format!("{}:{}", encoded(&self.client_id), encoded(&self.client_secret));
        let mut basic = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(basic)))?;
        basic.set_sensitive(true);
        let audience = self.audience.as_deref().map(|audience| format!("&audience={}", encoded(audience)));
        let form = format!("grant_type=client_credentials{}", audience.unwrap_or_default());
        let request = Request::post(self.token_url.uri())
            .header(header::AUTHORIZATION, basic)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(form)))?;
        let response = client.ready().await?.call(request).await?;
        let status = response.status();
        if status != StatusCode::OK {
            // Its body may repeat what was sent.
            return Err(LoginError(format!("the token endpoint responded with {status}")).into());
        }
        let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await?.to_bytes();
        Ok(read(&body)?)
    }
}

fn read(body: &[u8]) -> Result<Fetched<Token>, LoginError> {
    let wrong = |what: &str| LoginError(format!("the response of the token endpoint has no {what}"));
    let response: Value = serde_json::from_slice(body).map_err(|_secret| wrong("JSON in it"))?;
    let kind = response["token_type"].as_str().unwrap_or_default();
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(wrong("token_type \"bearer\""));
    }
    let text =
        response["access_token"].as_str().filter(|text| !text.is_empty()).ok_or_else(|| wrong("access_token"))?;
    let validity = response["expires_in"].as_u64().map_or(DEFAULT_VALIDITY, Duration::from_secs);
    #[expect(clippy::disallowed_methods, reason = "the edge of the program: when a token was issued")]
    let until = saturating_add(Instant::now(), validity);
    Ok(Fetched::new(Token { text: text.into(), until }).ttl(validity))
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("token_url", &self.token_url)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

// === impl Tokens ===

impl Tokens {
    pub(super) fn new(login: Login, client: HttpsClient) -> Result<Self, ConfigError> {
        let fetch = move || login.clone().fetch(client.clone());
        Ok(Self(Cached::credentials(fetch).ttl(DEFAULT_VALIDITY).build()?))
    }

    /// The token, but not the one that was `refused`.
    pub(super) async fn get(&self, refused: Option<&Token>) -> Result<Token, BoxError> {
        if let Some(refused) = refused
            && self.0.peek().is_some_and(|reading| Arc::ptr_eq(&reading.value.text, &refused.text))
        {
            // A caller that was refused later finds the new one there, and does not ask for another.
            self.0.invalidate();
        }
        Ok(self.0.get().await?)
    }

    /// Credentials for an exporter. The exporter keeps a credential as long as it is valid and the server takes it, so one
    /// that is asked for again while it is still valid has been refused.
    pub(super) fn provider(
        &self,
    ) -> impl Fn() -> futures_util::future::BoxFuture<'static, Result<Credential, BoxError>> + Send + Sync + 'static
    {
        let (tokens, last) = (self.clone(), Arc::new(Mutex::new(None::<Token>)));
        move || {
            let (tokens, last) = (tokens.clone(), Arc::clone(&last));
            Box::pin(async move {
                let before = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let token = tokens.get(before.as_ref()).await?;
                let credential = Credential::bearer(&token.text)?.valid_for(token.validity());
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
                Ok(credential)
            })
        }
    }
}

// === impl Token ===

impl Token {
    /// The value of `Authorization`.
    pub(super) fn bearer(&self) -> Result<HeaderValue, BoxError> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.text))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn validity(&self) -> Duration {
        #[expect(clippy::disallowed_methods, reason = "the edge of the program: how long a token is still valid")]
        self.until.saturating_duration_since(Instant::now())
    }
}

// === impl LoginError ===

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for LoginError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_without_a_bearer_token_is_refused_and_not_repeated() {
        for (body, what) in [
            (&b"hunter2"[..], "JSON"),
            (br#"{"access_token": "hunter2"}"#, "token_type"),
            (br#"{"access_token": "hunter2", "token_type": "mac"}"#, "token_type"),
            (br#"{"access_token": "", "token_type": "bearer"}"#, "access_token"),
            (br#"{"token_type": "bearer"}"#, "access_token"),
        ] {
            let error = read(body).err().unwrap().to_string();
            assert!(error.contains(what) && !error.contains("hunter2"), "{error}");
        }
        assert!(read(br#"{"access_token": "hunter2", "token_type": "Bearer", "expires_in": 60}"#).is_ok());
    }

    #[test]
    fn neither_secret_nor_token_is_printed() {
        let login = Login {
            token_url: "https://auth.example/oauth2/token".parse().unwrap(),
            client_id: "agent".to_owned(),
            client_secret: "hunter2".to_owned(),
            audience: None,
        };
        assert!(!format!("{login:?}").contains("hunter2"));
    }
}
