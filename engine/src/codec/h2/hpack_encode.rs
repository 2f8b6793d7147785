//! The encoder of header blocks (RFC 7541 §6).
//!
//! In: fields in order. Out: a block, and a dynamic table that the peer's decoder mirrors. What changes with every request does
//! not enter the table, since it would push out what repeats; what is secret never does (RFC 7541 §7.1).

use super::huffman;
use super::table::{Field, OVERHEAD, Table, static_index_of};
use crate::message::NameId;

/// The largest dynamic table we keep, whatever the peer allows, bytes.
const MAX_TABLE: usize = 4_096;

/// How a field may be represented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Table,
    Literal,
    Never,
}

#[derive(Debug)]
pub(super) struct Encoder {
    table: Table,
    /// The smallest and the last limit not yet told to the peer (RFC 7541 §4.2).
    resized: Option<(usize, usize)>,
}

impl Encoder {
    pub fn new() -> Self {
        Self { table: Table::new(MAX_TABLE), resized: None }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub fn resize(&mut self, limit: usize) {
        let limit = limit.min(MAX_TABLE);
        if limit == self.table.limit() && self.resized.is_none() {
            return;
        }
        let smallest = self.resized.map_or(limit, |(smallest, _)| smallest.min(limit));
        self.resized = Some((smallest, limit));
        self.table.resize(limit);
    }

    /// Must come before the first field of each block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((smallest, last)) = self.resized.take() {
            if smallest < last {
                put_integer(out, 0x20, 5, smallest);
            }
            put_integer(out, 0x20, 5, last);
        }
    }

    pub fn method(&mut self, value: &[u8], out: &mut Vec<u8>) {
        match value {
            b"GET" => out.push(0x82),
            b"POST" => out.push(0x83),
            _ => self.pseudo(b":method", 2, value, Way::Table, out),
        }
    }

    pub fn scheme(&mut self, value: &[u8], out: &mut Vec<u8>) {
        match value {
            b"http" => out.push(0x86),
            b"https" => out.push(0x87),
            _ => self.pseudo(b":scheme", 6, value, Way::Table, out),
        }
    }

    pub fn authority(&mut self, value: &[u8], out: &mut Vec<u8>) {
        self.pseudo(b":authority", 1, value, Way::Table, out);
    }

    /// `repeats`: the path is one of few (a gRPC method), not one of a kind.
    pub fn path(&mut self, value: &[u8], repeats: bool, out: &mut Vec<u8>) {
        if value == b"/" {
            return out.push(0x84);
        }
        self.pseudo(b":path", 4, value, if repeats { Way::Table } else { Way::Literal }, out);
    }

    pub fn status(&mut self, status: u16, out: &mut Vec<u8>) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                let digits =
                    [status / 100 % 10, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
                return self.pseudo(b":status", 8, &digits, Way::Table, out);
            }
        };
        out.push(0x80 | index);
    }

    fn pseudo(&mut self, name: &[u8], index: usize, value: &[u8], way: Way, out: &mut Vec<u8>) {
        self.put(Field { id: NameId::OTHER, name, value }, Some(index), way, out);
    }

    /// A field; `secret`: it came with the wish never to be indexed.
    pub fn field(&mut self, id: NameId, name: &[u8], value: &[u8], secret: bool, out: &mut Vec<u8>) {
        let way = if secret { Way::Never } else { way_of(id) };
        self.put(Field { id, name, value }, static_index_of(id), way, out);
    }

    fn put(&mut self, field: Field<'_>, name_index: Option<usize>, way: Way, out: &mut Vec<u8>) {
        let (bits, prefix) = match way {
            Way::Table => {
                if let Some(index) = self.table.find(field) {
                    return put_integer(out, 0x80, 7, index);
                }
                // One that fills much of the table would cost more than it saves.
                if field.name.len() + field.value.len() + OVERHEAD <= self.table.limit() / 4 {
                    self.table.insert(field);
                    (0x40, 6)
                } else {
                    (0x00, 4)
                }
            }
            Way::Literal => (0x00, 4),
            Way::Never => (0x10, 4),
        };
        let is_kept = bits == 0x40;
        match name_index {
            Some(index) => put_integer(out, bits, prefix, index),
            None => {
                out.push(bits);
                put_string(out, field.name, is_kept);
            }
        }
        put_string(out, field.value, is_kept);
    }
}

fn way_of(id: NameId) -> Way {
    match id {
        NameId::AUTHORIZATION | NameId::PROXY_AUTHORIZATION | NameId::COOKIE | NameId::SET_COOKIE => {
            Way::Never
        }
        NameId::CONTENT_LENGTH
        | NameId::ETAG
        | NameId::IF_MODIFIED_SINCE
        | NameId::IF_NONE_MATCH
        | NameId::LAST_MODIFIED
        | NameId::LOCATION
        | NameId::RANGE
        | NameId::REFERER
        | NameId::GRPC_TIMEOUT
        | NameId::GRPC_MESSAGE
        | NameId::TRACEPARENT
        | NameId::TRACESTATE
        | NameId::X_REQUEST_ID
        | NameId::X_B3_TRACEID
        | NameId::X_B3_SPANID
        | NameId::X_B3_PARENTSPANID
        | NameId::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS
        | NameId::X_ENVOY_UPSTREAM_SERVICE_TIME => Way::Literal,
        _ => Way::Table,
    }
}

