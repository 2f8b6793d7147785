//! `x-forwarded-client-cert`: who the TLS client was, for servers behind us. Its text is Envoy's.

use crate::message::{HeaderBlock, NameId, Peer, PeerCertificate};
use crate::plan::{self, ForwardClientCertificate};

/// Forwards, appends to or removes the field as the plan says. `own`: our identity's URI (`By=`), empty if we have none.
pub fn forward(manager: &plan::HttpConnectionManager, peer: &Peer, own: &str, headers: &mut HeaderBlock) {
    use ForwardClientCertificate as Mode;
    let field = NameId::X_FORWARDED_CLIENT_CERT;
    match (manager.forward_client_certificate, &peer.certificate) {
        (Mode::AlwaysForwardOnly, _) | (Mode::ForwardOnly, Some(_)) => {}
        (Mode::Sanitize, _) | (_, None) => {
            headers.remove_id(field);
        }
        (mode @ (Mode::AppendForward | Mode::SanitizeSet), Some(certificate)) => {
            if mode == Mode::SanitizeSet {
                headers.remove_id(field);
            }
            let mut element = describe(manager.client_certificate_details, certificate, own);
            // A subject may hold anything; a header must not hold line breaks.
            element.retain(|letter| !letter.is_control());
            super::client::append(headers, field, b",", element.as_bytes());
        }
    }
}

fn describe(details: plan::ClientCertificate, certificate: &PeerCertificate, own: &str) -> String {
    let mut parts = Vec::new();
    if !own.is_empty() {
        parts.push(format!("By={own}"));
    }
    parts.push(format!("Hash={}", certificate.digest));
    if details.cert {
        parts.push(format!("Cert=\"{}\"", escape(&pem(&certificate.der))));
    }
    if details.chain {
        // The verified leaf is all that is kept of the chain.
        parts.push(format!("Chain=\"{}\"", escape(&pem(&certificate.der))));
    }
    if details.subject {
        parts.push(format!("Subject=\"{}\"", certificate.subject.replace('\\', "\\\\").replace('"', "\\\"")));
    }
    if details.uri {
        let uris = if certificate.uris.is_empty() { &[String::new()] } else { certificate.uris.as_slice() };
        parts.extend(uris.iter().map(|uri| format!("URI={}", value(uri))));
    }
    if details.dns {
        parts.extend(certificate.dns_names.iter().map(|name| format!("DNS={}", value(name))));
    }
    parts.join(";")
}

/// A value that holds what separates elements is quoted: whoever chose the names of a certificate must not add elements.
fn value(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains([',', ';', '=', '"', '\\']) {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")).into()
    } else {
        text.into()
    }
}

fn pem(der: &[u8]) -> String {
    let digits = super::base64::encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in digits.as_bytes().chunks(64) {
        text.extend(line.iter().map(|&letter| char::from(letter)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// Percent-encodes what a quoted value of a header must not hold, as Envoy does with PEM.
fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len() + 64), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_text_is_base64_in_lines_of_64() {
        assert_eq!(
            pem(b"any carnal pleas"),
            "-----BEGIN CERTIFICATE-----\nYW55IGNhcm5hbCBwbGVhcw==\n-----END CERTIFICATE-----\n"
        );
        assert!(pem(&[0; 300]).lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn quotes_in_a_subject_cannot_forge_an_element() {
        let certificate = PeerCertificate {
            subject: "CN=a\",URI=spiffe://evil".into(),
            digest: "ab".into(),
            uris: vec!["spiffe://cluster.local/ns/shop/sa/cart".into(), "x:a;URI=spiffe://evil".into()],
            ..PeerCertificate::default()
        };
        let details =
            plan::ClientCertificate { subject: true, uri: true, ..plan::ClientCertificate::default() };
        assert_eq!(
            describe(details, &certificate, "spiffe://own"),
            "By=spiffe://own;Hash=ab;Subject=\"CN=a\\\",URI=spiffe://evil\";URI=spiffe://cluster.local/ns/shop/sa/cart;URI=\"x:a;URI=spiffe://evil\""
        );
    }
}
