use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The credentials that a broker accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// `PLAIN` with this user and password.
    Plain(String, String),
    /// `SCRAM-SHA-256` with this user and password.
    ScramSha256(String, String),
}

/// Where one exchange stands.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    first_bare: String,
    challenge: String,
}

/// The response to one token of a client.
pub(super) enum Step {
    /// The exchange goes on with this token.
    Continue(Vec<u8>),
    /// The client is authenticated; the last token.
    Accepted(Vec<u8>),
    Refused,
}

const SALT: &[u8] = b"a pinch of salt";
const ITERATIONS: u32 = 4_096;

// === impl Login ===

impl Login {
    pub(super) fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain(..) => "PLAIN",
            Self::ScramSha256(..) => "SCRAM-SHA-256",
        }
    }

    pub(super) fn step(&self, exchange: &mut Exchange, token: &[u8]) -> Step {
        let Ok(token) = str::from_utf8(token) else { return Step::Refused };
        match self {
            Self::Plain(user, password) if token == format!("\0{user}\0{password}") => Step::Accepted(Vec::new()),
            Self::Plain(..) => Step::Refused,
            Self::ScramSha256(user, password) => exchange.scram(user, password, token).unwrap_or(Step::Refused),
        }
    }
}

// === impl Exchange ===

impl Exchange {
    fn scram(&mut self, user: &str, password: &str, token: &str) -> Option<Step> {
        if self.challenge.is_empty() {
            let bare = token.strip_prefix("n,,")?;
            let nonce = bare.strip_prefix(&format!("n={user},r="))?;
            bare.clone_into(&mut self.first_bare);
            self.challenge = format!("r={nonce}theirs,s={},i={ITERATIONS}", BASE64_STANDARD.encode(SALT));
            return Some(Step::Continue(self.challenge.clone().into_bytes()));
        }
        let (last_bare, proof) = token.rsplit_once(",p=")?;
        let proof = BASE64_STANDARD.decode(proof).ok()?;
        let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), SALT, ITERATIONS);
        let message = format!("{},{},{last_bare}", self.first_bare, self.challenge);
        let client_key = sign(&salted, b"Client Key")?;
        let stored = Sha256::digest(&client_key);
        let signature = sign(&stored, message.as_bytes())?;
        let key: Vec<u8> = proof.iter().zip(&signature).map(|(proof, signature)| proof ^ signature).collect();
        if key != client_key {
            return None;
        }
        let server_key = sign(&salted, b"Server Key")?;
        let proof = BASE64_STANDARD.encode(sign(&server_key, message.as_bytes())?);
        Some(Step::Accepted(format!("v={proof}").into_bytes()))
    }
}

fn sign(key: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    Some(Hmac::<Sha256>::new_from_slice(key).ok()?.chain_update(message).finalize().into_bytes().to_vec())
}
