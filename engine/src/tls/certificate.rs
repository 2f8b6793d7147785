//! What we need of an X.509 certificate (RFC 5280): subject, serial number and subject alternative names.
//!
//! A small bounded DER reader (X.690): definite lengths only, no recursion beyond the fixed path. rustls has verified the
//! certificate before anyone asks here; a field that cannot be read is left empty, never guessed.

use crate::message::PeerCertificate;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const OCTET_STRING: u8 = 0x04;
/// `[0]` version, `[3]` extensions in TBSCertificate; `[2]` dNSName, `[6]` uniformResourceIdentifier in GeneralName.
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_3: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
/// 2.5.29.17
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// Names read from one certificate at most.
const MAX_NAMES: usize = 64;

/// Walks the elements of one DER value.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: tag and contents.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return None;
            }
            let (bytes, after) = rest.split_at_checked(count)?;
            rest = after;
            bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte))
        };
        let (contents, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, contents))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, contents)| contents)
    }
}

/// Reads a DER certificate; what is malformed stays empty.
pub fn describe(der: &[u8]) -> PeerCertificate {
    let mut certificate =
        PeerCertificate { der: der.to_vec(), digest: digest(der), ..PeerCertificate::default() };
    let _ = read(der, &mut certificate);
    certificate
}

/// When a DER certificate begins and ends to be valid, seconds since the epoch.
pub fn validity(der: &[u8]) -> Option<(u64, u64)> {
    let mut body = Der(Der(Der(der).expect(SEQUENCE)?).expect(SEQUENCE)?);
    let (tag, _) = body.next()?;
    if tag == CONTEXT_0 {
        body.expect(INTEGER)?;
    }
    let _signature = body.expect(SEQUENCE)?;
    let _issuer = body.expect(SEQUENCE)?;
    let mut times = Der(body.expect(SEQUENCE)?);
    Some((time(times.next()?)?, time(times.next()?)?))
}

/// UTCTime (two digits of the year; RFC 5280 §4.1.2.5.1: 50 and more are the 1900s) or GeneralizedTime, both in UTC.
fn time((tag, contents): (u8, &[u8])) -> Option<u64> {
    let text = std::str::from_utf8(contents).ok()?.strip_suffix('Z')?;
    let century = match (tag, text.get(..2)?) {
        (UTC_TIME, year) if year >= "50" => "19",
        (UTC_TIME, _) => "20",
        (GENERALIZED_TIME, _) => "",
        _ => return None,
    };
    let digits = format!("{century}{text}");
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    if year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    // Years begin in March, so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let seconds = part(8, 10)? * 3_600 + part(10, 12)? * 60 + part(12, 14)?;
    Some(days.checked_sub(719_468)? * 86_400 + seconds)
}

