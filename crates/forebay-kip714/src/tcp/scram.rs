//! SCRAM as of RFC 5802, without channel binding: the client's side.

use super::error::TransportError;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use std::fmt;

/// How often a broker may ask for the password to be hashed. Kafka's own limit is 16,384; a broker that asks for much
/// more wastes the time of the client.
const MAX_ITERATIONS: u32 = 131_072;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

/// One exchange.
pub(super) struct Exchange {
    hash: Hash,
    password: String,
    nonce: String,
    /// `n=user,r=nonce`
    first_bare: String,
    expected: Expected,
}

enum Expected {
    Challenge,
    /// The signature that proves the broker.
    Signature(Vec<u8>),
    Nothing,
}

// === impl Hash ===

impl Hash {
    fn salted(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        match self {
            Self::Sha256 => pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, iterations).to_vec(),
            Self::Sha512 => pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password.as_bytes(), salt, iterations).to_vec(),
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn sign(self, key: &[u8], message: &[u8]) -> Result<Vec<u8>, TransportError> {
        let bad_key = |_length| TransportError::malformed("a key that cannot sign");
        Ok(match self {
            Self::Sha256 => Hmac::<Sha256>::new_from_slice(key)
                .map_err(bad_key)?
                .chain_update(message)
                .finalize()
                .into_bytes()
                .to_vec(),
            Self::Sha512 => Hmac::<Sha512>::new_from_slice(key)
                .map_err(bad_key)?
                .chain_update(message)
                .finalize()
                .into_bytes()
                .to_vec(),
        })
    }
}

// === impl Exchange ===

impl Exchange {
    pub(super) fn new(hash: Hash, user: &str, password: &str, nonce: String) -> Self {
        // The two characters that have a meaning here.
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        Self { hash, password: password.to_owned(), nonce, first_bare, expected: Expected::Challenge }
    }

    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    pub(super) fn step(&mut self, token: &[u8]) -> Result<Option<Bytes>, TransportError> {
        let text =
            str::from_utf8(token).map_err(|_utf8| TransportError::malformed("a SCRAM message that is no text"))?;
        if let Some(error) = attribute(text, 'e') {
            return Err(TransportError::authentication(error));
        }
        match std::mem::replace(&mut self.expected, Expected::Nothing) {
            Expected::Challenge => self.prove(text).map(Some),
            Expected::Signature(expected) => {
                let given = attribute(text, 'v').and_then(|text| BASE64_STANDARD.decode(text).ok());
                if given.is_some_and(|given| given == expected) {
                    Ok(None)
                } else {
                    Err(TransportError::authentication("the broker does not know the password"))
                }
            }
            Expected::Nothing => Err(TransportError::malformed("one SCRAM message too many")),
        }
    }

    fn prove(&mut self, challenge: &str) -> Result<Bytes, TransportError> {
        let bad = |what| TransportError::malformed(format_args!("a SCRAM challenge {what}"));
        let nonce = attribute(challenge, 'r').ok_or_else(|| bad("without a nonce"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(bad("with a nonce that is not ours and theirs"));
        }
        let salt = attribute(challenge, 's').and_then(|salt| BASE64_STANDARD.decode(salt).ok());
        let salt = salt.ok_or_else(|| bad("without salt"))?;
        let iterations = attribute(challenge, 'i').and_then(|number| number.parse().ok());
        let iterations = iterations.filter(|number| (1..=MAX_ITERATIONS).contains(number));
        let iterations = iterations.ok_or_else(|| bad("with an impossible number of iterations"))?;

        let hash = self.hash;
        let salted = hash.salted(&self.password, &salt, iterations);
        // The channel binding header `n,,` in base64: there is none.
        let last_bare = format!("c=biws,r={nonce}");
        let message = format!("{},{challenge},{last_bare}", self.first_bare);
        let client_key = hash.sign(&salted, b"Client Key")?;
        let signature = hash.sign(&hash.digest(&client_key), message.as_bytes())?;
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        let server_key = hash.sign(&salted, b"Server Key")?;
        self.expected = Expected::Signature(hash.sign(&server_key, message.as_bytes())?);
        Ok(format!("{last_bare},p={}", BASE64_STANDARD.encode(proof)).into_bytes().into())
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// The value of the attribute with this letter.
fn attribute(message: &str, letter: char) -> Option<&str> {
    message.split(',').find_map(|part| part.strip_prefix(letter)?.strip_prefix('='))
}

/// Text that cannot be foreseen.
pub(super) fn nonce() -> Result<String, TransportError> {
    let mut bytes = [0; 18];
    getrandom::fill(&mut bytes).map_err(|_none| TransportError::authentication("there is no randomness to be had"))?;
    Ok(BASE64_STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    #[test]
    fn the_exchange_is_that_of_the_rfc() {
        let mut exchange = Exchange::new(Hash::Sha256, "user", "pencil", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(exchange.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = exchange.step(challenge).unwrap().unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(str::from_utf8(&proof).unwrap(), expected);
        assert_eq!(exchange.step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap(), None);
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_no_broker_of_ours() {
        let mut exchange = Exchange::new(Hash::Sha512, "a,b=c", "pencil", "abc".to_owned());
        assert_eq!(exchange.first(), "n,,n=a=2Cb=3Dc,r=abc");
        exchange.step(b"r=abcd,s=AAAA,i=1").unwrap();
        assert!(exchange.step(b"v=AAAA").is_err());
        for challenge in
            ["r=abc,s=AAAA,i=1", "r=xbcd,s=AAAA,i=1", "r=abcd,s=AAAA,i=0", "r=abcd,s=AAAA,i=999999999", "e=no"]
        {
            let mut exchange = Exchange::new(Hash::Sha256, "a", "b", "abc".to_owned());
            assert!(exchange.step(challenge.as_bytes()).is_err(), "{challenge}");
        }
    }

    #[test]
    fn two_nonces_differ() {
        assert_ne!(nonce().unwrap(), nonce().unwrap());
    }
}
