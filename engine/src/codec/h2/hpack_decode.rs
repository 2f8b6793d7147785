//! The decoder of header blocks (RFC 7541 §3, §6).
//!
//! In: one complete block. Out: fields, written straight into a `HeaderBlock`'s arena. Invariant: the dynamic table follows the
//! peer's even where fields are dropped for being too many; after `Bad` the connection cannot go on.

use super::huffman;
use super::table::{Field, OVERHEAD, Table};
use crate::message::{HeaderBlock, NameId, Span};

/// What we allow the peer's dynamic table, bytes: the default of SETTINGS_HEADER_TABLE_SIZE.
pub(super) const TABLE_SIZE: usize = 4_096;

/// Not a header block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad;

/// A field that lies in the arena but is no entry of the block yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoded {
    pub id: NameId,
    pub name: Span,
    pub value: Span,
    /// Must never enter a table on the way on (RFC 7541 §6.2.3).
    pub secret: bool,
}

/// What a header list may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// As RFC 9113 §6.5.2 counts it.
    pub bytes: usize,
    pub fields: usize,
}

/// How a header list kept its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Fits,
    /// The rest was decoded and dropped; the block's content is meaningless.
    TooLarge,
}

#[derive(Debug)]
pub(super) struct Decoder {
    table: Table,
    /// What a size update may say at most.
    limit: usize,
}

impl Decoder {
    pub fn new() -> Self {
        Self { table: Table::new(TABLE_SIZE), limit: TABLE_SIZE }
    }

    /// Decodes a block into `target`'s arena; `on_field` decides what becomes of each field.
    pub fn decode(
        &mut self,
        block: &[u8],
        target: &mut HeaderBlock,
        limits: Limits,
        mut on_field: impl FnMut(&mut HeaderBlock, Decoded),
    ) -> Result<Size, Bad> {
        let (mut rest, mut bytes, mut fields) = (block, 0usize, 0usize);
        let mut size = Size::Fits;
        while let Some(&first) = rest.first() {
            if first & 0xe0 == 0x20 {
                if fields > 0 {
                    // Only in front of a block's first field (RFC 7541 §4.2).
                    return Err(Bad);
                }
                let limit = integer(&mut rest, 5)?;
                if limit > self.limit {
                    return Err(Bad);
                }
                self.table.resize(limit);
                continue;
            }
            if size == Size::TooLarge {
                target.clear();
            }
            let field = self.field(first, &mut rest, target)?;
            fields += 1;
            bytes = bytes.saturating_add(field.name.length as usize + field.value.length as usize + OVERHEAD);
            if bytes > limits.bytes || fields > limits.fields {
                size = Size::TooLarge;
            } else {
                on_field(target, field);
            }
        }
        Ok(size)
    }

    fn field(&mut self, first: u8, rest: &mut &[u8], target: &mut HeaderBlock) -> Result<Decoded, Bad> {
        if first & 0x80 != 0 {
            let index = integer(rest, 7)?;
            let field = self.table.get(index).ok_or(Bad)?;
            let (name, value) = (target.stash(field.name), target.stash(field.value));
            return Ok(Decoded { id: field.id, name, value, secret: false });
        }
        let (prefix, indexed, secret) = match first {
            0x40.. => (6, true, false),
            0x10.. => (4, false, true),
            _ => (4, false, false),
        };
        let (id, name) = match integer(rest, prefix)? {
            0 => {
                let name = string(rest, target)?;
                (NameId::of(target.slice(name)), name)
            }
            index => {
                let field = self.table.get(index).ok_or(Bad)?;
                (field.id, target.stash(field.name))
            }
        };
        let value = string(rest, target)?;
        if indexed {
            self.table.insert(Field { id, name: target.slice(name), value: target.slice(value) });
        }
        Ok(Decoded { id, name, value, secret })
    }

    #[cfg(test)]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// For the standard's examples with a small table.
    #[cfg(test)]
    pub fn with_table_size(size: usize) -> Self {
        Self { table: Table::new(size), limit: size }
    }
}

/// An integer with a prefix of so many bits (RFC 7541 §5.1), at most what 28 more bits hold.
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, Bad> {
    let (&first, mut bytes) = rest.split_first().ok_or(Bad)?;
    let mask = (1usize << prefix) - 1;
    let mut number = usize::from(first) & mask;
    if number == mask {
        let mut shift = 0;
        loop {
            let (&byte, behind) = bytes.split_first().ok_or(Bad)?;
            bytes = behind;
            number += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
            if shift > 21 {
                return Err(Bad);
            }
        }
    }
    *rest = bytes;
    Ok(number)
}