fn digest(der: &[u8]) -> String {
    ring::digest::digest(&ring::digest::SHA256, der)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn read(der: &[u8], into: &mut PeerCertificate) -> Option<()> {
    let mut body = Der(Der(Der(der).expect(SEQUENCE)?).expect(SEQUENCE)?);
    let (mut tag, mut contents) = body.next()?;
    if tag == CONTEXT_0 {
        (tag, contents) = body.next()?;
    }
    if tag == INTEGER {
        into.serial = contents.iter().map(|byte| format!("{byte:02x}")).collect();
    }
    let _signature = body.expect(SEQUENCE)?;
    let _issuer = body.expect(SEQUENCE)?;
    let _validity = body.expect(SEQUENCE)?;
    into.subject = name(body.expect(SEQUENCE)?);
    let _key = body.expect(SEQUENCE)?;
    while let Some((tag, contents)) = body.next() {
        if tag == CONTEXT_3 {
            let mut extensions = Der(Der(contents).expect(SEQUENCE)?);
            while let Some(extension) = extensions.expect(SEQUENCE) {
                read_extension(extension, into);
            }
        }
    }
    Some(())
}

fn read_extension(extension: &[u8], into: &mut PeerCertificate) -> Option<()> {
    let mut fields = Der(extension);
    if fields.expect(OBJECT_ID)? != SUBJECT_ALTERNATIVE_NAME {
        return None;
    }
    let (mut tag, mut contents) = fields.next()?;
    if tag == BOOLEAN {
        (tag, contents) = fields.next()?;
    }
    if tag != OCTET_STRING {
        return None;
    }
    let mut names = Der(Der(contents).expect(SEQUENCE)?);
    while let Some((tag, contents)) = names.next() {
        let list = match tag {
            URI => &mut into.uris,
            DNS_NAME => &mut into.dns_names,
            _ => continue,
        };
        if let (Ok(text), true) = (std::str::from_utf8(contents), list.len() < MAX_NAMES) {
            list.push(text.to_owned());
        }
    }
    Some(())
}

/// RFC 2253 text of a Name: the most specific part first.
fn name(contents: &[u8]) -> String {
    let mut parts = Vec::new();
    let mut sequence = Der(contents);
    while let Some(set) = sequence.expect(SET) {
        let mut set = Der(set);
        while let Some(attribute) = set.expect(SEQUENCE) {
            let mut attribute = Der(attribute);
            if let (Some(kind), Some((_, value))) = (attribute.expect(OBJECT_ID), attribute.next()) {
                parts.push(format!("{}={}", attribute_name(kind), escape(&String::from_utf8_lossy(value))));
            }
        }
    }
    parts.reverse();
    parts.join(",")
}

fn attribute_name(object_id: &[u8]) -> String {
    match object_id {
        [0x55, 0x04, 0x03] => "CN".to_owned(),
        [0x55, 0x04, 0x06] => "C".to_owned(),
        [0x55, 0x04, 0x07] => "L".to_owned(),
        [0x55, 0x04, 0x08] => "ST".to_owned(),
        [0x55, 0x04, 0x0a] => "O".to_owned(),
        [0x55, 0x04, 0x0b] => "OU".to_owned(),
        other => other.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        if ",+\"\\<>;".contains(character) {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    #[test]
    fn names_of_a_certificate_are_read() {
        let mut params = CertificateParams::new(vec!["cart.shop".to_owned()]).unwrap();
        params
            .subject_alt_names
            .push(SanType::URI("spiffe://cluster.local/ns/shop/sa/cart".try_into().unwrap()));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Shop, Inc");
        params.distinguished_name.push(DnType::CommonName, "cart");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let read = describe(certificate.der());
        assert_eq!(read.uris, ["spiffe://cluster.local/ns/shop/sa/cart"]);
        assert_eq!(read.dns_names, ["cart.shop"]);
        assert_eq!(read.subject, "CN=cart,O=Shop\\, Inc");
        assert_eq!(read.digest.len(), 64);
        assert!(!read.serial.is_empty());
    }

    #[test]
    fn the_time_of_validity_is_read() {
        let mut params = CertificateParams::new(vec!["a.b".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(validity(certificate.der()), Some((1_709_164_800, 2_556_144_000)));
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "240301123456Z", Some(1_709_296_496)),
            (GENERALIZED_TIME, "20000301000000Z", Some(951_868_800)),
            (UTC_TIME, "500101000000Z", None),
            (UTC_TIME, "241301000000Z", None),
            (UTC_TIME, "2403011234Z", None),
            (GENERALIZED_TIME, "20240301123456+01", None),
            (INTEGER, "240301123456Z", None),
        ] {
            assert_eq!(time((tag, text.as_bytes())), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            validity(&bytes);
            describe(&bytes);
        }

        #[test]
        fn any_damage_is_survived(at in 0usize..400, value in any::<u8>()) {
            let certificate = CertificateParams::new(vec!["a.b".to_owned()]).unwrap().self_signed(&KeyPair::generate().unwrap()).unwrap();
            let mut der = certificate.der().to_vec();
            if let Some(byte) = der.get_mut(at) {
                *byte = value;
            }
            describe(&der);
        }
    }
}
