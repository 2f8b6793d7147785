//! Key generation and certificate requests for the border, so that a sidecar's Python loads no cryptography.
//!
//! P-256 keys by ring; the request is PKCS#10 (RFC 2986) with the URI in a subject-alternative-name extension request
//! (RFC 2985 §5.4.2). Keys are never printed; the PKCS#8 form leaves only through `export`.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

/// A P-256 private key.
pub struct Key {
    pkcs8: Vec<u8>,
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(…)")
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.pkcs8.fill(0);
        std::hint::black_box(&self.pkcs8);
    }
}

/// Why a key or a request could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// The system's random generator failed.
    Generation,
    /// Not a PKCS#8 PEM of a P-256 key.
    Malformed,
    /// The URI is empty, longer than 2,048 bytes or not ASCII.
    Uri,
}

impl fmt::Display for KeyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Generation => "the system's random generator failed",
            Self::Malformed => "not a PKCS#8 PEM of a P-256 key",
            Self::Uri => "the URI of a certificate request must be ASCII of 1 to 2,048 bytes",
        })
    }
}

impl std::error::Error for KeyError {}

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

impl Key {
    pub fn generate() -> Result<Self, KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Generation)?;
        Ok(Self { pkcs8: document.as_ref().to_vec() })
    }

    /// Reads what `export` wrote.
    pub fn import(pem: &[u8]) -> Result<Self, KeyError> {
        use rustls_pki_types::pem::PemObject;
        let der =
            rustls_pki_types::PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyError::Malformed)?;
        let key = Self { pkcs8: der.secret_pkcs8_der().to_vec() };
        key.pair().map(|_| key)
    }

    /// PKCS#8 PEM.
    pub fn export(&self) -> String {
        let encoded = base64(&self.pkcs8);
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
        format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", lines.join("\n"))
    }

    /// PKCS#8 DER, for TLS contexts.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// A certificate request, DER, for `uri` as only subject alternative name and an empty subject.
    pub fn make_request(&self, uri: &str) -> Result<Vec<u8>, KeyError> {
        if uri.is_empty() || uri.len() > 2_048 || !uri.is_ascii() {
            return Err(KeyError::Uri);
        }
        let pair = self.pair()?;
        // id-ecPublicKey, prime256v1
        let algorithm = sequence(&[
            &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1],
            &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
        ]);
        let public = sequence(&[&algorithm, &element(0x03, &[&[0], pair.public_key().as_ref()])]);
        let names = sequence(&[&element(0x86, &[uri.as_bytes()])]);
        let extension =
            sequence(&[&[0x06, 3, 0x55, 0x1d, 0x11], &[0x01, 1, 0xff], &element(0x04, &[&names])]);
        // extensionRequest
        let attribute = sequence(&[
            &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14],
            &element(0x31, &[&sequence(&[&extension])]),
        ]);
        let information = sequence(&[&[0x02, 1, 0], &sequence(&[]), &public, &element(0xa0, &[&attribute])]);
        let signature = pair.sign(&SystemRandom::new(), &information).map_err(|_| KeyError::Generation)?;
        // ecdsa-with-SHA256
        let signed_with = sequence(&[&[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
        Ok(sequence(&[&information, &signed_with, &element(0x03, &[&[0], signature.as_ref()])]))
    }

    fn pair(&self) -> Result<EcdsaKeyPair, KeyError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.pkcs8, &SystemRandom::new())
            .map_err(|_| KeyError::Malformed)
    }
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, parts)
}

fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut der = vec![tag];
    match length {
        0..=0x7f => der.push(length as u8),
        0x80..=0xff => der.extend([0x81, length as u8]),
        _ => der.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    for part in parts {
        der.extend_from_slice(part);
    }
    der
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word =
            group.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for position in 0..4 {
            let symbol = ALPHABET.get((word >> (18 - 6 * position)) as usize & 63).copied().unwrap_or(b'=');
            text.push(if position <= group.len() { symbol as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exported_key_comes_back_and_signs() {
        let key = Key::generate().unwrap();
        let pem = key.export();
        let again = Key::import(pem.as_bytes()).unwrap();
        assert_eq!(again.pkcs8, key.pkcs8);
        assert_eq!(format!("{key:?}"), "Key(…)");
    }

    #[test]
    fn a_request_is_what_an_authority_reads() {
        let key = Key::generate().unwrap();
        let der = key.make_request("spiffe://cluster.local/ns/shop/sa/cart").unwrap();
        let request = rcgen::CertificateSigningRequestParams::from_der(&der.as_slice().into()).unwrap();
        let names = format!("{:?}", request.params.subject_alt_names);
        assert!(names.contains("spiffe://cluster.local/ns/shop/sa/cart"), "{names}");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in ["", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert_eq!(Key::import(bad.as_bytes()).err(), Some(KeyError::Malformed), "{bad}");
        }
        assert_eq!(Key::generate().unwrap().make_request("").err(), Some(KeyError::Uri));
    }
}