/// A string (RFC 7541 §5.2), decoded into the arena.
fn string(rest: &mut &[u8], target: &mut HeaderBlock) -> Result<Span, Bad> {
    let is_huffman = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (text, behind) = rest.split_at_checked(length).ok_or(Bad)?;
    *rest = behind;
    if is_huffman {
        target.stash_with(|arena| huffman::decode(text, arena)).map_err(|huffman::BadCode| Bad)
    } else {
        Ok(target.stash(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { bytes: 60 * 1024, fields: 100 };

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text
            .bytes()
            .filter(u8::is_ascii_hexdigit)
            .map(|digit| (digit as char).to_digit(16).unwrap() as u8)
            .collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<String, Bad> {
        let (mut target, mut text) = (HeaderBlock::default(), String::new());
        decoder.decode(block, &mut target, LIMITS, |block, field| {
            let part = |span| String::from_utf8_lossy(block.slice(span)).into_owned();
            text += &format!(
                "{}: {}{}\n",
                part(field.name),
                part(field.value),
                if field.secret { " !" } else { "" }
            );
        })?;
        Ok(text)
    }

    #[test]
    fn single_fields_of_the_standard() {
        // RFC 7541 appendix C.2.
        for (block, text) in [
            (
                "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
                "custom-key: custom-header\n",
            ),
            ("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path\n"),
            ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret !\n"),
            ("82", ":method: GET\n"),
        ] {
            assert_eq!(decode(&mut Decoder::new(), &unhex(block)).unwrap(), text);
        }
    }

    #[test]
    fn requests_of_the_standard_with_huffman_codes() {
        // RFC 7541 appendix C.4.
        let mut decoder = Decoder::new();
        for (block, text, size) in [
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", "", 57),
            ("8286 84be 5886 a8eb 1064 9cbf", "cache-control: no-cache\n", 110),
            (
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
                "custom-key: custom-value\n",
                164,
            ),
        ] {
            let (scheme, path) = if size == 164 { ("https", "/index.html") } else { ("http", "/") };
            let expected = format!(
                ":method: GET\n:scheme: {scheme}\n:path: {path}\n:authority: www.example.com\n{text}"
            );
            assert_eq!(decode(&mut decoder, &unhex(block)).unwrap(), expected);
            assert_eq!(decoder.table().size(), size);
        }
    }

    #[test]
    fn responses_of_the_standard_evict() {
        // RFC 7541 appendix C.6, with a table of 256 bytes.
        let mut decoder = Decoder::with_table_size(256);
        let blocks = [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad \
             1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 \
             e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ];
        let sizes = [222, 222, 215];
        for (block, size) in blocks.iter().zip(sizes) {
            assert!(decode(&mut decoder, &unhex(block)).unwrap().starts_with(":status: "));
            assert_eq!(decoder.table().size(), size);
        }
        let newest = &decoder.table().fields()[0];
        assert_eq!(newest.0, b"set-cookie");
        assert_eq!(newest.1, b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for (block, why) in [
            ("80", "index 0"),
            ("be", "dynamic index that is not there"),
            ("7f", "name index without its end"),
            ("ff ffff ffff ff0f", "index beyond 28 bits"),
            ("40", "no name"),
            ("40 0161", "no value"),
            ("40 0561", "name cut short"),
            ("40 82ff ff 00", "Huffman code of EOS"),
            ("3f e2 1f", "table larger than we allow"),
            ("82 20", "size update behind a field"),
        ] {
            assert_eq!(decode(&mut Decoder::new(), &unhex(block)), Err(Bad), "{why}");
        }
        assert_eq!(decode(&mut Decoder::new(), &unhex("20 3fe11f 82")).unwrap(), ":method: GET\n");
    }

    #[test]
    fn too_large_list_is_dropped_but_keeps_the_table_in_step() {
        let mut decoder = Decoder::new();
        let mut block = vec![0x82; 101];
        block.extend(unhex("4001 6101 62"));
        let mut target = HeaderBlock::default();
        assert_eq!(decoder.decode(&block, &mut target, LIMITS, |_, _| {}), Ok(Size::TooLarge));
        assert!(target.bytes() < 100);
        assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), "a: b\n");
        let mut bomb = unhex("4001 61 7f 8117");
        bomb.extend(vec![b'x'; 3_072]);
        bomb.extend(vec![0xbe; 16_000]);
        assert_eq!(decoder.decode(&bomb, &mut target, LIMITS, |_, _| {}), Ok(Size::TooLarge));
        assert!(target.bytes() < 10_000);
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_decoder(block in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new();
            let _ = decode(&mut decoder, &block);
            prop_assert!(decoder.table().size() <= TABLE_SIZE);
        }
    }
}