fn put_integer(out: &mut Vec<u8>, bits: u8, prefix: u32, number: usize) {
    let mask = (1usize << prefix) - 1;
    if number < mask {
        return out.push(bits | number as u8);
    }
    out.push(bits | mask as u8);
    let mut rest = number - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// In the Huffman code where that is shorter and `is_kept`, said once and referred to later: coding and decoding what changes
/// with every request took a third of all the time that the codec spends, for a fifth of its bytes.
fn put_string(out: &mut Vec<u8>, text: &[u8], is_kept: bool) {
    let length = if is_kept { huffman::encoded_length(text) } else { text.len() };
    if length < text.len() {
        put_integer(out, 0x80, 7, length);
        huffman::encode(text, out);
    } else {
        put_integer(out, 0x00, 7, text.len());
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::hpack_decode::{Decoder, Limits};
    use super::*;
    use crate::message::HeaderBlock;
    use proptest::prelude::*;

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Vec<(Vec<u8>, Vec<u8>, bool)> {
        let (mut target, mut fields) = (HeaderBlock::default(), Vec::new());
        let limits = Limits { bytes: 1 << 20, fields: 1_000 };
        decoder
            .decode(block, &mut target, limits, |block, field| {
                fields.push((
                    block.slice(field.name).to_vec(),
                    block.slice(field.value).to_vec(),
                    field.secret,
                ));
            })
            .unwrap();
        fields
    }

    #[test]
    fn what_repeats_costs_a_byte_the_second_time() {
        let mut encoder = Encoder::new();
        let mut lengths = Vec::new();
        for _ in 0..2 {
            let mut block = Vec::new();
            encoder.begin(&mut block);
            encoder.method(b"GET", &mut block);
            encoder.authority(b"shop.example:8080", &mut block);
            encoder.field(NameId::USER_AGENT, b"user-agent", b"curl/8.0", false, &mut block);
            encoder.field(NameId::OTHER, b"x-tenant", b"blue", false, &mut block);
            lengths.push(block.len());
        }
        assert_eq!(lengths[1], 4);
    }

    #[test]
    fn secrets_stay_out_of_the_table() {
        let mut encoder = Encoder::new();
        for _ in 0..2 {
            let mut block = Vec::new();
            encoder.field(NameId::AUTHORIZATION, b"authorization", b"Bearer x", false, &mut block);
            encoder.field(NameId::OTHER, b"x-key", b"y", true, &mut block);
            let fields = decode(&mut Decoder::new(), &block);
            assert!(fields.iter().all(|(_, _, secret)| *secret));
        }
        assert_eq!(encoder.table.size(), 0);
    }

    #[test]
    fn smaller_table_is_announced_with_its_low_point() {
        let mut encoder = Encoder::new();
        encoder.resize(0);
        encoder.resize(100);
        let mut block = Vec::new();
        encoder.begin(&mut block);
        assert_eq!(block, [0x20, 0x3f, 69]);
        let mut again = Vec::new();
        encoder.begin(&mut again);
        encoder.resize(100);
        encoder.begin(&mut again);
        assert!(again.is_empty());
    }

    proptest! {
        #[test]
        fn decoder_understands_the_encoder(
            blocks in proptest::collection::vec(
                (
                    proptest::option::of(0usize..5_000),
                    "(/[a-z0-9]{0,30}){1,3}",
                    proptest::collection::vec(("[a-z-]{1,20}|content-type|cookie|traceparent", "[ -~]{0,60}|(ab){700}", any::<bool>()), 0..20),
                ),
                1..12,
            ),
        ) {
            let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
            for (limit, path, fields) in blocks {
                if let Some(limit) = limit {
                    encoder.resize(limit);
                }
                let mut block = Vec::new();
                encoder.begin(&mut block);
                encoder.status(418, &mut block);
                encoder.path(path.as_bytes(), fields.len() % 2 == 0, &mut block);
                let mut expected = vec![
                    (b":status".to_vec(), b"418".to_vec(), false),
                    (b":path".to_vec(), path.clone().into_bytes(), false),
                ];
                for (name, value, secret) in &fields {
                    let id = NameId::of(name.as_bytes());
                    encoder.field(id, name.as_bytes(), value.as_bytes(), *secret, &mut block);
                    let secret = *secret || id == NameId::COOKIE;
                    expected.push((name.clone().into_bytes(), value.clone().into_bytes(), secret));
                }
                prop_assert_eq!(decode(&mut decoder, &block), expected);
                prop_assert_eq!(decoder.table().fields(), encoder.table.fields());
            }
        }
    }
}
