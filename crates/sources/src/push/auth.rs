use std::num::NonZeroU32;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use governor::clock::Clock;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::config::{Auth, Encoding, Token};

/// One sender, ready to be recognised.
pub(super) struct Sender {
    pub(super) name: String,
    proof: Proof,
    limiter: DefaultDirectRateLimiter,
}

enum Proof {
    /// The digest of the token: digests are equally long, so that comparing them tells nothing of the length either.
    Bearer([u8; 32]),
    Hmac {
        header: String,
        encoding: Encoding,
        keyed: Hmac<Sha256>,
    },
}

/// What the header lines of a request prove.
pub(super) enum Shown<'a> {
    /// The token of this sender.
    Sender(&'a Sender),
    /// A signature, which says something only together with the body.
    Signature,
    /// Nothing, or a token that is not known.
    Nothing,
}

impl Sender {
    /// None when the configuration has problems.
    pub(super) fn new(token: &Token, requests_per_minute: u32) -> Option<Self> {
        let proof = match &token.auth {
            Auth::Bearer(secret) => Proof::Bearer(Sha256::digest(secret.reveal()).into()),
            Auth::Hmac { secret, header, encoding } => {
                let keyed = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).ok()?;
                Proof::Hmac { header: header.clone(), encoding: *encoding, keyed }
            }
        };
        let per_minute = NonZeroU32::new(requests_per_minute)?;
        Some(Self { name: token.name.clone(), proof, limiter: RateLimiter::direct(Quota::per_minute(per_minute)) })
    }

    /// Counts one request; the wait when there were too many.
    pub(super) fn count(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }

    fn has_token(&self, shown: &[u8; 32]) -> bool {
        matches!(&self.proof, Proof::Bearer(ours) if bool::from(ours.ct_eq(shown)))
    }

    fn has_signed(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let Proof::Hmac { encoding, keyed, .. } = &self.proof else {
            return false;
        };
        let Some(shown) = self.signature(headers).and_then(|text| decoded(text, *encoding)) else {
            return false;
        };
        let ours = keyed.clone().chain_update(body).finalize().into_bytes();
        bool::from(ours.as_slice().ct_eq(&shown))
    }

    /// The signature line meant for this sender.
    fn signature<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let Proof::Hmac { header, .. } = &self.proof else {
            return None;
        };
        let text = headers.get(header)?.to_str().ok()?.trim();
        Some(text.strip_prefix("sha256=").unwrap_or(text))
    }
}

/// What the header lines prove. Every token is compared, whichever fits, so that the time taken tells nothing.
pub(super) fn look<'a>(senders: &'a [Sender], headers: &HeaderMap) -> Shown<'a> {
    if let Some(token) = bearer(headers) {
        let shown: [u8; 32] = Sha256::digest(token).into();
        let known = senders.iter().fold(None, |known, sender| if sender.has_token(&shown) { Some(sender) } else { known });
        if let Some(sender) = known {
            return Shown::Sender(sender);
        }
    }
    match senders.iter().any(|sender| sender.signature(headers).is_some()) {
        true => Shown::Signature,
        false => Shown::Nothing,
    }
}

/// The sender whose signature fits the body.
pub(super) fn signer<'a>(senders: &'a [Sender], headers: &HeaderMap, body: &[u8]) -> Option<&'a Sender> {
    senders.iter().fold(None, |known, sender| if sender.has_signed(headers, body) { Some(sender) } else { known })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn decoded(text: &str, encoding: Encoding) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Hex => from_hex(text),
        Encoding::Base64 => STANDARD.decode(text).ok(),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| u8::try_from(high << 4 | low).ok()).collect::<Option<_>>()?;
    rest.is_empty().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn hexadecimal_digits_are_read_in_pairs() {
        assert_eq!(from_hex("00fFa1"), Some(vec![0, 255, 161]));
        assert_eq!(from_hex("abc"), None);
        assert_eq!(from_hex("zz"), None);
    }

    #[test]
    fn a_known_signature_is_recognised() {
        // Test case 2 of RFC 4231.
        let token = |encoding| Token {
            name: "sender".to_owned(),
            auth: Auth::Hmac { secret: "Jefe".to_owned().into(), header: "x-signature".to_owned(), encoding },
        };
        let body = b"what do ya want for nothing?";
        let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let lines = |text: &str| {
            HeaderMap::from_iter([(http::HeaderName::from_static("x-signature"), HeaderValue::from_str(text).unwrap())])
        };

        let by_hex = [Sender::new(&token(Encoding::Hex), 1).unwrap()];
        assert!(signer(&by_hex, &lines(hex), body).is_some());
        assert!(signer(&by_hex, &lines(&format!("sha256={hex}")), body).is_some());
        assert!(signer(&by_hex, &lines(hex), b"what do ya want for something?").is_none());
        assert!(signer(&by_hex, &lines("00"), body).is_none());

        let by_base64 = [Sender::new(&token(Encoding::Base64), 1).unwrap()];
        let text = STANDARD.encode(from_hex(hex).unwrap());
        assert!(signer(&by_base64, &lines(&text), body).is_some());
    }
}
